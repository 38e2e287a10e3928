//! How long the last captions took.

use std::collections::VecDeque;

use serde::Serialize;

/// Captions that percentiles are of.
const KEPT: usize = 512;

/// Milliseconds of the last captions.
#[derive(Default)]
pub struct Latencies(VecDeque<u64>);

/// Percentiles, in milliseconds.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Of how many captions they are.
    pub count: usize,
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
}

impl Latencies {
    /// Takes in a caption.
    pub fn add(&mut self, ms: u64) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(ms);
    }

    /// The least values that so much of all are at or below; `None` without any.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let mut sorted: Vec<u64> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            sorted
                .get((sorted.len() * percent).div_ceil(100).checked_sub(1)?)
                .copied()
        };
        Some(Percentiles {
            count: sorted.len(),
            p50: at(50)?,
            p95: at(95)?,
            p99: at(99)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_last_captions() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentiles(), None);
        latencies.add(7);
        let one = latencies.percentiles().unwrap();
        assert_eq!((one.count, one.p50, one.p95, one.p99), (1, 7, 7, 7));
        for ms in (1..=100).rev() {
            latencies.add(ms);
        }
        let some = latencies.percentiles().unwrap();
        assert_eq!(
            (some.count, some.p50, some.p95, some.p99),
            (101, 50, 95, 99)
        );
        for _ in 0..KEPT {
            latencies.add(1000);
        }
        let all = latencies.percentiles().unwrap();
        assert_eq!((all.count, all.p50, all.p99), (KEPT, 1000, 1000));
    }
}
