//! Whether to stop a draft half-way and offload at once.

use crate::bounds::{Error, check, within};

/// Least log-probability that is reckoned with.
const LEAST: f64 = -20.0;

/// Settings of the control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A draft is never stopped before it has so many tokens; 1 or more.
    pub least: usize,
    /// Tokens whose mean log-probability the rest is expected to have; 1 or more.
    pub recent: usize,
}

impl Default for Settings {
    /// 3 and 4 tokens.
    fn default() -> Self {
        Self {
            least: 3,
            recent: 4,
        }
    }
}

impl Settings {
    /// # Errors
    /// A setting is out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let range = "1 token or more";
        check("least", self.least as f64, self.least > 0, range)?;
        check("recent", self.recent as f64, self.recent > 0, range)
    }
}

/// What a draft's confidence, the geometric mean of its tokens' probabilities, will be when it has `length` tokens, if
/// the rest goes on as the last few did. In \[0, 1\]; 1 while there is no token. A log-probability that is not a number
/// counts as -20. It never falls when a log-probability rises.
#[must_use]
pub fn expected(settings: &Settings, logprobs: &[f32], length: usize) -> f64 {
    let value = |logprob: &f32| within(f64::from(*logprob), LEAST, 0.0, LEAST);
    let recent = settings.recent.clamp(1, logprobs.len().max(1));
    let Some(tail) = logprobs.len().checked_sub(recent) else {
        return 1.0;
    };
    let so_far: f64 = logprobs.iter().map(value).sum();
    let pace = logprobs[tail..].iter().map(value).sum::<f64>() / recent as f64;
    let rest = length.saturating_sub(logprobs.len());
    let total = so_far + pace * rest as f64;
    (total / (logprobs.len() + rest) as f64).exp()
}

/// Whether to stop drafting and offload at once: the draft has at least [`Settings::least`] tokens, and its expected
/// confidence is below `threshold` ([`Planner::stop_below`](crate::planner::Planner::stop_below); 0 never stops, and
/// what is not a number is 0). A token less likely never makes a stopped draft go on.
#[must_use]
pub fn stops(settings: &Settings, logprobs: &[f32], length: usize, threshold: f64) -> bool {
    logprobs.len() >= settings.least.max(1) && expected(settings, logprobs, length) < threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expects_the_rest_to_go_on_as_lately() {
        let settings = Settings {
            least: 3,
            recent: 2,
        };
        let half = 0.5_f32.ln();
        let logprobs = [0.0, 0.0, half, half];
        let expected = expected(&settings, &logprobs, 8);
        assert!((expected - 0.5_f64.powf(6.0 / 8.0)).abs() < 1e-6);
        assert!(stops(&settings, &logprobs, 8, 0.6));
        assert!(!stops(&settings, &logprobs, 8, 0.5));
        assert!(!stops(&settings, &logprobs[..2], 8, 2.0));
        assert!(!stops(&settings, &logprobs, 8, f64::NAN));
        assert!(stops(&settings, &[f32::NAN; 3], 0, 0.5));
    }
}
