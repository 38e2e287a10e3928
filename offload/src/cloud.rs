//! The cloud: whether it answers, and how long a window would take there.
//!
//! A worker says in its heartbeat how many windows wait and how many it serves a second. The wait is what waits by now over
//! that rate: the heartbeat's queue, and what was sent since, less what was served since (a fluid queue). What a window
//! itself takes is learnt from answers, apart for a draft confirmed, a draft corrected, and a window captioned without a draft; until there is one, it
//! is one over the rate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounds::{LONGEST, seconds, within};
use crate::clock::Clock;

/// A cloud without a heartbeat for this long is unavailable.
pub const SILENCE: Duration = Duration::from_secs(3);

/// How much a new time counts against those before it.
const SMOOTHING: f64 = 0.1;

/// What the cloud made of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The draft stands.
    Confirmed,
    /// The draft was changed.
    Corrected,
    /// There was no draft.
    Captioned,
}

/// The cloud as it is seen at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Whether there was a heartbeat within [`SILENCE`].
    pub available: bool,
    /// How long there has been none, seconds; 0 while it is available.
    pub away: f64,
    /// How long a window waits there before it is taken up, seconds.
    pub wait: f64,
    /// How long a draft takes that is confirmed, seconds.
    pub confirmed: f64,
    /// How long a draft takes that is corrected, seconds.
    pub corrected: f64,
    /// How long a window without a draft takes, seconds.
    pub captioned: f64,
}

impl State {
    /// Expected time to verify a draft that is changed with chance `risk`, seconds. It does not fall as risk rises.
    #[must_use]
    pub fn verified(&self, risk: f64) -> f64 {
        let confirmed = seconds(self.confirmed);
        let more = (seconds(self.corrected) - confirmed).max(0.0);
        confirmed + within(risk, 0.0, 1.0, 1.0) * more
    }
}

/// What is known of the cloud.
#[derive(Debug, Clone)]
pub struct Cloud {
    clock: Clock,
    heard: Option<Duration>,
    /// Windows that waited at `since`.
    queue: f64,
    since: Duration,
    rate: f64,
    times: [Option<f64>; 3],
}

impl Default for Cloud {
    fn default() -> Self {
        Self {
            clock: Clock::default(),
            heard: None,
            queue: 0.0,
            since: Duration::ZERO,
            rate: 1.0,
            times: [None; 3],
        }
    }
}

impl Cloud {
    /// A heartbeat: windows that wait, and windows served a second, from 0.001 to 1,000,000. A rate that is not a
    /// number, or not above 0, is not taken, and the last one stays: 1 at the start.
    pub fn heartbeat(&mut self, now: Duration, queue: u32, rate: f64) {
        let now = self.clock.advance(now);
        self.heard = Some(now);
        self.since = now;
        self.queue = f64::from(queue);
        if rate > 0.0 {
            self.rate = rate.clamp(1e-3, 1e6);
        }
    }

    /// A window was sent to it; it counts as waiting until the next heartbeat.
    pub fn sent(&mut self, now: Duration) {
        let now = self.clock.advance(now);
        self.queue = (self.waiting(now) + 1.0).min(1e9);
        self.since = now;
    }

    /// It worked so long on a window. The first time counts whole, each later one a tenth.
    pub fn answered(&mut self, answer: Answer, work: Duration) {
        let work = seconds(work.as_secs_f64());
        let mean = &mut self.times[answer as usize];
        *mean = Some(mean.map_or(work, |mean| mean + SMOOTHING * (work - mean)));
    }

    /// The cloud as it is seen at `now`.
    #[must_use]
    pub fn state(&self, now: Duration) -> State {
        let now = self.clock.read(now);
        let silent = self.heard.map_or(now, |heard| now.saturating_sub(heard));
        let available = self.heard.is_some() && silent < SILENCE;
        let silent = silent.as_secs_f64();
        let [confirmed, corrected, captioned] =
            self.times.map(|time| time.unwrap_or(1.0 / self.rate));
        State {
            available,
            away: if available { 0.0 } else { silent.min(LONGEST) },
            wait: seconds(self.waiting(now) / self.rate),
            confirmed,
            corrected,
            captioned,
        }
    }

    /// Windows that wait by now, if it serves them all the time.
    fn waiting(&self, now: Duration) -> f64 {
        let served = now.saturating_sub(self.since).as_secs_f64() * self.rate;
        (self.queue - served).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn unavailable_without_a_heartbeat_for_three_seconds() {
        let mut cloud = Cloud::default();
        assert!(!cloud.state(at(0)).available);
        cloud.heartbeat(at(1000), 0, 10.0);
        assert!(cloud.state(at(3999)).available);
        let state = cloud.state(at(4000));
        assert!(!state.available && (state.away - 3.0).abs() < 1e-9);
        cloud.heartbeat(at(5000), 0, 10.0);
        assert!(cloud.state(at(5000)).available);
    }

    #[test]
    fn predicts_the_wait() {
        let mut cloud = Cloud::default();
        cloud.heartbeat(at(0), 4, 8.0);
        assert!((cloud.state(at(0)).wait - 0.5).abs() < 1e-9);
        assert!((cloud.state(at(250)).wait - 0.25).abs() < 1e-9);
        cloud.sent(at(250));
        assert!((cloud.state(at(250)).wait - 0.375).abs() < 1e-9);
        assert_eq!(cloud.state(at(2000)).wait, 0.0);
    }

    #[test]
    fn learns_what_a_window_takes() {
        let mut cloud = Cloud::default();
        cloud.heartbeat(at(0), 0, 5.0);
        assert!((cloud.state(at(0)).captioned - 0.2).abs() < 1e-9);
        cloud.answered(Answer::Confirmed, at(60));
        cloud.answered(Answer::Corrected, at(100));
        let state = cloud.state(at(0));
        assert!((state.verified(0.5) - 0.08).abs() < 1e-9);
        assert!((state.verified(f64::NAN) - 0.1).abs() < 1e-9);
        cloud.heartbeat(at(1), 1, f64::NAN);
        assert!((cloud.state(at(1)).wait - 0.2).abs() < 1e-9);
    }
}
