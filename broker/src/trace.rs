//! Spans about windows, for whoever collects traces.
//!
//! Each has the target [`TARGET`] and a field `window`, from which its trace follows: see [`TraceParent::of_window`]. It is
//! within the span that it is made in, or else within what the field `traceparent` names, or else within the window's root.
//! A field `own` is what others know it by. `begun_ns` (Unix time) says when a span began that began before it was made.

use time::OffsetDateTime;
use tracing::Span;

use crate::{features::FeatureWindow, headers::TraceParent, identity::WindowId, message::Message};

/// The target of these spans.
pub const TARGET: &str = "msao::window";

/// The root: the whole window until it is encoded, from its start in the streams.
pub fn window(window: &FeatureWindow) -> Span {
    tracing::info_span!(
        target: TARGET,
        "window",
        window = %window.id,
        own = %TraceParent::of_window(&window.id),
        begun_ns = window.start_utc_ns,
        tokens_possible = window.tokens_possible,
    )
}

/// The encoder's second part on a frame or hop.
pub fn encode(id: &WindowId, frame: u64) -> Span {
    tracing::info_span!(target: TARGET, "T2", window = %id, frame)
}

/// The draft model.
pub fn draft(id: &WindowId) -> Span {
    tracing::info_span!(target: TARGET, "draft", window = %id)
}

/// From when a message is handed over until the server has stored it.
pub fn publish(message: &Message, parent: Option<TraceParent>) -> Span {
    tracing::info_span!(
        target: TARGET,
        "publish",
        window = message.window(),
        own = message.traceparent(),
        traceparent = parent.map(tracing::field::display),
        message = message.id(),
        bytes = message.wire_len(),
    )
}

/// From when the server stored a window until a worker took it up.
pub fn queue(id: &WindowId, parent: TraceParent, stored: OffsetDateTime, delivered: u64) -> Span {
    tracing::info_span!(
        target: TARGET,
        "queue",
        window = %id,
        traceparent = %parent,
        begun_ns = stored.unix_timestamp_nanos() as i64,
        delivered,
    )
}

/// The full model, and the wait for it.
pub fn verify(id: &WindowId, parent: TraceParent) -> Span {
    tracing::info_span!(target: TARGET, "verify", window = %id, traceparent = %parent)
}
