//! Which windows have their last caption, as the broker knows it: what a worker forgets when it ends, and what it never
//! knew of the others.
//!
//! A record in the key-value bucket `MSAO_DONE` under `<rig>.<epoch>.<seq>` follows the caption. Only a worker that dies
//! between the two leaves a caption without one, and then its message is delivered again: for such a message the captions
//! themselves are searched.

use std::{
    sync::{self, PoisonError},
    time::Duration,
};

use async_nats::jetstream::{consumer::DeliverPolicy, kv::Store};
use time::OffsetDateTime;
use tokio::sync::{Mutex, oneshot};

use crate::{
    connect::Connection,
    identity::WindowId,
    last_values::{self, last_values},
    message::{Kind, MessageId},
    scan,
    streams::{self, SetUpError, StreamsConfig},
    subjects,
};

/// How far the server's clock may have been set back between a message and its caption.
const CLOCK: Duration = Duration::from_secs(60);

/// The records of windows that have their last caption.
#[derive(Debug)]
pub struct Done {
    connection: Connection,
    streams: StreamsConfig,
    /// `None` after a fault: a server that lost its store has no bucket.
    bucket: Mutex<Option<Store>>,
    questions: sync::Mutex<Vec<Question>>,
    /// Whoever holds it asks the server for all.
    asking: Mutex<()>,
}

/// Somebody waits for the revision recorded under a subject of the bucket.
#[derive(Debug)]
struct Question {
    subject: String,
    answer: oneshot::Sender<Result<Option<u32>, String>>,
}

/// The broker does not say, or cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("whether {id} is captioned: {reason}")]
pub struct DoneError {
    id: WindowId,
    reason: String,
}

impl Done {
    /// Makes the bucket, or checks the one that is there.
    ///
    /// # Errors
    /// The server refuses, or has a bucket that is not as it must be.
    pub async fn open(connection: Connection, streams: &StreamsConfig) -> Result<Self, SetUpError> {
        let bucket = streams::set_up_done(&connection, streams).await?;
        Ok(Self {
            connection,
            streams: *streams,
            bucket: Mutex::new(Some(bucket)),
            questions: sync::Mutex::default(),
            asking: Mutex::default(),
        })
    }

    /// Whether there is a record of `revision` of the caption of `id`, or of a higher one. One request for all who ask
    /// while another one is on its way.
    ///
    /// # Errors
    /// The server does not answer as it should.
    pub async fn contains(&self, id: &WindowId, revision: u32) -> Result<bool, DoneError> {
        let recorded = self
            .recorded(id)
            .await
            .map_err(|reason| fault(id, reason))?;
        Ok(recorded.is_some_and(|recorded| recorded >= revision))
    }

    async fn recorded(&self, id: &WindowId) -> Result<Option<u32>, String> {
        loop {
            let (answer, mut answered) = oneshot::channel();
            let subject = format!("$KV.{}.{}", streams::DONE, key(id));
            self.questions().push(Question { subject, answer });
            let gone = loop {
                tokio::select! {
                    biased;
                    answer = &mut answered => match answer {
                        Ok(answer) => return answer,
                        Err(gone) => break gone,
                    },
                    _asking = self.asking.lock() => self.ask().await,
                }
            };
            tracing::trace!(%id, "{gone}: whoever asked for it was stopped, asking again");
        }
    }

    /// Asks the server what somebody waits for, and gives the answers.
    async fn ask(&self) {
        let questions: Vec<Question> = {
            let mut questions = self.questions();
            let most = questions.len().min(last_values::MOST);
            questions.drain(..most).collect()
        };
        if questions.is_empty() {
            return;
        }
        let subjects: Vec<String> = questions.iter().map(|q| q.subject.clone()).collect();
        let subjects = &subjects;
        let found = self.on_bucket(|bucket| async move {
            last_values(self.connection.jetstream(), &bucket.stream_name, subjects).await
        });
        let found = found.await;
        for Question { subject, answer } in questions {
            let recorded = found.as_ref().map_err(String::clone).map(|found| {
                let text = std::str::from_utf8(found.get(&subject)?).ok()?;
                text.parse().ok()
            });
            // Whoever asked may have been stopped meanwhile.
            let _ = answer.send(recorded);
        }
    }

    fn questions(&self) -> sync::MutexGuard<'_, Vec<Question>> {
        self.questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Records `revision`, once that caption is stored. One request.
    ///
    /// # Errors
    /// The server does not store it.
    pub async fn insert(&self, id: &WindowId, revision: u32) -> Result<(), DoneError> {
        let stored = self.on_bucket(|bucket| async move {
            let stored = bucket.put(key(id), revision.to_string().into()).await;
            stored.map_err(|error| error.to_string())
        });
        stored.await.map(drop).map_err(|reason| fault(id, reason))
    }

    /// Whether `revision` of the caption of `id` was stored after `since`, by the server's clock: reads the headers of the
    /// rig's captions from then on. Four requests, and one more for every 256 captions.
    ///
    /// # Errors
    /// The server does not answer as it should.
    pub async fn search(
        &self,
        id: &WindowId,
        revision: u32,
        since: OffsetDateTime,
    ) -> Result<bool, DoneError> {
        let wanted = MessageId {
            window: id.clone(),
            kind: Kind::Caption,
            revision,
        };
        let found = self.asked(|| self.find(&wanted, since)).await;
        found.map_err(|reason| fault(id, reason))
    }

    async fn find(&self, wanted: &MessageId, since: OffsetDateTime) -> Result<bool, String> {
        let Some(stream) = scan::stream(&self.connection, streams::CAPTIONS).await? else {
            return Ok(false);
        };
        let subject = subjects::captions(&wanted.window.rig);
        let start = DeliverPolicy::ByStartTime {
            start_time: since - CLOCK,
        };
        let mut found = false;
        scan::heads(&stream, subject, start, |head| {
            found |= MessageId::of(head.headers).as_ref() == Some(wanted);
        })
        .await?;
        Ok(found)
    }

    async fn on_bucket<T, F>(&self, request: impl Fn(Store) -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, String>>,
    {
        let request = &request;
        let answer = self.asked(|| async move {
            let bucket = self.bucket().await.map_err(|error| error.to_string())?;
            request(bucket).await
        });
        let answer = answer.await;
        if answer.is_err() {
            self.bucket.lock().await.take();
        }
        answer
    }

    async fn bucket(&self) -> Result<Store, SetUpError> {
        let mut bucket = self.bucket.lock().await;
        if let Some(bucket) = &*bucket {
            return Ok(bucket.clone());
        }
        // Rare, and larger than all the rest.
        let made = Box::pin(streams::set_up_done(&self.connection, &self.streams)).await?;
        Ok(bucket.insert(made).clone())
    }

    /// Asks on a connection that is there, and again if it is lost before the answer.
    async fn asked<T, F>(&self, request: impl Fn() -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, String>>,
    {
        loop {
            self.connection.connected().await;
            let mut loss = self.connection.watch_loss();
            tokio::select! {
                answer = request() => return answer,
                () = loss.lost() => {}
            }
        }
    }
}

fn fault(id: &WindowId, reason: String) -> DoneError {
    let id = id.clone();
    DoneError { id, reason }
}

/// All of it is allowed in a key.
fn key(id: &WindowId) -> String {
    format!("{}.{}.{}", id.rig, id.epoch, id.seq)
}
