//! The `stats` of a pipeline's elements as the edge's status.

use anyhow::{Context, Result};
use broker::status::{Decisions, StreamStatus};
use broker::{Modality, Status};
use gst::prelude::*;
use time::OffsetDateTime;
use ulid::Ulid;

use super::config::{Config, redacted};
use super::launch::{self, Stream};
use crate::metrics::{Figures, Planner};

/// Reads the status of a running pipeline.
pub struct Reader {
    window: gst::Element,
    offload: Option<gst::Element>,
    sink: gst::Element,
    streams: Vec<Counted>,
    status: Status,
}

/// The elements of a stream that count.
struct Counted {
    stream: Stream,
    source: String,
    mas: gst::Element,
    gate: gst::Element,
}

impl Counted {
    /// Frames or hops that were measured.
    fn measured(&self) -> u64 {
        let counter = match self.stream.modality {
            Modality::Video => "frames",
            Modality::Audio | Modality::Sensor => "hops",
        };
        field(&stats(&self.mas), counter)
    }
}

impl Reader {
    /// The elements that are asked in `pipeline`, which is that of `config` and has started.
    ///
    /// # Errors
    /// An element of the line is missing, or the window element has no epoch yet.
    pub fn new(config: &Config, pipeline: &gst::Bin) -> Result<Self> {
        let named = |name: &str| {
            pipeline
                .by_name(name)
                .with_context(|| format!("the pipeline has no element {name}"))
        };
        let window = named(launch::WINDOW)?;
        let epoch: Ulid = window
            .property::<Option<String>>("epoch")
            .and_then(|text| text.parse().ok())
            .context("the window element has not started")?;
        Ok(Self {
            window,
            offload: pipeline.by_name(launch::OFFLOAD),
            sink: named(launch::SINK)?,
            streams: launch::streams(config)
                .into_iter()
                .map(|stream| {
                    Ok(Counted {
                        stream,
                        source: redacted(config.source_of(stream)),
                        mas: named(&stream.mas())?,
                        gate: named(&stream.gate())?,
                    })
                })
                .collect::<Result<_>>()?,
            status: Status::new(config.rig.clone(), epoch, mllm::runtime::providers()),
        })
    }

    /// Streams of which nothing was measured yet.
    pub fn silent(&self) -> impl Iterator<Item = Stream> {
        let silent = self.streams.iter().filter(|stream| stream.measured() == 0);
        silent.map(|stream| stream.stream)
    }

    /// What runs the models.
    pub fn provider(&self) -> &str {
        &self.status.provider
    }

    /// The status that was read last.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Reads the status of now; of the streams in `down` it says why they bring nothing.
    pub fn read(&mut self, down: &[(Stream, String)]) {
        let (window, sink) = (stats(&self.window), stats(&self.sink));
        let status = &mut self.status;
        status.time = OffsetDateTime::now_utc();
        status.provider = mllm::runtime::providers();
        status.streams.clear();
        (status.frames_in, status.frames_kept, status.hops_in) = (0, 0, 0);
        for counted in &self.streams {
            let stream = counted.stream;
            let (measured, kept) = (counted.measured(), field(&stats(&counted.gate), "kept"));
            if stream.modality == Modality::Video {
                status.frames_in += measured;
                status.frames_kept += kept;
            } else {
                status.hops_in += measured;
            }
            let problem = down.iter().find(|(down, _)| *down == stream);
            status.streams.push(StreamStatus {
                stream: stream.pad(),
                source: counted.source.clone(),
                measured,
                kept,
                problem: problem.map(|(_, problem)| problem.clone()),
            });
        }
        status.windows = field(&window, "windows");
        status.tokens_kept = field(&window, "tokens-kept");
        status.tokens_possible = field(&window, "tokens-possible");
        if let Some(offload) = &self.offload {
            let offload = stats(offload);
            let count = |name| field(&offload, name);
            status.decisions = Decisions {
                skip: count("skip"),
                keep: count("keep"),
                verify: count("verify"),
                offload: count("offload"),
                defer: count("defer"),
                audits: count("audits"),
                waiting: count("waiting"),
                stale: count("stale"),
                dropped: count("dropped"),
            };
        }
        let messages = &mut status.messages;
        messages.published = field(&sink, "published");
        messages.acknowledged = field(&sink, "acknowledged");
        messages.retried = field(&sink, "retried");
        messages.dropped = field(&sink, "dropped");
        messages.pending = field(&sink, "pending");
        messages.bytes_sent = field(&sink, "bytes");
    }

    /// The status that was read last, and what else `/metrics` shows.
    pub fn figures(&self, playing: bool) -> Figures {
        let planner = self.offload.as_ref().map(|offload| {
            let stats = stats(offload);
            let is = |name| stats.get(name).unwrap_or_default();
            let number = |name| stats.get(name).unwrap_or_default();
            let seconds = |name| field(&stats, name) as f64 / 1e9;
            Planner {
                contact: is("contact"),
                cloud: is("cloud"),
                bandwidth: number("bandwidth"),
                rtt_s: seconds("rtt"),
                risk_limit: number("risk-limit"),
                latency_limit_s: seconds("latency-limit"),
                waiting_windows: offload.property::<u32>("defer-windows").into(),
            }
        });
        Figures {
            status: self.status.clone(),
            playing,
            connected: stats(&self.sink).get("connected").unwrap_or_default(),
            queue_messages: self.sink.property::<u32>("queue-messages").into(),
            queue_bytes: self.sink.property("queue-bytes"),
            planner,
        }
    }
}

fn stats(element: &gst::Element) -> gst::Structure {
    element.property("stats")
}

fn field(stats: &gst::Structure, name: &str) -> u64 {
    stats.get(name).unwrap_or_default()
}
