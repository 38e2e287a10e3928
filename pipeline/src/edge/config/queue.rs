//! `[queue]`: what waits for the broker.

use broker::{Faults, OnFull};
use serde::Deserialize;

/// What waits for the broker. Values left out are the defaults of `msaonatssink`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Most messages that wait.
    pub messages: Option<u32>,
    /// Most bytes that wait.
    pub bytes: Option<u64>,
    /// What to do when the queue is full.
    pub on_full: Option<OnFull>,
}

impl Queue {
    pub(super) fn check(&self, faults: &mut Faults) {
        for (key, none) in [
            ("queue.messages", self.messages == Some(0)),
            ("queue.bytes", self.bytes == Some(0)),
        ] {
            faults.ensure(!none, key, format!("{key} is 0; it is at least 1"));
        }
    }
}
