//! What one direction of the link is like at each moment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const MAX_RATE: u64 = 1_000_000_000_000;
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// Whether anything passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outage {
    /// The link works.
    #[default]
    None,
    /// Nothing passes; what arrives waits in the queue.
    Hold,
    /// Nothing passes; what is queued or arrives is lost. The proxy closes its connections.
    Cut,
}

/// The state of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// Bits a second, 1 to 10^12.
    #[serde(rename = "rate_bps")]
    pub rate: u64,
    /// From leaving the queue to arriving, at most an hour.
    #[serde(rename = "delay_ms", with = "millis", default)]
    pub delay: Duration,
    /// More delay, drawn evenly from 0 to this. It changes no order: what is late holds what follows.
    #[serde(rename = "jitter_ms", with = "millis", default)]
    pub jitter: Duration,
    /// The chance of a packet to be lost, 0 to 1.
    #[serde(default)]
    pub loss: f64,
    /// Whether anything passes.
    #[serde(default)]
    pub outage: Outage,
}

impl Conditions {
    /// A link of this rate (bits a second) and delay, without jitter or loss.
    pub fn new(rate: u64, delay: Duration) -> Self {
        Self {
            rate,
            delay,
            jitter: Duration::ZERO,
            loss: 0.0,
            outage: Outage::None,
        }
    }

    /// The rate at which anything passes now.
    pub(crate) fn passing(&self) -> u64 {
        match self.outage {
            Outage::None => self.rate,
            Outage::Hold | Outage::Cut => 0,
        }
    }

    fn fault(&self) -> Option<&'static str> {
        if !(1..=MAX_RATE).contains(&self.rate) {
            return Some("rate_bps is 1 to 10^12: for a link that passes nothing use an outage");
        }
        if self.delay > MAX_DELAY || self.jitter > MAX_DELAY {
            return Some("delay_ms and jitter_ms are at most an hour");
        }
        (!(0.0..=1.0).contains(&self.loss)).then_some("loss is 0 to 1")
    }
}

/// From a time on, these conditions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Since the trace began.
    #[serde(rename = "at_ms", with = "millis")]
    pub at: Duration,
    /// What holds from then on.
    pub conditions: Conditions,
}

/// The trace cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("trace: {what}{}", .step.map(|n| format!(", which step {n} breaks")).unwrap_or_default())]
pub struct InvalidTrace {
    pub(crate) what: &'static str,
    pub(crate) step: Option<usize>,
}

/// Conditions over time: steps, of which the last holds on, or which start over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Plain", into = "Plain")]
pub struct Trace {
    steps: Vec<Step>,
    repeat_after: Option<Duration>,
}

impl Trace {
    /// The same conditions for ever.
    ///
    /// # Errors
    /// A value is out of its range.
    pub fn constant(conditions: Conditions) -> Result<Self, InvalidTrace> {
        let at = Duration::ZERO;
        Self::steps(vec![Step { at, conditions }], None)
    }

    /// Steps in order of time, the first at 0, that start over after `repeat_after` if that is given.
    ///
    /// # Errors
    /// There is no step, they are out of order, or a value is out of its range.
    pub fn steps(steps: Vec<Step>, repeat_after: Option<Duration>) -> Result<Self, InvalidTrace> {
        let fault = |step, what| Err(InvalidTrace { what, step });
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
            return fault(None, "at least one step is needed");
        };
        if first.at != Duration::ZERO {
            return fault(Some(0), "the first step is at 0");
        }
        if repeat_after.is_some_and(|period| period <= last.at) {
            return fault(None, "repeat_after_ms is later than the last step");
        }
        if let Some(n) = steps.windows(2).position(|pair| pair[0].at >= pair[1].at) {
            return fault(Some(n + 1), "each step is later than the one before");
        }
        for (n, step) in steps.iter().enumerate() {
            if let Some(what) = step.conditions.fault() {
                return fault(Some(n), what);
            }
        }
        Ok(Self {
            steps,
            repeat_after,
        })
    }

    /// The steps.
    pub fn as_steps(&self) -> &[Step] {
        &self.steps
    }

    /// What holds at `time` since the trace began.
    pub fn at(&self, time: Duration) -> Conditions {
        let (_, within) = self.lap(time);
        self.steps[self.after(within) - 1].conditions
    }

    /// When the conditions change next, later than `time`.
    pub fn next_change(&self, time: Duration) -> Option<Duration> {
        let (start, within) = self.lap(time);
        match (self.steps.get(self.after(within)), self.repeat_after) {
            (Some(step), _) => Some(start + step.at),
            (None, Some(period)) => Some(start + period),
            (None, None) => None,
        }
    }

    /// The most whole bytes that can pass until `time`: the integral of the rate outside outages.
    pub fn capacity(&self, time: Duration) -> u64 {
        let (mut now, mut bits_ns) = (Duration::ZERO, 0_u128);
        while now < time {
            let end = self.next_change(now).map_or(time, |next| next.min(time));
            bits_ns += u128::from(self.at(now).passing()) * (end - now).as_nanos();
            now = end;
        }
        u64::try_from(bits_ns / 8_000_000_000).unwrap_or(u64::MAX)
    }

    /// When the present repetition began, and how far into it `time` is.
    fn lap(&self, time: Duration) -> (Duration, Duration) {
        let Some(period) = self.repeat_after else {
            return (Duration::ZERO, time);
        };
        let within = nanos(time.as_nanos() % period.as_nanos());
        (time - within, within)
    }

    /// How many steps have begun by `within`: at least one, as the first is at 0.
    fn after(&self, within: Duration) -> usize {
        self.steps.partition_point(|step| step.at <= within)
    }
}

/// So many nanoseconds, or 584 years.
pub(crate) fn nanos(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    steps: Vec<Step>,
    #[serde(
        rename = "repeat_after_ms",
        with = "millis::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    repeat_after: Option<Duration>,
}

impl TryFrom<Plain> for Trace {
    type Error = InvalidTrace;

    fn try_from(plain: Plain) -> Result<Self, InvalidTrace> {
        Self::steps(plain.steps, plain.repeat_after)
    }
}

impl From<Trace> for Plain {
    fn from(trace: Trace) -> Self {
        Self {
            steps: trace.steps,
            repeat_after: trace.repeat_after,
        }
    }
}

/// Durations as a number of milliseconds.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    fn from_ms<E: Error>(ms: f64) -> Result<Duration, E> {
        Duration::try_from_secs_f64(ms / 1e3)
            .map_err(|error| E::custom(format!("{ms} is no number of milliseconds: {error}")))
    }

    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(value.as_secs_f64() * 1e3)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        from_ms(f64::deserialize(from)?)
    }

    pub mod option {
        use super::{Deserialize, Deserializer, Duration, Serializer, from_ms};

        pub fn serialize<S: Serializer>(
            value: &Option<Duration>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => super::serialize(value, to),
                None => to.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Duration>, D::Error> {
            Option::<f64>::deserialize(from)?.map(from_ms).transpose()
        }
    }
}
