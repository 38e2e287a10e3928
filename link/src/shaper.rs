//! The rate clock, queue and delay of one direction: pure, the time is passed in.
//!
//! What is pushed waits in a bounded queue, leaves it as fast as the trace's rate allows, and can be
//! taken after the delay. When a packet leaves is worked out exactly, in whole nanoseconds and bits,
//! however late [`Shaper::advance`] is called: so a slow caller costs delay but no throughput as
//! long as the queue does not run empty.

use std::{collections::VecDeque, time::Duration};

use rand_pcg::Pcg32;

use crate::{
    random,
    trace::{Outage, Trace, nanos},
};

/// What becomes of a packet that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// It is gone.
    Drop,
    /// It comes later, by the time after which a sender would repeat it: for byte streams.
    Late,
}

/// The least time after which Linux repeats what was not acknowledged, beyond the round trip.
const LEAST_RTO: Duration = Duration::from_millis(200);

/// What passed in one direction and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes that came to the link, dropped ones too.
    pub bytes_in: u64,
    /// Bytes that were handed on at the other end.
    pub bytes_out: u64,
    /// Packets dropped because the queue was full.
    pub dropped_full: u64,
    /// Packets lost by chance.
    pub dropped_lost: u64,
    /// Packets lost because the link was cut.
    pub dropped_cut: u64,
    /// Pieces of a byte stream that came late instead of being lost.
    pub late: u64,
}

/// The packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The queue is full.
    Full,
    /// The link is cut.
    Cut,
}

#[derive(Debug)]
struct Packet<T> {
    item: T,
    bytes: usize,
}

/// One direction of the link.
#[derive(Debug)]
pub struct Shaper<T> {
    trace: Trace,
    /// When the trace began.
    since: Duration,
    /// Up to when everything is worked out.
    clock: Duration,
    queue: VecDeque<Packet<T>>,
    queued: usize,
    limit: usize,
    /// What the first in the queue still needs, in bits x nanoseconds a second.
    left: u128,
    /// Left the queue, and arrives at the time given; in order of it.
    flying: VecDeque<(Duration, Packet<T>)>,
    random: Pcg32,
    on_loss: OnLoss,
    in_cut: bool,
    cuts: u64,
    counters: Counters,
}

impl<T> Shaper<T> {
    /// A link that follows `trace` from time 0 on, with a queue of `limit` bytes.
    pub fn new(trace: Trace, limit: usize, on_loss: OnLoss, seed: u64) -> Self {
        Self {
            trace,
            since: Duration::ZERO,
            clock: Duration::ZERO,
            queue: VecDeque::new(),
            queued: 0,
            limit,
            left: 0,
            flying: VecDeque::new(),
            random: Pcg32::new(seed, 1),
            on_loss,
            in_cut: false,
            cuts: 0,
            counters: Counters::default(),
        }
    }

    /// Follows another trace, which begins now.
    pub fn set(&mut self, now: Duration, trace: Trace) {
        self.advance(now);
        self.trace = trace;
        self.since = self.clock;
        self.advance(now);
    }

    /// Puts a packet into the queue.
    ///
    /// # Errors
    /// It is dropped, and counted: the queue has no room for it, or the link is cut.
    pub fn push(&mut self, now: Duration, item: T, bytes: usize) -> Result<(), Dropped> {
        self.advance(now);
        self.counters.bytes_in += bytes as u64;
        if self.in_cut {
            self.counters.dropped_cut += 1;
            return Err(Dropped::Cut);
        }
        if bytes > self.room() {
            self.counters.dropped_full += 1;
            return Err(Dropped::Full);
        }
        if self.queue.is_empty() {
            self.left = needed(bytes);
        }
        self.queued += bytes;
        self.queue.push_back(Packet { item, bytes });
        Ok(())
    }

    /// How many bytes the queue takes.
    pub fn room(&self) -> usize {
        self.limit - self.queued
    }

    /// Whether the link is cut now.
    pub fn is_cut(&self) -> bool {
        self.in_cut
    }

    /// How many times the link was cut so far.
    pub fn cuts(&self) -> u64 {
        self.cuts
    }

    /// What passed so far and what did not.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes the next packet that has arrived by `now`.
    pub fn pop(&mut self, now: Duration) -> Option<T> {
        self.advance(now);
        if self.flying.front()?.0 > now {
            return None;
        }
        let (_, packet) = self.flying.pop_front()?;
        self.counters.bytes_out += packet.bytes as u64;
        Some(packet.item)
    }

    /// When something happens next, if nothing is pushed or set: a packet arrives or leaves the
    /// queue, or the conditions change.
    pub fn next_event(&self) -> Option<Duration> {
        let arrives = self.flying.front().map(|(due, _)| *due);
        let rate = self.trace.at(self.clock - self.since).passing();
        let leaves =
            (!self.queue.is_empty() && rate > 0).then(|| self.clock + time(self.left, rate));
        [arrives, leaves, self.next_change()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Works everything out up to `now`. A time that has passed already changes nothing.
    pub fn advance(&mut self, now: Duration) {
        loop {
            let conditions = self.trace.at(self.clock - self.since);
            self.enter(conditions.outage);
            if self.clock >= now {
                return;
            }
            let end = self.next_change().map_or(now, |change| change.min(now));
            let rate = conditions.passing();
            while rate > 0 && !self.queue.is_empty() {
                let leaves = self.clock + time(self.left, rate);
                if leaves > end {
                    self.left -= u128::from(rate) * (end - self.clock).as_nanos();
                    break;
                }
                // Times are whole nanoseconds: what the last of them had over goes to the next packet.
                let over = u128::from(rate) * (leaves - self.clock).as_nanos() - self.left;
                self.clock = leaves;
                self.leave();
                if let Some(next) = self.queue.front() {
                    self.left = needed(next.bytes).saturating_sub(over);
                }
            }
            self.clock = end;
        }
    }

    fn next_change(&self) -> Option<Duration> {
        let change = self.trace.next_change(self.clock - self.since)?;
        Some(self.since + change)
    }

    fn enter(&mut self, outage: Outage) {
        let cut = outage == Outage::Cut;
        if cut && !self.in_cut {
            self.cuts += 1;
            self.counters.dropped_cut += self.queue.len() as u64;
            self.queue.clear();
            self.queued = 0;
        }
        self.in_cut = cut;
    }

    /// The first packet leaves the queue now, at `clock`.
    fn leave(&mut self) {
        let Some(packet) = self.queue.pop_front() else {
            return;
        };
        self.queued -= packet.bytes;
        let conditions = self.trace.at(self.clock - self.since);
        let mut due = self.clock + conditions.delay;
        if !conditions.jitter.is_zero() {
            due += conditions.jitter.mul_f64(random::uniform(&mut self.random));
        }
        if conditions.loss > 0.0 && random::uniform(&mut self.random) < conditions.loss {
            match self.on_loss {
                OnLoss::Drop => {
                    self.counters.dropped_lost += 1;
                    return;
                }
                OnLoss::Late => {
                    self.counters.late += 1;
                    due += LEAST_RTO + 2 * conditions.delay;
                }
            }
        }
        if let Some((last, _)) = self.flying.back() {
            due = due.max(*last);
        }
        self.flying.push_back((due, packet));
    }
}

fn needed(bytes: usize) -> u128 {
    8_000_000_000 * bytes as u128
}

fn time(left: u128, rate: u64) -> Duration {
    nanos(left.div_ceil(u128::from(rate)))
}
