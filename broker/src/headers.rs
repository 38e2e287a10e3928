//! Headers of stored messages: names, trace context, and what goes into them.

use std::{fmt, str::FromStr};

use async_nats::HeaderMap;
use sha2::{Digest, Sha256};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use ulid::Ulid;

use crate::{
    features::Modality,
    identity::{WindowId, excerpt},
    message::MessageId,
};

/// `rig/epoch/seq/kind/revision`: what the server's duplicate window goes by.
pub const MESSAGE_ID: &str = "Nats-Msg-Id";
/// Media type of the payload.
pub const CONTENT_TYPE: &str = "Content-Type";
/// How the payload is compressed: `zstd`, or not at all without it.
pub const CONTENT_ENCODING: &str = "Content-Encoding";
/// W3C trace context: one trace a window, from the edge to the last caption.
pub const TRACEPARENT: &str = "traceparent";
/// CloudEvents: when it was made.
pub(crate) const CE_TIME: &str = "ce-time";
/// Sparsity by stream, `modality/stream=mas` joined by `;`, so that a headers-only consumer can route.
pub const MAS: &str = "Msao-Mas";
/// On a dead letter: why the message could not be handled.
pub const REASON: &str = "Msao-Reason";
/// On a dead letter: the stream and sequence of the message, `MSAO_FEATURES/42`.
pub const ORIGIN: &str = "Msao-Origin";
/// On a dead letter: the message's own subject.
pub const ORIGIN_SUBJECT: &str = "Msao-Origin-Subject";
/// On a dead letter: how often the message was delivered.
pub const DELIVERIES: &str = "Msao-Deliveries";
/// On a dead letter whose payload had to be cut to fit: its length before, in bytes.
pub const CUT_FROM: &str = "Msao-Cut-From";

/// Bytes to leave for headers under the server's `max_payload`, which counts them.
pub const ROOM: usize = 4096;

/// W3C trace context of a window (version 00, always sampled).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
}

/// The text is not a `traceparent` of version 00.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a traceparent: expected 00-<32 hex digits>-<16 hex digits>-<2 hex digits>")]
pub struct InvalidTraceParent(String);

impl TraceParent {
    /// A new trace. The low 80 bits of its id are random.
    pub fn generate() -> Self {
        Self {
            trace: u128::from(Ulid::generate()),
            span: random_span(),
        }
    }

    /// The trace of a window, and its root: bytes 0 to 15 and 16 to 23 of the SHA-256 of `rig/epoch/seq`, so that whoever
    /// knows the window knows its trace.
    pub fn of_window(id: &WindowId) -> Self {
        let hash = Sha256::digest(id.to_string().as_bytes());
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u128::from(*byte));
        Self {
            trace: number(&hash[..16]).max(1),
            span: (number(&hash[16..24]) as u64).max(1),
        }
    }

    /// The same trace, with a new span for the next hop.
    pub fn child(self) -> Self {
        Self {
            span: random_span(),
            ..self
        }
    }

    /// The trace of a message, if its header holds one that can be read.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(TRACEPARENT)?.as_str().parse().ok()
    }

    /// The trace id: 128 bits, never 0.
    pub fn trace_id(self) -> u128 {
        self.trace
    }

    /// The span id: 64 bits, never 0.
    pub fn span_id(self) -> u64 {
        self.span
    }
}

fn random_span() -> u64 {
    // The low half of a ULID is random; 0 is the invalid span id.
    (Ulid::generate().random() as u64).max(1)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace, self.span)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || InvalidTraceParent(excerpt(text));
        let parts: Vec<&str> = text.splitn(5, '-').collect();
        let ["00", trace, span, flags] = parts[..] else {
            return Err(fail());
        };
        let hex = |text: &str, digits: usize| {
            let plain = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u128::from_str_radix(text, 16).ok()).flatten()
        };
        let trace = hex(trace, 32)
            .filter(|&trace| trace != 0)
            .ok_or_else(fail)?;
        let span = hex(span, 16).filter(|&span| span != 0).ok_or_else(fail)? as u64;
        hex(flags, 2).ok_or_else(fail)?;
        Ok(Self { trace, span })
    }
}

/// Headers of a message about a window: identity, type, trace and CloudEvents attributes (binary mode).
pub(crate) fn stored(
    id: &MessageId,
    content_type: &str,
    time: OffsetDateTime,
    trace: TraceParent,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let id_text = id.to_string();
    headers.insert(MESSAGE_ID, id_text.as_str());
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(TRACEPARENT, trace.to_string());
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", id_text);
    headers.insert("ce-type", format!("msao.v1.{}", id.kind));
    headers.insert("ce-source", format!("/msao/{}", id.window.rig));
    if let Ok(time) = time.format(&Rfc3339) {
        headers.insert(CE_TIME, time);
    }
    headers
}

/// The value of [`MAS`]. Stream names are subject-safe, so the separators are never part of them.
pub(crate) fn mas_value<'a>(streams: impl Iterator<Item = (Modality, &'a str, f32)>) -> String {
    let parts: Vec<String> = streams
        .map(|(modality, stream, mas)| format!("{modality}/{stream}={mas:.4}"))
        .collect();
    parts.join(";")
}

/// Media type of a message, as it says itself.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE);
    value.map_or_else(
        || "application/octet-stream".to_owned(),
        |value| one_line(value.as_str()),
    )
}

/// `text` made fit for a header: one line, at most 1,000 characters.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .take(1000)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_round_trips_and_children_share_the_trace() {
        let trace = TraceParent::generate();
        assert_eq!(trace.to_string().parse::<TraceParent>().unwrap(), trace);
        assert_eq!(trace.to_string().len(), 55);
        let child = trace.child();
        assert_eq!(child.trace_id(), trace.trace_id());
        assert_ne!(child, trace);
        let zero = format!("00-{}-{}-01", "0".repeat(32), "1".repeat(16));
        for bad in [
            "",
            "00-1-2-3",
            "01-aa",
            &zero,
            &format!("00-{}-{}-01", "+".repeat(32), "1".repeat(16)),
        ] {
            assert!(bad.parse::<TraceParent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_windows_trace_follows_from_its_identity() {
        let of = |text: &str| TraceParent::of_window(&text.parse().unwrap()).to_string();
        // printf car-7/01J00000000000000000000000/42 | sha256sum
        assert_eq!(
            of("car-7/01J00000000000000000000000/42"),
            "00-28c2135d48ae6da04c29a4e23177d97b-bb0fb477c80c699d-01"
        );
        assert_ne!(
            of("car-7/01J00000000000000000000000/42"),
            of("car-7/01J00000000000000000000000/43")
        );
    }

    #[test]
    fn reasons_become_one_bounded_line() {
        let line = one_line(&"bad\r\nheader: x\t".repeat(200));
        assert!(line.chars().count() == 1000 && !line.chars().any(char::is_control));
    }
}
