//! Pulling messages through a consumer of the server's, across losses of the connection.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::{PullConsumer, pull::Batch},
};
use futures::StreamExt;

use crate::{
    connect::{Connection, Loss},
    deliver::pause,
};

/// How long the server keeps one request for messages: also how long stopping takes at most.
pub(crate) const EXPIRES: Duration = Duration::from_secs(1);

/// Asks for messages.
pub(crate) struct Pull {
    connection: Connection,
    /// Watched since the consumer was opened: it may be gone with the connection.
    loss: Loss,
    consumer: Option<PullConsumer>,
    batch: Option<Batch>,
    failures: u32,
}

impl Pull {
    pub fn new(connection: Connection) -> Self {
        Self {
            loss: connection.watch_loss(),
            connection,
            consumer: None,
            batch: None,
            failures: 0,
        }
    }

    /// Whether [`use_consumer`](Self::use_consumer) must come before [`next`](Self::next).
    pub fn needs_consumer(&self) -> bool {
        self.consumer.is_none()
    }

    pub fn use_consumer(&mut self, consumer: PullConsumer) {
        self.loss = self.connection.watch_loss();
        self.consumer = Some(consumer);
    }

    /// Forgets the consumer after a fault, says so once, and waits a little.
    pub async fn fail(&mut self, reason: &str) {
        (self.consumer, self.batch) = (None, None);
        if self.failures == 0 {
            tracing::warn!("messages cannot be pulled, trying again: {reason}");
        }
        tokio::time::sleep(pause(self.failures)).await;
        self.failures += 1;
    }

    /// The next message, or `None` if none came within [`EXPIRES`] or a fault came first. If a request must be made, it is
    /// for at most `most` messages, which then come one by one; with 0 none is made.
    pub async fn next(&mut self, most: usize) -> Option<jetstream::Message> {
        let next = tokio::select! {
            biased;
            next = next_of_batch(&mut self.consumer, &mut self.batch, most) => next,
            // The connection's own log line says it.
            () = self.loss.lost() => {
                (self.consumer, self.batch) = (None, None);
                return None;
            }
        };
        match next {
            Ok(message) => {
                self.failures = 0;
                message
            }
            Err(reason) => {
                self.fail(&reason).await;
                None
            }
        }
    }
}

async fn next_of_batch(
    consumer: &mut Option<PullConsumer>,
    current: &mut Option<Batch>,
    most: usize,
) -> Result<Option<jetstream::Message>, String> {
    let batch = match current {
        Some(batch) => batch,
        None if most == 0 => return Ok(None),
        None => {
            // Put back once the request is made: given up half-way, a request that nobody reads could
            // swallow messages, and the consumer must be opened again.
            let Some(taken) = consumer.take() else {
                return Ok(None);
            };
            let request = taken.batch().max_messages(most).expires(EXPIRES);
            let batch = request
                .messages()
                .await
                .map_err(|error| error.to_string())?;
            *consumer = Some(taken);
            current.insert(batch)
        }
    };
    match batch.next().await {
        Some(Ok(message)) => Ok(Some(message)),
        Some(Err(error)) => Err(error.to_string()),
        None => {
            *current = None;
            Ok(None)
        }
    }
}
