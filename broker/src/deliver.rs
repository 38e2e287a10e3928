//! Publishing until acknowledged.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use async_nats::jetstream::{
    self, ErrorCode,
    context::{PublishAckFuture, PublishError, PublishErrorKind},
    message::PublishMessage,
};
use tokio::sync::Mutex;

use crate::{
    connect::{Connection, Loss},
    latest::{Latest, LatestError},
    message::Message,
    streams::{self, StreamsConfig},
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long to wait after the `failures`th failure in a row, counted from 0.
pub(crate) fn pause(failures: u32) -> Duration {
    LONGEST_PAUSE.min(FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)))
}

/// A message that no amount of trying will deliver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "message {id} takes {bytes} bytes, more than the NATS server takes: raise its max_payload, or the stream's max_msg_size"
)]
pub struct Undeliverable {
    /// The message.
    pub id: String,
    /// Its length with headers.
    pub bytes: usize,
}

/// Hears what becomes of each message on the link, from the thread that sends: it must not block.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A message of so many bytes, headers included, is handed to the link, for the first time or again.
    fn sent(&self, id: &str, bytes: usize);
    /// The server acknowledged it as stored.
    fn stored(&self, id: &str);
    /// This attempt came to nothing. If the message is tried again it is sent again.
    fn lost(&self, id: &str);
}

/// Publishes messages, and sets up the streams they go to when it first can, or when they are gone.
#[derive(Debug)]
pub struct Deliverer {
    connection: Connection,
    streams: StreamsConfig,
    bucket: Mutex<Bucket>,
    observer: Option<Arc<dyn Observer>>,
}

/// The latest captions, and how often streams were set up.
#[derive(Debug, Default)]
struct Bucket {
    latest: Option<Arc<Latest>>,
    set_ups: u64,
}

/// Why one attempt failed.
pub(crate) enum Failure {
    /// The connection was lost before the acknowledgement: its own log line says it.
    Lost,
    /// No attempt will do better.
    Undeliverable(Undeliverable),
    /// Another attempt may do better.
    Other(String),
}

impl Deliverer {
    /// Publishes on `connection`, to streams as in `streams`.
    pub fn new(connection: Connection, streams: StreamsConfig) -> Self {
        Self {
            connection,
            streams,
            bucket: Mutex::default(),
            observer: None,
        }
    }

    /// The same, with somebody who hears of each message.
    #[must_use]
    pub fn observed(self, observer: Arc<dyn Observer>) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Publishes `message` again and again under its id until the server acknowledges it as stored; a caption also becomes
    /// its rig's latest. Dropping the future gives up.
    ///
    /// # Errors
    /// The message is larger than the server takes.
    pub async fn deliver(&self, message: &Message) -> Result<(), Undeliverable> {
        let mut stored = false;
        let mut failures = 0;
        loop {
            match self.attempt(message, &mut stored).await {
                Ok(()) => return Ok(()),
                Err(Failure::Undeliverable(error)) => return Err(error),
                Err(Failure::Lost) => {}
                Err(Failure::Other(reason)) => {
                    if failures == 0 {
                        tracing::warn!(id = message.id, "not stored yet, trying again: {reason}");
                    }
                    tokio::time::sleep(pause(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    /// One attempt at it.
    async fn attempt(&self, message: &Message, stored: &mut bool) -> Result<(), Failure> {
        let sent = self.send(message, *stored).await?;
        self.settle(message, sent, stored).await
    }

    /// The first half of an attempt, as soon as there is a connection: hands the message to the link, unless an earlier
    /// attempt has `stored` it.
    pub(crate) async fn send(&self, message: &Message, stored: bool) -> Result<Sent, Failure> {
        self.connection.connected().await;
        let mut loss = self.connection.watch_loss();
        let send = async {
            let (latest, set_up) = self.latest().await?;
            let flight = (!stored).then(|| self.hand_over(message));
            let (flight, acknowledgement) = match flight {
                None => (None, None),
                Some((flight, sent)) => match sent.await {
                    Ok(acknowledgement) => (flight, Some(acknowledgement)),
                    Err(error) => {
                        let failure = failure(message, &error);
                        self.forget_after(&failure, set_up).await;
                        return Err(failure);
                    }
                },
            };
            Ok((latest, set_up, flight, acknowledgement))
        };
        let (latest, set_up, flight, acknowledgement) =
            unless_lost(message, &mut loss, send).await?;
        Ok(Sent {
            latest,
            set_up,
            loss,
            flight,
            acknowledgement,
        })
    }

    fn hand_over(
        &self,
        message: &Message,
    ) -> (
        Option<Flight>,
        impl Future<Output = Result<PublishAckFuture, PublishError>>,
    ) {
        let flight = self.observer.as_ref().map(|observer| {
            observer.sent(&message.id, message.wire_len());
            Flight {
                observer: Arc::clone(observer),
                id: message.id.clone(),
                stored: false,
            }
        });
        let publish = PublishMessage::build()
            .headers(message.headers.clone())
            .payload(message.payload.clone());
        let jetstream = self.connection.jetstream();
        (
            flight,
            jetstream.send_publish(message.subject.clone(), publish),
        )
    }

    /// The second half: waits until the server has the message, which `stored` then says, and makes a caption the latest.
    /// Dropped half-way, the attempt is lost.
    pub(crate) async fn settle(
        &self,
        message: &Message,
        sent: Sent,
        stored: &mut bool,
    ) -> Result<(), Failure> {
        let Sent {
            latest,
            set_up,
            mut loss,
            mut flight,
            acknowledgement,
        } = sent;
        let settle = async {
            if let Some(acknowledgement) = acknowledgement {
                acknowledgement
                    .await
                    .map_err(|error| failure(message, &error))?;
                *stored = true;
            }
            if let Some(flight) = &mut flight {
                flight.stored = true;
            }
            drop(flight);
            advance(&latest, message).await
        };
        let settled = unless_lost(message, &mut loss, settle).await;
        if let Err(failure) = &settled {
            self.forget_after(failure, set_up).await;
        }
        settled
    }

    /// The latest captions, once all streams are set up, and the number of that set-up.
    async fn latest(&self) -> Result<(Arc<Latest>, u64), Failure> {
        let mut bucket = self.bucket.lock().await;
        if let Some(latest) = &bucket.latest {
            return Ok((Arc::clone(latest), bucket.set_ups));
        }
        // Rare, and larger than all the rest.
        let set_up = Box::pin(streams::set_up(&self.connection, &self.streams)).await;
        let store = set_up.map_err(|error| Failure::Other(error.to_string()))?;
        let latest = Arc::new(Latest::new(store));
        bucket.latest = Some(Arc::clone(&latest));
        bucket.set_ups += 1;
        Ok((latest, bucket.set_ups))
    }

    /// After a failure a new set-up may help: a server that lost its store has no streams. Only the set-up that failed is
    /// forgotten: all that wait through an outage fail one by one, and the link is not to carry a set-up for each.
    async fn forget_after(&self, failure: &Failure, set_up: u64) {
        if let Failure::Other(_) = failure {
            let mut bucket = self.bucket.lock().await;
            if bucket.set_ups == set_up {
                bucket.latest = None;
            }
        }
    }
}

/// A message on the link.
pub(crate) struct Sent {
    latest: Arc<Latest>,
    set_up: u64,
    loss: Loss,
    flight: Option<Flight>,
    /// None if an earlier attempt has stored it.
    acknowledgement: Option<PublishAckFuture>,
}

/// Somebody hears what becomes of it.
struct Flight {
    observer: Arc<dyn Observer>,
    id: String,
    stored: bool,
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.stored {
            self.observer.stored(&self.id);
        } else {
            self.observer.lost(&self.id);
        }
    }
}

async fn advance(latest: &Latest, message: &Message) -> Result<(), Failure> {
    if message.is_caption
        && let Ok(id) = message.id.parse()
    {
        match latest.advance(&id, &message.payload).await {
            Ok(()) => {}
            // Its caption is stored all the same, and what comes behind it is not to wait.
            Err(error @ (LatestError::Caption(_) | LatestError::NoRoom { .. })) => {
                tracing::error!(id = message.id, "not made the latest: {error}")
            }
            Err(error) => return Err(Failure::Other(error.to_string())),
        }
    }
    Ok(())
}

fn failure(message: &Message, error: &PublishError) -> Failure {
    let code = refusal(error).map(jetstream::Error::error_code);
    let is_too_large = error.kind() == PublishErrorKind::MaxPayloadExceeded
        || code == Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM);
    match is_too_large {
        true => Failure::Undeliverable(Undeliverable {
            id: message.id.clone(),
            bytes: message.wire_len(),
        }),
        false => Failure::Other(error.to_string()),
    }
}

/// What JetStream itself said, if that is behind `error`.
pub(crate) fn refusal<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a jetstream::Error> {
    let own = error.downcast_ref();
    own.or_else(|| refusal(error.source()?))
}

async fn unless_lost<T>(
    message: &Message,
    loss: &mut Loss,
    attempt: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        result = attempt => result,
        () = loss.lost() => {
            tracing::debug!(id = message.id, "connection lost before the acknowledgement");
            Err(Failure::Lost)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(pause(0), FIRST_PAUSE);
        assert_eq!(pause(1), FIRST_PAUSE * 2);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
