//! A message for JetStream: where it goes, what it says, and the id that makes retrying safe.

use std::{fmt, str::FromStr};

use async_nats::HeaderMap;
use bytes::Bytes;
use tracing::Span;

use crate::{
    caption::{Caption, InvalidCaption},
    features::{FeatureWindow, compression, utc},
    headers::{self, TraceParent},
    identity::{InvalidWindowId, WindowId, excerpt},
    subjects,
};

/// What a message about a window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The window's features: Arrow IPC.
    Features,
    /// A caption of the window: JSON.
    Caption,
    /// A message about the window that could not be handled.
    Dead,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Features => "features",
            Self::Caption => "caption",
            Self::Dead => "dead",
        })
    }
}

/// The identity of a message, written `rig/epoch/seq/kind/revision`: the value of `Nats-Msg-Id`.
///
/// Sent again under the same id, a message is stored once within the stream's duplicate window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// The window that the message is about.
    pub window: WindowId,
    /// What it holds.
    pub kind: Kind,
    /// Counts what was said about the window, from 0. Of features, how often they were replayed.
    pub revision: u32,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.window, self.kind, self.revision)
    }
}

impl MessageId {
    /// The identity in a message's headers, if they hold a valid one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(headers::MESSAGE_ID)?.as_str().parse().ok()
    }
}

/// The text is not the identity of a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessageId {
    /// The part before the kind is not the identity of a window.
    #[error(transparent)]
    Window(#[from] InvalidWindowId),
    /// Another part is missing or wrong.
    #[error(
        "'{0}' is not a message identity: expected rig/epoch/seq/kind/revision, the kind features, caption or dead"
    )]
    Shape(String),
}

impl FromStr for MessageId {
    type Err = InvalidMessageId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || InvalidMessageId::Shape(excerpt(text));
        let mut parts = text.rsplitn(3, '/');
        let revision = parts
            .next()
            .and_then(|part| part.parse().ok())
            .ok_or_else(shape)?;
        let kind = match parts.next().ok_or_else(shape)? {
            "features" => Kind::Features,
            "caption" => Kind::Caption,
            "dead" => Kind::Dead,
            _ => return Err(shape()),
        };
        let window = parts.next().ok_or_else(shape)?.parse()?;
        Ok(Self {
            window,
            kind,
            revision,
        })
    }
}

/// A message ready to be published.
#[derive(Clone, Debug)]
pub struct Message {
    /// The value of its `Nats-Msg-Id` header.
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    /// Open from when it is handed over until it is stored.
    pub(crate) span: Span,
    /// Whether, once stored, it is to become its rig's latest caption.
    pub(crate) is_caption: bool,
}

impl Message {
    /// A window's features. `payload` is what [`FeatureWindow::encode`] gave for `window`, [packed](crate::Compression)
    /// or not.
    pub fn features(window: &FeatureWindow, payload: impl Into<Bytes>, trace: TraceParent) -> Self {
        Self::features_again(window, payload, trace, 0)
    }

    /// The same after so many replays: the server does not take it for the message before.
    pub(crate) fn features_again(
        window: &FeatureWindow,
        payload: impl Into<Bytes>,
        trace: TraceParent,
        replays: u32,
    ) -> Self {
        let id = MessageId {
            window: window.id.clone(),
            kind: Kind::Features,
            revision: replays,
        };
        let time = utc(window.closed_utc_ns);
        let payload = payload.into();
        let mut headers = headers::stored(&id, FeatureWindow::CONTENT_TYPE, time, trace);
        if compression::is_compressed(&payload) {
            headers.insert(headers::CONTENT_ENCODING, compression::ENCODING);
        }
        let mas = window
            .modalities
            .iter()
            .map(|m| (m.modality, m.stream.as_str(), m.mas));
        headers.insert(headers::MAS, headers::mas_value(mas));
        Self {
            id: id.to_string(),
            subject: subjects::features(&window.id.rig),
            headers,
            payload,
            span: Span::none(),
            is_caption: false,
        }
    }

    /// A caption. Once stored it also becomes the rig's latest, unless a newer one is there.
    ///
    /// # Errors
    /// The caption holds a value that its schema does not allow, such as NaN.
    pub fn caption(caption: &Caption, trace: TraceParent) -> Result<Self, InvalidCaption> {
        let id = MessageId {
            window: caption.id.clone(),
            kind: Kind::Caption,
            revision: caption.revision,
        };
        let payload = caption.encode()?;
        let mut headers = headers::stored(&id, Caption::CONTENT_TYPE, caption.time, trace);
        let mas = caption
            .mas
            .iter()
            .map(|m| (m.modality, m.stream.as_str(), m.mas));
        headers.insert(headers::MAS, headers::mas_value(mas));
        Ok(Self {
            id: id.to_string(),
            subject: subjects::captions(&caption.id.rig),
            headers,
            payload: payload.into(),
            span: Span::none(),
            is_caption: true,
        })
    }

    /// The value of its `Nats-Msg-Id` header.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The window that it is about, as its id has it: `rig/epoch/seq`.
    pub(crate) fn window(&self) -> Option<&str> {
        self.id.rsplitn(3, '/').nth(2)
    }

    /// The value of its `traceparent` header.
    pub(crate) fn traceparent(&self) -> Option<&str> {
        Some(self.headers.get(headers::TRACEPARENT)?.as_str())
    }

    /// Where it goes.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Length of the payload in bytes.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// Bytes that the server counts against `max_payload`: payload and encoded headers.
    pub fn wire_len(&self) -> usize {
        self.payload.len() + headers_len(&self.headers)
    }
}

/// Length of encoded headers: `NATS/1.0\r\n`, then `name: value\r\n` each, then `\r\n`.
pub(crate) fn headers_len(headers: &HeaderMap) -> usize {
    let lines = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values
            .iter()
            .map(move |value| name.len() + value.as_str().len() + 4)
    });
    "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_id_round_trips() {
        let text = "car-7/01J00000000000000000000000/42/caption/1";
        let id: MessageId = text.parse().unwrap();
        assert_eq!(
            (id.kind, id.revision, id.window.seq),
            (Kind::Caption, 1, 42)
        );
        assert_eq!(id.to_string(), text);
        for bad in [
            "",
            "1",
            "caption/1",
            "car/x/1/caption/1",
            "car-7/01J00000000000000000000000/42/sound/1",
        ] {
            assert!(bad.parse::<MessageId>().is_err(), "{bad}");
        }
    }
}
