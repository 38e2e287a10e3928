//! Whether a file brings all that it says it holds: GStreamer ends one that is cut off, or broken in its middle, as it
//! ends a whole one.

use std::sync::{Mutex, PoisonError};

use gst::ClockTime;
use gst::prelude::*;

/// Less than this may lie between two buffers, and between the last one and the end that the file tells of.
const SLACK: ClockTime = ClockTime::from_seconds(1);

/// How far a file was read.
#[derive(Debug, Default)]
struct Progress {
    segment: Option<gst::FormattedSegment<ClockTime>>,
    reached: Option<ClockTime>,
    /// A hole was told of.
    told: bool,
}

impl Progress {
    /// The hole before a buffer that is the first one of its kind.
    fn take(&mut self, buffer: &gst::BufferRef) -> Option<(ClockTime, ClockTime)> {
        let time = |time| self.segment.as_ref().and_then(|s| s.to_stream_time(time));
        let begins = time(buffer.pts())?;
        let ends = begins + buffer.duration().unwrap_or_default();
        let before = self.reached.unwrap_or_default();
        self.reached = Some(before.max(ends));
        let hole = !self.told && begins > before + SLACK;
        self.told |= hole;
        hole.then_some((before, begins))
    }

    /// Where it ended, if that is before its `length` is over.
    fn ends_early(&self, length: ClockTime) -> Option<ClockTime> {
        let reached = self.reached?;
        (reached + SLACK < length).then_some(reached)
    }
}

/// Warns if what goes into `input`, a stream of the file `name`, has a hole or ends before the file's length is over.
pub(super) fn warn_if_not(input: &gst::Pad, name: String) {
    let progress = Mutex::new(Progress::default());
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    input.add_probe(kinds, move |pad, info| {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                if let Some((from, to)) = progress.take(buffer) {
                    tracing::warn!(
                        "{name} is broken: nothing could be read between {} and {}; mend the file, or copy it again",
                        seconds(from),
                        seconds(to)
                    );
                }
            }
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::Segment(segment) => {
                    progress.segment = segment.segment().clone().downcast().ok();
                }
                gst::EventView::Eos(_) => {
                    let length = pad.peer_query_duration::<ClockTime>();
                    let early = length.and_then(|length| Some((progress.ends_early(length)?, length)));
                    if let Some((reached, length)) = early {
                        tracing::warn!(
                            "{name} ended at {} of {}: it is cut off or broken there; mend the file, or copy it again",
                            seconds(reached),
                            seconds(length)
                        );
                    }
                }
                _ => {}
            },
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

fn seconds(time: ClockTime) -> String {
    format!("{:.1} s", time.nseconds() as f64 / 1e9)
}
