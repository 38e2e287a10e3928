//! Dead letters: messages that could not be handled, with why.

use async_nats::HeaderMap;

use crate::{
    answers,
    consumer::Delivery,
    features::compression,
    headers::{self, TraceParent},
    message::{Kind, Message, MessageId, headers_len},
    subjects,
};

/// The dead letter for `delivery`: the message's payload, cut if it does not fit into `max_bytes`
/// with headers, under headers that say what it was and why it is here.
pub(crate) fn letter(delivery: &Delivery, reason: &str, max_bytes: usize) -> Message {
    let origin = format!("{}/{}", delivery.stream, delivery.stream_sequence);
    let (id, mut letter) = match answers::about(delivery) {
        Some((window, revision)) => {
            let id = MessageId {
                window,
                kind: Kind::Dead,
                revision,
            };
            let trace = TraceParent::of(&delivery.headers)
                .map_or_else(TraceParent::generate, TraceParent::child);
            (
                id.to_string(),
                headers::stored(
                    &id,
                    &headers::content_type(&delivery.headers),
                    delivery.published,
                    trace,
                ),
            )
        }
        None => {
            // The time tells apart messages of a stream that was made anew.
            let id = format!(
                "{origin}/{}/dead/0",
                delivery.published.unix_timestamp_nanos()
            );
            let mut letter = HeaderMap::new();
            letter.insert(headers::MESSAGE_ID, id.as_str());
            (id, letter)
        }
    };
    letter.insert(headers::REASON, headers::one_line(reason));
    letter.insert(headers::ORIGIN, origin);
    letter.insert(
        headers::ORIGIN_SUBJECT,
        headers::one_line(&delivery.subject),
    );
    letter.insert(headers::DELIVERIES, delivery.delivered.to_string());
    let mut payload = delivery.payload.clone();
    if compression::is_compressed(&payload) {
        letter.insert(headers::CONTENT_ENCODING, compression::ENCODING);
    }
    let room = max_bytes.saturating_sub(headers_len(&letter) + headers::CUT_FROM.len() + 24);
    if payload.len() > room {
        letter.insert(headers::CUT_FROM, payload.len().to_string());
        payload.truncate(room);
    }
    let subject = subjects::rig_of(&delivery.subject).map_or_else(
        || subjects::DEAD_NAMELESS.to_owned(),
        |rig| subjects::dead(&rig),
    );
    Message {
        id,
        subject,
        headers: letter,
        payload,
        span: tracing::Span::none(),
        is_caption: false,
    }
}
