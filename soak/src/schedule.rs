//! Which faults come when, drawn by a seed.

use std::{fmt, time::Duration};

use rand_core::Rng;
use rand_pcg::Pcg32;

/// Whose link or clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The edges'.
    Edges,
    /// The workers'.
    Workers,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edges => "edges",
            Self::Workers => "workers",
        })
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// nats-server is killed with -9, and started again at the end.
    ServerKilled,
    /// nats-server is stopped with SIGSTOP, and goes on at the end.
    ServerStopped,
    /// The disk of nats-server is full; at the end there is room again, and the server is restarted.
    DiskFull,
    /// Nothing passes, and all connections of that side are closed.
    LinkCut(Side),
    /// 300 kbit/s, 60 ms and a twentieth of the packets late.
    LinkSlowed(Side),
    /// A worker is killed with -9 while its model has a window.
    WorkerKilled,
    /// A worker is stopped with SIGSTOP for longer than `ack_wait`: its windows are delivered to another.
    WorkerStopped,
    /// An edge is killed with -9.
    EdgeKilled,
    /// The clock of one edge or worker is set forth or back.
    ClockStepped(Side),
    /// Windows and captions that are stored are published again, under other ids and out of order.
    Copies,
    /// Messages that cannot be handled, one of each kind.
    Poison,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServerKilled => f.write_str("nats-server killed with -9"),
            Self::ServerStopped => f.write_str("nats-server stopped"),
            Self::DiskFull => f.write_str("disk of nats-server full"),
            Self::LinkCut(side) => write!(f, "link of the {side} cut"),
            Self::LinkSlowed(side) => write!(f, "link of the {side} slowed"),
            Self::WorkerKilled => f.write_str("worker killed with -9"),
            Self::WorkerStopped => f.write_str("worker stopped"),
            Self::EdgeKilled => f.write_str("edge killed with -9"),
            Self::ClockStepped(side) => write!(f, "clock stepped among the {side}"),
            Self::Copies => f.write_str("copies, out of order"),
            Self::Poison => f.write_str("poison messages"),
        }
    }
}

const KINDS: [Fault; 14] = [
    Fault::ServerKilled,
    Fault::ServerStopped,
    Fault::DiskFull,
    Fault::LinkCut(Side::Edges),
    Fault::LinkCut(Side::Workers),
    Fault::LinkSlowed(Side::Edges),
    Fault::LinkSlowed(Side::Workers),
    Fault::WorkerKilled,
    Fault::WorkerStopped,
    Fault::EdgeKilled,
    Fault::ClockStepped(Side::Edges),
    Fault::ClockStepped(Side::Workers),
    Fault::Copies,
    Fault::Poison,
];
/// Faults beyond one of each kind.
const MORE: usize = 4;
const SHORTEST: Duration = Duration::from_millis(300);
/// Longer than `ack_wait` of the workers, and than the client's patience with a silent server.
const LONGEST: Duration = Duration::from_millis(3500);
/// By how many seconds a clock is set forth or back.
const STEPS: [i64; 4] = [-3600, -45, 45, 86_400];

/// A fault and its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Since the start.
    pub at: Duration,
    /// How long; of no matter to faults that are over at once.
    pub lasts: Duration,
    /// What.
    pub fault: Fault,
    /// Which edge or worker, modulo how many there are.
    pub which: usize,
    /// Seconds by which a clock is stepped.
    pub step: i64,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasts = self.lasts.as_secs_f64();
        write!(f, "{}", self.fault)?;
        match self.fault {
            Fault::Copies | Fault::Poison => Ok(()),
            Fault::ClockStepped(_) => write!(f, ", number {} by {:+} s", self.which, self.step),
            Fault::WorkerKilled | Fault::WorkerStopped | Fault::EdgeKilled => {
                write!(f, ", number {} for {lasts:.2} s", self.which)
            }
            _ => write!(f, " for {lasts:.2} s"),
        }
    }
}

/// What a seed gives: every kind of fault at least once within `length`, in any order, and often at the same time.
pub fn draw(seed: u64, length: Duration) -> Vec<Event> {
    let mut random = Pcg32::new(seed, 7);
    let mut below = move |bound: u32| random.next_u32() % bound;
    let mut faults = KINDS.to_vec();
    faults.extend((0..MORE).map(|_| KINDS[below(KINDS.len() as u32) as usize]));
    let mut events: Vec<Event> = (faults.into_iter())
        .map(|fault| {
            let longest = LONGEST.min(length / 4).max(SHORTEST);
            let share = |n: u32| f64::from(n) / 1000.0;
            Event {
                at: length.mul_f64(0.05 + 0.8 * share(below(1000))),
                lasts: SHORTEST + (longest - SHORTEST).mul_f64(share(below(1000))),
                fault,
                which: below(6) as usize,
                step: STEPS[below(STEPS.len() as u32) as usize],
            }
        })
        .collect();
    events.sort_by_key(|event| event.at);
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_faults_and_all_kinds_of_them() {
        let length = Duration::from_secs(20);
        for seed in 0..50 {
            let events = draw(seed, length);
            assert_eq!(events, draw(seed, length));
            for kind in KINDS {
                assert!(events.iter().any(|event| event.fault == kind), "{kind}");
            }
            assert!(events.iter().all(|e| e.at < length && e.lasts >= SHORTEST));
        }
        assert_ne!(draw(1, length), draw(2, length));
    }
}
