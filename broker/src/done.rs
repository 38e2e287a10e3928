//! What was decided about each window, as the broker knows it: what a worker forgets when it ends, and what it never knew
//! of the others.
//!
//! A record in the key-value bucket `MSAO_DONE` under `<rig>.<epoch>.<seq>`. It is made before the caption or the dead
//! letter, by whoever comes first, and says once that is stored. See [`crate::answers`] for what it is good for.

use std::{
    sync::{self, PoisonError},
    time::Duration,
};

use async_nats::jetstream::{
    consumer::DeliverPolicy,
    kv::{Store, UpdateErrorKind},
};
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::sync::{Mutex, oneshot};

use crate::{
    caption::Caption,
    connect::Connection,
    deliver::pause,
    headers,
    identity::WindowId,
    last_values::{self, Last, last_values},
    message::{Kind, MessageId},
    scan,
    streams::{self, SetUpError, StreamsConfig},
    subjects,
};

/// How far the server's clock may have been set back between a message and its caption.
const CLOCK: Duration = Duration::from_secs(60);

/// What is recorded of a window.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// This is to be its caption, and may not be stored yet. Written as the caption is.
    Captioning(Box<Caption>),
    /// The caption of this revision is stored. Written `2`.
    Captioned(u32),
    /// Its message is to have a dead letter, which may not be stored yet. Written `burying/<replays> <reason>`.
    Burying {
        /// How often the message was replayed.
        replays: u32,
        /// For the dead letter.
        reason: String,
    },
    /// The dead letter of its message is stored. Written `buried/<replays>`.
    Buried {
        /// How often the message was replayed.
        replays: u32,
    },
}

/// What [`Done::decide`] found.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// What was wanted is recorded, under this revision of the bucket.
    Made(u64),
    /// Something else was recorded before, under this revision of the bucket.
    Found(Record, u64),
}

/// The records of windows.
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

/// Somebody waits for what is recorded under a subject of the bucket.
#[derive(Debug)]
struct Question {
    subject: String,
    answer: oneshot::Sender<Result<Option<Last>, String>>,
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

    /// What is recorded of `id`. One request for all who ask while another one is on its way.
    ///
    /// # Errors
    /// The server does not answer as it should.
    pub async fn get(&self, id: &WindowId) -> Result<Option<Record>, DoneError> {
        let last = self.last(id).await.map_err(|reason| fault(id, reason))?;
        Ok(last.and_then(|last| Record::parse(&last.payload)))
    }

    async fn last(&self, id: &WindowId) -> Result<Option<Last>, String> {
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
            let last = found.as_ref().map_err(String::clone);
            let last = last.map(|found| found.get(&subject).cloned());
            // Whoever asked may have been stopped meanwhile.
            let _ = answer.send(last);
        }
    }

    fn questions(&self) -> sync::MutexGuard<'_, Vec<Question>> {
        self.questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Records `wanted` of a window whose message was replayed so often, unless something else was recorded before: only
    /// a dead letter of a message that was replayed since then gives way. The very same counts as made. Tries until the
    /// server says which; one request, if nothing was recorded.
    pub async fn decide(&self, id: &WindowId, replays: u32, wanted: &Record) -> Decision {
        let (mut before, mut failures) = (0, 0);
        loop {
            match self.try_to_decide(id, replays, wanted, &mut before).await {
                Ok(Some(decision)) => return decision,
                Ok(None) => {}
                Err(reason) => {
                    if failures == 0 {
                        tracing::warn!(%id, "no answer is recorded yet, trying again: {reason}");
                    }
                    tokio::time::sleep(pause(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    /// One attempt at it, over a record of the revision `before`; `None` if that is another one, which it then is.
    async fn try_to_decide(
        &self,
        id: &WindowId,
        replays: u32,
        wanted: &Record,
        before: &mut u64,
    ) -> Result<Option<Decision>, String> {
        if let Some(revision) = self.update(id, wanted, *before).await? {
            return Ok(Some(Decision::Made(revision)));
        }
        let last = self.last(id).await?;
        *before = last.as_ref().map_or(0, |last| last.sequence);
        let found = last.map(|last| last.payload);
        if found == Some(wanted.encode()?) {
            // It was stored, and the answer to that was lost.
            return Ok(Some(Decision::Made(*before)));
        }
        let found = found.and_then(|payload| Record::parse(&payload));
        let found = found.filter(|record| record.holds_after(replays));
        Ok(found.map(|record| Decision::Found(record, *before)))
    }

    /// Records `record` over the one that is there under this revision of the bucket, unless another came between. One
    /// request.
    ///
    /// # Errors
    /// The server does not store it.
    pub async fn replace(
        &self,
        id: &WindowId,
        revision: u64,
        record: &Record,
    ) -> Result<(), DoneError> {
        let stored = self.update(id, record, revision).await;
        stored.map(drop).map_err(|reason| fault(id, reason))
    }

    /// The new revision; `None` if the one that is there is not `before`, which is 0 if there is none.
    async fn update(
        &self,
        id: &WindowId,
        record: &Record,
        before: u64,
    ) -> Result<Option<u64>, String> {
        let value = &record.encode()?;
        let update = self.on_bucket(|bucket| async move {
            match bucket.update(key(id), value.clone(), before).await {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
                Err(error) => Err(error.to_string()),
            }
        });
        update.await
    }

    /// Records what is known to be so, whatever was recorded before. One request.
    ///
    /// # Errors
    /// The server does not store it.
    pub async fn insert(&self, id: &WindowId, record: &Record) -> Result<(), DoneError> {
        let stored = async {
            let value = &record.encode()?;
            let put = self.on_bucket(|bucket| async move {
                let stored = bucket.put(key(id), value.clone()).await;
                stored.map_err(|error| error.to_string())
            });
            put.await
        };
        let stored = stored.await;
        stored.map(drop).map_err(|reason| fault(id, reason))
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

impl Record {
    fn encode(&self) -> Result<Bytes, String> {
        let text = match self {
            Self::Captioning(caption) => {
                let encoded = caption.encode().map_err(|error| error.to_string())?;
                return Ok(encoded.into());
            }
            Self::Captioned(revision) => revision.to_string(),
            Self::Burying { replays, reason } => {
                format!("burying/{replays} {}", headers::one_line(reason))
            }
            Self::Buried { replays } => format!("buried/{replays}"),
        };
        Ok(text.into())
    }

    /// `None` of what nobody here writes: it counts as no record, as one that was deleted does.
    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"{") {
            return Some(Self::Captioning(Box::new(Caption::decode(bytes).ok()?)));
        }
        let text = std::str::from_utf8(bytes).ok()?;
        if let Some(rest) = text.strip_prefix("burying/") {
            let (replays, reason) = rest.split_once(' ')?;
            let (replays, reason) = (replays.parse().ok()?, reason.to_owned());
            return Some(Self::Burying { replays, reason });
        }
        if let Some(replays) = text.strip_prefix("buried/") {
            let replays = replays.parse().ok()?;
            return Some(Self::Buried { replays });
        }
        Some(Self::Captioned(text.parse().ok()?))
    }

    /// Whether it still holds for a message that was replayed so often.
    pub(crate) fn holds_after(&self, replays: u32) -> bool {
        match self {
            Self::Captioning(_) | Self::Captioned(_) => true,
            Self::Burying { replays: then, .. } | Self::Buried { replays: then } => {
                *then >= replays
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
