//! The figures of an edge.

use std::fmt;
use std::time::{Duration, Instant};

use broker::Status;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::histogram::Histogram;

use super::page::Page;
use super::{Latest, Source, latencies, process};

/// How an edge is.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What it says itself.
    pub status: Status,
    /// Whether its pipeline plays.
    pub playing: bool,
    /// Whether NATS is connected.
    pub connected: bool,
    /// Messages that may wait for it.
    pub queue_messages: u64,
    /// Bytes of messages that may wait for it.
    pub queue_bytes: u64,
    /// What the planner knows, if there is one.
    pub planner: Option<Planner>,
}

/// What decisions rest on.
#[derive(Clone, Copy, Debug)]
pub struct Planner {
    /// Whether the link carries anything.
    pub contact: bool,
    /// Whether a worker is there.
    pub cloud: bool,
    /// Bytes a second that the link carries.
    pub bandwidth: f64,
    /// Fastest of the recent acknowledgements, in seconds; 0 before the first.
    pub rtt_s: f64,
    /// Chance of being corrected from which a draft is not kept.
    pub risk_limit: f64,
    /// Seconds that a final caption may take.
    pub latency_limit_s: f64,
    /// Windows that may wait for the cloud.
    pub waiting_windows: u64,
}

/// What is known of an edge: its latest figures, and how long its drafts took.
#[derive(Debug)]
pub struct Edge {
    latest: Latest<Figures>,
    draft: Histogram,
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            latest: Latest::default(),
            draft: latencies(),
        }
    }
}

impl Edge {
    /// A window was drafted so long after its end.
    pub fn drafted(&self, took: Duration) {
        self.draft.observe(took.as_secs_f64());
    }

    /// How the edge is now.
    pub fn beat(&self, figures: Figures) {
        self.latest.set(figures);
    }
}

impl Source for Edge {
    fn fault(&self) -> Option<String> {
        self.latest.fault(Instant::now(), |figures| {
            if !figures.playing {
                return Some("its pipeline does not play".to_owned());
            }
            let streams = &figures.status.streams;
            let problems = streams.iter().map(|stream| {
                let problem = stream.problem.as_ref()?;
                Some(format!("{}: {problem}", stream.stream))
            });
            // As long as one stream is well, the rig is of use.
            let all: Option<Vec<String>> = problems.collect();
            all.map(|problems| problems.join("\n"))
        })
    }
}

impl Collector for Edge {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let latest = self.latest.lock();
        let Some((_, figures)) = &*latest else {
            return Ok(());
        };
        let status = &figures.status;
        let (rig, epoch) = (status.rig.to_string(), status.epoch.to_string());
        let own = [("rig", rig.as_str())];
        let mut page = Page::new(encoder, &own);
        page.info(
            "msao_edge_info",
            "Always 1: the edge's version, epoch and what runs its models",
            &[
                ("version", env!("CARGO_PKG_VERSION")),
                ("epoch", &epoch),
                ("provider", &status.provider),
            ],
        )?;
        streams(&mut page, status)?;
        windows(&mut page, figures)?;
        messages(&mut page, figures)?;
        if let Some(planner) = &figures.planner {
            known(&mut page, planner)?;
        }
        page.histogram(
            "msao_edge_draft_seconds",
            "From a window's end to its draft",
            &self.draft,
        )?;
        process::write(&mut page)
    }
}

fn streams(page: &mut Page<'_, '_>, status: &Status) -> Result<(), fmt::Error> {
    page.counter("msao_edge_frames", "Frames that entered", status.frames_in)?;
    page.counter(
        "msao_edge_kept_frames",
        "Frames that the gates let through",
        status.frames_kept,
    )?;
    page.counter(
        "msao_edge_hops",
        "Hops of sound and of sensors that were measured",
        status.hops_in,
    )?;
    let each = || status.streams.iter();
    page.counters(
        "msao_stream_measured",
        "Frames or hops of a stream that were measured",
        each().map(|s| (Some(("stream", s.stream.as_str())), s.measured)),
    )?;
    page.counters(
        "msao_stream_kept",
        "Buffers of a stream that its gate let through",
        each().map(|s| (Some(("stream", s.stream.as_str())), s.kept)),
    )?;
    page.gauges(
        "msao_stream_up",
        "Whether a stream brings what it should",
        each().map(|s| {
            let up = f64::from(u8::from(s.problem.is_none()));
            (Some(("stream", s.stream.as_str())), up)
        }),
    )
}

fn windows(page: &mut Page<'_, '_>, figures: &Figures) -> Result<(), fmt::Error> {
    let status = &figures.status;
    page.counter("msao_edge_windows", "Windows made", status.windows)?;
    page.counter(
        "msao_edge_kept_tokens",
        "Tokens kept of all windows",
        status.tokens_kept,
    )?;
    page.counter(
        "msao_edge_possible_tokens",
        "Tokens that there would be had nothing been left out",
        status.tokens_possible,
    )?;
    let Some(planner) = &figures.planner else {
        return Ok(());
    };
    let decisions = &status.decisions;
    page.counters(
        "msao_edge_decisions",
        "Decisions on windows by kind; a window that waited is decided on again",
        [
            ("skip", decisions.skip),
            ("keep", decisions.keep),
            ("verify", decisions.verify),
            ("offload", decisions.offload),
            ("defer", decisions.defer),
        ]
        .map(|(kind, count)| (Some(("decision", kind)), count)),
    )?;
    page.counter(
        "msao_edge_audits",
        "Of the decisions to verify, those made only to learn from the answer",
        decisions.audits,
    )?;
    page.counter(
        "msao_edge_stale_windows",
        "Windows that waited too long for the cloud, so that their draft is final",
        decisions.stale,
    )?;
    page.counter(
        "msao_edge_dropped_windows",
        "Windows without a draft that waited too long for the cloud, or found no room to wait",
        decisions.dropped,
    )?;
    page.gauge(
        "msao_edge_waiting_windows",
        "Windows that wait for the cloud",
        decisions.waiting as f64,
    )?;
    page.gauge(
        "msao_edge_waiting_windows_limit",
        "Windows that may wait for the cloud",
        planner.waiting_windows as f64,
    )
}

fn messages(page: &mut Page<'_, '_>, figures: &Figures) -> Result<(), fmt::Error> {
    let messages = &figures.status.messages;
    for (name, help, count) in [
        (
            "msao_edge_published_messages",
            "Messages handed to the queue for NATS",
            messages.published,
        ),
        (
            "msao_edge_acknowledged_messages",
            "Messages that NATS acknowledged as stored",
            messages.acknowledged,
        ),
        (
            "msao_edge_retried_messages",
            "Attempts beyond a message's first",
            messages.retried,
        ),
        (
            "msao_edge_dropped_messages",
            "Messages lost: the queue was full, or they were larger than NATS takes",
            messages.dropped,
        ),
        (
            "msao_edge_sent_bytes",
            "Bytes of acknowledged messages, headers included",
            messages.bytes_sent,
        ),
    ] {
        page.counter(name, help, count)?;
    }
    page.gauge(
        "msao_queue_messages",
        "Messages that wait for NATS or are on their way",
        messages.pending as f64,
    )?;
    page.gauge(
        "msao_queue_messages_limit",
        "Messages that may wait for NATS; up to 64 more are on their way",
        figures.queue_messages as f64,
    )?;
    page.gauge(
        "msao_queue_bytes_limit",
        "Bytes of messages that may wait for NATS",
        figures.queue_bytes as f64,
    )?;
    page.gauge(
        "msao_edge_connected",
        "Whether NATS is connected",
        f64::from(u8::from(figures.connected)),
    )
}

fn known(page: &mut Page<'_, '_>, planner: &Planner) -> Result<(), fmt::Error> {
    for (name, help, value) in [
        (
            "msao_link_up",
            "Whether the link to NATS carries anything, as the planner knows it",
            f64::from(u8::from(planner.contact)),
        ),
        (
            "msao_link_rtt_seconds",
            "Fastest of the recent acknowledgements; 0 before the first",
            planner.rtt_s,
        ),
        (
            "msao_link_bandwidth_bytes_per_second",
            "What the link carries, measured, or assumed before the first measurement",
            planner.bandwidth,
        ),
        (
            "msao_link_cloud_up",
            "Whether a cloud worker is heard",
            f64::from(u8::from(planner.cloud)),
        ),
        (
            "msao_planner_risk_limit_ratio",
            "Chance of being corrected from which a draft is not kept on the edge",
            planner.risk_limit,
        ),
        (
            "msao_planner_latency_limit_seconds",
            "What a final caption may take",
            planner.latency_limit_s,
        ),
    ] {
        page.gauge(name, help, value)?;
    }
    Ok(())
}
