//! Pulling messages through a consumer of the server's, across losses of the connection.

use std::time::Duration;

use async_nats::{
    HeaderMap, StatusCode, Subject, Subscriber,
    jetstream::{
        self,
        consumer::{PullConsumer, pull::BatchConfig},
    },
};
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::{
    connect::{Connection, Loss},
    deliver::pause,
};

/// How long the server keeps one request for messages at most: also how long stopping takes.
pub(crate) const EXPIRES: Duration = Duration::from_secs(1);
/// How much later than that the server may say that a request is over.
const LATE: Duration = Duration::from_secs(5);

/// Asks for messages. All requests share one inbox, so messages come in the server's order, and the next ones are asked
/// for before the last have come. Every future may be dropped without losing a message.
pub(crate) struct Pull {
    connection: Connection,
    /// A request is for at least so many messages, unless nothing else is asked for.
    least: usize,
    /// How long the server keeps a request.
    expires: Duration,
    /// Watched since the consumer was opened: it may be gone with the connection.
    loss: Loss,
    source: Option<Source>,
    failures: u32,
}

struct Source {
    consumer: PullConsumer,
    inbox: Subject,
    messages: Subscriber,
    /// How many messages may still come of the requests made.
    asked: usize,
    /// When the last of them is over.
    until: Instant,
}

impl Pull {
    /// The server keeps each request for `expires`, at most [`EXPIRES`].
    pub fn new(connection: Connection, least: usize, expires: Duration) -> Self {
        Self {
            loss: connection.watch_loss(),
            connection,
            least: least.max(1),
            expires: expires.min(EXPIRES),
            source: None,
            failures: 0,
        }
    }

    /// Whether [`use_consumer`](Self::use_consumer) must come before [`next`](Self::next).
    pub fn needs_consumer(&self) -> bool {
        self.source.is_none()
    }

    /// Pulls through `consumer` from now on.
    pub async fn use_consumer(&mut self, consumer: PullConsumer) {
        self.loss = self.connection.watch_loss();
        let inbox = Subject::from(self.connection.client().new_inbox());
        match self.connection.client().subscribe(inbox.clone()).await {
            Ok(messages) => {
                self.source = Some(Source {
                    consumer,
                    inbox,
                    messages,
                    asked: 0,
                    until: Instant::now(),
                });
            }
            Err(error) => self.fail(&error.to_string()).await,
        }
    }

    /// Forgets the consumer after a fault, says so once, and waits a little.
    pub async fn fail(&mut self, reason: &str) {
        self.source = None;
        if self.failures == 0 {
            tracing::warn!("messages cannot be pulled, trying again: {reason}");
        }
        let failures = self.failures;
        self.failures += 1;
        tokio::time::sleep(pause(failures)).await;
    }

    /// How many messages may still come of the requests made.
    pub fn asked(&self) -> usize {
        self.source.as_ref().map_or(0, |source| source.asked)
    }

    /// The next message, or `None` if a request ended without one or a fault came first. Asks for more as long as at most
    /// `most` may come; with 0 nothing is asked for.
    pub async fn next(&mut self, most: usize) -> Option<jetstream::Message> {
        let (least, expires) = (self.least, self.expires);
        let source = self.source.as_mut()?;
        let next = tokio::select! {
            biased;
            next = source.next(most, least, expires) => next,
            // The connection's own log line says it.
            () = self.loss.lost() => {
                self.source = None;
                return None;
            }
        };
        match next {
            Ok(message) => {
                self.failures = 0;
                let context = self.connection.jetstream();
                message.map(|message| jetstream::Message {
                    message,
                    context: context.clone(),
                })
            }
            Err(reason) => {
                self.fail(&reason).await;
                None
            }
        }
    }
}

impl Source {
    async fn next(
        &mut self,
        most: usize,
        least: usize,
        expires: Duration,
    ) -> Result<Option<async_nats::Message>, String> {
        let more = most.saturating_sub(self.asked);
        if more >= least || (more > 0 && self.asked == 0) {
            self.ask(more, expires).await?;
        }
        if self.asked == 0 {
            return Ok(None);
        }
        let Ok(next) = timeout_at(self.until + LATE, self.messages.next()).await else {
            self.asked = 0;
            return Ok(None);
        };
        let message = next.ok_or("the subscription ended")?;
        match message.status {
            None | Some(StatusCode::OK) => {
                self.asked = self.asked.saturating_sub(1);
                Ok(Some(message))
            }
            // A request is over.
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                let left = message.headers.as_ref().and_then(pending);
                self.asked = self.asked.saturating_sub(left.unwrap_or(self.asked));
                Ok(None)
            }
            Some(StatusCode::IDLE_HEARTBEAT) => Ok(None),
            Some(status) => {
                let why = message.description.unwrap_or_default();
                Err(format!("status {status} {why}"))
            }
        }
    }

    async fn ask(&mut self, messages: usize, expires: Duration) -> Result<(), String> {
        // Counted first: dropped half-way, the request may be on its way.
        self.asked += messages;
        self.until = Instant::now() + expires;
        let request = BatchConfig {
            batch: messages,
            expires: Some(expires),
            ..BatchConfig::default()
        };
        let sent = self.consumer.request_batch(request, self.inbox.clone());
        sent.await.map_err(|error| error.to_string())
    }
}

/// Of a request that is over, how many messages it was for beyond those that came.
fn pending(headers: &HeaderMap) -> Option<usize> {
    headers.get("Nats-Pending-Messages")?.as_str().parse().ok()
}
