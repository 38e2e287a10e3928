//! One pad of `msaowindow`: what came in on it, and when it was last heard of.

use std::collections::VecDeque;
use std::sync::Arc;

use broker::Modality;
use gst::ClockTime;

use super::collect::{Hop, Stream};
use super::properties::Stats;
use crate::meta::{MasMeta, Measured};

/// Length of a hop.
pub(super) const HOP: ClockTime = ClockTime::from_mseconds(500);

/// Hops of a stream that are remembered as taken.
const KNOWN: usize = 32;

/// When something of a stream is.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    /// In running time.
    pub running: ClockTime,
    /// How much of the stream passes in a time.
    pace: f64,
}

impl When {
    /// By the segment that it is in; none if it has no running time.
    pub fn of(segment: &gst::Segment, pts: Option<ClockTime>) -> Option<Self> {
        let segment = segment.downcast_ref::<ClockTime>()?;
        Some(Self {
            running: segment.to_running_time(pts)?,
            pace: segment.rate().abs(),
        })
    }

    /// How long so much of the stream takes.
    pub fn lasts(self, length: ClockTime) -> ClockTime {
        if self.pace == 1.0 {
            return length;
        }
        let time = (length.nseconds() as f64 / self.pace) as u64;
        ClockTime::from_nseconds(time.min(u64::MAX - 1))
    }
}

/// A pad's stream as it comes in.
#[derive(Debug)]
pub(super) struct Feed {
    modality: Modality,
    /// Frames come as JPEG pictures, which windows take along.
    pub pictures: bool,
    /// When something last came in, or since when something could have.
    heard: Option<ClockTime>,
    /// It was not heard of for so long that nobody waits for it.
    pub stalled: bool,
    /// Whether it comes at its own pace, once that is known.
    pub live: Option<bool>,
    /// The latest hops taken: what comes by the pad's queue may come after what came past it.
    known: VecDeque<Arc<Measured>>,
    /// Hops that end in later windows than the buffer that brought them begins in.
    ahead: Vec<Hop>,
    /// What came in since the last measurement.
    unmeasured: ClockTime,
    /// What it brought to the window being gathered.
    stream: Option<Stream>,
}

impl Feed {
    pub fn new(modality: Modality) -> Self {
        Self {
            modality,
            pictures: false,
            heard: None,
            stalled: false,
            live: None,
            known: VecDeque::new(),
            ahead: Vec::new(),
            unmeasured: ClockTime::ZERO,
            stream: None,
        }
    }

    /// Something came in, or can come in from now on.
    pub fn hear(&mut self, now: Option<ClockTime>) {
        self.heard = now;
        self.stalled = false;
    }

    /// Something can come in, from the first time on that this is called.
    pub fn listen(&mut self, now: Option<ClockTime>) {
        self.heard = self.heard.or(now);
    }

    /// For so long nobody listened.
    pub fn excuse(&mut self, time: ClockTime) {
        self.heard = self.heard.map(|heard| heard.saturating_add(time));
    }

    /// When the stream counts as stalled if nothing comes.
    pub fn patience(&self, timeout: ClockTime) -> Option<ClockTime> {
        let asked = timeout > ClockTime::ZERO && !self.stalled;
        self.heard
            .filter(|_| asked)
            .and_then(|heard| heard.checked_add(timeout))
    }

    /// Whether it brought anything to the window.
    pub fn has_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// Where the first hop that is of a later window ends.
    pub fn ahead(&self) -> Option<ClockTime> {
        self.ahead.iter().map(|hop| hop.end).min()
    }

    /// What it brought to the window; the next begins at its end, and ends at `end`.
    pub fn close(&mut self, end: ClockTime) -> Option<Stream> {
        let stream = self.stream.take();
        let ahead = std::mem::take(&mut self.ahead);
        for hop in ahead {
            self.add(hop, end);
        }
        stream
    }

    /// The gate's gap for a frame that it dropped.
    pub fn gap(&mut self, stats: &mut Stats) {
        let video = self.modality == Modality::Video;
        let stream = self.stream();
        if video {
            stream.frames_in += 1;
            stats.frames_in += 1;
        }
    }

    /// Takes in a buffer that begins before the end of the window.
    pub fn take(
        &mut self,
        buffer: &gst::Buffer,
        when: When,
        (start, end): (ClockTime, ClockTime),
        stats: &mut Stats,
    ) {
        let late = when.running < start;
        let dropped = buffer.flags().contains(gst::BufferFlags::GAP) && buffer.size() == 0;
        // What the gate only flagged counts as what it drops.
        if dropped || buffer.flags().contains(gst::BufferFlags::DROPPABLE) {
            match late {
                true => stats.late += 1,
                false => self.gap(stats),
            }
            return;
        }
        let measured = MasMeta::all(buffer);
        if measured.iter().any(|one| one.modality != self.modality) {
            stats.unusable += 1;
            return;
        }
        if self.modality != Modality::Video {
            return self.take_hops(buffer, measured, when, (start, end), stats);
        }
        match measured.into_iter().next_back() {
            _ if late => stats.late += 1,
            Some(frame) => {
                let jpeg = self.pictures.then(|| buffer.clone());
                self.stream().keep(when.running, frame, jpeg);
                stats.frames_in += 1;
                stats.frames_kept += 1;
            }
            None => stats.unusable += 1,
        }
    }

    fn take_hops(
        &mut self,
        buffer: &gst::BufferRef,
        measured: Vec<Arc<Measured>>,
        when: When,
        (start, end): (ClockTime, ClockTime),
        stats: &mut Stats,
    ) {
        let running = when.running;
        if measured.is_empty() {
            // A stream's first hop must end first.
            let length = buffer.duration().unwrap_or_default();
            self.unmeasured = self.unmeasured.saturating_add(length);
            if self.unmeasured > HOP {
                stats.unusable += 1;
                return;
            }
        } else {
            self.unmeasured = ClockTime::ZERO;
        }
        let mut late = running < start;
        for measured in measured {
            if self.known.iter().any(|known| Arc::ptr_eq(known, &measured)) {
                continue;
            }
            if self.known.len() == KNOWN {
                self.known.pop_front();
            }
            self.known.push_back(Arc::clone(&measured));
            let ends = ends(&measured, buffer, when);
            let hop = Hop {
                // One that comes again because the gate dropped the buffer that it ended in
                // counts as of now, if its own window is over.
                end: match ends <= start && running >= start {
                    true => running.saturating_add(ClockTime::from_nseconds(1)),
                    false => ends,
                },
                measured,
            };
            if hop.end > start {
                late = false;
                stats.hops += 1;
                self.add(hop, end);
            }
        }
        if late {
            stats.late += 1;
        } else if running >= start {
            self.stream();
        }
    }

    /// A hop belongs to the window in which it ends, and one that ends with the window
    /// belongs to it.
    fn add(&mut self, hop: Hop, end: ClockTime) {
        if hop.end > end {
            self.ahead.push(hop);
        } else {
            self.stream().hop(hop);
        }
    }

    fn stream(&mut self) -> &mut Stream {
        let modality = self.modality;
        self.stream.get_or_insert_with(|| Stream::new(modality))
    }
}

/// The running time at which a hop ends that comes on a buffer which begins then.
fn ends(hop: &Measured, buffer: &gst::BufferRef, when: When) -> ClockTime {
    let begins = when.running;
    match hop.end.zip(buffer.pts()) {
        Some((end, pts)) if end < pts => begins.saturating_sub(when.lasts(pts - end)),
        Some((end, pts)) => begins.saturating_add(when.lasts(end - pts)),
        None => begins.saturating_add(when.lasts(buffer.duration().unwrap_or_default())),
    }
}
