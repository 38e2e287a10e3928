//! Which frames go on: a threshold with hysteresis, a least interval between frames, a budget, and a greatest gap
//! (a heartbeat, so silence is never mistaken for loss).

mod bucket;

use std::time::Duration;

use crate::{Error, check};
use bucket::Bucket;

/// Settings of a [`Gate`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The gate opens when the worth 1 − MAS reaches this, in \[0, 1\].
    pub threshold: f32,
    /// It shuts when the worth falls below `threshold − hysteresis`; in \[0, threshold\].
    pub hysteresis: f32,
    /// Frames that follow a kept one sooner are dropped; zero lets all through.
    pub min_interval: Duration,
    /// A frame this long after the last kept one goes on whatever its worth; zero for never.
    pub max_gap: Duration,
    /// While the gate is shut, a frame this long after the last kept one goes on; `None` for never. It is for a thin
    /// stream of what is not worth sending, within the budget.
    pub thin_interval: Option<Duration>,
    /// Frames a second that may go on, averaged; 0 for any number. In any T seconds at most `budget · T` + [`burst`]
    /// go on, heartbeats aside. The more of it is used up, the better a frame must be.
    ///
    /// [`burst`]: Self::burst
    pub budget: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: 0.02,
            hysteresis: 0.01,
            min_interval: Duration::ZERO,
            max_gap: Duration::from_secs(10),
            thin_interval: None,
            budget: 0.0,
        }
    }
}

impl Settings {
    /// # Errors
    /// [`Error::Setting`] if a value is out of its range.
    pub fn check(&self) -> Result<(), Error> {
        check(
            "threshold",
            self.threshold,
            (0.0..=1.0).contains(&self.threshold),
            "from 0 to 1",
        )?;
        let shuts = (0.0..=self.threshold).contains(&self.hysteresis);
        check(
            "hysteresis",
            self.hysteresis,
            shuts,
            "from 0 to the threshold",
        )?;
        let gap = self.max_gap.is_zero() || self.max_gap >= self.min_interval;
        let seconds = self.max_gap.as_secs_f32();
        check("max-gap", seconds, gap, "0 or at least min-interval")?;
        let budget = self.budget.is_finite() && self.budget >= 0.0;
        check("budget", self.budget as f32, budget, "0 or more")
    }

    /// Frames that may go on at once after a time in which none did: those of a second, at least one, and one more.
    #[must_use]
    pub fn burst(&self) -> f64 {
        bucket::burst(self.budget)
    }
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is worth sending.
    Open,
    /// It goes on because the stream was silent for `max_gap`, or is the first.
    Heartbeat,
    /// It goes on, though not worth sending, because the stream was silent for `thin_interval`.
    Thinned,
    /// It is dropped: not worth sending.
    Shut,
    /// It is dropped: worth sending, but within `min_interval` of the last.
    TooSoon,
    /// It is dropped: worth sending, but not worth what is left of the budget.
    OverBudget,
}

impl Decision {
    /// Whether the frame goes on.
    #[must_use]
    pub fn keeps(self) -> bool {
        matches!(self, Self::Open | Self::Heartbeat | Self::Thinned)
    }
}

/// The state of one stream's gate.
#[derive(Debug, Default)]
pub struct Gate {
    open: bool,
    last_kept: Option<Duration>,
    bucket: Bucket,
}

impl Gate {
    /// Decides on a frame at `running` time with the given worth (1 − MAS). A worth
    /// that is not a number shuts the gate. Time that jumps back starts afresh, so
    /// that a stream is not silenced until the old time is reached again.
    pub fn decide(&mut self, settings: &Settings, running: Duration, worth: f32) -> Decision {
        let shuts_below = settings.threshold - if self.open { settings.hysteresis } else { 0.0 };
        self.open = worth >= shuts_below;
        self.bucket.fill(settings.budget, running);
        let gap = self.last_kept.and_then(|last| running.checked_sub(last));
        let silent = !settings.max_gap.is_zero() && gap.is_some_and(|gap| gap >= settings.max_gap);
        let decision = match self.wants(settings, gap, worth, shuts_below) {
            wanted if wanted.keeps() => wanted,
            _ if silent || gap.is_none() => Decision::Heartbeat,
            refused => refused,
        };
        if decision.keeps() {
            self.last_kept = Some(running);
            self.bucket.take(settings.budget);
        }
        decision
    }

    /// What is decided but for heartbeats.
    fn wants(
        &self,
        settings: &Settings,
        gap: Option<Duration>,
        worth: f32,
        shuts_below: f32,
    ) -> Decision {
        let over = |least: Duration| gap.is_none_or(|gap| gap >= least);
        let thins = settings
            .thin_interval
            .is_some_and(|interval| gap.is_some_and(|gap| gap >= interval));
        if !self.open && !thins {
            return Decision::Shut;
        }
        if !over(settings.min_interval) {
            return if self.open {
                Decision::TooSoon
            } else {
                Decision::Shut
            };
        }
        let budget = settings.budget;
        let afford = budget <= 0.0
            || self.bucket.has_one(budget)
                && (!self.open || worth >= self.bucket.bar(budget, shuts_below));
        match (afford, self.open) {
            (true, true) => Decision::Open,
            (true, false) => Decision::Thinned,
            (false, _) => Decision::OverBudget,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        threshold: 0.5,
        hysteresis: 0.25,
        min_interval: Duration::from_millis(200),
        max_gap: Duration::from_secs(2),
        thin_interval: None,
        budget: 0.0,
    };

    fn decide(gate: &mut Gate, millis: u64, worth: f32) -> Decision {
        gate.decide(&SETTINGS, Duration::from_millis(millis), worth)
    }

    #[test]
    fn hysteresis_interval_and_heartbeat() {
        let mut gate = Gate::default();
        assert_eq!(decide(&mut gate, 0, 0.0), Decision::Heartbeat);
        assert_eq!(decide(&mut gate, 300, 0.4), Decision::Shut);
        assert_eq!(decide(&mut gate, 400, 0.5), Decision::Open);
        assert_eq!(decide(&mut gate, 500, 0.9), Decision::TooSoon);
        assert_eq!(decide(&mut gate, 600, 0.3), Decision::Open);
        assert_eq!(decide(&mut gate, 900, 0.2), Decision::Shut);
        assert_eq!(decide(&mut gate, 2500, 0.4), Decision::Shut);
        assert_eq!(decide(&mut gate, 2600, 0.4), Decision::Heartbeat);
        assert_eq!(decide(&mut gate, 2700, f32::NAN), Decision::Shut);
    }

    #[test]
    fn time_that_jumps_back_or_far_ahead_keeps_the_frame() {
        let mut gate = Gate::default();
        decide(&mut gate, 50_000, 1.0);
        assert_eq!(decide(&mut gate, 10, 0.0), Decision::Heartbeat);
        assert_eq!(decide(&mut gate, 20, 0.0), Decision::Shut);
        assert_eq!(decide(&mut gate, 9_000_000, 0.0), Decision::Heartbeat);
    }

    #[test]
    fn no_heartbeat_if_not_asked_for() {
        let settings = Settings {
            max_gap: Duration::ZERO,
            ..SETTINGS
        };
        let mut gate = Gate::default();
        gate.decide(&settings, Duration::ZERO, 1.0);
        let later = Duration::from_secs(86_400);
        assert_eq!(gate.decide(&settings, later, 0.0), Decision::Shut);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert!(SETTINGS.check().is_ok());
        let bad = Settings {
            hysteresis: 0.6,
            ..SETTINGS
        };
        assert!(
            bad.check()
                .unwrap_err()
                .to_string()
                .starts_with("hysteresis is 0.6")
        );
        let bad = Settings {
            max_gap: Duration::from_millis(100),
            ..SETTINGS
        };
        assert!(bad.check().unwrap_err().to_string().starts_with("max-gap"));
        for budget in [-1.0, f64::NAN, f64::INFINITY] {
            let bad = Settings { budget, ..SETTINGS };
            assert!(bad.check().unwrap_err().to_string().starts_with("budget"));
        }
    }

    #[test]
    fn a_shut_gate_thins_if_asked_to() {
        let settings = Settings {
            thin_interval: Some(Duration::from_millis(500)),
            ..SETTINGS
        };
        let mut gate = Gate::default();
        let mut decide =
            |millis, worth| gate.decide(&settings, Duration::from_millis(millis), worth);
        assert_eq!(decide(0, 0.0), Decision::Heartbeat);
        assert_eq!(decide(400, 0.0), Decision::Shut);
        assert_eq!(decide(500, 0.0), Decision::Thinned);
        assert_eq!(decide(700, 0.6), Decision::Open);
        assert_eq!(decide(800, 0.6), Decision::TooSoon);
        assert_eq!(decide(1100, 0.0), Decision::Shut);
        assert_eq!(decide(1200, 0.0), Decision::Thinned);
    }

    #[test]
    fn a_short_budget_asks_for_better_frames_and_recovers_step_by_step() {
        let settings = Settings {
            min_interval: Duration::ZERO,
            max_gap: Duration::ZERO,
            budget: 1.0,
            ..SETTINGS
        };
        assert_eq!(settings.burst(), 2.0);
        let mut gate = Gate::default();
        let mut decide =
            |millis, worth| gate.decide(&settings, Duration::from_millis(millis), worth);
        assert_eq!(decide(0, 0.5), Decision::Open);
        // Little more than one token is left: it is kept for frames that are worth nearly all.
        assert_eq!(decide(100, 0.8), Decision::OverBudget);
        assert_eq!(decide(200, 1.0), Decision::Open);
        assert_eq!(decide(300, 1.0), Decision::OverBudget);
        // 1.5 tokens at 1.5 s: the bar is the root of what shuts the open gate.
        assert_eq!(decide(1_490, 0.5), Decision::OverBudget);
        assert_eq!(decide(1_500, 0.51), Decision::Open);
        assert_eq!(decide(30_000, 0.5), Decision::Open);
    }

    #[test]
    fn heartbeats_do_not_wait_for_the_budget() {
        let settings = Settings {
            budget: 0.1,
            ..SETTINGS
        };
        let mut gate = Gate::default();
        for second in (0..60).step_by(2) {
            assert_eq!(
                gate.decide(&settings, Duration::from_secs(second), 0.0),
                Decision::Heartbeat
            );
        }
    }

    #[test]
    fn the_best_of_many_get_the_budget() {
        let settings = Settings {
            threshold: 0.02,
            hysteresis: 0.0,
            min_interval: Duration::ZERO,
            max_gap: Duration::ZERO,
            thin_interval: None,
            budget: 2.0,
        };
        let mut gate = Gate::default();
        let mut kept = [0; 4];
        // Ten minutes at 25 frames a second, of evenly spread worth in no order.
        for frame in 0u64..15_000 {
            let rank = frame * 7_919 % 1_000;
            let worth = 0.02 + 0.2 * rank as f32 / 1_000.0;
            let running = Duration::from_millis(40 * frame);
            if gate.decide(&settings, running, worth).keeps() {
                kept[rank as usize / 250] += 1;
            }
        }
        let all: u32 = kept.iter().sum();
        assert!((1_190..=1_203).contains(&all), "{kept:?}");
        assert!(kept[3] > all * 9 / 10, "{kept:?}");
    }
}
