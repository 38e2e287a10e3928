//! Answers and captions of one method on all links together: each link has windows of its own, so these are the most that
//! there are to tell by.

use serde::Serialize;

use super::measure::{cider, right, share};
use super::protocol::Record;
use super::windows::Item;

/// Of one method on all links.
#[derive(Clone, Debug, Serialize)]
pub struct Pooled {
    /// The method.
    pub method: &'static str,
    /// Share of questions answered rightly.
    pub accuracy: Option<f64>,
    /// CIDEr-D of captions.
    pub cider: Option<f64>,
    /// Peak memory of the edge process, bytes.
    pub edge_memory: Option<u64>,
    /// Of the cloud process.
    pub cloud_memory: Option<u64>,
    /// Whether each question was answered rightly.
    #[serde(skip)]
    pub right: Vec<bool>,
}

impl Pooled {
    /// What `records` of all links come to.
    pub fn of(
        method: &'static str,
        records: &[Record],
        items: &[Item],
        (edge_memory, cloud_memory): (Option<u64>, Option<u64>),
    ) -> Self {
        let right = right(records, items);
        Self {
            method,
            accuracy: share(&right),
            cider: cider(records, items),
            edge_memory,
            cloud_memory,
            right,
        }
    }

    /// Standard error of the difference from another's accuracy, question by question.
    pub fn error_against(&self, other: &Self) -> f64 {
        let pairs = self.right.iter().zip(&other.right);
        let apart: Vec<f64> = pairs
            .map(|(a, b)| f64::from(u8::from(*a)) - f64::from(u8::from(*b)))
            .collect();
        let count = apart.len() as f64;
        let mean = apart.iter().sum::<f64>() / count;
        let square = apart.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (square / count).sqrt()
    }
}
