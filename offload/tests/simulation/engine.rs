//! One edge, one link and one cloud, event by event.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use offload::cloud::{Answer, Cloud};
use offload::edge::{Edge, Stage};
use offload::link::Link;
use offload::planner::{self, Inputs, Payload, Planner};
use offload::risk::{self, Risk};
use offload::thresholds::{self, Thresholds};
use offload::{Action, link};

use crate::world::{
    CAPTION, CAPTIONED, CONFIRMED, CORRECTED, DELAY, FIXED, OTHER, Random, SECONDS, TOKEN, World,
};

/// How long a draft takes, seconds.
pub const DRAFT: f64 = 0.03;
/// A deferred window goes when what is in flight takes the link no longer than this, seconds.
const ROOM: f64 = 0.1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Planner,
    Always(Action),
}

/// What became of a window.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fate {
    /// From its end to its final caption, seconds.
    pub latency: f64,
    /// Time of the link and of the cloud, seconds.
    pub link: f64,
    pub cloud: f64,
    pub sent: bool,
    pub deferred: bool,
    pub audit: bool,
    /// It was kept, and the cloud would have changed it.
    pub wrong: bool,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Ready(u64),
    Acknowledged(u64),
    Arrives(Sent),
    Answered(Sent, f64),
    Beat,
    Heard(u32),
    Connection(bool),
    Tick,
}

/// A window on its way, with what is learnt from its answer.
#[derive(Debug, Clone, Copy)]
struct Sent {
    seq: u64,
    draft: bool,
    propensity: f64,
    decided: f64,
}

struct Entry(f64, u64, Event);

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Entry {}

struct Engine<'a> {
    world: &'a World,
    policy: Policy,
    random: Random,
    events: BinaryHeap<Reverse<Entry>>,
    count: u64,
    /// When the link and the cloud's worker have done what they have.
    link_free: f64,
    cloud_free: f64,
    others: usize,
    link: Link,
    cloud: Cloud,
    edge: Edge,
    risk: Risk,
    thresholds: Thresholds,
    planner: Planner,
    deferred: VecDeque<u64>,
    fates: Vec<Fate>,
    open: usize,
}

/// What becomes of each window.
pub fn run(world: &World, policy: Policy, seed: u64) -> Vec<Fate> {
    let settings = planner::Settings {
        seed,
        ..planner::Settings::default()
    };
    let mut engine = Engine {
        world,
        policy,
        random: Random::new(!seed),
        events: BinaryHeap::new(),
        count: 0,
        link_free: 0.0,
        cloud_free: 0.0,
        others: 0,
        link: Link::new(link::Settings::default()).unwrap(),
        cloud: Cloud::default(),
        edge: Edge::new(Duration::from_secs(1)).unwrap(),
        risk: Risk::new(risk::Settings::default()).unwrap(),
        thresholds: Thresholds::new(thresholds::Settings::default()).unwrap(),
        planner: Planner::new(settings).unwrap(),
        deferred: VecDeque::new(),
        fates: vec![Fate::default(); world.windows.len()],
        open: world.windows.iter().filter(|w| !w.empty).count(),
    };
    engine.start();
    while engine.open > 0 {
        let Reverse(Entry(now, _, event)) = engine.events.pop().unwrap();
        assert!(now < 10.0 * SECONDS as f64, "windows are never answered");
        engine.handle(now, event);
    }
    engine.fates
}

fn time(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

impl Engine<'_> {
    fn start(&mut self) {
        self.at(0.0, Event::Connection(true));
        self.at(0.0, Event::Beat);
        self.at(0.0, Event::Tick);
        for (from, to, told) in self.world.outages.clone() {
            if told {
                self.at(from + 1.0, Event::Connection(false));
                self.at(to + DELAY, Event::Connection(true));
            }
        }
        let draft = match self.policy {
            Policy::Always(Action::Offload) => 0.0,
            _ => DRAFT,
        };
        for seq in 0..SECONDS {
            if !self.world.windows[seq as usize].empty {
                self.at(1.0 + seq as f64 + draft, Event::Ready(seq));
            }
        }
    }

    fn at(&mut self, time: f64, event: Event) {
        self.count += 1;
        self.events.push(Reverse(Entry(time, self.count, event)));
    }

    fn handle(&mut self, now: f64, event: Event) {
        match event {
            Event::Ready(seq) => {
                self.edge.took(Stage::Draft, time(DRAFT));
                if self.policy != Policy::Always(Action::Offload) {
                    self.send(now, CAPTION.into());
                }
                self.decide(now, seq);
            }
            Event::Acknowledged(id) => self.link.acknowledged(time(now), id),
            Event::Arrives(sent) => self.arrives(now, sent),
            Event::Answered(sent, work) => self.answered(now, sent, work),
            Event::Beat => {
                self.others(now);
                let queue = ((self.cloud_free - now).max(0.0) / OTHER).round() as u32;
                if self.world.there(now) == now && self.world.up(now) == now {
                    self.at(now + DELAY, Event::Heard(queue));
                }
                self.at(now + 1.0, Event::Beat);
            }
            Event::Heard(queue) => self.cloud.heartbeat(time(now), queue, 1.0 / OTHER),
            Event::Connection(true) => self.link.connected(time(now)),
            Event::Connection(false) => self.link.disconnected(time(now)),
            Event::Tick => {
                self.resume(now);
                self.at(now + 0.1, Event::Tick);
            }
        }
    }

    /// When the last of so many bytes has left.
    fn send(&mut self, now: f64, bytes: f64) -> f64 {
        let left = self.world.carried(now.max(self.link_free), bytes);
        self.link_free = left;
        let id = self.link.sent(time(now), bytes as u64);
        let back = self.world.up(left + DELAY) + DELAY + self.random.between(0.0, 0.005);
        self.at(back, Event::Acknowledged(id));
        left
    }

    fn inputs(&self, now: f64, seq: u64) -> Inputs {
        let window = self.world.windows[seq as usize];
        Inputs {
            window: planner::Window {
                seq,
                empty: false,
                confidence: window.confidence,
                draft_left: 0.0,
                tokens: window.tokens,
                token_bytes: TOKEN,
                fixed_bytes: FIXED,
                caption_bytes: 0,
                keyframe_bytes: Some(window.keyframe),
            },
            link: self.link.state(time(now)),
            edge: self.edge.state(),
            cloud: self.cloud.state(time(now)),
            risk: self.risk.estimate(window.confidence),
            limits: self.thresholds.limits(),
        }
    }

    fn decide(&mut self, now: f64, seq: u64) {
        let window = self.world.windows[seq as usize];
        let all = Payload::Features {
            tokens: window.tokens,
        };
        let (action, payload, propensity) = match self.policy {
            Policy::Always(action) => (action, all, 1.0),
            Policy::Planner => {
                let decision = self.planner.decide(self.inputs(now, seq));
                if decision.action != Action::Defer {
                    self.thresholds.decided(decision.kept_risk());
                }
                self.fates[seq as usize].audit = decision.audit_of.is_some();
                (decision.action, decision.payload, decision.propensity)
            }
        };
        match action {
            Action::Skip => unreachable!("the window is not empty"),
            Action::Keep => {
                let fate = &mut self.fates[seq as usize];
                fate.latency = now - (1.0 + seq as f64);
                fate.wrong = window.changed;
                self.open -= 1;
            }
            Action::Defer => {
                self.fates[seq as usize].deferred = true;
                self.deferred.push_back(seq);
            }
            Action::Verify | Action::Offload => {
                let bytes = f64::from(match payload {
                    Payload::Keyframe => window.keyframe,
                    Payload::Features { tokens } => FIXED + tokens * TOKEN,
                    Payload::Nothing => unreachable!("sent without a payload"),
                });
                let fate = &mut self.fates[seq as usize];
                fate.sent = true;
                fate.link = bytes / self.world.rate(now);
                let left = self.send(now, bytes);
                self.cloud.sent(time(now));
                let sent = Sent {
                    seq,
                    draft: action == Action::Verify,
                    propensity,
                    decided: now,
                };
                self.at(self.world.up(left) + DELAY, Event::Arrives(sent));
            }
        }
    }

    /// Deferred windows go one at a time, oldest first, when the link has room beside what is live.
    fn resume(&mut self, now: f64) {
        let Some(seq) = self.deferred.front().copied() else {
            return;
        };
        let inputs = self.inputs(now, seq);
        let busy = inputs.link.in_flight as f64 / inputs.link.bandwidth;
        if inputs.link.contact && inputs.cloud.available && busy <= ROOM {
            self.deferred.pop_front();
            self.decide(now, seq);
        }
    }

    /// Other rigs' windows that came before `now` are served first.
    fn others(&mut self, now: f64) {
        while let Some(at) = self.world.others.get(self.others).filter(|at| **at <= now) {
            self.cloud_free = self.world.there(at.max(self.cloud_free)) + OTHER;
            self.others += 1;
        }
    }

    fn arrives(&mut self, now: f64, sent: Sent) {
        self.others(now);
        let work = match (sent.draft, self.world.windows[sent.seq as usize].changed) {
            (true, false) => CONFIRMED,
            (true, true) => CORRECTED,
            (false, _) => CAPTIONED,
        };
        let done = self.world.there(now.max(self.cloud_free)) + work;
        self.cloud_free = done;
        let heard = self.world.up(done) + DELAY;
        self.at(heard, Event::Answered(sent, work));
    }

    fn answered(&mut self, now: f64, sent: Sent, work: f64) {
        let window = self.world.windows[sent.seq as usize];
        let fate = &mut self.fates[sent.seq as usize];
        fate.latency = now - (1.0 + sent.seq as f64);
        fate.cloud = work;
        self.open -= 1;
        let answer = match (sent.draft, window.changed) {
            (true, false) => Answer::Confirmed,
            (true, true) => Answer::Corrected,
            (false, _) => Answer::Captioned,
        };
        self.cloud.answered(answer, time(work));
        self.thresholds.answered(now - sent.decided);
        if sent.draft {
            self.risk
                .learn(window.confidence, sent.propensity, window.changed);
        }
    }
}
