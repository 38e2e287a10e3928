//! The edge box: time per stage against the stream's real-time budget.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounds::{Error, LONGEST, check, seconds, within};

/// What the edge does for a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// T0 and T1 of all its frames.
    Measure,
    /// T2 of what is kept.
    Encode,
    /// The draft.
    Draft,
}

/// How much a new time counts against those before it.
const SMOOTHING: f64 = 0.2;

/// The edge as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Time of each stage a window, smoothed, seconds, 0 until measured: measure, encode, draft.
    pub stages: [f64; 3],
    /// The time a window may take if the stream is to be kept up with, seconds, more than 0.
    pub budget: f64,
    /// Share of the CPU in use, in \[0, 1\].
    pub load: f64,
}

impl State {
    /// Share of its time that the edge needs, in \[0, 1\]: the stages' time over the budget, or the CPU load if that is
    /// more. 1: it just keeps up, or does not.
    #[must_use]
    pub fn busy(&self) -> f64 {
        let stages: f64 = self.stages.iter().map(|time| seconds(*time)).sum();
        let budget = within(self.budget, 1e-3, LONGEST, 1e-3);
        (stages / budget)
            .max(within(self.load, 0.0, 1.0, 1.0))
            .min(1.0)
    }

    /// How long this much work takes beside what else the edge does, seconds: work / (1 − busy), at most ten times the
    /// work. It is the response time of a processor that is shared (M/G/1-PS; Kleinrock, *Queueing Systems* II, 1976).
    #[must_use]
    pub fn takes(&self, work: f64) -> f64 {
        seconds(seconds(work) / (1.0 - self.busy()).max(0.1))
    }
}

/// What is known of the edge.
#[derive(Debug, Clone)]
pub struct Edge {
    budget: f64,
    stages: [Option<f64>; 3],
    load: f64,
}

impl Edge {
    /// An edge that may spend `budget` on a window: the window's length.
    ///
    /// # Errors
    /// The budget is shorter than a millisecond.
    pub fn new(budget: Duration) -> Result<Self, Error> {
        let budget = budget.as_secs_f64();
        check("budget", budget, budget >= 1e-3, "1 ms or more")?;
        Ok(Self {
            budget: budget.min(LONGEST),
            stages: [None; 3],
            load: 0.0,
        })
    }

    /// From here on it may spend so long on a window, at least 1 ms.
    pub fn may_take(&mut self, budget: Duration) {
        self.budget = budget.as_secs_f64().clamp(1e-3, LONGEST);
    }

    /// A stage took so long for a window. The first time counts whole, each later one a fifth.
    pub fn took(&mut self, stage: Stage, time: Duration) {
        let time = seconds(time.as_secs_f64());
        let mean = &mut self.stages[stage as usize];
        *mean = Some(mean.map_or(time, |mean| mean + SMOOTHING * (time - mean)));
    }

    /// The share of the CPU in use, from outside, in \[0, 1\]; what is not a number counts as 1.
    pub fn load(&mut self, share: f64) {
        self.load = within(share, 0.0, 1.0, 1.0);
    }

    /// The edge as it is now.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            stages: self.stages.map(|time| time.unwrap_or(0.0)),
            budget: self.budget,
            load: self.load,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_smoothed_against_the_budget() {
        let mut edge = Edge::new(Duration::from_secs(1)).unwrap();
        edge.took(Stage::Encode, Duration::from_millis(100));
        edge.took(Stage::Draft, Duration::from_millis(300));
        assert!((edge.state().busy() - 0.4).abs() < 1e-9);
        edge.took(Stage::Draft, Duration::from_millis(800));
        assert!((edge.state().busy() - 0.5).abs() < 1e-9);
        assert!((edge.state().takes(0.1) - 0.2).abs() < 1e-9);
        edge.load(0.9);
        assert!((edge.state().busy() - 0.9).abs() < 1e-9);
        edge.load(f64::NAN);
        assert!((edge.state().takes(0.1) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn refuses_no_budget() {
        let error = Edge::new(Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("budget"), "{error}");
    }
}
