//! A decision in words, and what was weighed.

use offload::planner::{Considered, Decision};
use serde::Serialize;

/// A decision as the page shows it.
#[derive(Serialize)]
pub struct Shown {
    action: String,
    /// What was decided and what that rests on, a statement each.
    words: [String; 5],
    weighed: Vec<Weighed>,
}

/// An action that was weighed. Times and costs in seconds.
#[derive(Serialize)]
struct Weighed {
    /// With what it sends.
    action: String,
    chosen: bool,
    cost: f64,
    latency: f64,
    link: f64,
    cloud: f64,
    risk: f64,
    /// Why it is not possible.
    refused: Option<String>,
}

impl Shown {
    /// Of `decision`.
    pub fn new(decision: &Decision) -> Self {
        let chosen = decision.chosen();
        let weighed = |option: &Considered| Weighed {
            action: option.name(),
            chosen: chosen == Some(option),
            cost: option.cost,
            latency: option.latency,
            link: option.link,
            cloud: option.cloud,
            risk: option.risk,
            refused: option.refused.map(|why| why.to_string()),
        };
        Self {
            action: decision.action.to_string(),
            words: decision.statements().map(capitalised),
            weighed: decision.considered.iter().map(weighed).collect(),
        }
    }
}

fn capitalised(text: String) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => text,
    }
}
