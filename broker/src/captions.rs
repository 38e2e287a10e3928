//! Captions as they are stored, across losses of the connection: for whoever watches.

use std::time::Duration;

use async_nats::jetstream::{
    Context, Message,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
};

use crate::{
    caption::{Caption, InvalidCaption},
    connect::Connection,
    identity::Rig,
    pull::Pull,
    seen::Seen,
    streams::{self, SetUpError, StreamsConfig},
    subjects,
};

const BATCH: usize = 64;
/// How many captions are remembered, so that one that was stored twice is given once.
const REMEMBERED: usize = 16_384;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the first caption stored after now.
    Now,
    /// With the oldest caption stored.
    Beginning,
    /// With the last so many captions stored, of all rigs.
    Last(u64),
}

/// A reader of captions. Each `(id, revision)` comes once, in the order of storage; a revision that is stored after a
/// higher one of its window is passed over, so revisions of a window only count up.
pub struct Captions {
    connection: Connection,
    streams: StreamsConfig,
    subject: String,
    next_sequence: u64,
    pull: Pull,
    seen: Seen,
}

/// Sets up the streams and reads the captions of `rig`, or of all rigs: those of the cloud's domain, where the connection
/// names one, whose streams are the cloud's business.
///
/// # Errors
/// The streams cannot be set up.
pub async fn subscribe(
    connection: &Connection,
    streams: &StreamsConfig,
    rig: Option<&Rig>,
    from: From,
) -> Result<Captions, SetUpError> {
    if connection.cloud().is_none() {
        streams::set_up(connection, streams).await?;
    }
    let next_sequence = match from {
        From::Beginning => 1,
        From::Now => last_sequence(connection).await? + 1,
        From::Last(count) => (last_sequence(connection).await? + 1)
            .saturating_sub(count)
            .max(1),
    };
    Ok(Captions {
        connection: connection.clone(),
        streams: *streams,
        subject: rig.map_or_else(|| subjects::CAPTIONS.to_owned(), subjects::captions),
        next_sequence,
        pull: Pull::new(connection.clone(), BATCH / 4),
        seen: Seen::new(REMEMBERED),
    })
}

impl Captions {
    /// Waits for the next caption, through any loss of the connection. May be dropped and called
    /// again without losing one.
    ///
    /// # Errors
    /// A message is stored that is no caption; the next call goes on behind it.
    pub async fn next(&mut self) -> Result<Caption, InvalidCaption> {
        loop {
            let Some(message) = self.message().await else {
                continue;
            };
            let caption = Caption::decode(&message.payload)?;
            if self.seen.advance(&caption.id, caption.revision) {
                return Ok(caption);
            }
        }
    }

    async fn message(&mut self) -> Option<Message> {
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
            self.next_sequence = info.stream_sequence + 1;
        }
        Some(message)
    }

    /// An ephemeral consumer that goes on where this reader is.
    async fn consumer(&mut self) -> Result<PullConsumer, SetUpError> {
        if self.connection.cloud().is_none() {
            streams::set_up(&self.connection, &self.streams).await?;
        }
        // A server that lost its store counts from 1 again.
        if last_sequence(&self.connection).await? + 1 < self.next_sequence {
            self.next_sequence = 1;
        }
        let wanted = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.next_sequence,
            },
            ack_policy: AckPolicy::None,
            filter_subject: self.subject.clone(),
            inactive_threshold: Duration::from_secs(60),
            memory_storage: true,
            ..pull::Config::default()
        };
        let consumer = jetstream(&self.connection)
            .create_consumer_on_stream(wanted, streams::CAPTIONS)
            .await;
        consumer.map_err(|error| refused(&self.connection, &error))
    }
}

fn jetstream(connection: &Connection) -> &Context {
    connection.cloud().unwrap_or(connection.jetstream())
}

async fn last_sequence(connection: &Connection) -> Result<u64, SetUpError> {
    let stream = jetstream(connection).get_stream(streams::CAPTIONS).await;
    Ok(stream
        .map_err(|error| refused(connection, &error))?
        .cached_info()
        .state
        .last_sequence)
}

fn refused(connection: &Connection, error: &dyn std::fmt::Display) -> SetUpError {
    let (stream, url) = (streams::CAPTIONS.to_owned(), connection.url().to_owned());
    SetUpError::Refused {
        stream,
        url,
        reason: error.to_string(),
    }
}
