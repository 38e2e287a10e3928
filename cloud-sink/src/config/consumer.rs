//! `[consumer]` and `[batch]`: how windows are taken from the broker, and which are verified together.

use std::time::Duration;

use broker::{Faults, consumer::ConsumerConfig, identity::excerpt, limits};
use serde::Deserialize;

/// Most times to wait between tries.
const MOST_BACKOFFS: usize = 64;
/// Most windows that a worker may have in hand.
const MOST_IN_HAND: usize = 1024;

/// How windows are taken from the broker.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerSection {
    /// The name under which the broker keeps what was done; workers of one name share the work.
    pub durable: String,
    /// Seconds without a sign of life after which a window goes to another worker, at least 0.1.
    pub ack_wait_s: f64,
    /// After this many failed tries a window goes to the dead letters, at least 1.
    pub max_deliver: u32,
    /// Windows in hand at a time, 1 to 1024; left out: two batches, or one window where a batch is one. More hide a link with a
    /// long round trip from a fast model, and keep windows from other workers.
    pub in_hand: Option<usize>,
    /// Seconds to wait after the 1st, 2nd, ... failed try; the last holds for all further ones.
    pub backoff_s: Vec<f64>,
    /// Seconds that the window in hand may still take when the worker is stopped.
    pub grace_s: f64,
}

impl Default for ConsumerSection {
    fn default() -> Self {
        let default = ConsumerConfig::default();
        Self {
            durable: default.durable,
            ack_wait_s: default.ack_wait.as_secs_f64(),
            max_deliver: default.max_deliver,
            in_hand: None,
            backoff_s: default.backoff.iter().map(Duration::as_secs_f64).collect(),
            grace_s: default.grace.as_secs_f64(),
        }
    }
}

impl ConsumerSection {
    pub(super) fn check(&self, faults: &mut Faults) {
        let (name, most) = (self.durable.len(), limits::NAME);
        faults.ensure(
            name <= most,
            "consumer.durable",
            format!("consumer.durable has {name} bytes, at most {most} are allowed"),
        );
        // What the server takes for a consumer's name.
        let plain = |c: char| c.is_ascii_graphic() && !".*>/\\".contains(c);
        faults.ensure(
            name > 0 && self.durable.chars().all(plain),
            "consumer.durable",
            format!(
                "consumer.durable is '{}', no consumer's name: use A-Z, a-z, 0-9, '_' and '-'",
                excerpt(&self.durable)
            ),
        );
        faults.ensure(
            self.max_deliver > 0,
            "consumer.max_deliver",
            "consumer.max_deliver is 0; it is at least 1",
        );
        let in_hand = self.in_hand;
        faults.range("consumer.in_hand", in_hand, 1..=MOST_IN_HAND, "");
        let mut seconds = |key: &str, value: f64, least: f64| {
            faults.range(key, Some(value), least..=86_400.0, "seconds");
        };
        seconds("consumer.ack_wait_s", self.ack_wait_s, 0.1);
        seconds("consumer.grace_s", self.grace_s, 0.0);
        for (index, pause) in self.backoff_s.iter().take(MOST_BACKOFFS).enumerate() {
            seconds(&format!("consumer.backoff_s[{index}]"), *pause, 0.0);
        }
        let times = self.backoff_s.len();
        faults.ensure(
            times <= MOST_BACKOFFS,
            "consumer.backoff_s",
            format!("consumer.backoff_s has {times} times, at most {MOST_BACKOFFS} are allowed"),
        );
    }

    /// With `in_hand` windows at a time, unless it says how many.
    pub(super) fn in_the_brokers_terms(&self, in_hand: usize) -> ConsumerConfig {
        let seconds = |seconds: &f64| Duration::from_secs_f64(*seconds);
        ConsumerConfig {
            durable: self.durable.clone(),
            ack_wait: seconds(&self.ack_wait_s),
            max_deliver: self.max_deliver,
            backoff: self.backoff_s.iter().map(seconds).collect(),
            at_once: self.in_hand.unwrap_or(in_hand),
            grace: seconds(&self.grace_s),
        }
    }
}

/// Which windows are verified together.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSection {
    /// At most so many: 1 to 64.
    pub max: usize,
    /// Milliseconds, 0 to 1000, that an idle model waits at most for windows that are on their way. A window behind which
    /// no other waits in the broker goes at once.
    pub wait_ms: f64,
}

impl Default for BatchSection {
    fn default() -> Self {
        Self {
            max: 4,
            wait_ms: 5.0,
        }
    }
}

impl BatchSection {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.range("batch.max", Some(self.max), 1..=64, "");
        let wait = self.wait_ms;
        faults.range("batch.wait_ms", Some(wait), 0.0..=1000.0, "");
    }
}
