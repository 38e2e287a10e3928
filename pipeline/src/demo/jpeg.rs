//! What one would send without MSAO: every frame as JPEG.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow};
use gst::prelude::*;

/// Bytes of the first `frames` frames of `video` as JPEG, at the quality that `jpegenc` has by default (85).
///
/// # Errors
/// The video cannot be decoded.
pub fn bytes(video: &Path, frames: u64) -> Result<u64> {
    let line = format!(
        "filesrc name=source ! decodebin ! videoconvert ! identity eos-after={} ! jpegenc ! fakesink name=sink signal-handoffs=true sync=false",
        frames + 1
    );
    let pipeline = gst::parse::launch(&line)?;
    let pipeline = pipeline
        .downcast::<gst::Pipeline>()
        .map_err(|_| anyhow!("the line is no pipeline: {line}"))?;
    let (source, sink) = (pipeline.by_name("source"), pipeline.by_name("sink"));
    let (source, sink) = source
        .zip(sink)
        .context("the pipeline has no source or no sink")?;
    source.set_property("location", video);
    let total = Arc::new(AtomicU64::new(0));
    let sum = Arc::clone(&total);
    // Decoders may still give a frame while the end that `identity` made travels.
    let left = AtomicU64::new(frames);
    sink.connect("handoff", false, move |values| {
        let counts = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        });
        let buffer = values.get(1).map(|value| value.get::<gst::Buffer>());
        if let (Ok(_), Some(Ok(buffer))) = (counts, buffer) {
            sum.fetch_add(buffer.size() as u64, Ordering::Relaxed);
        }
        None
    });
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().context("the pipeline has no bus")?;
    let end = bus.timed_pop_filtered(
        gst::ClockTime::NONE,
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    pipeline.set_state(gst::State::Null)?;
    if let Some(gst::MessageView::Error(error)) = end.as_ref().map(|message| message.view()) {
        return Err(anyhow!("JPEG of every frame: {}", error.error()));
    }
    Ok(total.load(Ordering::Relaxed))
}
