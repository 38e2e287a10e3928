//! A rig: its edge, its streams and its last windows.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::body::Bytes;
use broker::status::{Decisions, StreamStatus};
use broker::{Caption, CaptionStatus, Modality, Rig, Status, WindowId};
use serde::Serialize;
use ulid::Ulid;

use super::latency::{Latencies, Percentiles};
use super::samples::{Samples, Saved};
use super::window::{self, Window, unix_ms};

/// Windows kept of each rig.
pub const WINDOWS: usize = 60;
/// Streams kept of each rig, as many as a window may have.
const STREAMS: usize = broker::limits::STREAMS;

/// What is known of one rig.
pub struct RigState {
    rig: Rig,
    edge: Option<Status>,
    /// When the last status came, UTC, milliseconds of the Unix epoch.
    heard_ms: Option<i64>,
    /// When anything of it came last, since the start of the program.
    pub touched: Duration,
    samples: Samples,
    streams: BTreeMap<String, StreamState>,
    /// By their ends.
    windows: VecDeque<Window>,
    first: Latencies,
    last: Latencies,
    /// Something changed since it was shown.
    pub changed: bool,
}

#[derive(Default)]
struct StreamState {
    modality: Option<Modality>,
    /// Of the last windows, oldest first.
    mas: VecDeque<f32>,
    beta: Option<f32>,
    preview: Option<Bytes>,
}

/// A rig as the page shows it, without its windows.
#[derive(Serialize)]
pub struct Shown<'a> {
    rig: &'a Rig,
    heard_ms: Option<i64>,
    edge: Option<Edge<'a>>,
    streams: Vec<ShownStream<'a>>,
    saved: Saved,
    /// Bytes of a token on the wire, as the edge reckons with.
    token_bytes: Option<u32>,
    decisions: Vec<[u64; 5]>,
    verdicts: Verdicts,
    first: Option<Percentiles>,
    last: Option<Percentiles>,
    link: Option<Link>,
}

#[derive(Serialize)]
struct Edge<'a> {
    epoch: Ulid,
    provider: &'a str,
    windows: u64,
    decisions: &'a Decisions,
    pending: u64,
    dropped: u64,
    retried: u64,
}

#[derive(Serialize)]
struct ShownStream<'a> {
    stream: &'a str,
    modality: Option<Modality>,
    source: Option<&'a str>,
    measured: Option<u64>,
    kept: Option<u64>,
    problem: Option<&'a str>,
    mas: &'a VecDeque<f32>,
    beta: Option<f32>,
}

/// What became of the windows that are kept here.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Verdicts {
    kept: u32,
    confirmed: u32,
    corrected: u32,
    /// By the cloud, without a draft.
    captioned: u32,
    retracted: u32,
    open: u32,
    /// Of the drafts that the cloud judged, their tokens and how many of these it accepted.
    judged: u64,
    accepted: u64,
}

/// The link as the edge's planner saw it last.
#[derive(Serialize)]
struct Link {
    contact: bool,
    /// Bytes a second.
    bandwidth: f64,
    rtt_ms: f64,
    in_flight: u64,
    cloud_available: bool,
    cloud_wait_ms: f64,
    /// Share of its time that the edge needs.
    busy: f64,
    /// The end of the window that it was seen for.
    at_ms: i64,
}

/// A rig with its windows.
#[derive(Serialize)]
pub struct Whole<'a> {
    #[serde(flatten)]
    rig: Shown<'a>,
    windows: Vec<window::Shown<'a>>,
}

impl RigState {
    /// A rig that nothing is known of.
    pub fn new(rig: Rig) -> Self {
        Self {
            rig,
            edge: None,
            heard_ms: None,
            touched: Duration::ZERO,
            samples: Samples::default(),
            streams: BTreeMap::new(),
            windows: VecDeque::new(),
            first: Latencies::default(),
            last: Latencies::default(),
            changed: true,
        }
    }

    /// Takes in a status that came at `at`, which is `now_ms` by the clock.
    pub fn status(&mut self, status: Status, at: Duration, now_ms: i64) {
        if self
            .edge
            .as_ref()
            .is_some_and(|edge| edge.epoch != status.epoch)
        {
            self.samples.clear();
        }
        self.samples.add(at, &status);
        for stream in &status.streams {
            self.stream(&stream.stream);
        }
        self.edge = Some(status);
        self.heard_ms = Some(now_ms);
        self.changed = true;
    }

    /// Takes in a caption. Returns its window, unless the caption brings nothing new.
    pub fn caption(&mut self, caption: &Caption) -> Option<window::Shown<'_>> {
        let end_ms = unix_ms(caption.end);
        let place = match self.windows.iter().rposition(|w| w.id == caption.id) {
            Some(place) => place,
            None => {
                let full = self.windows.len() >= WINDOWS;
                if full && self.windows.front().is_some_and(|w| w.end_ms > end_ms) {
                    return None;
                }
                if full {
                    self.windows.pop_front();
                }
                let place = self.windows.partition_point(|w| w.end_ms <= end_ms);
                self.windows.insert(place, Window::new(caption));
                place
            }
        };
        let is_new = self.windows[place].is_new();
        let said = self.windows[place].add(caption)?;
        let (first, last, ms) = (said.is_first(), said.is_last(), said.ms);
        if first || is_new {
            self.first.add(ms);
        }
        if last {
            self.last.add(ms);
        }
        if is_new && caption.question.is_none() {
            for report in &caption.mas {
                if let Some(stream) = self.stream(&report.stream) {
                    stream.modality = Some(report.modality);
                    stream.beta = Some(report.beta);
                    if stream.mas.len() == WINDOWS {
                        stream.mas.pop_front();
                    }
                    stream.mas.push_back(report.mas);
                }
            }
        }
        self.changed = true;
        Some(self.windows[place].shown())
    }

    /// Whether a stream of this name is known, or there is room for it.
    pub fn has_room(&self, stream: &str) -> bool {
        self.streams.len() < STREAMS || self.streams.contains_key(stream)
    }

    /// Takes in the last preview of a stream, as an event.
    pub fn preview(&mut self, stream: &str, event: Bytes) {
        if let Some(stream) = self.stream(stream) {
            stream.modality = Some(Modality::Video);
            let before = stream.preview.replace(event);
            self.changed |= before.is_none();
        }
    }

    /// The last previews, by stream.
    pub fn previews(&self) -> impl Iterator<Item = (&str, Bytes)> {
        let preview = |(name, stream): (_, &StreamState)| Some((name, stream.preview.clone()?));
        self.streams
            .iter()
            .map(|(name, stream)| (name.as_str(), stream))
            .filter_map(preview)
    }

    /// A window of it.
    pub fn window(&self, id: &WindowId) -> Option<&Window> {
        self.windows.iter().find(|window| window.id == *id)
    }

    /// The rig without its windows, at `now` since the start of the program.
    pub fn shown(&self, now: Duration) -> Shown<'_> {
        let decided = || {
            let windows = self.windows.iter().rev();
            windows.filter_map(|window| Some((window.end_ms, window.decision.as_ref()?)))
        };
        Shown {
            rig: &self.rig,
            heard_ms: self.heard_ms,
            edge: self.edge.as_ref().map(Edge::new),
            streams: self
                .streams
                .iter()
                .map(|(name, stream)| self.shown_stream(name, stream))
                .collect(),
            saved: self.samples.saved(),
            token_bytes: decided()
                .map(|(_, decision)| decision.inputs.window)
                .find(|window| window.tokens > 0)
                .map(|window| window.token_bytes),
            decisions: self.samples.decisions(now),
            verdicts: self.verdicts(),
            first: self.first.percentiles(),
            last: self.last.percentiles(),
            link: decided().next().map(|(at_ms, decision)| {
                let (link, cloud) = (&decision.inputs.link, &decision.inputs.cloud);
                Link {
                    contact: link.contact,
                    bandwidth: link.bandwidth,
                    rtt_ms: link.rtt * 1e3,
                    in_flight: link.in_flight,
                    cloud_available: cloud.available,
                    cloud_wait_ms: cloud.wait * 1e3,
                    busy: decision.inputs.edge.busy(),
                    at_ms,
                }
            }),
        }
    }

    /// The rig with its windows.
    pub fn whole(&self, now: Duration) -> Whole<'_> {
        Whole {
            rig: self.shown(now),
            windows: self.windows.iter().map(Window::shown).collect(),
        }
    }

    fn stream(&mut self, name: &str) -> Option<&mut StreamState> {
        if !self.has_room(name) {
            return None;
        }
        Some(self.streams.entry(name.to_owned()).or_default())
    }

    fn shown_stream<'a>(&'a self, name: &'a str, stream: &'a StreamState) -> ShownStream<'a> {
        let statuses = self.edge.iter().flat_map(|edge| &edge.streams);
        let status: Option<&StreamStatus> =
            statuses.into_iter().find(|status| status.stream == name);
        ShownStream {
            stream: name,
            modality: stream.modality,
            source: status.map(|status| status.source.as_str()),
            measured: status.map(|status| status.measured),
            kept: status.map(|status| status.kept),
            problem: status.and_then(|status| status.problem.as_deref()),
            mas: &stream.mas,
            beta: stream.beta,
        }
    }

    fn verdicts(&self) -> Verdicts {
        let mut verdicts = Verdicts::default();
        for window in &self.windows {
            let Some((status, accepted, drafted)) = window.verdict() else {
                verdicts.open += 1;
                continue;
            };
            *match status {
                CaptionStatus::Corrected if drafted.is_none() => &mut verdicts.captioned,
                CaptionStatus::Draft => &mut verdicts.kept,
                CaptionStatus::Confirmed => &mut verdicts.confirmed,
                CaptionStatus::Corrected => &mut verdicts.corrected,
                CaptionStatus::Retracted => &mut verdicts.retracted,
            } += 1;
            if let Some((accepted, drafted)) = accepted.zip(drafted) {
                verdicts.judged += u64::from(drafted);
                verdicts.accepted += u64::from(accepted.min(drafted));
            }
        }
        verdicts
    }
}

impl<'a> Edge<'a> {
    fn new(status: &'a Status) -> Self {
        Self {
            epoch: status.epoch,
            provider: &status.provider,
            windows: status.windows,
            decisions: &status.decisions,
            pending: status.messages.pending,
            dropped: status.messages.dropped,
            retried: status.messages.retried,
        }
    }
}
