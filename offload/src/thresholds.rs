//! What risk and latency a decision may have, moved online towards their targets.
//!
//! **Risk**: the most that a window kept on the edge may have. Targets are averages over all windows, so the threshold of
//! one window may be far above: it rises by [`Settings::pace`] · (target − r) after each window, where r is the estimated
//! risk of a window that was kept and 0 of any other. At rest the mean of r is the target (the update of adaptive conformal inference;
//! Gibbs and Candès, 2021).
//!
//! **Latency**: what a plan may take. Predictions err; the limit rises by pace · (1 − q) of itself after an answer within
//! the target and falls by pace · q after a later one, so that at rest a share q of answers is within the target
//! (stochastic approximation of a quantile; Robbins and Monro, 1951).
//!
//! Both stay within their bounds whatever happens.

use serde::{Deserialize, Serialize};

use crate::bounds::{Error, LONGEST, check, within};

/// Targets, and the bounds within which thresholds may move.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Share of windows that may be kept on the edge though the cloud would change their draft, in \[0, 1\].
    pub target_risk: f64,
    /// Seconds from a window's decision to its final caption, more than 0, at most a day.
    pub target_latency: f64,
    /// Share of answers that come within it, in (0, 1).
    pub on_time: f64,
    /// Least and greatest risk threshold, in \[0, 1\].
    pub risk: (f64, f64),
    /// Least and greatest latency limit, as shares of the target, in (0, 1\].
    pub latency: (f64, f64),
    /// How fast the thresholds move, in (0, 1\].
    pub pace: f64,
}

impl Default for Settings {
    /// 5 % of windows; 95 % of answers within 1 s; thresholds from 0 to 0.5, limits from 0.25 to 1; pace 0.05.
    fn default() -> Self {
        Self {
            target_risk: 0.05,
            target_latency: 1.0,
            on_time: 0.95,
            risk: (0.0, 0.5),
            latency: (0.25, 1.0),
            pace: 0.05,
        }
    }
}

impl Settings {
    fn check(&self) -> Result<(), Error> {
        let unit = 0.0..=1.0;
        let holds = unit.contains(&self.target_risk);
        check("target_risk", self.target_risk, holds, "from 0 to 1")?;
        let holds = self.target_latency > 0.0 && self.target_latency <= LONGEST;
        check(
            "target_latency",
            self.target_latency,
            holds,
            "above 0, at most a day",
        )?;
        let holds = self.on_time > 0.0 && self.on_time < 1.0;
        check("on_time", self.on_time, holds, "above 0 and below 1")?;
        let holds = 0.0 <= self.risk.0 && self.risk.0 <= self.risk.1 && self.risk.1 <= 1.0;
        check(
            "risk",
            self.risk.1,
            holds,
            "at least its lower bound, from 0 to 1",
        )?;
        let (least, most) = self.latency;
        let holds = 0.0 < least && least <= most && most <= 1.0;
        check(
            "latency",
            most,
            holds,
            "at least its lower bound, above 0, at most 1",
        )?;
        let holds = self.pace > 0.0 && self.pace <= 1.0;
        check("pace", self.pace, holds, "above 0, at most 1")
    }
}

/// The thresholds as they are now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Greatest risk of a window that is kept, in \[0, 1\].
    pub risk: f64,
    /// Greatest predicted latency of a window that is sent, seconds, more than 0.
    pub latency: f64,
}

/// The thresholds and what moves them.
#[derive(Debug, Clone)]
pub struct Thresholds {
    settings: Settings,
    limits: Limits,
}

impl Thresholds {
    /// Thresholds at their targets, or at the bound nearest to it.
    ///
    /// # Errors
    /// A setting is out of its range.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let limits = Limits {
            risk: settings.target_risk.clamp(settings.risk.0, settings.risk.1),
            latency: settings.target_latency * settings.latency.1,
        };
        Ok(Self { settings, limits })
    }

    /// A window was decided on; `kept` is its estimated risk if it is kept on the edge, 0 if it is not
    /// ([`Decision::kept_risk`](crate::planner::Decision::kept_risk)).
    pub fn decided(&mut self, kept: f64) {
        let Settings {
            target_risk,
            risk: (low, high),
            pace,
            ..
        } = self.settings;
        let error = target_risk - within(kept, 0.0, 1.0, 1.0);
        self.limits.risk = (self.limits.risk + pace * error).clamp(low, high);
    }

    /// A window's final caption came so many seconds after its decision.
    pub fn answered(&mut self, latency: f64) {
        let Settings {
            target_latency,
            on_time,
            latency: (low, high),
            pace,
            ..
        } = self.settings;
        let change = if latency <= target_latency {
            1.0 - on_time
        } else {
            -on_time
        };
        self.limits.latency = (self.limits.latency * (1.0 + pace * change))
            .clamp(low * target_latency, high * target_latency);
    }

    /// The thresholds as they are now.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn risk_settles_where_its_mean_is_the_target() {
        let mut thresholds = Thresholds::new(Settings::default()).unwrap();
        let (mut sum, count) = (0.0, 20_000);
        for n in 0..count {
            // Risks spread evenly over [0, 1): kept up to r, their mean is r²/2.
            let risk = f64::from(n * 617 % 1000) / 1000.0;
            let kept = if risk <= thresholds.limits().risk {
                risk
            } else {
                0.0
            };
            thresholds.decided(kept);
            sum += kept;
        }
        let mean = sum / f64::from(count);
        assert!((mean - 0.05).abs() < 0.002, "{mean}");
        assert!((thresholds.limits().risk - 0.1_f64.sqrt()).abs() < 0.05);
    }

    #[test]
    fn latency_settles_where_the_share_is_on_time() {
        let mut thresholds = Thresholds::new(Settings::default()).unwrap();
        let (mut late, count) = (0, 20_000);
        for n in 0..count {
            // Plans come true up to twice over, evenly.
            let off = 1.0 + f64::from(n * 617 % 1000) / 1000.0;
            let latency = thresholds.limits().latency * off;
            late += i32::from(latency > 1.0);
            thresholds.answered(latency);
        }
        let share = f64::from(late) / f64::from(count);
        assert!((share - 0.05).abs() < 0.005, "{share}");
    }

    #[test]
    fn refuses_bounds_that_cross() {
        let settings = Settings {
            risk: (0.5, 0.1),
            ..Settings::default()
        };
        assert!(Thresholds::new(settings).is_err());
    }
}
