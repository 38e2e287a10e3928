//! `[gate]`, of the rig and of a stream: what is let through.

use std::fmt::{self, Display, Formatter};

use broker::Faults;
use serde::Deserialize;

use super::seconds;

/// What of a stream is let through. Values left out are the defaults of `msaogate`, but for `min_interval_s`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The gate opens when the share worth sending, 1 - MAS, reaches this; 0 to 1.
    pub threshold: Option<f32>,
    /// It shuts this much below the threshold.
    pub hysteresis: Option<f32>,
    /// Seconds; frames sooner than this after a kept one are dropped; 0.25 for video and 0 for others if left out.
    pub min_interval_s: Option<f64>,
    /// Seconds; a frame this long after the last kept one goes on whatever its MAS; 0 for never.
    pub max_gap_s: Option<f64>,
    /// What becomes of what is not worth sending.
    pub mode: Option<GateMode>,
    /// Seconds between the buffers that go on while the gate is shut, in mode `thin`.
    pub thin_interval_s: Option<f64>,
    /// Buffers a second that may go on, averaged; 0 for any number.
    pub budget: Option<f64>,
}

/// What becomes of what is not worth sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateMode {
    /// It is dropped.
    Drop,
    /// A little of it goes on.
    Thin,
    /// All of it goes on, marked.
    Flag,
}

impl Display for GateMode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drop => "drop",
            Self::Thin => "thin",
            Self::Flag => "flag",
        })
    }
}

impl Gate {
    /// `self`, and where it says nothing what `rig` says.
    pub fn or(&self, rig: &Self) -> Self {
        Self {
            threshold: self.threshold.or(rig.threshold),
            hysteresis: self.hysteresis.or(rig.hysteresis),
            min_interval_s: self.min_interval_s.or(rig.min_interval_s),
            max_gap_s: self.max_gap_s.or(rig.max_gap_s),
            mode: self.mode.or(rig.mode),
            thin_interval_s: self.thin_interval_s.or(rig.thin_interval_s),
            budget: self.budget.or(rig.budget),
        }
    }

    /// Notes what is wrong with it; `table` is what it is called.
    pub(super) fn check(&self, table: &str, faults: &mut Faults) {
        let name = |key: &str| format!("{table}.{key}");
        faults.range(name("threshold"), self.threshold, 0.0..=1.0, "");
        faults.range(name("hysteresis"), self.hysteresis, 0.0..=1.0, "");
        seconds(faults, &name("min_interval_s"), self.min_interval_s, 0.0);
        seconds(faults, &name("max_gap_s"), self.max_gap_s, 0.0);
        seconds(faults, &name("thin_interval_s"), self.thin_interval_s, 0.0);
        let unit = "buffers a second";
        faults.range(name("budget"), self.budget, 0.0..=1e6, unit);
    }

    /// What contradicts what else is in it, if anything does: the key, and what is wrong. What is left out counts as its
    /// default.
    pub(super) fn contradiction(&self, table: &str) -> Option<(String, String)> {
        let default = mas::gate::Settings::default();
        let threshold = self.threshold.unwrap_or(default.threshold);
        let hysteresis = self.hysteresis.unwrap_or(default.hysteresis);
        if hysteresis > threshold {
            let key = format!("{table}.hysteresis");
            let reason = format!("{key} is {hysteresis}, more than {table}.threshold, {threshold}");
            return Some((key, reason));
        }
        let most = default.max_gap.as_secs_f64();
        let (least, most) = (self.min_interval_s?, self.max_gap_s.unwrap_or(most));
        (most > 0.0 && most < least).then(|| {
            let key = format!("{table}.max_gap_s");
            let reason = format!("{key} is {most}, less than {table}.min_interval_s, {least}");
            (key, reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_faults, assert_refused, parse};

    #[test]
    fn a_streams_gate_goes_before_the_rigs() {
        let text = "[[audio]]\nsource = 'auto'\ngate = { threshold = 0.5 }\n[gate]\nthreshold = 0.1\nmax_gap_s = 3";
        let config = parse(text).unwrap();
        let gate = config.audio[0].gate.or(&config.gate);
        assert_eq!((gate.threshold, gate.max_gap_s), (Some(0.5), Some(3.0)));
    }

    #[test]
    fn mistakes_are_named() {
        assert_refused(&[
            (
                "[[sensor]]\nsource = 'a.csv'\ngate = { treshold = 1 }",
                "treshold",
            ),
            ("[gate]\nmode = 'shut'", "shut"),
        ]);
        assert_faults(&[
            ("[gate]\nthreshold = 1.5", "gate.threshold is 1.5"),
            ("[gate]\nmax_gap_s = -1", "gate.max_gap_s is -1"),
            ("[gate]\nthin_interval_s = nan", "gate.thin_interval_s"),
            ("[gate]\nbudget = -1", "gate.budget is -1"),
            // With what is left out.
            (
                "[gate]\nthreshold = 0.005",
                "gate.hysteresis is 0.01, more than gate.threshold, 0.005",
            ),
            (
                "[gate]\nmax_gap_s = 0.1",
                "gate.max_gap_s is 0.1, less than gate.min_interval_s, 0.25",
            ),
            (
                "[[audio]]\nsource = 'auto'\ngate = { hysteresis = 0.5 }",
                "audio[0].gate.hysteresis is 0.5",
            ),
            (
                "[[audio]]\nsource = 'auto'\ngate = { threshold = 2 }",
                "audio[0].gate.threshold",
            ),
        ]);
    }
}
