//! Which frames go on: a threshold with hysteresis, a least interval between
//! frames and a greatest gap (a heartbeat, so silence is never mistaken for loss).

use std::time::Duration;

use crate::{Error, check};

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
        check("max-gap", seconds, gap, "0 or at least min-interval")
    }
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is worth sending.
    Open,
    /// It goes on because the stream was silent for `max_gap`, or is the first.
    Heartbeat,
    /// It is dropped: not worth sending.
    Shut,
    /// It is dropped: worth sending, but within `min_interval` of the last.
    TooSoon,
}

impl Decision {
    /// Whether the frame goes on.
    pub fn keeps(self) -> bool {
        matches!(self, Self::Open | Self::Heartbeat)
    }
}

/// The state of one stream's gate.
#[derive(Debug, Default)]
pub struct Gate {
    open: bool,
    last_kept: Option<Duration>,
}

impl Gate {
    /// Decides on a frame at `running` time with the given worth (1 − MAS). A worth
    /// that is not a number shuts the gate. Time that jumps back starts afresh, so
    /// that a stream is not silenced until the old time is reached again.
    pub fn decide(&mut self, settings: &Settings, running: Duration, worth: f32) -> Decision {
        let shuts_below = settings.threshold - if self.open { settings.hysteresis } else { 0.0 };
        self.open = worth >= shuts_below;
        let gap = self.last_kept.and_then(|last| running.checked_sub(last));
        let decision = match gap {
            None if self.open => Decision::Open,
            None => Decision::Heartbeat,
            Some(gap) if self.open && gap >= settings.min_interval => Decision::Open,
            Some(gap) if !settings.max_gap.is_zero() && gap >= settings.max_gap => {
                Decision::Heartbeat
            }
            Some(_) if self.open => Decision::TooSoon,
            Some(_) => Decision::Shut,
        };
        if decision.keeps() {
            self.last_kept = Some(running);
        }
        decision
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
    }
}
