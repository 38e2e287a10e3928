//! Publishing until acknowledged.

use std::{fmt, sync::Arc, time::Duration};

use async_nats::jetstream::{context::PublishErrorKind, message::PublishMessage};
use tokio::sync::Mutex;

use crate::{
    connect::Connection,
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
#[error("message {id} takes {bytes} bytes, more than the NATS server takes: raise its max_payload")]
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
enum Failure {
    Lost,
    Undeliverable,
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

    /// Publishes `message` again and again under its id until the server acknowledges it as stored;
    /// a caption also becomes its rig's latest. `on_retry` is called before each further attempt.
    /// Dropping the future gives up.
    ///
    /// # Errors
    /// The message is larger than the server takes.
    pub async fn deliver(
        &self,
        message: &Message,
        on_retry: impl Fn(),
    ) -> Result<(), Undeliverable> {
        let mut stored = false;
        let mut failures = 0;
        loop {
            self.connection.connected().await;
            let mut loss = self.connection.watch_loss();
            let attempt = tokio::select! {
                attempt = self.attempt(message, &mut stored) => attempt,
                () = loss.lost() => Err(Failure::Lost),
            };
            match attempt {
                Ok(()) => return Ok(()),
                Err(Failure::Undeliverable) => {
                    return Err(Undeliverable {
                        id: message.id.clone(),
                        bytes: message.wire_len(),
                    });
                }
                // The connection's own log line says it.
                Err(Failure::Lost) => tracing::debug!(
                    id = message.id,
                    "connection lost before the acknowledgement"
                ),
                Err(Failure::Other(reason)) => {
                    if failures == 0 {
                        tracing::warn!(id = message.id, "not stored yet, trying again: {reason}");
                    }
                    tokio::time::sleep(pause(failures)).await;
                    failures += 1;
                }
            }
            on_retry();
        }
    }

    async fn attempt(&self, message: &Message, stored: &mut bool) -> Result<(), Failure> {
        let (latest, set_up) = self.latest().await?;
        let attempt = self.attempt_on(&latest, message, stored).await;
        if let Err(Failure::Other(_)) = attempt {
            self.forget(set_up).await;
        }
        attempt
    }

    async fn attempt_on(
        &self,
        latest: &Latest,
        message: &Message,
        stored: &mut bool,
    ) -> Result<(), Failure> {
        if !*stored {
            self.observe(message).await?;
            *stored = true;
        }
        if message.is_caption
            && let Ok(id) = message.id.parse()
        {
            match latest.advance(&id, &message.payload).await {
                Ok(()) => {}
                Err(LatestError::Caption(error)) => {
                    tracing::error!(id = message.id, "not made the latest: {error}")
                }
                Err(error) => return Err(Failure::Other(error.to_string())),
            }
        }
        Ok(())
    }

    /// Stores the message. Dropped half-way, the attempt is lost.
    async fn observe(&self, message: &Message) -> Result<(), Failure> {
        let mut flight = self.observer.as_deref().map(|observer| {
            observer.sent(&message.id, message.wire_len());
            Flight {
                observer,
                id: &message.id,
                stored: false,
            }
        });
        let stored = self.store(message).await;
        if let Some(flight) = &mut flight {
            flight.stored = stored.is_ok();
        }
        stored
    }

    async fn store(&self, message: &Message) -> Result<(), Failure> {
        let publish = PublishMessage::build()
            .headers(message.headers.clone())
            .payload(message.payload.clone());
        let acknowledged = async {
            let sent = self
                .connection
                .jetstream()
                .send_publish(message.subject.clone(), publish)
                .await;
            sent?.await
        };
        match acknowledged.await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Err(Failure::Undeliverable)
            }
            Err(error) => Err(Failure::Other(error.to_string())),
        }
    }

    /// The latest captions, once all streams are set up, and the number of that set-up.
    async fn latest(&self) -> Result<(Arc<Latest>, u64), Failure> {
        let mut bucket = self.bucket.lock().await;
        if let Some(latest) = &bucket.latest {
            return Ok((Arc::clone(latest), bucket.set_ups));
        }
        let set_up = streams::set_up(&self.connection, &self.streams).await;
        let store = set_up.map_err(|error| Failure::Other(error.to_string()))?;
        let latest = Arc::new(Latest::new(store));
        bucket.latest = Some(Arc::clone(&latest));
        bucket.set_ups += 1;
        Ok((latest, bucket.set_ups))
    }

    /// After a failure a new set-up may help: a server that lost its store has no streams. Only the set-up that failed is
    /// forgotten: all that wait through an outage fail one by one, and the link is not to carry a set-up for each.
    async fn forget(&self, set_up: u64) {
        let mut bucket = self.bucket.lock().await;
        if bucket.set_ups == set_up {
            bucket.latest = None;
        }
    }
}

/// A message on the link.
struct Flight<'a> {
    observer: &'a dyn Observer,
    id: &'a str,
    stored: bool,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.stored {
            self.observer.stored(self.id);
        } else {
            self.observer.lost(self.id);
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
