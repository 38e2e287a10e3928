//! The latest caption of each rig, in the key-value bucket `MSAO_LATEST` under the rig's name.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_nats::jetstream::{
    ErrorCode,
    kv::{Operation, Store, UpdateError, UpdateErrorKind},
};
use bytes::Bytes;
use futures::StreamExt;

use crate::{
    caption::{Caption, InvalidCaption},
    connect::Connection,
    deliver::refusal,
    identity::{Rig, WindowId},
    message::MessageId,
    streams, subjects,
};

/// The bucket cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LatestError {
    /// The server refused, or did not answer.
    #[error("key {rig} of bucket MSAO_LATEST: {reason}")]
    Bucket {
        /// The key.
        rig: Rig,
        /// What went wrong.
        reason: String,
    },
    /// The server is well, and the bucket is full or takes no caption of this length.
    #[error(
        "bucket MSAO_LATEST has no room for key {rig} ({reason}): raise its bounds with `nats stream edit KV_MSAO_LATEST`, or remove rigs that are gone with `nats kv purge MSAO_LATEST <rig>`"
    )]
    NoRoom {
        /// The key.
        rig: Rig,
        /// What the server says.
        reason: String,
    },
    /// What is stored, or is to be stored, is not a caption.
    #[error(transparent)]
    Caption(#[from] InvalidCaption),
}

/// The bucket cannot be listed or read.
#[derive(Debug, thiserror::Error)]
#[error("bucket MSAO_LATEST: {0}")]
pub struct BucketError(String);

/// The keys of the bucket, as subjects.
const KEYS: &str = "$KV.MSAO_LATEST.*";

/// The latest caption of a rig, if it has one.
///
/// # Errors
/// The bucket cannot be read, or holds something else.
pub async fn get(bucket: &Store, rig: &Rig) -> Result<Option<Caption>, LatestError> {
    let value = bucket
        .get(rig.as_str())
        .await
        .map_err(|error| fault(rig, &error))?;
    Ok(value.map(|value| Caption::decode(&value)).transpose()?)
}

/// The latest captions of the first `most` rigs that have one: where the cloud's are, if the connection names its domain.
/// What is stored and is no caption, or one of another rig, is logged and left out.
///
/// # Errors
/// The bucket cannot be read.
pub async fn all(connection: &Connection, most: usize) -> Result<Vec<Caption>, BucketError> {
    let jetstream = connection.cloud().unwrap_or(connection.jetstream());
    let name = format!("KV_{}", streams::LATEST);
    let bucket = jetstream.get_stream_no_info(&name).await;
    let bucket = bucket.map_err(|error| BucketError(error.to_string()))?;
    let keys = bucket.info_with_subjects(KEYS).await;
    let mut keys = keys.map_err(|error| BucketError(error.to_string()))?;
    let mut captions = Vec::new();
    while captions.len() < most
        && let Some(key) = keys.next().await
    {
        let (key, _) = key.map_err(|error| BucketError(error.to_string()))?;
        let value = bucket.direct_get_last_for_subject(&key).await;
        let value = value.map_err(|error| BucketError(format!("{key}: {error}")))?;
        match Caption::decode(&value.payload) {
            Ok(caption) => match subjects::speaks_for(&key, caption.id.rig.as_str()) {
                Ok(()) => captions.push(caption),
                Err(foreign) => tracing::warn!("in {name}: {foreign}"),
            },
            Err(error) => tracing::warn!("{key} in {name} is no caption: {error}"),
        }
    }
    Ok(captions)
}

/// The name of a plan in an encoded caption.
const PLAN: &[u8] = b"\"plan\"";

/// Rigs whose writes are remembered; beyond that all are forgotten, and each is read again before it is written.
const REMEMBERED: usize = 4096;

/// A caption's place among those of its rig.
type Order = (WindowId, u32);

/// The bucket, and what was written to it. Captions of a rig that come while one is written go into one write.
#[derive(Debug)]
pub(crate) struct Latest {
    bucket: Store,
    rigs: Mutex<HashMap<Rig, Arc<Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The newest caption that is to be written, encoded.
    newest: Mutex<Option<(Order, Bytes)>>,
    written: tokio::sync::Mutex<Written>,
}

/// What is known of a rig's entry in the bucket.
#[derive(Debug, Default)]
struct Written {
    /// The caption that was there last.
    order: Option<Order>,
    /// The entry's revision in the bucket after the last write from here.
    revision: Option<u64>,
    /// Whether nobody else wrote it since then, as far as is known: then it need not be read first.
    alone: bool,
    /// Whether it was told that there is no room for it.
    full: bool,
}

impl Latest {
    pub fn new(bucket: Store) -> Self {
        Self {
            bucket,
            rigs: Mutex::default(),
        }
    }

    /// Makes the encoded caption `payload` about `id` its rig's latest, without its plan, unless one is there that is as
    /// new by epoch, seq and revision. That there is no room for the rig is an error once, until there is.
    pub async fn advance(&self, id: &MessageId, payload: &Bytes) -> Result<(), LatestError> {
        let order = (id.window.clone(), id.revision);
        let entry = self.entry(&id.window.rig);
        {
            let mut newest = lock(&entry.newest);
            if newest.as_ref().is_none_or(|(newest, _)| *newest < order) {
                *newest = Some((order.clone(), payload.clone()));
            }
        }
        let mut written = entry.written.lock().await;
        while written.order.as_ref().is_none_or(|there| *there < order) {
            // At least as new as this one.
            let Some((order, payload)) = lock(&entry.newest).clone() else {
                break;
            };
            match self.write(&mut written, order, &payload).await {
                Err(LatestError::NoRoom { .. }) if written.full => return Ok(()),
                result => {
                    written.full = matches!(result, Err(LatestError::NoRoom { .. }));
                    result?;
                }
            }
        }
        Ok(())
    }

    fn entry(&self, rig: &Rig) -> Arc<Entry> {
        let mut rigs = lock(&self.rigs);
        if rigs.len() >= REMEMBERED && !rigs.contains_key(rig) {
            rigs.clear();
        }
        Arc::clone(rigs.entry(rig.clone()).or_default())
    }

    /// Writes a caption, or finds out that a newer one is there.
    async fn write(
        &self,
        written: &mut Written,
        order: Order,
        payload: &Bytes,
    ) -> Result<(), LatestError> {
        let rig = &order.0.rig;
        let mut revision = match written.revision.filter(|_| written.alone) {
            Some(revision) => revision,
            None => match self.newer(written, &order).await? {
                Some(found) => {
                    written.alone = found == 0 || written.revision == Some(found);
                    found
                }
                None => return Ok(()),
            },
        };
        let payload = without_plan(payload)?;
        loop {
            let update = self.bucket.update(rig.as_str(), payload.clone(), revision);
            match update.await {
                Ok(revision) => {
                    written.order = Some(order);
                    written.revision = Some(revision);
                    return Ok(());
                }
                // Another writer came between: look again.
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                    written.alone = false;
                    match self.newer(written, &order).await? {
                        Some(found) => revision = found,
                        None => return Ok(()),
                    }
                }
                Err(error) if has_no_room(&error) => {
                    return Err(LatestError::NoRoom {
                        rig: rig.clone(),
                        reason: error.to_string(),
                    });
                }
                Err(error) => return Err(fault(rig, &error)),
            }
        }
    }

    /// The revision to replace by a caption of `order`; `None` if what is there is as new.
    async fn newer(
        &self,
        written: &mut Written,
        order: &Order,
    ) -> Result<Option<u64>, LatestError> {
        let rig = &order.0.rig;
        let entry = self.bucket.entry(rig.as_str()).await;
        let Some(entry) = entry.map_err(|error| fault(rig, &error))? else {
            return Ok(Some(0));
        };
        // A value that is no caption is of no use to anyone: it is replaced.
        let current = (entry.operation == Operation::Put).then(|| Caption::decode(&entry.value));
        if let Some(Ok(current)) = current {
            let current = (current.id, current.revision);
            if current >= *order {
                written.order = Some(current);
                return Ok(None);
            }
        }
        Ok(Some(entry.revision))
    }
}

/// The encoded caption without its plan; most have none.
fn without_plan(payload: &Bytes) -> Result<Bytes, InvalidCaption> {
    let names_it = |bytes: &[u8]| bytes.windows(PLAN.len()).any(|part| part == PLAN);
    if !names_it(payload) {
        return Ok(payload.clone());
    }
    let mut caption = Caption::decode(payload)?;
    caption.plan = None;
    Ok(caption.encode()?.into())
}

/// Whether the bucket's own bounds are in the way. A disk that is full gives the same code.
fn has_no_room(error: &UpdateError) -> bool {
    refusal(error).is_some_and(|refusal| match refusal.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => true,
        ErrorCode::STREAM_STORE_FAILED => refusal.to_string().contains("maximum bytes exceeded"),
        _ => false,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fault(rig: &Rig, error: &dyn std::error::Error) -> LatestError {
    LatestError::Bucket {
        rig: rig.clone(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_stays_behind() {
        let payload = Bytes::from_static(include_bytes!("../tests/golden/caption-1.1.json"));
        let mut caption = Caption::decode(&payload).unwrap();
        assert!(caption.plan.take().is_some());
        caption.text = r#"the "plan" of a house"#.to_owned();
        let mut planned = caption.clone();
        planned.plan = Some(serde_json::json!({ "action": "verify" }));
        for caption_of in [&caption, &planned] {
            let payload = Bytes::from(caption_of.encode().unwrap());
            let left = without_plan(&payload).unwrap();
            assert_eq!(Caption::decode(&left).unwrap(), caption);
        }
    }
}
