//! One answer to each window: its last caption or a dead letter, whoever has it in hand, and whichever of them dies.
//!
//! A caption and a dead letter go to different streams, and a worker that was cut off may have a window in hand that
//! another one gives up. So each answer is decided on first, by a record that only one can make, and then given: stored,
//! and recorded as stored. A message is acknowledged after that. Whoever finds a decision whose answer may not be stored
//! gives it; stored twice within the duplicate window, it is one.

use std::sync::Arc;

use crate::{
    Caption, WindowId,
    caption::LAST,
    consumer::Delivery,
    deliver::{Deliverer, Undeliverable},
    done::{Decision, Done, DoneError, Record},
    features::FeatureWindow,
    headers::TraceParent,
    message::{Kind, Message, MessageId},
    streams::{SetUpError, StreamsConfig},
    subjects,
};

/// What stands about a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its last caption is stored.
    Captioned,
    /// A dead letter is stored.
    Buried,
    /// It is to have a dead letter with this reason, which may not be stored yet.
    Burying(String),
}

/// A dead letter that is to be stored, now that it is decided.
#[derive(Clone, Debug)]
pub(crate) struct Burial {
    /// Its reason.
    pub reason: String,
    /// The record to replace then, if the message is about a window.
    record: Option<(WindowId, u32, u64)>,
}

/// Decides on answers, and gives them.
#[derive(Debug)]
pub struct Answers {
    deliverer: Arc<Deliverer>,
    done: Done,
}

impl Answers {
    /// Makes the bucket of records, or checks the one that is there. Captions go through `deliverer`.
    ///
    /// # Errors
    /// The server refuses, or has a bucket that is not as it must be.
    pub async fn open(
        deliverer: Arc<Deliverer>,
        streams: &StreamsConfig,
    ) -> Result<Self, SetUpError> {
        let done = Done::open(deliverer.connection().clone(), streams).await?;
        Ok(Self { deliverer, done })
    }

    /// The answer to the window `id` of a delivery, `None` if there is none yet, or none that the broker tells of. A
    /// caption that was decided on is stored first.
    pub async fn find(&self, id: &WindowId, delivery: &Delivery) -> Option<Answer> {
        let replays = replays(id, delivery);
        let record = self.done.get(id).await.unwrap_or_else(|error| {
            tracing::warn!("{error}");
            None
        });
        match record.filter(|record| record.holds_after(replays)) {
            Some(Record::Captioned(_)) => Some(Answer::Captioned),
            Some(Record::Buried { .. }) => Some(Answer::Buried),
            Some(Record::Burying { reason, .. }) => Some(Answer::Burying(reason)),
            // Rare, and larger than all the rest.
            Some(Record::Captioning(caption)) => {
                Some(Box::pin(self.finish(*caption, delivery)).await)
            }
            // Its record may be lost, or was never made.
            None => {
                let again = delivery.delivered > 1;
                (again && Box::pin(self.is_stored(id, delivery)).await).then_some(Answer::Captioned)
            }
        }
    }

    /// Stores `message`, the last caption of a delivery's window, unless there is another answer.
    ///
    /// # Errors
    /// The other answer.
    pub async fn caption(
        &self,
        caption: &Caption,
        message: &Message,
        delivery: &Delivery,
    ) -> Result<(), Answer> {
        let bytes = message.wire_len();
        if bytes > self.deliverer.connection().client().max_payload() {
            // Nobody can store it, nor a record of it.
            let id = message.id.clone();
            return Err(Answer::Burying(Undeliverable { id, bytes }.to_string()));
        }
        let id = &caption.id;
        let wanted = Record::Captioning(Box::new(caption.clone()));
        let replays = replays(id, delivery);
        match self.done.decide(id, replays, &wanted).await {
            Decision::Made(_) => self.store(id, message, replays).await,
            Decision::Found(Record::Captioning(caption), _) => {
                Err(Box::pin(self.finish(*caption, delivery)).await)
            }
            Decision::Found(Record::Captioned(_), _) => Err(Answer::Captioned),
            Decision::Found(Record::Burying { reason, .. }, _) => Err(Answer::Burying(reason)),
            Decision::Found(Record::Buried { .. }, _) => Err(Answer::Buried),
        }
    }

    /// Decides that the message of a delivery is to have a dead letter. `None` if its window has another answer, or had
    /// this one before.
    pub(crate) async fn bury(&self, delivery: &Delivery, reason: &str) -> Option<Burial> {
        let Some((id, replays)) = about(delivery) else {
            // Nobody can caption it.
            let (reason, record) = (reason.to_owned(), None);
            return Some(Burial { reason, record });
        };
        let wanted = Record::Burying {
            replays,
            reason: reason.to_owned(),
        };
        loop {
            let found = self.find(&id, delivery).await;
            if let Some(Answer::Captioned | Answer::Buried) = found {
                return None;
            }
            let (reason, revision) = match self.done.decide(&id, replays, &wanted).await {
                Decision::Made(revision) => (reason.to_owned(), revision),
                Decision::Found(Record::Burying { reason, .. }, revision) => (reason, revision),
                Decision::Found(Record::Captioned(_) | Record::Buried { .. }, _) => return None,
                // Decided on just now: it is stored first.
                Decision::Found(Record::Captioning(_), _) => continue,
            };
            let record = Some((id, replays, revision));
            return Some(Burial { reason, record });
        }
    }

    /// Records that the dead letter is stored.
    pub(crate) async fn buried(&self, burial: Burial) {
        let Some((id, replays, revision)) = burial.record else {
            return;
        };
        // Its message may have been replayed, and answered otherwise, by now.
        let buried = Record::Buried { replays };
        if let Err(error) = self.done.replace(&id, revision, &buried).await {
            tracing::warn!("{error}");
        }
    }

    /// Stores a caption that somebody decided on, unless it is stored.
    async fn finish(&self, caption: Caption, delivery: &Delivery) -> Answer {
        let (id, replays) = (&caption.id, replays(&caption.id, delivery));
        if self.is_stored(id, delivery).await {
            self.record_caption(id).await;
            return Answer::Captioned;
        }
        let parent =
            TraceParent::of(&delivery.headers).unwrap_or_else(|| TraceParent::of_window(id));
        match Message::caption(&caption, parent.child()) {
            Ok(message) => {
                let stored = self.store(id, &message, replays).await;
                stored.err().unwrap_or(Answer::Captioned)
            }
            Err(error) => self.give_up(id, replays, error.to_string()).await,
        }
    }

    /// Stores a caption that is decided on.
    async fn store(&self, id: &WindowId, message: &Message, replays: u32) -> Result<(), Answer> {
        if let Err(error) = self.deliverer.deliver(message).await {
            return Err(self.give_up(id, replays, error.to_string()).await);
        }
        self.record_caption(id).await;
        Ok(())
    }

    /// What was decided on can be stored by nobody.
    async fn give_up(&self, id: &WindowId, replays: u32, reason: String) -> Answer {
        let record = Record::Burying {
            replays,
            reason: reason.clone(),
        };
        if let Err(error) = self.done.insert(id, &record).await {
            tracing::warn!("{error}");
        }
        Answer::Burying(reason)
    }

    async fn record_caption(&self, id: &WindowId) {
        if let Err(error) = self.done.insert(id, &Record::Captioned(LAST)).await {
            tracing::warn!("{error}");
        }
    }

    /// Whether the last caption is among those stored since the delivery's message.
    async fn is_stored(&self, id: &WindowId, delivery: &Delivery) -> bool {
        let found = self.done.search(id, LAST, delivery.published).await;
        found.unwrap_or_else(|error: DoneError| {
            tracing::warn!("{error}");
            false
        })
    }
}

/// The window that a message is about, if it may speak for its rig, and how often the message was replayed.
pub(crate) fn about(delivery: &Delivery) -> Option<(WindowId, u32)> {
    let id = match FeatureWindow::decode_shared(&delivery.payload) {
        Ok(window) => window.id,
        // Nobody here can read it.
        Err(_) => MessageId::of(&delivery.headers)?.window,
    };
    subjects::speaks_for(&delivery.subject, id.rig.as_str()).ok()?;
    let replays = replays(&id, delivery);
    Some((id, replays))
}

/// 0 of a copy under another id.
fn replays(id: &WindowId, delivery: &Delivery) -> u32 {
    MessageId::of(&delivery.headers)
        .filter(|named| named.window == *id && named.kind == Kind::Features)
        .map_or(0, |named| named.revision)
}
