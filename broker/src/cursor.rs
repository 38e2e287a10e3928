//! Reading a stream in the order of storage, across losses of the connection and of the server's store.

use std::time::Duration;

use async_nats::jetstream::{
    Context, Message,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
};
use bytes::Bytes;
use time::OffsetDateTime;
use ulid::Ulid;

use crate::{
    connect::Connection,
    identity::Rig,
    pull::{EXPIRES, Pull},
    streams::{self, SetUpError, StreamsConfig},
    subjects,
};

const BATCH: usize = 64;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With this sequence, from 1.
    Sequence(u64),
    /// With the first message stored at this time or later.
    Time(OffsetDateTime),
}

/// Where in a stream a reader is. Of a connection that names the cloud's domain the stream is the cloud's.
pub struct Cursor {
    connection: Connection,
    streams: StreamsConfig,
    stream: &'static str,
    subject: String,
    start: Start,
    pull: Pull,
    /// Messages behind the last one, as the server said with it, or when the consumer was made.
    pending: Option<u64>,
}

impl Cursor {
    /// A reader of the feature windows of `rig`, or of all rigs.
    pub fn features(connection: &Connection, rig: Option<&Rig>, start: Start) -> Self {
        let subject = rig.map_or_else(|| subjects::FEATURES.to_owned(), subjects::features);
        let streams = StreamsConfig::default();
        Self::new(
            connection.clone(),
            streams,
            streams::FEATURES,
            subject,
            start,
        )
    }

    /// A reader of the captions of `rig`, or of all rigs, as they are stored: [`captions::subscribe`] gives each once.
    ///
    /// [`captions::subscribe`]: crate::captions::subscribe
    pub fn captions(connection: &Connection, rig: Option<&Rig>, start: Start) -> Self {
        let subject = rig.map_or_else(|| subjects::CAPTIONS.to_owned(), subjects::captions);
        let streams = StreamsConfig::default();
        Self::new(
            connection.clone(),
            streams,
            streams::CAPTIONS,
            subject,
            start,
        )
    }

    pub(crate) fn new(
        connection: Connection,
        streams: StreamsConfig,
        stream: &'static str,
        subject: String,
        start: Start,
    ) -> Self {
        Self {
            pull: Pull::new(connection.clone(), BATCH / 4, EXPIRES),
            connection,
            streams,
            stream,
            subject,
            start,
            pending: None,
        }
    }

    /// As [`receive`](Self::receive).
    pub(crate) async fn next(&mut self) -> Option<Message> {
        self.connection.connected().await;
        if self.pull.needs_consumer() {
            match self.consumer().await {
                Ok(consumer) => self.pull.use_consumer(consumer).await,
                Err(error) => {
                    self.pull.fail(&error.to_string()).await;
                    return None;
                }
            }
        }
        let message = self.pull.next(BATCH).await?;
        if let Ok(info) = message.info() {
            self.start = Start::Sequence(info.stream_sequence + 1);
            self.pending = Some(info.pending);
        }
        Some(message)
    }

    /// Subject and payload of the next message; `None` as a fault came first or there was none for a while: then it is to
    /// be called again. May be dropped without losing a message. Whose it is the subject alone tells:
    /// [`subjects::speaks_for`].
    pub async fn receive(&mut self) -> Option<(String, Bytes)> {
        let message = self.next().await?.message;
        Some((message.subject.to_string(), message.payload))
    }

    /// Whether everything that was stored when the server was last heard of is read.
    pub fn has_caught_up(&self) -> bool {
        self.pending == Some(0)
    }

    /// Makes the consumer, unless there is one, so that [`has_caught_up`](Self::has_caught_up) can tell.
    ///
    /// # Errors
    /// The stream cannot be set up or read.
    pub async fn open(&mut self) -> Result<(), SetUpError> {
        let consumer = self.consumer().await?;
        self.pull.use_consumer(consumer).await;
        Ok(())
    }

    /// An ephemeral consumer that goes on where this reader is.
    async fn consumer(&mut self) -> Result<PullConsumer, SetUpError> {
        if self.connection.cloud().is_none() {
            streams::set_up(&self.connection, &self.streams).await?;
        }
        let deliver_policy = match self.start {
            Start::Time(start_time) => DeliverPolicy::ByStartTime { start_time },
            Start::Sequence(next) => {
                // A server that lost its store counts from 1 again.
                let last = last_sequence(&self.connection, self.stream).await?;
                let start_sequence = if last + 1 < next { 1 } else { next };
                self.start = Start::Sequence(start_sequence);
                DeliverPolicy::ByStartSequence { start_sequence }
            }
        };
        let wanted = pull::Config {
            // With a name, the subject of the request tells what is to be read, and the server can allow that alone.
            name: Some(format!("reader-{}", Ulid::generate())),
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject: self.subject.clone(),
            inactive_threshold: Duration::from_secs(60),
            memory_storage: true,
            ..pull::Config::default()
        };
        let consumer = jetstream(&self.connection)
            .create_consumer_on_stream(wanted, self.stream)
            .await;
        let consumer = consumer.map_err(|error| refused(&self.connection, self.stream, &error))?;
        self.pending = Some(consumer.cached_info().num_pending);
        Ok(consumer)
    }
}

fn jetstream(connection: &Connection) -> &Context {
    connection.cloud().unwrap_or(connection.jetstream())
}

/// The sequence of the message stored last in `stream`; 0 before the first.
///
/// # Errors
/// The stream cannot be read.
pub(crate) async fn last_sequence(
    connection: &Connection,
    stream: &'static str,
) -> Result<u64, SetUpError> {
    let found = jetstream(connection).get_stream(stream).await;
    let found = found.map_err(|error| refused(connection, stream, &error))?;
    Ok(found.cached_info().state.last_sequence)
}

fn refused(connection: &Connection, stream: &str, error: &dyn std::fmt::Display) -> SetUpError {
    let (stream, url) = (stream.to_owned(), connection.url().to_owned());
    SetUpError::Refused {
        stream,
        url,
        reason: error.to_string(),
    }
}
