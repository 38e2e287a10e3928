//! How fast a worker serves, measured while it works: idle time counts for nothing.

use std::time::{Duration, Instant};

/// How much a window counts against those before it.
const SMOOTHING: f64 = 0.1;

/// What a worker's windows take.
#[derive(Clone, Debug, Default)]
pub(crate) struct Service {
    in_hand: usize,
    /// Up to when the time of work is counted.
    counted: Option<Instant>,
    /// Work and windows served since the rate was last taken.
    fresh: (Duration, u32),
    /// Seconds of work and windows served before, the older the less.
    past: (f64, f64),
    confirmed_ms: Option<f64>,
    corrected_ms: Option<f64>,
    captioned_ms: Option<f64>,
}

/// The state of a [`Service`], for the worker's status.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    /// Windows a second that the worker can serve; 0 before the first.
    pub rate: f64,
    /// Mean time from taking up a window to the verdict, by its kind.
    pub confirmed_ms: Option<f64>,
    pub corrected_ms: Option<f64>,
    pub captioned_ms: Option<f64>,
}

impl Service {
    /// A window is taken up.
    pub fn begin(&mut self, now: Instant) {
        if self.in_hand == 0 {
            self.counted = Some(now);
        }
        self.in_hand += 1;
    }

    /// A window is done with. Windows that are served together end at nearly the same time, so what one costs is only
    /// told from many: see [`pace`](Self::pace).
    pub fn end(&mut self, now: Instant) {
        self.in_hand = self.in_hand.saturating_sub(1);
        let work = (self.counted.replace(now)).map_or(Duration::ZERO, |since| now - since);
        self.fresh = (self.fresh.0 + work, self.fresh.1 + 1);
    }

    /// The verdict on a window came so long after it was taken up.
    pub fn answered(&mut self, had_draft: bool, confirmed: bool, ms: f64) {
        let mean = match (had_draft, confirmed) {
            (false, _) => &mut self.captioned_ms,
            (true, true) => &mut self.confirmed_ms,
            (true, false) => &mut self.corrected_ms,
        };
        *mean = Some(mean.map_or(ms, |mean| mean + SMOOTHING * (ms - mean)));
    }

    /// What is known by now; for a clock that asks about once a second.
    pub fn pace(&mut self) -> Pace {
        let (work, windows) = std::mem::take(&mut self.fresh);
        let fade = (1.0 - SMOOTHING).powi(windows.min(1_000) as i32);
        self.past.0 = self.past.0 * fade + work.as_secs_f64();
        self.past.1 = self.past.1 * fade + f64::from(windows);
        Pace {
            rate: if self.past.1 > 0.0 {
                self.past.1 / self.past.0.max(1e-6)
            } else {
                0.0
            },
            confirmed_ms: self.confirmed_ms,
            corrected_ms: self.corrected_ms,
            captioned_ms: self.captioned_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_work_and_not_of_idle_time() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut service = Service::default();
        assert_eq!(service.pace().rate, 0.0);
        for second in 0..30 {
            service.begin(at(second * 1000));
            service.end(at(second * 1000 + 50));
            assert!((service.pace().rate - 20.0).abs() < 1e-6);
        }
        // Eight at a time: 400 ms of work, eight windows.
        for second in 30..60 {
            (0..8).for_each(|i| service.begin(at(second * 1000 + i)));
            (0..8).for_each(|i| service.end(at(second * 1000 + 393 + i)));
            service.pace();
        }
        assert!((service.pace().rate - 20.0).abs() < 0.1);
        // A window at twice the pace moves it at once, and many take it there.
        for second in 60..160 {
            service.begin(at(second * 1000));
            service.end(at(second * 1000 + 25));
            service.pace();
        }
        assert!((service.pace().rate - 40.0).abs() < 0.1);
    }

    #[test]
    fn times_are_by_kind() {
        let mut service = Service::default();
        service.answered(true, true, 40.0);
        service.answered(true, false, 90.0);
        service.answered(true, false, 100.0);
        let pace = service.pace();
        assert_eq!(
            (pace.confirmed_ms, pace.corrected_ms, pace.captioned_ms),
            (Some(40.0), Some(91.0), None)
        );
    }
}
