//! A durable consumer of feature windows: each message is handled until there is a verdict on it,
//! then acknowledged, delivered again, or moved to the dead letters with the reason.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    HeaderMap,
    jetstream::{self, AckKind, consumer::PullConsumer},
};
use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use time::OffsetDateTime;

use crate::{
    answers::Answers,
    connect::{Connection, Loss},
    dead,
    deliver::Deliverer,
    durable,
    pull::{EXPIRES, Pull},
    streams::{self, SetUpError, StreamsConfig},
};

/// How messages are taken from the stream of features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// The name under which the server keeps what was acknowledged. Workers of one name share the work.
    pub durable: String,
    /// Without a sign of life for this long, a message is delivered to another worker. At least 100 ms; the same for all
    /// workers of one name.
    pub ack_wait: Duration,
    /// After this many deliveries without success a message goes to the dead letters. At least 1.
    pub max_deliver: u32,
    /// The pause after the 1st, 2nd, ... failed delivery; the last holds for all further ones.
    pub backoff: Vec<Duration>,
    /// How many messages are handled at a time, at least 1.
    pub at_once: usize,
    /// After a call to stop, how long the messages in hand may still take.
    pub grace: Duration,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            durable: "msao-cloud".to_owned(),
            ack_wait: Duration::from_secs(30),
            max_deliver: 5,
            backoff: [1, 5, 15].map(Duration::from_secs).to_vec(),
            at_once: 1,
            grace: Duration::from_secs(10),
        }
    }
}

/// A message as it was delivered.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its payload.
    pub payload: Bytes,
    /// The stream that it is stored in.
    pub stream: String,
    /// Its sequence in the stream, from 1.
    pub stream_sequence: u64,
    /// How often it was delivered, this time included.
    pub delivered: u64,
    /// When the stream got it.
    pub published: OffsetDateTime,
    /// How many messages waited behind it in the stream when it was delivered.
    pub pending: u64,
}

/// The verdict on a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handled: it is acknowledged.
    Done,
    /// Failed, and may work another time: it is delivered again, at most `max_deliver` times in all.
    Retry(String),
    /// It can never be handled: it goes to the dead letters with this reason.
    Dead(String),
}

/// A durable pull consumer on `MSAO_FEATURES`.
pub struct Consumer {
    deliverer: Arc<Deliverer>,
    answers: Option<Arc<Answers>>,
    streams: StreamsConfig,
    config: ConsumerConfig,
    pull: Pull,
    dead: Arc<AtomicU64>,
}

impl Consumer {
    /// Sets up the streams and the durable consumer. Dead letters go through `deliverer`.
    ///
    /// # Errors
    /// The streams cannot be set up, the server refuses the consumer, or has one that is not as it must be.
    pub async fn open(
        deliverer: Arc<Deliverer>,
        streams: &StreamsConfig,
        config: ConsumerConfig,
    ) -> Result<Self, SetUpError> {
        let connection = deliverer.connection().clone();
        streams::set_up(&connection, streams).await?;
        let consumer = durable::open(&connection, &config).await?;
        // Half: what comes last must not be delivered again while it waits for them to be over.
        let mut pull = Pull::new(connection, config.at_once / 4, config.ack_wait / 2);
        pull.use_consumer(consumer).await;
        Ok(Self {
            deliverer,
            answers: None,
            streams: *streams,
            config,
            pull,
            dead: Arc::default(),
        })
    }

    /// Moves to the dead letters only messages whose windows have no other answer.
    #[must_use]
    pub fn answering(self, answers: Arc<Answers>) -> Self {
        Self {
            answers: Some(answers),
            ..self
        }
    }

    /// Counts messages that went to the dead letters.
    pub fn dead_letters(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dead)
    }

    /// Handles messages, at most [`at_once`](ConsumerConfig::at_once) at a time, until `shutdown` completes; those in hand
    /// are finished first, within the configured grace. While `handle` runs, the server is told that work goes on.
    /// A message that is not finished, or whose acknowledgement is lost, is delivered again.
    pub async fn run<H, F>(&mut self, shutdown: impl Future<Output = ()>, mut handle: H)
    where
        H: FnMut(Delivery) -> F,
        F: Future<Output = Outcome>,
    {
        let at_once = self.config.at_once.max(1);
        let Self {
            deliverer,
            answers,
            streams,
            config,
            pull,
            dead,
        } = self;
        let desk = Desk {
            deliverer,
            answers: answers.as_deref(),
            streams,
            config,
            dead,
        };
        let mut shutdown = pin!(shutdown);
        let mut in_hand = FuturesUnordered::new();
        loop {
            let free = at_once - in_hand.len();
            tokio::select! {
                // Once it is to stop, no other message is asked for.
                biased;
                () = &mut shutdown => break,
                Some(()) = in_hand.next(), if !in_hand.is_empty() => {}
                arrival = desk.next(pull, free), if free > 0 => {
                    let Some((message, loss)) = arrival else { continue };
                    let Some(delivery) = delivery(&message) else {
                        // Without JetStream's reply subject there is nothing to acknowledge.
                        tracing::error!(subject = %message.subject, "not a JetStream delivery: passed over");
                        continue;
                    };
                    in_hand.push(desk.process(message, delivery, loss, &mut handle));
                }
            }
        }
        // Requests may be with the server: a message that still comes must not wait for ack_wait. Given back before the
        // requests are over it would come here again, and be a delivery nearer to the dead letters each time.
        let give_back = async {
            let mut late = Vec::new();
            let requests = async {
                while pull.asked() > 0 {
                    late.extend(desk.next(pull, 0).await);
                }
            };
            // If not, a message may still come, and waits for ack_wait.
            let _ = tokio::time::timeout(EXPIRES * 2, requests).await;
            for (message, loss) in &late {
                settle(message, AckKind::Nak(None), loss).await;
            }
        };
        let finish = async {
            let all = async { while in_hand.next().await.is_some() {} };
            if tokio::time::timeout(desk.config.grace, all).await.is_err() {
                tracing::error!(
                    "stopped before the messages in hand were done: they will be delivered again"
                );
            }
        };
        tokio::join!(give_back, finish);
        let client = desk.deliverer.connection().client();
        if !matches!(
            tokio::time::timeout(EXPIRES, client.flush()).await,
            Ok(Ok(()))
        ) {
            tracing::warn!("the last acknowledgements may be lost: no server takes them");
        }
    }
}

/// What handling a message needs.
#[derive(Clone, Copy)]
struct Desk<'a> {
    deliverer: &'a Deliverer,
    answers: Option<&'a Answers>,
    streams: &'a StreamsConfig,
    config: &'a ConsumerConfig,
    dead: &'a AtomicU64,
}

impl<'a> Desk<'a> {
    async fn open(&self) -> Result<PullConsumer, SetUpError> {
        let connection = self.deliverer.connection();
        streams::set_up(connection, self.streams).await?;
        durable::open(connection, self.config).await
    }

    /// The next message, with a watch on the connection: what came before a loss may be unknown to the server after it.
    async fn next(&self, pull: &mut Pull, most: usize) -> Option<(jetstream::Message, Loss)> {
        self.deliverer.connection().connected().await;
        if pull.needs_consumer() {
            // Rare, and larger than all the rest.
            match Box::pin(self.open()).await {
                Ok(consumer) => pull.use_consumer(consumer).await,
                Err(error) => {
                    pull.fail(&error.to_string()).await;
                    return None;
                }
            }
        }
        let loss = self.deliverer.connection().watch_loss();
        let message = pull.next(most).await?;
        Some((message, loss))
    }

    /// Handles a message and settles it.
    fn process<H, F>(
        self,
        message: jetstream::Message,
        delivery: Delivery,
        loss: Loss,
        handle: &mut H,
    ) -> impl Future<Output = ()> + use<'a, H, F>
    where
        H: FnMut(Delivery) -> F,
        F: Future<Output = Outcome>,
    {
        let max = u64::from(self.config.max_deliver);
        let (delivered, sequence) = (delivery.delivered, delivery.stream_sequence);
        // On the heap at once: what handles a message is large, and would be moved about with it.
        let handled = (delivered <= max).then(|| Box::pin(handle(delivery)));
        async move {
            let work = async {
                let outcome = match handled {
                    Some(handled) => handled.await,
                    // Only workers that died or were cut off leave a message without a verdict that often.
                    None => Outcome::Dead(format!(
                        "no verdict after {max} deliveries: workers died of it or were cut off"
                    )),
                };
                let (ack, reason) = match outcome {
                    Outcome::Done => return AckKind::Ack,
                    Outcome::Retry(reason) if delivered < max => {
                        let subject = message.subject.as_str();
                        tracing::warn!(
                            subject,
                            sequence,
                            delivered,
                            "will be tried again: {reason}"
                        );
                        return AckKind::Nak(Some(self.backoff(delivered)));
                    }
                    Outcome::Retry(reason) => {
                        (AckKind::Ack, format!("failed {max} times, last: {reason}"))
                    }
                    Outcome::Dead(reason) => (AckKind::Term, reason),
                };
                if let Some(delivery) = self::delivery(&message) {
                    // Rare, and larger than all the rest.
                    Box::pin(self.bury(&delivery, &reason)).await;
                }
                ack
            };
            let mut work = pin!(work);
            let mut alive =
                tokio::time::interval((self.config.ack_wait / 3).max(Duration::from_millis(20)));
            alive.tick().await;
            let ack = loop {
                tokio::select! {
                    ack = &mut work => break ack,
                    _ = alive.tick() => {
                        if let Err(error) = message.ack_with(AckKind::Progress).await {
                            tracing::debug!("no sign of life could be sent: {error}");
                        }
                    }
                }
            };
            settle(&message, ack, &loss).await;
        }
    }

    fn backoff(&self, delivered: u64) -> Duration {
        let index = usize::try_from(delivered)
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        self.config
            .backoff
            .get(index)
            .or(self.config.backoff.last())
            .copied()
            .unwrap_or_default()
    }

    async fn bury(&self, delivery: &Delivery, reason: &str) {
        let Some(answers) = self.answers else {
            self.send_letter(delivery, reason).await;
            return;
        };
        // Otherwise its window has an answer.
        if let Some(burial) = answers.bury(delivery, reason).await
            && self.send_letter(delivery, &burial.reason).await
        {
            answers.buried(burial).await;
        }
    }

    /// Whether the dead letter is stored.
    async fn send_letter(&self, delivery: &Delivery, reason: &str) -> bool {
        let max_bytes = self.deliverer.connection().client().max_payload();
        let letter = dead::letter(delivery, reason, max_bytes);
        let (subject, sequence) = (&delivery.subject, delivery.stream_sequence);
        match self.deliverer.deliver(&letter).await {
            Ok(()) => {
                tracing::error!(subject, sequence, "moved to {}: {reason}", letter.subject());
                self.dead.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(error) => {
                tracing::error!(
                    subject,
                    sequence,
                    "given up ({reason}), and not moved: {error}"
                );
                false
            }
        }
    }
}

/// How many messages wait for the durable consumer, or `None` if the server does not say.
pub async fn backlog(connection: &Connection, durable: &str) -> Option<u64> {
    if !connection.is_connected() {
        return None;
    }
    let consumer: Result<PullConsumer, _> = connection
        .jetstream()
        .get_consumer_from_stream(durable, streams::FEATURES)
        .await;
    consumer
        .ok()
        .map(|consumer| consumer.cached_info().num_pending)
}

fn delivery(message: &jetstream::Message) -> Option<Delivery> {
    let info = message.info().ok()?;
    Some(Delivery {
        subject: message.subject.to_string(),
        headers: message.headers.clone().unwrap_or_default(),
        payload: message.payload.clone(),
        stream: info.stream.to_owned(),
        stream_sequence: info.stream_sequence,
        delivered: u64::try_from(info.delivered).unwrap_or(0),
        published: info.published,
        pending: info.pending,
    })
}

/// Tells the server, without a wait for its word: what it does not hear of it delivers again, and a window that was done
/// once is known. After a loss of the connection it may know the message no more.
async fn settle(message: &jetstream::Message, ack: AckKind, loss: &Loss) {
    let fault = if loss.has_come() {
        Some("the connection was lost".to_owned())
    } else {
        let sent = message.ack_with(ack).await;
        sent.err().map(|error| error.to_string())
    };
    if let Some(reason) = fault {
        tracing::warn!(subject = %message.subject, "not acknowledged, it may be delivered again: {reason}");
    }
}
