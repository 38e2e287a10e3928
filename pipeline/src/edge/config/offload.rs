//! `[offload]`: what becomes of a window after its draft.

use broker::Faults;
use serde::Deserialize;

use super::{least_and_most, seconds, tokens};

/// What becomes of a window after its draft. Values left out are the defaults of `msaooffload`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offload {
    /// Whether anything is decided; if not, every window is verified. True if left out.
    pub enabled: Option<bool>,
    /// Share of windows that may be kept on the edge though the cloud would change their draft; 0 to 1.
    pub target_risk: Option<f64>,
    /// Seconds from a window's decision to its final caption.
    pub target_latency_s: Option<f64>,
    /// Price of a second of the link and of the cloud, in seconds of latency.
    pub lambda_bytes: Option<f64>,
    /// The same of the cloud.
    pub lambda_cloud: Option<f64>,
    /// Tokens of a window that are sent at least.
    pub min_tokens: Option<u32>,
    /// Tokens of a window that are sent at most; 0 for all.
    pub max_tokens: Option<u32>,
    /// Share of the windows that would teach nothing that is verified all the same; above 0, at most 1.
    pub audit: Option<f64>,
    /// Bytes a second that the link is taken to carry until it was measured.
    pub bandwidth: Option<f64>,
    /// Windows that may wait for the cloud.
    pub defer_windows: Option<u32>,
    /// Seconds that a window may wait for the cloud.
    pub defer_age_s: Option<f64>,
}

impl Offload {
    /// Whether anything is decided.
    pub fn is_on(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        let zero_to = |most| 0.0..=most;
        faults.range("offload.target_risk", self.target_risk, zero_to(1.0), "");
        seconds(
            faults,
            "offload.target_latency_s",
            self.target_latency_s,
            0.001,
        );
        faults.range("offload.lambda_bytes", self.lambda_bytes, zero_to(1e3), "");
        faults.range("offload.lambda_cloud", self.lambda_cloud, zero_to(1e3), "");
        tokens(faults, "offload.min_tokens", self.min_tokens);
        tokens(faults, "offload.max_tokens", self.max_tokens);
        let most = self.max_tokens.filter(|most| *most > 0);
        least_and_most(faults, "offload", self.min_tokens, most);
        faults.range("offload.audit", self.audit, 1e-6..=1.0, "");
        faults.range("offload.bandwidth", self.bandwidth, 100.0..=1e11, "");
        faults.range("offload.defer_windows", self.defer_windows, 0..=4096, "");
        seconds(faults, "offload.defer_age_s", self.defer_age_s, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_faults, assert_refused};

    #[test]
    fn mistakes_are_named() {
        assert_refused(&[("[offload]\nrisk = 0.1", "risk")]);
        assert_faults(&[
            (
                "[offload]\nmin_tokens = 50\nmax_tokens = 16",
                "offload.min_tokens is 50",
            ),
            ("[offload]\ntarget_risk = 5", "offload.target_risk is 5"),
            ("[offload]\naudit = 0", "offload.audit is 0"),
            ("[offload]\nbandwidth = nan", "offload.bandwidth is NaN"),
            ("[offload]\ndefer_windows = 5000", "offload.defer_windows"),
        ]);
    }
}
