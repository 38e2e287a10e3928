//! All that is stored about one window.

use async_nats::jetstream::consumer::DeliverPolicy;
use bytes::Bytes;
use time::OffsetDateTime;

use crate::{
    connect::Connection,
    identity::WindowId,
    message::{Kind, MessageId},
    scan, streams, subjects,
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
    let Some(stream) = scan::stream(connection, stream).await? else {
        return Ok(Vec::new());
    };
    let mut places = Vec::new();
    scan::heads(&stream, subject, DeliverPolicy::All, |head| {
        let named = MessageId::of(head.headers);
        if named.is_some_and(|named| named.window == *id) {
            places.push(head.sequence);
        }
    })
    .await?;
    let mut found: Vec<Stored> = Vec::new();
    for place in places {
        let Ok(message) = stream.get_raw_message(place).await else {
            continue;
        };
        let named = MessageId::of(&message.headers);
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
