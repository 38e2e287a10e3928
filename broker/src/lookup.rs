//! All that is stored about one window.

use async_nats::jetstream::{
    consumer::{AckPolicy, pull},
    context::GetStreamErrorKind,
};
use bytes::Bytes;
use futures::StreamExt;
use time::OffsetDateTime;

use crate::{
    connect::Connection,
    headers,
    identity::WindowId,
    message::{Kind, MessageId},
    streams, subjects,
};

/// A message about a window as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// What it holds, and its revision.
    pub id: MessageId,
    /// When it was stored.
    pub time: OffsetDateTime,
    /// Its payload.
    pub payload: Bytes,
}

/// The broker cannot be searched.
#[derive(Debug, thiserror::Error)]
#[error("the NATS server at {url} cannot be searched for {id}: {reason}")]
pub struct LookupError {
    id: WindowId,
    url: String,
    reason: String,
}

/// What is stored about `id`: its captions by revision, then its features; nothing if none is, or no longer. Reads the
/// headers of all messages of its rig.
///
/// # Errors
/// The server does not answer as it should.
pub async fn window(connection: &Connection, id: &WindowId) -> Result<Vec<Stored>, LookupError> {
    let mut found = Vec::new();
    for (stream, subject) in [
        (streams::CAPTIONS, subjects::captions(&id.rig)),
        (streams::FEATURES, subjects::features(&id.rig)),
    ] {
        let some = search(connection, stream, subject, id).await;
        found.extend(some.map_err(|reason| LookupError {
            id: id.clone(),
            url: connection.url().to_owned(),
            reason,
        })?);
    }
    let order = |stored: &Stored| (stored.id.kind != Kind::Caption, stored.id.revision);
    found.sort_by_key(order);
    Ok(found)
}

async fn search(
    connection: &Connection,
    stream: &str,
    subject: String,
    id: &WindowId,
) -> Result<Vec<Stored>, String> {
    let stream = match connection.jetstream().get_stream(stream).await {
        Ok(stream) => stream,
        // Nothing was ever stored.
        Err(error) if is_missing(&error.kind()) => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let wanted = pull::Config {
        ack_policy: AckPolicy::None,
        filter_subject: subject,
        headers_only: true,
        memory_storage: true,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(wanted).await;
    let consumer = consumer.map_err(|error| error.to_string())?;
    let mut left = consumer.cached_info().num_pending;
    let mut places = Vec::new();
    while left > 0 {
        let batch = consumer.fetch().max_messages(256).messages().await;
        let mut batch = batch.map_err(|error| error.to_string())?;
        let before = left;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| error.to_string())?;
            let info = message.info().map_err(|error| error.to_string())?;
            left = left.min(info.pending);
            let named = (message.headers.as_ref())
                .and_then(|headers| headers.get(headers::MESSAGE_ID))
                .and_then(|value| value.as_str().parse::<MessageId>().ok());
            if named.is_some_and(|named| named.window == *id) {
                places.push(info.stream_sequence);
            }
        }
        if left == before {
            // What there was is gone meanwhile.
            break;
        }
    }
    let mut found: Vec<Stored> = Vec::new();
    for place in places {
        let Ok(message) = stream.get_raw_message(place).await else {
            continue;
        };
        let named = (message.headers.get(headers::MESSAGE_ID))
            .and_then(|value| value.as_str().parse::<MessageId>().ok());
        // One that was stored twice is the same.
        if let Some(id) = named.filter(|named| found.iter().all(|other| other.id != *named)) {
            found.push(Stored {
                id,
                time: message.time,
                payload: message.payload,
            });
        }
    }
    Ok(found)
}

fn is_missing(error: &GetStreamErrorKind) -> bool {
    matches!(error, GetStreamErrorKind::JetStream(error)
        if error.error_code() == async_nats::jetstream::ErrorCode::STREAM_NOT_FOUND)
}
