//! Which frames come too late to be probed.

use gst::ClockTime;
use gst::prelude::*;

use crate::latency::Latency;
use crate::lock;

/// A frame is late if it comes so many of its lengths after it was due, and so long at least.
const LENGTHS: u64 = 2;
const LEAST: ClockTime = ClockTime::from_mseconds(100);

/// What is known of the stream's haste.
#[derive(Debug, Default)]
pub(super) struct Haste {
    /// By what downstream said last, frames up to this running time come too late there.
    hurried: Option<ClockTime>,
    /// Whether upstream is live, and how long after its time a frame comes from it; none if it has to be asked.
    upstream: Option<(bool, ClockTime)>,
}

/// The haste of a stream, which the streaming thread and whoever sends events share.
#[derive(Debug, Default)]
pub(super) struct Lateness(std::sync::Mutex<Haste>);

impl Lateness {
    /// Begins anew, as after a flush.
    pub fn reset(&self) {
        *lock(&self.0) = Haste::default();
    }

    /// Takes note of what events from downstream say: QoS, and that latency was shared out anew.
    pub fn hear(&self, event: &gst::EventRef) {
        match event.view() {
            gst::EventView::Qos(qos) => {
                let (_, _, jitter, timestamp) = qos.get();
                lock(&self.0).hurried = timestamp.and_then(|time| hurried(time, jitter));
            }
            gst::EventView::Latency(_) => lock(&self.0).upstream = None,
            _ => {}
        }
    }

    /// Whether a frame of this running time and length, which comes now, is too late.
    pub fn is_late(
        &self,
        element: &super::VideoMas,
        own: &Latency,
        running: ClockTime,
        length: Option<ClockTime>,
    ) -> bool {
        let known = lock(&self.0).upstream;
        let (live, latency) = known.unwrap_or_else(|| {
            let upstream = ask(element);
            lock(&self.0).upstream = Some(upstream);
            upstream
        });
        if lock(&self.0).hurried.is_some_and(|until| running <= until) {
            return true;
        }
        let now = element.current_running_time().filter(|_| live);
        let margin = (length.unwrap_or_default() * LENGTHS).max(LEAST);
        now.is_some_and(|now| now > running + latency + own.told() + margin)
    }
}

/// Until when frames come too late, if one of this time came so much too late (ns): as much again is to be caught up with.
fn hurried(time: ClockTime, jitter: i64) -> Option<ClockTime> {
    let late = ClockTime::from_nseconds(u64::try_from(jitter).ok().filter(|late| *late > 0)?);
    Some(time.saturating_add(late).saturating_add(late))
}

fn ask(element: &super::VideoMas) -> (bool, ClockTime) {
    let mut query = gst::query::Latency::new();
    let sink = element.static_pad("sink");
    if sink.is_some_and(|sink| sink.peer_query(&mut query)) {
        let (live, min, _) = query.result();
        return (live, min);
    }
    (false, ClockTime::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downstream_that_is_in_time_hurries_nobody() {
        let ms = ClockTime::from_mseconds;
        assert_eq!(hurried(ms(500), 20_000_000), Some(ms(540)));
        assert_eq!(hurried(ms(500), 0), None);
        assert_eq!(hurried(ms(500), -20_000_000), None);
        assert!(hurried(ms(500), i64::MAX).is_some());
    }
}
