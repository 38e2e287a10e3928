//! All that is known of one edge, kept up to date by what happens, and the decisions that follow from it.
//!
//! The estimators, the calibration, the thresholds and the planner in one place, for a running system to feed: what the
//! link carried, heartbeats, stage times, the cloud's words. Only windows that were sent with their draft teach about
//! drafts, each by the chance with which it was to be sent, so audits stand for the windows that were kept.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::bounds::Error;
use crate::clock::Clock;
use crate::cloud::{Answer, Cloud, SILENCE};
use crate::edge::{Edge, Stage};
use crate::link::Link;
use crate::planner::{Decision, Inputs, Planner, Window};
use crate::risk::Risk;
use crate::thresholds::Thresholds;
use crate::{Action, link, planner, risk, thresholds};

/// Windows whose answer is awaited, and messages in flight; of more the oldest is forgotten.
const REMEMBERED: usize = 4096;
/// Weight of the latest window among those whose bytes were compressed.
const NEWS: f64 = 0.25;
/// A window that waited may go when what is in flight takes the link no longer than this, seconds.
const ROOM: f64 = 0.1;

/// Settings of a [`Runtime`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Of the decisions.
    pub planner: planner::Settings,
    /// Targets, and how thresholds move.
    pub thresholds: thresholds::Settings,
    /// Of the link's estimates.
    pub link: link::Settings,
    /// Of the calibration.
    pub risk: risk::Settings,
    /// Length of a window, 1 ms or more.
    pub window: Duration,
    /// Whether risk and thresholds move with what the cloud says; else they stay as they begin.
    pub calibrates: bool,
}

impl Default for Settings {
    /// The defaults of the parts, and windows of 1 s.
    fn default() -> Self {
        Self {
            planner: planner::Settings::default(),
            thresholds: thresholds::Settings::default(),
            link: link::Settings::default(),
            risk: risk::Settings::default(),
            window: Duration::from_secs(1),
            calibrates: true,
        }
    }
}

/// A window that was sent.
#[derive(Debug, Clone, Copy)]
struct Asked {
    decided: Duration,
    confidence: f64,
    propensity: f64,
    draft: bool,
}

#[derive(Debug)]
struct Worker {
    name: String,
    heard: Duration,
    rate: f64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Runtime {
    /// Of workers and of windows that were sent; each part has its own.
    clock: Clock,
    link: Link,
    /// The link's numbers of messages in flight, by their ids.
    flights: HashMap<String, u64>,
    edge: Edge,
    cloud: Cloud,
    workers: Vec<Worker>,
    risk: Risk,
    thresholds: Thresholds,
    planner: Planner,
    asked: BTreeMap<u64, Asked>,
    /// What is left of a window's bytes on the link, as a share.
    compressed: f64,
    calibrates: bool,
}

impl Runtime {
    /// Nothing is known yet: no contact, no cloud.
    ///
    /// # Errors
    /// A setting is out of its range.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            clock: Clock::default(),
            link: Link::new(settings.link)?,
            flights: HashMap::new(),
            edge: Edge::new(settings.window)?,
            cloud: Cloud::default(),
            workers: Vec::new(),
            risk: Risk::new(settings.risk)?,
            thresholds: Thresholds::new(settings.thresholds)?,
            planner: Planner::new(settings.planner)?,
            asked: BTreeMap::new(),
            compressed: 1.0,
            calibrates: settings.calibrates,
        })
    }

    /// The connection came up.
    pub fn connected(&mut self, now: Duration) {
        self.link.connected(now);
    }

    /// The connection went down: what was in flight will be sent again.
    pub fn disconnected(&mut self, now: Duration) {
        self.link.disconnected(now);
        for (_, number) in self.flights.drain() {
            self.link.abandoned(number);
        }
    }

    /// A message of so many bytes was handed to the link, for the first time or again.
    pub fn sent(&mut self, now: Duration, id: &str, bytes: u64) {
        self.lost(id);
        if self.flights.len() == REMEMBERED {
            let oldest = self.flights.iter().min_by_key(|(_, number)| **number);
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                self.lost(&id);
            }
        }
        let number = self.link.sent(now, bytes);
        self.flights.insert(id.to_owned(), number);
    }

    /// Of so many bytes of a window so many were left to be sent.
    pub fn compressed(&mut self, from: u64, to: u64) {
        if from > 0 {
            let share = (to as f64 / from as f64).min(1.0);
            self.compressed += (share - self.compressed) * NEWS;
        }
    }

    /// Bytes of a window as they may be expected on the link.
    #[must_use]
    pub fn on_link(&self, bytes: u64) -> u64 {
        (bytes as f64 * self.compressed).round() as u64
    }

    /// The message was acknowledged.
    pub fn acknowledged(&mut self, now: Duration, id: &str) {
        if let Some(number) = self.flights.remove(id) {
            self.link.acknowledged(now, number);
        }
    }

    /// The message is no longer in flight, and was not acknowledged.
    pub fn lost(&mut self, id: &str) {
        if let Some(number) = self.flights.remove(id) {
            self.link.abandoned(number);
        }
    }

    /// A cloud worker says how many windows wait for all workers, and how many it serves a second. The rates of those
    /// that were heard of lately add up.
    pub fn heartbeat(&mut self, now: Duration, worker: &str, queue: u32, rate: f64) {
        let heard = self.clock.advance(now);
        self.workers
            .retain(|other| other.name != worker && heard.saturating_sub(other.heard) < SILENCE);
        self.workers.push(Worker {
            name: worker.to_owned(),
            heard,
            rate,
        });
        let rates = self.workers.iter().map(|worker| worker.rate);
        let all = rates.filter(|rate| *rate > 0.0).sum();
        self.cloud.heartbeat(now, queue, all);
    }

    /// How long windows are; at least 1 ms.
    pub fn windows_last(&mut self, window: Duration) {
        self.edge.may_take(window);
    }

    /// A stage took so long for a window.
    pub fn took(&mut self, stage: Stage, time: Duration) {
        self.edge.took(stage, time);
    }

    /// What a decision on the window rests on, to four significant digits.
    #[must_use]
    pub fn inputs(&self, now: Duration, window: Window) -> Inputs {
        Inputs {
            window,
            link: self.link.state(now),
            edge: self.edge.state(),
            cloud: self.cloud.state(now),
            risk: self.risk.estimate(window.confidence),
            limits: self.thresholds.limits(),
        }
        .rounded()
    }

    /// Decides on a window, for the first time or after it waited, and moves the threshold of risk.
    pub fn decide(&mut self, now: Duration, window: Window) -> Decision {
        let decision = self.planner.decide(self.inputs(now, window));
        if decision.action != Action::Defer && self.calibrates {
            self.thresholds.decided(decision.kept_risk());
        }
        if matches!(decision.action, Action::Verify | Action::Offload) {
            self.asks(now, &decision);
        }
        decision
    }

    /// Decides on a window that has no draft, or whose draft was stopped half-way: it can only be captioned in the cloud,
    /// at once or, while that is away, later.
    pub fn decide_undrafted(&mut self, now: Duration, window: Window) -> Decision {
        let inputs = self.inputs(now, window);
        if !inputs.reachable() {
            return self.planner.only(inputs, Action::Defer);
        }
        let decision = self.planner.only(inputs, Action::Offload);
        if self.calibrates {
            self.thresholds.decided(0.0);
        }
        self.asks(now, &decision);
        decision
    }

    /// Whether there is contact and a cloud.
    #[must_use]
    pub fn is_reachable(&self, now: Duration) -> bool {
        self.link.state(now).contact && self.cloud.state(now).available
    }

    /// Whether a window that waited may be decided on again: contact, the cloud, and a link with room beside what is live.
    #[must_use]
    pub fn has_room(&self, now: Duration) -> bool {
        let link = self.link.state(now);
        let busy = link.in_flight as f64 / link.bandwidth;
        self.is_reachable(now) && busy <= ROOM
    }

    /// The confidence below which a draft of this window, which is being written, is better stopped.
    #[must_use]
    pub fn stop_below(&self, now: Duration, window: Window) -> f64 {
        self.planner
            .stop_below(&self.inputs(now, window), &self.risk)
    }

    /// The cloud's word on a window, which took it so long. Whether it was awaited.
    pub fn answered(&mut self, now: Duration, seq: u64, confirmed: bool, work: Duration) -> bool {
        let Some(asked) = self.asked.remove(&seq) else {
            return false;
        };
        let answer = match (asked.draft, confirmed) {
            (false, _) => Answer::Captioned,
            (true, true) => Answer::Confirmed,
            (true, false) => Answer::Corrected,
        };
        self.cloud.answered(answer, work);
        if !self.calibrates {
            return true;
        }
        if asked.draft {
            self.risk
                .learn(asked.confidence, asked.propensity, !confirmed);
        }
        let latency = self.clock.advance(now).saturating_sub(asked.decided);
        self.thresholds.answered(latency.as_secs_f64());
        true
    }

    fn asks(&mut self, now: Duration, decision: &Decision) {
        self.cloud.sent(now);
        let asked = Asked {
            decided: self.clock.advance(now),
            confidence: decision.inputs.window.confidence,
            propensity: decision.propensity,
            draft: decision.action == Action::Verify,
        };
        self.asked.insert(decision.inputs.window.seq, asked);
        if self.asked.len() > REMEMBERED {
            self.asked.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn window(seq: u64, confidence: f64) -> Window {
        Window {
            seq,
            empty: false,
            confidence,
            draft_left: 0.0,
            tokens: 49,
            token_bytes: 290,
            fixed_bytes: 5000,
            caption_bytes: 0,
            keyframe_bytes: None,
        }
    }

    /// Contact, and a cloud that serves 20 windows a second, at 0.
    fn runtime() -> Runtime {
        let mut runtime = Runtime::new(Settings::default()).unwrap();
        runtime.connected(ms(0));
        runtime.heartbeat(ms(0), "a", 0, 20.0);
        runtime
    }

    #[test]
    fn what_happens_decides_whether_a_window_goes_or_waits() {
        let mut runtime = Runtime::new(Settings::default()).unwrap();
        let decide = |runtime: &mut Runtime, at, seq| runtime.decide(ms(at), window(seq, 0.3));
        assert_eq!(decide(&mut runtime, 0, 0).action, Action::Defer);
        runtime.connected(ms(10));
        assert_eq!(decide(&mut runtime, 10, 1).action, Action::Defer);
        runtime.heartbeat(ms(20), "a", 0, 20.0);
        assert_eq!(decide(&mut runtime, 20, 2).action, Action::Verify);
        assert!(runtime.has_room(ms(20)));
        runtime.disconnected(ms(30));
        assert_eq!(decide(&mut runtime, 30, 3).action, Action::Defer);
        runtime.connected(ms(40));
        assert_eq!(decide(&mut runtime, 3019, 4).action, Action::Verify);
        // Three seconds after the last heartbeat.
        assert_eq!(decide(&mut runtime, 3020, 5).action, Action::Defer);
        let undrafted = runtime.decide_undrafted(ms(3020), window(6, 0.3));
        assert_eq!(undrafted.action, Action::Defer);
        assert!(!runtime.has_room(ms(3020)));
    }

    #[test]
    fn bytes_are_expected_as_compressed_as_those_before() {
        let mut runtime = runtime();
        assert_eq!(runtime.on_link(10_000), 10_000);
        for _ in 0..50 {
            runtime.compressed(20_000, 8_000);
        }
        assert_eq!(runtime.on_link(10_000), 4_000);
        runtime.compressed(0, 0);
        runtime.compressed(10, 1_000_000);
        assert_eq!(runtime.on_link(10_000), 5_500);
    }

    #[test]
    fn messages_in_flight_are_counted_once_however_often_they_are_sent() {
        let mut runtime = runtime();
        let in_flight =
            |runtime: &Runtime, at| runtime.inputs(ms(at), window(0, 0.5)).link.in_flight;
        runtime.sent(ms(0), "a", 20_000);
        runtime.sent(ms(100), "a", 20_000);
        runtime.sent(ms(100), "b", 1000);
        assert_eq!(in_flight(&runtime, 100), 21_000);
        assert!(!runtime.has_room(ms(100)));
        runtime.acknowledged(ms(150), "b");
        runtime.acknowledged(ms(150), "c");
        assert_eq!(in_flight(&runtime, 150), 20_000);
        runtime.disconnected(ms(200));
        assert_eq!(in_flight(&runtime, 200), 0);
        runtime.connected(ms(900));
        runtime.sent(ms(900), "a", 20_000);
        runtime.acknowledged(ms(1150), "a");
        let link = runtime.inputs(ms(1150), window(0, 0.5)).link;
        // 50 ms is the fastest round trip, so the link was at work for 200 ms: the outage does not count.
        assert!((link.bandwidth - 100_000.0).abs() < 1.0, "{link:?}");
        assert!((link.rtt - 0.05).abs() < 1e-9, "{link:?}");
    }

    #[test]
    fn the_rates_of_workers_add_up_while_they_are_heard_of() {
        let mut runtime = runtime();
        let wait = |runtime: &Runtime, at| runtime.inputs(ms(at), window(0, 0.5)).cloud.wait;
        runtime.heartbeat(ms(1000), "b", 60, 10.0);
        assert!((wait(&runtime, 1000) - 2.0).abs() < 1e-9);
        runtime.heartbeat(ms(2000), "b", 60, 10.0);
        assert!((wait(&runtime, 2000) - 2.0).abs() < 1e-9);
        runtime.heartbeat(ms(3000), "b", 60, 10.0);
        assert!((wait(&runtime, 3000) - 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_worker_that_is_gone_is_forgotten_though_time_jumps_back() {
        let mut runtime = Runtime::new(Settings::default()).unwrap();
        runtime.heartbeat(ms(1_000_000), "a", 0, 10.0);
        for second in 0..5 {
            runtime.heartbeat(ms(second * 1000), "b", 60, 10.0);
        }
        let wait = runtime.inputs(ms(4000), window(0, 0.5)).cloud.wait;
        assert!((wait - 6.0).abs() < 1e-9, "{wait}");
    }

    #[test]
    fn only_what_was_sent_with_its_draft_is_learnt_from_and_once() {
        let mut runtime = runtime();
        let risk = |runtime: &Runtime| runtime.inputs(ms(1), window(0, 0.3)).risk;
        let before = risk(&runtime);
        assert!(!runtime.answered(ms(1), 7, true, ms(50)));
        assert_eq!(risk(&runtime), before);
        let offloaded = runtime.decide_undrafted(ms(1), window(1, 0.3));
        assert_eq!(offloaded.action, Action::Offload);
        assert!(runtime.answered(ms(80), 1, false, ms(50)));
        assert_eq!(risk(&runtime), before);
        assert!((runtime.inputs(ms(80), window(0, 0.3)).cloud.captioned - 0.05).abs() < 1e-9);
        let decision = runtime.decide(ms(200), window(3, 0.3));
        assert_eq!(decision.action, Action::Verify, "{decision}");
        assert!(runtime.answered(ms(280), 3, true, ms(60)));
        let learnt = risk(&runtime);
        assert!(learnt < before);
        assert!(!runtime.answered(ms(280), 3, true, ms(60)));
        assert_eq!(risk(&runtime), learnt);
    }

    #[test]
    fn what_does_not_calibrate_stays_as_it_began() {
        let mut runtime = Runtime::new(Settings {
            calibrates: false,
            ..Settings::default()
        })
        .unwrap();
        runtime.connected(ms(0));
        runtime.heartbeat(ms(0), "a", 0, 20.0);
        let before = runtime.inputs(ms(0), window(0, 0.3));
        for seq in 0..50 {
            runtime.decide(ms(0), window(seq, 0.3));
            runtime.answered(ms(5000), seq, false, ms(60));
        }
        let after = runtime.inputs(ms(0), window(0, 0.3));
        assert_eq!((after.risk, after.limits), (before.risk, before.limits));
    }

    #[test]
    fn late_answers_lower_the_latency_limit() {
        let mut runtime = runtime();
        runtime.decide(ms(0), window(0, 0.1));
        runtime.answered(ms(1500), 0, true, ms(60));
        let limit = runtime.inputs(ms(1500), window(1, 0.1)).limits.latency;
        assert!((limit - (1.0 - 0.05 * 0.95)).abs() < 1e-9, "{limit}");
    }
}
