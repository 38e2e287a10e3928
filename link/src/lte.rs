//! A trace with the look of a mobile link. It is generated, not recorded from any network.

use std::time::Duration;

use rand_core::Rng;
use rand_pcg::Pcg32;
use serde::{Deserialize, Serialize};

use crate::{
    random,
    trace::{Conditions, InvalidTrace, Outage, Step, Trace, millis},
};

/// How often the rate changes.
const TICK: Duration = Duration::from_millis(100);
/// What the rate keeps of its distance from the middle in a tick: 0.6 of it after a second.
const MEMORY: f64 = 0.95;
/// Standard deviation of a tick's change; the range from least to greatest rate, as logarithm, is 1.
const CHANGE: f64 = 0.08;
const MAX_LENGTH: Duration = Duration::from_secs(24 * 3600);

/// Bounds of a generated trace: a rate that wanders between them with a memory of about two seconds,
/// bursts of delay, and gaps at handovers. The same values make the same trace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lte {
    /// Which of the possible traces.
    pub seed: u64,
    /// After this, rounded up to 100 ms, it starts over; at most a day.
    #[serde(rename = "length_ms", with = "millis")]
    pub length: Duration,
    /// Least rate, bits a second.
    pub rate_min: u64,
    /// Greatest rate, bits a second.
    pub rate_max: u64,
    /// One-way delay outside bursts.
    #[serde(rename = "delay_ms", with = "millis")]
    pub delay: Duration,
    /// More delay of each packet, drawn evenly from 0 to this.
    #[serde(rename = "jitter_ms", with = "millis")]
    pub jitter: Duration,
    /// The chance of a packet to be lost.
    pub loss: f64,
    /// How many bursts of delay begin in a minute outside bursts; each lasts 200 to 800 ms.
    pub bursts_per_minute: f64,
    /// Most that a burst adds to the delay; the least is half of it.
    #[serde(rename = "burst_delay_ms", with = "millis")]
    pub burst_delay: Duration,
    /// How many handovers begin in a minute.
    pub handovers_per_minute: f64,
    /// Longest gap at a handover, in which nothing passes and packets wait; the shortest is a fifth.
    #[serde(rename = "handover_ms", with = "millis")]
    pub handover: Duration,
}

impl Default for Lte {
    fn default() -> Self {
        Self {
            seed: 1,
            length: Duration::from_secs(120),
            rate_min: 2_000_000,
            rate_max: 40_000_000,
            delay: Duration::from_millis(25),
            jitter: Duration::from_millis(8),
            loss: 0.0,
            bursts_per_minute: 6.0,
            burst_delay: Duration::from_millis(150),
            handovers_per_minute: 2.0,
            handover: Duration::from_millis(300),
        }
    }
}

impl Lte {
    /// The trace.
    ///
    /// # Errors
    /// A value is out of its range.
    pub fn trace(&self) -> Result<Trace, InvalidTrace> {
        self.check()?;
        let mut random = Pcg32::new(self.seed, 0);
        let mut position = random::uniform(&mut random);
        let (mut burst_until, mut burst) = (Duration::ZERO, Duration::ZERO);
        let mut gap_until = Duration::ZERO;
        let ticks = u32::try_from(self.length.as_nanos().div_ceil(TICK.as_nanos()));
        let ticks = ticks.unwrap_or(u32::MAX);
        let mut steps = Vec::new();
        for at in (0..ticks).map(|n| TICK * n) {
            if at >= burst_until {
                burst = Duration::ZERO;
                if begins(&mut random, self.bursts_per_minute) {
                    burst_until = at + TICK * (2 + random.next_u32() % 7);
                    burst = between(&mut random, 0.5, self.burst_delay);
                }
            }
            if at >= gap_until && begins(&mut random, self.handovers_per_minute) {
                gap_until = at + between(&mut random, 0.2, self.handover);
            }
            let conditions = Conditions {
                rate: self.rate(position),
                delay: self.delay + burst,
                jitter: self.jitter,
                loss: self.loss,
                outage: Outage::None,
            };
            if at < gap_until {
                let outage = Outage::Hold;
                let conditions = Conditions {
                    outage,
                    ..conditions
                };
                steps.push(Step { at, conditions });
            }
            let works_from = at.max(gap_until);
            if works_from < at + TICK {
                let at = works_from;
                steps.push(Step { at, conditions });
            }
            position =
                reflected(0.5 + MEMORY * (position - 0.5) + CHANGE * random::normal(&mut random));
        }
        Trace::steps(steps, Some(TICK * ticks))
    }

    fn check(&self) -> Result<(), InvalidTrace> {
        let fault = |what| Err(InvalidTrace { what, step: None });
        if self.rate_min == 0 || self.rate_min > self.rate_max {
            return fault("rate_min is at least 1 and at most rate_max");
        }
        if self.length.is_zero() || self.length > MAX_LENGTH {
            return fault("length_ms is more than 0 and at most a day");
        }
        let a_minute = [self.bursts_per_minute, self.handovers_per_minute];
        if a_minute.iter().any(|n| !(0.0..=600.0).contains(n)) {
            return fault("bursts_per_minute and handovers_per_minute are 0 to 600");
        }
        if self.handover > MAX_LENGTH || self.burst_delay > MAX_LENGTH {
            return fault("handover_ms and burst_delay_ms are at most a day");
        }
        Ok(())
    }

    /// The rate at a position from 0 to 1, by equal ratios.
    fn rate(&self, position: f64) -> u64 {
        let (min, max) = (self.rate_min as f64, self.rate_max as f64);
        ((min * (max / min).powf(position)) as u64).clamp(self.rate_min, self.rate_max)
    }
}

/// Whether what happens so often a minute begins in this tick.
fn begins(random: &mut Pcg32, a_minute: f64) -> bool {
    random::uniform(random) < a_minute * TICK.as_secs_f64() / 60.0
}

fn between(random: &mut Pcg32, least: f64, greatest: Duration) -> Duration {
    greatest.mul_f64(least + (1.0 - least) * random::uniform(random))
}

/// Back into 0 to 1, as if the bounds were mirrors.
fn reflected(position: f64) -> f64 {
    let within = position.rem_euclid(2.0);
    if within > 1.0 { 2.0 - within } else { within }
}
