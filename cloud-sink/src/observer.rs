//! Who hears how a worker is.

use std::sync::Arc;

use broker::{CloudStatus, LatencyMs};

/// Hears what a worker does, from its own task: it must not block.
pub trait Observer: Send + Sync {
    /// A window was captioned, and its caption stored.
    fn captioned(&self, latency: &LatencyMs);
    /// Each second: the status that goes out now, and whether the broker is connected.
    fn beat(&self, status: &CloudStatus, connected: bool);
}

impl<T: Observer> Observer for Arc<T> {
    fn captioned(&self, latency: &LatencyMs) {
        self.as_ref().captioned(latency);
    }

    fn beat(&self, status: &CloudStatus, connected: bool) {
        self.as_ref().beat(status, connected);
    }
}

/// Nobody listens.
impl Observer for () {
    fn captioned(&self, _: &LatencyMs) {}
    fn beat(&self, _: &CloudStatus, _: bool) {}
}
