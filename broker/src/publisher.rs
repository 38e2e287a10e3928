//! A publisher for threads that must not wait for the network: messages go into a bounded queue,
//! and a task sends them, many at a time, each until it is acknowledged.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::{
    connect::Connection,
    deliver::{Deliverer, Failure, Observer, pause},
    identity::excerpt,
    message::Message,
    queue::Queue,
    streams::StreamsConfig,
    trace,
};

/// What to do with a message when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFull {
    /// Wait for room.
    #[default]
    Block,
    /// Drop the oldest message that waits.
    DropOldest,
    /// Drop the message itself.
    DropNewest,
}

impl fmt::Display for OnFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "block",
            Self::DropOldest => "drop-oldest",
            Self::DropNewest => "drop-newest",
        })
    }
}

/// The text is not the name of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown on-full policy '{0}': use block, drop-oldest or drop-newest")]
pub struct UnknownPolicy(String);

impl FromStr for OnFull {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "block" => Ok(Self::Block),
            "drop-oldest" => Ok(Self::DropOldest),
            "drop-newest" => Ok(Self::DropNewest),
            _ => Err(UnknownPolicy(excerpt(name))),
        }
    }
}

/// The publisher's bounds. Memory is at most `max_bytes` and `in_flight` messages more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublisherConfig {
    /// Most messages that wait, at least 1.
    pub max_messages: usize,
    /// Most bytes that wait, headers included.
    pub max_bytes: usize,
    /// Most messages sent and not yet acknowledged, 1 to 1024.
    pub in_flight: usize,
    /// What to do when no more can wait.
    pub on_full: OnFull,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            max_messages: 1024,
            max_bytes: 64 << 20,
            in_flight: 64,
            on_full: OnFull::Block,
        }
    }
}

/// What became of the messages. At any time `published = acknowledged + dropped + pending`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Handed to the publisher.
    pub published: u64,
    /// Stored, as the server acknowledged.
    pub acknowledged: u64,
    /// Attempts beyond a message's first.
    pub retried: u64,
    /// Lost: by policy when the queue was full, or larger than the server takes.
    pub dropped: u64,
    /// Waiting or on their way.
    pub pending: u64,
    /// Bytes of acknowledged messages, headers included.
    pub bytes_sent: u64,
}

/// A message was not taken. It is not counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Waiting for room was cancelled.
    #[error("publishing was cancelled while the queue was full")]
    Cancelled,
    /// The message alone is larger than all that may wait.
    #[error(
        "message {id} takes {bytes} bytes, more than the publisher's max_bytes of {max}: raise it"
    )]
    TooLarge {
        /// The message.
        id: String,
        /// Its length with headers.
        bytes: usize,
        /// The bound.
        max: usize,
    },
}

/// The publisher's bounds cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("publisher: {0}")]
pub struct InvalidConfig(&'static str);

/// Messages were still pending when waiting for them ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} messages are not acknowledged yet")]
pub struct Pending(pub u64);

/// Publishes messages from any thread. Dropped, it gives up what is pending, and says so: call
/// [`flush`](Self::flush) first.
pub struct Publisher {
    queue: Arc<Queue>,
    sender: JoinHandle<()>,
}

impl Publisher {
    /// Starts to publish on `connection`. Streams are set up as in `streams` as soon as the server
    /// is connected. Must be called within a tokio runtime, which must outlive the publisher.
    ///
    /// # Errors
    /// A bound is 0 or too large.
    pub fn start(
        connection: Connection,
        streams: StreamsConfig,
        config: PublisherConfig,
    ) -> Result<Self, InvalidConfig> {
        Self::run(Deliverer::new(connection, streams), config)
    }

    /// The same, with somebody who hears what becomes of each message on the link.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_observed(
        connection: Connection,
        streams: StreamsConfig,
        config: PublisherConfig,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, InvalidConfig> {
        Self::run(
            Deliverer::new(connection, streams).observed(observer),
            config,
        )
    }

    fn run(deliverer: Deliverer, config: PublisherConfig) -> Result<Self, InvalidConfig> {
        if config.max_messages == 0 || config.max_bytes == 0 {
            return Err(InvalidConfig("max_messages and max_bytes are at least 1"));
        }
        if !(1..=1024).contains(&config.in_flight) {
            return Err(InvalidConfig("in_flight is 1 to 1024"));
        }
        let queue = Arc::new(Queue::new(
            config.max_messages,
            config.max_bytes,
            config.on_full,
        ));
        let sending = send_all(Arc::clone(&queue), deliverer, config.in_flight);
        let sender = tokio::spawn(sending);
        Ok(Self { queue, sender })
    }

    /// Hands a message over. With [`OnFull::Block`] this blocks the thread while the queue is full:
    /// not for async code.
    ///
    /// # Errors
    /// Blocking was [cancelled](Self::set_cancelled), or the message alone exceeds `max_bytes`.
    pub fn publish(&self, mut message: Message) -> Result<(), PublishError> {
        message.span = trace::publish(&message, None);
        self.queue.push(message)
    }

    /// While set, [`publish`](Self::publish) and [`flush`](Self::flush) do not block: threads that
    /// wait in them return at once.
    pub fn set_cancelled(&self, cancelled: bool) {
        self.queue.set_cancelled(cancelled);
    }

    /// Blocks the thread until every message handed over is acknowledged or dropped.
    ///
    /// # Errors
    /// After `timeout`, or when cancelled, some are still pending.
    pub fn flush(&self, timeout: Duration) -> Result<(), Pending> {
        match self.queue.wait_empty(timeout) {
            0 => Ok(()),
            pending => Err(Pending(pending)),
        }
    }

    /// What became of the messages so far.
    pub fn counters(&self) -> Counters {
        self.queue.counters()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.sender.abort();
        self.queue.set_cancelled(true);
        let pending = self.queue.counters().pending;
        if pending > 0 {
            tracing::error!(
                pending,
                "publisher stopped: messages not acknowledged are given up"
            );
        }
    }
}

/// A message that was taken out of the queue.
struct Job {
    /// Its place in the order of the queue.
    number: u64,
    message: Message,
    stored: bool,
}

/// Sends in the order of the queue, many at a time: handed to the link one after another, settled in any order. After a
/// failure nothing new is sent until all that are on their way are settled; those that failed are then sent again, in their
/// order.
async fn send_all(queue: Arc<Queue>, deliverer: Deliverer, in_flight: usize) {
    let deliverer = &deliverer;
    let settle = async |mut job: Job, sent| {
        let result = match sent {
            Ok(sent) => deliverer.settle(&job.message, sent, &mut job.stored).await,
            Err(failure) => Err(failure),
        };
        (job, result)
    };
    let mut on_their_way = FuturesUnordered::new();
    let mut failed: Vec<Job> = Vec::new();
    let (mut taken, mut failures) = (0, 0);
    loop {
        if on_their_way.is_empty() && !failed.is_empty() {
            if failures > 0 {
                tokio::time::sleep(pause(failures - 1)).await;
            }
            failed.sort_unstable_by_key(|job| job.number);
            for job in failed.drain(..) {
                queue.retried();
                let sent = deliverer.send(&job.message, job.stored).await;
                on_their_way.push(settle(job, sent));
            }
        }
        let next = async {
            // Until then messages wait where the policy can reach them.
            deliverer.connection().connected().await;
            queue.pop().await
        };
        tokio::select! {
            Some((job, result)) = on_their_way.next(), if !on_their_way.is_empty() => match result {
                Ok(()) => {
                    if failed.is_empty() {
                        failures = 0;
                    }
                    queue.acknowledged(&job.message);
                }
                Err(Failure::Undeliverable(error)) => queue.lost(&job.message, &error.to_string()),
                Err(Failure::Lost) => failed.push(job),
                Err(Failure::Other(reason)) => {
                    if failed.is_empty() {
                        if failures == 0 {
                            tracing::warn!(id = job.message.id, "not stored yet, trying again: {reason}");
                        }
                        failures += 1;
                    }
                    failed.push(job);
                }
            },
            message = next, if failed.is_empty() && on_their_way.len() < in_flight => {
                let job = Job { number: taken, message, stored: false };
                taken += 1;
                let sent = deliverer.send(&job.message, job.stored).await;
                on_their_way.push(settle(job, sent));
            }
        }
    }
}
