//! Whether a file brings all that it says it holds: GStreamer ends one that is cut off, or broken in its middle, as it
//! ends a whole one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::ClockTime;
use gst::prelude::*;

/// Less than this may lie between two buffers, and between the last one and the end that the file tells of.
const SLACK: ClockTime = ClockTime::from_seconds(1);

/// How far a stream was read.
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
        let begins = self.time(buffer.pts())?;
        let ends = begins + buffer.duration().unwrap_or_default();
        let before = self.reached.unwrap_or_default();
        self.reached = Some(before.max(ends));
        let hole = !self.told && begins > before + SLACK;
        self.told |= hole;
        hole.then_some((before, begins))
    }

    fn time(&self, position: Option<ClockTime>) -> Option<ClockTime> {
        self.segment.as_ref()?.to_stream_time(position)
    }

    /// Where it ended and where it should have, if that is later. Its own end counts if its container tells it, as MP4
    /// does; if not, the `length` of the file, to which another of its streams may have come.
    fn ends_early(
        &self,
        furthest: ClockTime,
        length: Option<ClockTime>,
    ) -> Option<(ClockTime, ClockTime)> {
        let reached = self.reached?;
        let own_end = self.time(self.segment.as_ref()?.stop());
        let (came_to, end) = match own_end {
            Some(end) => (reached, end),
            None => (reached.max(furthest), length?),
        };
        (came_to + SLACK < end).then_some((reached, end))
    }
}

/// How far the streams of a file were read, those that nobody asked for, too.
#[derive(Clone, Debug, Default)]
pub(super) struct Furthest(Arc<AtomicU64>);

impl Furthest {
    /// Of what the demuxers that `source` makes bring.
    pub fn of(source: &gst::Element) -> Self {
        let furthest = Self::default();
        if let Some(bin) = source.downcast_ref::<gst::Bin>() {
            let furthest = furthest.clone();
            bin.connect_deep_element_added(move |_, _, element| {
                let is_demuxer = element
                    .factory()
                    .is_some_and(|factory| factory.has_type(gst::ElementFactoryType::DEMUXER));
                if is_demuxer {
                    let furthest = Arc::clone(&furthest.0);
                    element.connect_pad_added(move |_, pad| {
                        let furthest = Arc::clone(&furthest);
                        follow(pad, move |_, progress, buffer| {
                            buffer.map(|buffer| progress.take(buffer));
                            let reached = progress.reached.unwrap_or_default();
                            furthest.fetch_max(reached.nseconds(), Ordering::Relaxed);
                        });
                    });
                }
            });
        }
        furthest
    }

    fn reached(&self) -> ClockTime {
        ClockTime::from_nseconds(self.0.load(Ordering::Relaxed))
    }
}

/// Warns if what goes into `input`, a stream of the file `name`, has a hole or ends too early.
pub(super) fn warn_if_not(input: &gst::Pad, name: String, furthest: Furthest) {
    follow(input, move |pad, progress, buffer| {
        if let Some(buffer) = buffer {
            if let Some((from, to)) = progress.take(buffer) {
                tracing::warn!(
                    "{name} is broken: nothing could be read between {} and {}; mend the file, or copy it again",
                    seconds(from),
                    seconds(to)
                );
            }
            return;
        }
        let length = pad.peer_query_duration::<ClockTime>();
        if let Some((reached, end)) = progress.ends_early(furthest.reached(), length) {
            tracing::warn!(
                "{name} ended at {} of {}: it is cut off or broken there; mend the file, or copy it again",
                seconds(reached),
                seconds(end)
            );
        }
    });
}

/// Calls `seen` with each buffer of `pad`, and at its end with none.
fn follow<F>(pad: &gst::Pad, seen: F)
where
    F: Fn(&gst::Pad, &mut Progress, Option<&gst::BufferRef>) + Send + Sync + 'static,
{
    let progress = Mutex::new(Progress::default());
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(kinds, move |pad, info| {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => seen(pad, &mut progress, Some(buffer)),
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::Segment(segment) => {
                    progress.segment = segment.segment().clone().downcast().ok();
                }
                gst::EventView::Eos(_) => seen(pad, &mut progress, None),
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
