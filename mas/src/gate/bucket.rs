//! A token bucket whose level also says how good a frame must be to have a token.

use std::time::Duration;

/// The least share that the bar is drawn up from: a threshold of 0 has no logarithm.
const FLOOR: f32 = 0.001;

/// Tokens of a budget. It begins full and fills by `budget` tokens a second.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Tokens taken out and not filled up again.
    missing: f64,
    /// When it was last filled.
    filled: Option<Duration>,
}

/// Tokens that a full bucket holds: a second's, and one that is never spared for better frames.
pub(super) fn burst(budget: f64) -> f64 {
    1.0 + budget.max(1.0)
}

impl Bucket {
    /// Fills it for the time since the last call. It is not filled for time that jumps back.
    pub fn fill(&mut self, budget: f64, running: Duration) {
        let since = self
            .filled
            .and_then(|filled| running.checked_sub(filled))
            .unwrap_or_default();
        self.filled = Some(running);
        self.missing = (self.missing - budget * since.as_secs_f64()).clamp(0.0, burst(budget));
    }

    /// Whether there is a whole token.
    pub fn has_one(&self, budget: f64) -> bool {
        burst(budget) - self.missing >= 1.0
    }

    /// The worth from which on a frame may have a token: the threshold while the bucket is full, 1 when one token
    /// is left, and in between so that each token taken raises it by the same factor.
    pub fn bar(&self, budget: f64, threshold: f32) -> f32 {
        if self.missing <= 0.0 {
            return threshold;
        }
        let left = 1.0 - self.missing / (burst(budget) - 1.0);
        threshold.max(FLOOR).powf(left.clamp(0.0, 1.0) as f32)
    }

    /// Takes a token, or what is left of one.
    pub fn take(&mut self, budget: f64) {
        self.missing = (self.missing + 1.0).min(burst(budget));
    }
}
