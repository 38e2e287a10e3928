//! The state of `msaowindow`: which window is being gathered, and what it holds so far.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use broker::{Rig, WindowId};
use gst::prelude::*;
use gst_base::prelude::*;
use mas::select::Budget;
use mllm::Trunk;
use ulid::Ulid;

use super::collect::Stream;
use super::encode::{self, Outline, Source};
use super::properties::{Settings, Stats};
use crate::lock;
use crate::meta::MasMeta;
use crate::model::load_error;

/// From the element's start to its stop.
pub(super) struct State {
    trunk: Trunk,
    rig: Rig,
    default_prompt: String,
    image_tokens: u32,
    pub epoch: Ulid,
    seq: u64,
    pub duration: gst::ClockTime,
    /// Start of the window being gathered.
    pub start: Option<gst::ClockTime>,
    /// What to add to running time for UTC, in nanoseconds.
    utc_offset: Option<i64>,
    /// Where the latest buffer taken ends.
    latest: Option<gst::ClockTime>,
    streams: BTreeMap<String, Stream>,
}

/// What one call of `aggregate` comes to.
pub(super) enum Step {
    NeedData,
    Skipped,
    Window(gst::Buffer),
    Eos,
}

/// What the moment of a call is like.
pub(super) struct Moment {
    /// The deadline has passed: what is missing is not waited for.
    pub timeout: bool,
    /// The clock's running time if the sources are live.
    pub live: Option<gst::ClockTime>,
}

impl State {
    pub fn new(settings: &Settings) -> Result<Self, gst::ErrorMessage> {
        let wrong = |error: &dyn std::fmt::Display| {
            gst::error_msg!(gst::ResourceError::Settings, ("{error}"))
        };
        let rig = settings
            .rig
            .parse()
            .map_err(|error: broker::identity::InvalidName| wrong(&error))?;
        settings.budget().map_err(|error| wrong(&error))?;
        let folder = settings.model.folder()?;
        let config = mllm::Config::load(&folder).map_err(|error| load_error(&error))?;
        let trunk =
            Trunk::load(&folder, settings.model.provider()).map_err(|error| load_error(&error))?;
        Ok(Self {
            trunk,
            rig,
            default_prompt: config.default_prompt,
            image_tokens: config.image_tokens as u32,
            epoch: Ulid::generate(),
            seq: 0,
            duration: settings.duration,
            start: None,
            utc_offset: None,
            latest: None,
            streams: BTreeMap::new(),
        })
    }

    /// What runs T2.
    pub fn provider(&self) -> mllm::Provider {
        self.trunk.provider()
    }

    /// Forgets the window being gathered, as after a flush.
    pub fn flush(&mut self) {
        self.start = None;
        self.utc_offset = None;
        self.latest = None;
        self.streams.clear();
    }

    /// Takes what the pads hold of the window, and closes it when it is complete.
    pub fn step(
        &mut self,
        pads: &[gst_base::AggregatorPad],
        moment: &Moment,
        settings: &Settings,
        stats: &Mutex<Stats>,
    ) -> Result<Step, encode::Error> {
        let Some(start) = self.start.or_else(|| first_start(pads, self.duration)) else {
            let ended = !pads.is_empty() && pads.iter().all(|pad| pad.is_eos());
            return Ok(if ended { Step::Eos } else { Step::NeedData });
        };
        self.start = Some(start);
        // A live stream's time is the clock's; a file's begins when it is first read.
        if let Some(now) = moment.live.or((self.utc_offset.is_none()).then_some(start)) {
            self.utc_offset = Some(utc_now() - now.nseconds() as i64);
        }
        let end = start + self.duration;
        let mut waiting = false;
        let mut next: Option<gst::ClockTime> = None;
        let mut latest = self.latest;
        for pad in pads {
            loop {
                let Some(buffer) = pad.peek_buffer() else {
                    waiting |= !pad.is_eos();
                    break;
                };
                let running = running_time(pad, &buffer);
                if let Some(running) = running.filter(|running| *running >= end) {
                    next = Some(next.map_or(running, |next| next.min(running)));
                    break;
                }
                pad.drop_buffer();
                let over = running
                    .zip(buffer.duration())
                    .map(|(running, length)| running + length);
                latest = latest.max(over);
                let stream = self.streams.entry(pad.name().to_string()).or_default();
                take(
                    stream,
                    &buffer,
                    running.is_some_and(|r| r >= start),
                    &mut lock(stats),
                );
            }
        }
        self.latest = latest;
        if waiting && !moment.timeout {
            return Ok(Step::NeedData);
        }
        let streams = std::mem::take(&mut self.streams);
        if !streams.is_empty() || moment.timeout {
            self.start = Some(end);
            // The last window ends where the streams do.
            let ended = !waiting && next.is_none();
            let over = latest.filter(|latest| ended && *latest > start && *latest < end);
            return self.close(&streams, (start, over.unwrap_or(end)), settings, stats);
        }
        // All pads hold later data or have ended. Time that jumps ahead leaves many empty
        // windows: they are passed at once.
        let Some(next) = next else {
            return Ok(Step::Eos);
        };
        let new = aligned(next, self.duration);
        self.start = Some(new);
        lock(stats).skipped += (new - start).nseconds() / self.duration.nseconds();
        Ok(Step::Skipped)
    }

    fn close(
        &mut self,
        streams: &BTreeMap<String, Stream>,
        (start, end): (gst::ClockTime, gst::ClockTime),
        settings: &Settings,
        stats: &Mutex<Stats>,
    ) -> Result<Step, encode::Error> {
        let closed_utc_ns = utc_now();
        let tokens_possible = self.image_tokens * streams.len() as u32;
        let choose = |(stream, frames): (&String, &Stream)| {
            let chosen = frames.choose(settings.threshold)?;
            Some(Source {
                stream: stream.clone(),
                chosen,
            })
        };
        let sources: Vec<Source> = streams.iter().filter_map(choose).collect();
        if sources.is_empty() {
            let mut stats = lock(stats);
            stats.skipped += 1;
            stats.tokens_possible += u64::from(tokens_possible);
            return Ok(Step::Skipped);
        }
        // Set while playing, the pair may cross for a moment: then the greatest counts.
        let budget = Budget {
            threshold: settings.threshold,
            min: settings.min_tokens.min(settings.max_tokens) as usize,
            max: settings.max_tokens as usize,
        };
        let outline = Outline {
            id: WindowId {
                rig: self.rig.clone(),
                epoch: self.epoch,
                seq: self.seq,
            },
            start,
            end,
            utc_offset: self.utc_offset.unwrap_or_default(),
            closed_utc_ns,
            prompt: settings
                .prompt
                .clone()
                .unwrap_or_else(|| self.default_prompt.clone()),
            tokens_possible,
            frames_in: streams.values().map(|stream| stream.frames_in).sum(),
            frames_kept: streams
                .values()
                .map(|stream| stream.kept.len() as u32)
                .sum(),
        };
        let (window, spent) = encode::window(&mut self.trunk, sources, budget, outline)?;
        let mut buffer = gst::Buffer::from_slice(window.encode()?);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(start);
            buffer.set_duration(end - start);
        }
        self.seq += 1;
        let mut stats = lock(stats);
        stats.windows += 1;
        stats.tokens_kept += window.tokens.len() as u64;
        stats.tokens_possible += u64::from(window.tokens_possible);
        stats.t2 += spent;
        Ok(Step::Window(buffer))
    }
}

/// Takes in one buffer; `on_time` if it belongs to the window.
fn take(stream: &mut Stream, buffer: &gst::Buffer, on_time: bool, stats: &mut Stats) {
    if !on_time {
        stats.late += 1;
    } else if buffer.flags().contains(gst::BufferFlags::GAP) && buffer.size() == 0 {
        // The gate's gap for a frame that it dropped.
        stream.frames_in += 1;
        stats.frames_in += 1;
    } else if buffer.flags().contains(gst::BufferFlags::DROPPABLE) {
        // One that it flagged instead.
        stream.frames_in += 1;
        stats.frames_in += 1;
    } else if let Some(mas) = MasMeta::of(buffer) {
        stream.keep(mas);
        stats.frames_in += 1;
        stats.frames_kept += 1;
    } else {
        stats.unusable += 1;
    }
}

fn running_time(pad: &gst_base::AggregatorPad, buffer: &gst::Buffer) -> Option<gst::ClockTime> {
    let segment = pad.segment().downcast::<gst::ClockTime>().ok()?;
    segment.to_running_time(buffer.pts())
}

/// The start of the window that `time` is in.
fn aligned(time: gst::ClockTime, duration: gst::ClockTime) -> gst::ClockTime {
    time - gst::ClockTime::from_nseconds(time.nseconds() % duration.nseconds())
}

/// Where the first window starts: the earliest buffer that waits decides.
pub(super) fn first_start(
    pads: &[gst_base::AggregatorPad],
    duration: gst::ClockTime,
) -> Option<gst::ClockTime> {
    let waiting = pads
        .iter()
        .filter_map(|pad| running_time(pad, &pad.peek_buffer()?));
    waiting.min().map(|time| aligned(time, duration))
}

fn utc_now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
