//! The `stats` of a pipeline's elements as the edge's status.

use anyhow::{Context, Result};
use broker::{Rig, Status};
use gst::prelude::*;
use time::OffsetDateTime;
use ulid::Ulid;

use super::launch;

/// Reads the status of a running pipeline of `cameras` cameras.
pub struct Reader {
    window: gst::Element,
    sink: gst::Element,
    mas: Vec<gst::Element>,
    status: Status,
}

impl Reader {
    /// The elements that are asked, in `pipeline`, which has started.
    ///
    /// # Errors
    /// An element of the line is missing, or the window element has no epoch yet.
    pub fn new(pipeline: &gst::Bin, cameras: usize, rig: Rig) -> Result<Self> {
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
        let provider: Option<String> = stats(&window).get("provider").unwrap_or_default();
        let provider = provider.context("the window element has not started")?;
        Ok(Self {
            window,
            sink: named(launch::SINK)?,
            mas: (0..cameras)
                .map(|index| named(&launch::mas(index)))
                .collect::<Result<_>>()?,
            status: Status::new(rig, epoch, provider),
        })
    }

    /// The status of now.
    pub fn read(&mut self) -> &Status {
        let frames = self.mas.iter().map(|mas| field(&stats(mas), "frames"));
        let (window, sink) = (stats(&self.window), stats(&self.sink));
        let status = &mut self.status;
        status.time = OffsetDateTime::now_utc();
        status.frames_in = frames.sum();
        status.frames_kept = field(&window, "frames-kept");
        status.windows = field(&window, "windows");
        status.tokens_kept = field(&window, "tokens-kept");
        status.tokens_possible = field(&window, "tokens-possible");
        let messages = &mut status.messages;
        messages.published = field(&sink, "published");
        messages.acknowledged = field(&sink, "acknowledged");
        messages.retried = field(&sink, "retried");
        messages.dropped = field(&sink, "dropped");
        messages.pending = field(&sink, "pending");
        messages.bytes_sent = field(&sink, "bytes");
        status
    }
}

fn stats(element: &gst::Element) -> gst::Structure {
    element.property("stats")
}

fn field(stats: &gst::Structure, name: &str) -> u64 {
    stats.get(name).unwrap_or_default()
}
