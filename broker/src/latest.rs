//! The latest caption of each rig, in the key-value bucket `MSAO_LATEST` under the rig's name.

use async_nats::jetstream::kv::{Operation, Store, UpdateErrorKind};
use bytes::Bytes;

use crate::{
    caption::{Caption, InvalidCaption},
    identity::Rig,
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
    /// What is stored, or is to be stored, is not a caption.
    #[error(transparent)]
    Caption(#[from] InvalidCaption),
}

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

/// Makes the encoded caption `payload` its rig's latest, without its plan, unless one is there that is as new by
/// epoch, seq and revision. Returns whether it did.
pub(crate) async fn advance(bucket: &Store, payload: &Bytes) -> Result<bool, LatestError> {
    let mut caption = Caption::decode(payload)?;
    caption.plan = None;
    let payload = Bytes::from(caption.encode()?);
    let rig = &caption.id.rig;
    loop {
        let entry = bucket
            .entry(rig.as_str())
            .await
            .map_err(|error| fault(rig, &error))?;
        let revision = match &entry {
            None => 0,
            Some(entry) => {
                let current =
                    (entry.operation == Operation::Put).then(|| Caption::decode(&entry.value));
                // A value that is no caption is of no use to anyone: it is replaced.
                if let Some(Ok(current)) = current
                    && current.order() >= caption.order()
                {
                    return Ok(false);
                }
                entry.revision
            }
        };
        match bucket.update(rig.as_str(), payload.clone(), revision).await {
            Ok(_) => return Ok(true),
            // Another writer came between: look again.
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
            Err(error) => return Err(fault(rig, &error)),
        }
    }
}

fn fault(rig: &Rig, error: &dyn std::error::Error) -> LatestError {
    LatestError::Bucket {
        rig: rig.clone(),
        reason: error.to_string(),
    }
}
