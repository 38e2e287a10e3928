//! Reading the headers of what a stream holds.

use async_nats::{
    HeaderMap,
    jetstream::{
        consumer::{AckPolicy, DeliverPolicy, pull},
        context::GetStreamErrorKind,
        stream::Stream,
    },
};
use futures::StreamExt;
use time::OffsetDateTime;

use crate::connect::Connection;

/// A stored message without its payload.
pub(crate) struct Head<'a> {
    pub sequence: u64,
    pub subject: &'a str,
    pub headers: &'a HeaderMap,
    /// When it was stored.
    pub time: OffsetDateTime,
}

/// The stream, or `None` if there is none: nothing was ever stored.
pub(crate) async fn stream(connection: &Connection, name: &str) -> Result<Option<Stream>, String> {
    match connection.jetstream().get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if is_missing(&error.kind()) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Gives `each` the messages of `subject` from `start` on, in the order of storage.
pub(crate) async fn heads(
    stream: &Stream,
    subject: String,
    start: DeliverPolicy,
    mut each: impl FnMut(Head<'_>),
) -> Result<(), String> {
    let wanted = pull::Config {
        deliver_policy: start,
        ack_policy: AckPolicy::None,
        filter_subject: subject,
        headers_only: true,
        memory_storage: true,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(wanted).await;
    let consumer = consumer.map_err(|error| error.to_string())?;
    let mut left = consumer.cached_info().num_pending;
    let none = HeaderMap::new();
    while left > 0 {
        let batch = consumer.fetch().max_messages(256).messages().await;
        let mut batch = batch.map_err(|error| error.to_string())?;
        let before = left;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| error.to_string())?;
            let info = message.info().map_err(|error| error.to_string())?;
            left = left.min(info.pending);
            each(Head {
                sequence: info.stream_sequence,
                subject: &message.subject,
                headers: message.headers.as_ref().unwrap_or(&none),
                time: info.published,
            });
        }
        if left == before {
            // What there was is gone meanwhile.
            break;
        }
    }
    Ok(())
}

fn is_missing(error: &GetStreamErrorKind) -> bool {
    matches!(error, GetStreamErrorKind::JetStream(error)
        if error.error_code() == async_nats::jetstream::ErrorCode::STREAM_NOT_FOUND)
}
