//! Which window is being gathered, what it holds so far, and when it is complete.
//!
//! What belongs to the window is taken on the pads' own threads as it comes in, so that a
//! pad's queue holds only what is of later windows, and no stream fills its queue while
//! another stalls.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use broker::Modality;
use gst::ClockTime;
use gst::prelude::*;
use gst_base::prelude::*;

use super::collect::Stream;
use super::feed::{Feed, When};
use super::properties::Stats;
use crate::{is_jpeg, lock};

/// The windows of a rig's streams.
#[derive(Debug, Default)]
pub(super) struct Gather {
    duration: ClockTime,
    /// Start of the window being gathered.
    start: Option<ClockTime>,
    /// What to add to running time for UTC, in nanoseconds.
    utc_offset: Option<i64>,
    /// Where the latest buffer taken ends.
    latest: Option<ClockTime>,
    feeds: BTreeMap<String, Feed>,
}

/// A window with all that was gathered of it.
pub(super) struct Closed {
    pub start: ClockTime,
    pub end: ClockTime,
    pub utc_offset: i64,
    pub streams: Vec<(String, Stream)>,
}

/// What one call of `aggregate` comes to.
pub(super) enum Step {
    NeedData,
    Skipped,
    Closed(Closed),
    Eos,
}

/// What the moment of a call is like.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// The clock's running time, while there is one.
    pub now: Option<ClockTime>,
    /// How much later than its time something may come.
    pub latency: ClockTime,
    /// How long a stream may be silent before nobody waits for it; 0 for ever.
    pub timeout: ClockTime,
}

/// What the pads hold that is not of the window.
#[derive(Default)]
struct Seen {
    /// Pads that hold nothing, and have not ended.
    waiting: Vec<String>,
    /// The earliest that is of a later window.
    later: Option<ClockTime>,
    /// Some pad has ended.
    ended: bool,
}

impl Gather {
    pub fn new(duration: ClockTime) -> Self {
        Self {
            duration,
            ..Self::default()
        }
    }

    /// Forgets what was gathered, as after a flush.
    pub fn flush(&mut self) {
        *self = Self::new(self.duration);
    }

    /// A pad is gone.
    pub fn remove(&mut self, pad: &str) {
        self.feeds.remove(pad);
    }

    /// Somebody else was at work for so long: the streams could not be heard.
    pub fn excuse(&mut self, time: ClockTime) {
        for feed in self.feeds.values_mut() {
            feed.excuse(time);
        }
    }

    /// Whether it is known if the pad's stream comes at its own pace.
    pub fn introduced(&self, pad: &str) -> bool {
        self.feeds.get(pad).is_some_and(|feed| feed.live.is_some())
    }

    /// Notes whether a pad's stream comes at its own pace.
    pub fn introduce(&mut self, pad: &gst_base::AggregatorPad, live: bool) {
        self.feed(pad).live = Some(live);
    }

    /// A buffer comes in on a pad. Whether it was of the window and is taken.
    pub fn arrive(
        &mut self,
        pad: &gst_base::AggregatorPad,
        buffer: &gst::Buffer,
        when: Option<When>,
        now: Option<ClockTime>,
        stats: &Mutex<Stats>,
    ) -> bool {
        let window = self.window();
        let feed = self.feed(pad);
        feed.hear(now);
        let Some(when) = when else { return false };
        let Some((start, end)) = window.filter(|(_, end)| when.running < *end) else {
            return false;
        };
        feed.take(buffer, when, (start, end), &mut lock(stats));
        self.reach(when, buffer.duration());
        true
    }

    /// The same of a gap in the stream, such as the gate makes.
    pub fn arrive_gap(
        &mut self,
        pad: &gst_base::AggregatorPad,
        (when, length): (Option<When>, Option<ClockTime>),
        now: Option<ClockTime>,
        stats: &Mutex<Stats>,
    ) -> bool {
        let window = self.window();
        let feed = self.feed(pad);
        feed.hear(now);
        let Some(when) = when else { return false };
        let of_window = window.is_some_and(|(start, end)| (start..end).contains(&when.running));
        if of_window {
            feed.gap(&mut lock(stats));
            self.reach(when, length);
        }
        of_window
    }

    /// When to step on, in running time less latency, if the pads do not all hold something.
    pub fn wake(
        &mut self,
        pads: &[gst_base::AggregatorPad],
        moment: Moment,
        stats: &Mutex<Stats>,
    ) -> Option<ClockTime> {
        let seen = self.take(pads, moment.now, stats);
        if self.complete(&seen) && self.holds(&seen) {
            return Some(ClockTime::ZERO);
        }
        let deadline = self.window().filter(|_| self.live()).map(|(_, end)| end);
        // Only a stream that holds others up can be too late.
        let held = seen.later.is_some() || seen.ended;
        let waiting = seen.waiting.iter().filter(|_| held);
        let stalls = waiting.filter_map(|pad| {
            let feed = self.feeds.get(pad)?;
            feed.patience(moment.timeout)
        });
        stalls.chain(deadline).min()
    }

    /// Takes what the pads hold of the window, and closes it when it is complete.
    pub fn step(
        &mut self,
        pads: &[gst_base::AggregatorPad],
        moment: Moment,
        stats: &Mutex<Stats>,
    ) -> Step {
        let mut seen = self.take(pads, moment.now, stats);
        if self.judge(&seen, moment, stats) && self.start.is_none() {
            seen = self.take(pads, moment.now, stats);
        }
        let Some((start, end)) = self.window() else {
            let ended = seen.waiting.is_empty() && seen.ended;
            return if ended { Step::Eos } else { Step::NeedData };
        };
        let over = |now: ClockTime| now >= end.saturating_add(moment.latency);
        let deadline = self.live() && moment.now.is_some_and(over);
        if !self.complete(&seen) && !deadline {
            return Step::NeedData;
        }
        if self.feeds.values().any(Feed::has_stream) || deadline {
            self.note_utc(moment.now, start);
            // The last window ends where the streams do.
            let next = seen.later.or_else(|| self.ahead());
            let ended = seen.waiting.is_empty() && next.is_none();
            let latest = self.latest;
            let last = latest.filter(|latest| ended && *latest > start && *latest < end);
            return Step::Closed(self.close(start, last.unwrap_or(end)));
        }
        // Time that jumps ahead leaves many empty windows: they are passed at once.
        let Some(next) = seen.later.into_iter().chain(self.ahead()).min() else {
            let ended = seen.waiting.is_empty();
            return if ended { Step::Eos } else { Step::NeedData };
        };
        let new = self.aligned(next).max(end);
        self.start = Some(new);
        let duration = self.duration;
        for feed in self.feeds.values_mut() {
            feed.close(new.saturating_add(duration));
        }
        lock(stats).skipped += (new - start).nseconds() / duration.nseconds();
        Step::Skipped
    }

    fn close(&mut self, start: ClockTime, end: ClockTime) -> Closed {
        let next = start.saturating_add(self.duration);
        self.start = Some(next);
        let next_end = next.saturating_add(self.duration);
        let feeds = self.feeds.iter_mut();
        let streams = feeds.filter_map(|(pad, feed)| Some((pad.clone(), feed.close(next_end)?)));
        Closed {
            start,
            end,
            utc_offset: self.utc_offset.unwrap_or_default(),
            streams: streams.collect(),
        }
    }

    /// Takes what the pads' queues hold of the window; decides where the first begins.
    fn take(
        &mut self,
        pads: &[gst_base::AggregatorPad],
        now: Option<ClockTime>,
        stats: &Mutex<Stats>,
    ) -> Seen {
        for pad in pads {
            // One that nothing came from yet is waited for, too.
            self.feed(pad).listen(now);
        }
        if self.start.is_none() {
            let firsts: Vec<_> = pads.iter().map(|pad| head(pad, stats)).collect();
            let missing = |(pad, first): (&gst_base::AggregatorPad, &Option<_>)| {
                let feed = self.feeds.get(pad.name().as_str());
                first.is_none() && !pad.is_eos() && !feed.is_some_and(|feed| feed.stalled)
            };
            if self.live() || !pads.iter().zip(&firsts).any(missing) {
                let first = firsts.iter().flatten().map(|(_, when)| when.running).min();
                self.start = first.map(|first| self.aligned(first));
                if let Some(start) = self.start {
                    self.note_utc(now, start);
                }
            }
        }
        let window = self.window();
        let mut seen = Seen::default();
        for pad in pads {
            loop {
                let Some((buffer, when)) = head(pad, stats) else {
                    match pad.is_eos() {
                        true => seen.ended = true,
                        false => seen.waiting.push(pad.name().to_string()),
                    }
                    break;
                };
                let Some((start, end)) = window.filter(|(_, end)| when.running < *end) else {
                    seen.later = seen.later.into_iter().chain([when.running]).min();
                    break;
                };
                pad.drop_buffer();
                let feed = self.feed(pad);
                feed.hear(now);
                feed.take(&buffer, when, (start, end), &mut lock(stats));
                self.reach(when, buffer.duration());
            }
        }
        seen
    }

    /// Notes which of the streams that are waited for have stalled; whether any has now.
    fn judge(&mut self, seen: &Seen, moment: Moment, stats: &Mutex<Stats>) -> bool {
        let mut any = false;
        for pad in &seen.waiting {
            let Some(feed) = self.feeds.get_mut(pad) else {
                continue;
            };
            let until = feed.patience(moment.timeout);
            let until = until.map(|until| until.saturating_add(moment.latency));
            if until.is_some_and(|until| moment.now.is_some_and(|now| now >= until)) {
                feed.stalled = true;
                lock(stats).stalls += 1;
                any = true;
            }
        }
        any
    }

    /// Nobody who is waited for can still bring something, and somebody goes on.
    fn complete(&self, seen: &Seen) -> bool {
        let stalled = |pad: &String| self.feeds.get(pad).is_some_and(|feed| feed.stalled);
        (seen.later.is_some() || seen.ended) && seen.waiting.iter().all(stalled)
    }

    /// Whether there is anything to go on with.
    fn holds(&self, seen: &Seen) -> bool {
        let streams = self.feeds.values().any(Feed::has_stream);
        streams || seen.later.is_some() || self.ahead().is_some()
    }

    fn ahead(&self) -> Option<ClockTime> {
        // The window in which a hop ends includes its own end.
        let ends = self.feeds.values().filter_map(Feed::ahead);
        ends.min()
            .map(|end| end.saturating_sub(ClockTime::from_nseconds(1)))
    }

    fn live(&self) -> bool {
        self.feeds.values().any(|feed| feed.live == Some(true))
    }

    fn window(&self) -> Option<(ClockTime, ClockTime)> {
        (self.start).map(|start| (start, start.saturating_add(self.duration)))
    }

    fn feed(&mut self, pad: &gst_base::AggregatorPad) -> &mut Feed {
        let feed = self.feeds.entry(pad.name().to_string());
        let feed = feed.or_insert_with(|| Feed::new(modality(pad)));
        feed.pictures = pad.current_caps().is_some_and(|caps| is_jpeg(&caps));
        feed
    }

    fn reach(&mut self, when: When, length: Option<ClockTime>) {
        let over = length.map(|length| when.running.saturating_add(when.lasts(length)));
        self.latest = self.latest.max(over);
    }

    /// A live stream's time is the clock's; a file's begins when it is first read.
    fn note_utc(&mut self, now: Option<ClockTime>, start: ClockTime) {
        let live = now.filter(|_| self.live());
        if let Some(now) = live.or(self.utc_offset.is_none().then_some(start)) {
            self.utc_offset = Some(utc_now() - now.nseconds() as i64);
        }
    }

    /// The start of the window that `time` is in.
    fn aligned(&self, time: ClockTime) -> ClockTime {
        time - ClockTime::from_nseconds(time.nseconds() % self.duration.nseconds().max(1))
    }
}

/// What kind of stream a pad takes.
fn modality(pad: &gst_base::AggregatorPad) -> Modality {
    match pad.pad_template() {
        Some(template) if template.name_template().starts_with("audio") => Modality::Audio,
        Some(template) if template.name_template().starts_with("sensor") => Modality::Sensor,
        _ => Modality::Video,
    }
}

/// The first buffer in a pad's queue, and when it is; those without a running time are late.
fn head(pad: &gst_base::AggregatorPad, stats: &Mutex<Stats>) -> Option<(gst::Buffer, When)> {
    loop {
        let buffer = pad.peek_buffer()?;
        match When::of(&pad.segment(), buffer.pts()) {
            Some(when) => return Some((buffer, when)),
            None => pad.drop_buffer(),
        };
        lock(stats).late += 1;
    }
}

pub(super) fn utc_now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
