//! `[probe]`, `[window]` and `[draft]`: from what passes the gates to a window and its draft.

use broker::Faults;
use serde::Deserialize;

use super::{least_and_most, seconds, tokens};

/// How the cameras share the probe.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Frames of several cameras that one session looks at together, 1 to 64; 1: a session for each camera. If left
    /// out, 2 for four cameras or more, otherwise 1.
    pub batch: Option<u32>,
    /// Milliseconds that a frame waits for those of other cameras, 0 to 1,000; 0 if left out.
    pub wait_ms: Option<f64>,
    /// Seconds between two looks at what changes where it changed before, 0 to 60; those between two frames that the
    /// gate keeps if left out.
    pub interval_s: Option<f64>,
}

/// How long windows are and how much of them is sent. Values left out are the defaults of `msaowindow`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Seconds, above 0.
    pub duration_s: Option<f64>,
    /// A position is kept if its importance is greater; 0 to 1.
    pub threshold: Option<f32>,
    /// Tokens kept of a window at least, of all its streams together.
    pub min_tokens: Option<u32>,
    /// Tokens kept of a window at most, of all its streams together.
    pub max_tokens: Option<u32>,
    /// Seconds after which a stream that stalls does not hold the others; 0 for never.
    pub stall_timeout_s: Option<f64>,
}

/// What is drafted at once. Values left out are the defaults of `msaodraft`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Seconds between two measurements of each modality's contribution (beta); 0 for never.
    pub beta_interval_s: Option<f64>,
    /// Seconds that such a measurement may take; longer ones are made less often.
    pub beta_budget_s: Option<f64>,
    /// Tokens of a window that go on to the cloud at most, those that the draft looked at most.
    pub keep_tokens: Option<u32>,
}

impl Probe {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.range("probe.batch", self.batch, 1..=64, "");
        faults.range("probe.wait_ms", self.wait_ms, 0.0..=1000.0, "");
        faults.range("probe.interval_s", self.interval_s, 0.0..=60.0, "");
    }
}

impl Window {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.range("window.threshold", self.threshold, 0.0..=1.0, "");
        seconds(faults, "window.duration_s", self.duration_s, 0.001);
        let stall = self.stall_timeout_s;
        seconds(faults, "window.stall_timeout_s", stall, 0.0);
        tokens(faults, "window.min_tokens", self.min_tokens);
        tokens(faults, "window.max_tokens", self.max_tokens);
        least_and_most(faults, "window", self.min_tokens, self.max_tokens);
    }
}

impl Draft {
    pub(super) fn check(&self, faults: &mut Faults) {
        seconds(faults, "draft.beta_interval_s", self.beta_interval_s, 0.0);
        seconds(faults, "draft.beta_budget_s", self.beta_budget_s, 0.0);
        tokens(faults, "draft.keep_tokens", self.keep_tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_faults;

    #[test]
    fn mistakes_are_named() {
        assert_faults(&[
            ("[probe]\nbatch = 0", "probe.batch is 0"),
            ("[probe]\nwait_ms = 2000", "probe.wait_ms is 2000"),
            ("[window]\nduration_s = 0", "window.duration_s"),
            ("[window]\nstall_timeout_s = 4000", "window.stall_timeout_s"),
            (
                "[window]\nmin_tokens = 50\nmax_tokens = 16",
                "window.min_tokens is 50, more than window.max_tokens, 16",
            ),
            ("[draft]\nbeta_interval_s = -1", "draft.beta_interval_s"),
            ("[draft]\nkeep_tokens = 70000", "draft.keep_tokens"),
        ]);
    }
}
