//! Captions as they are stored, across losses of the connection: for whoever watches.

use crate::{
    caption::{Caption, InvalidCaption},
    connect::Connection,
    cursor::{self, Cursor, Start},
    identity::Rig,
    seen::Seen,
    streams::{self, SetUpError, StreamsConfig},
    subjects,
};

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
    cursor: Cursor,
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
        From::Now => cursor::last_sequence(connection, streams::CAPTIONS).await? + 1,
        From::Last(count) => (cursor::last_sequence(connection, streams::CAPTIONS).await? + 1)
            .saturating_sub(count)
            .max(1),
    };
    let subject = rig.map_or_else(|| subjects::CAPTIONS.to_owned(), subjects::captions);
    let cursor = Cursor::new(
        connection.clone(),
        *streams,
        streams::CAPTIONS,
        subject,
        Start::Sequence(next_sequence),
    );
    Ok(Captions {
        cursor,
        seen: Seen::new(REMEMBERED),
    })
}

impl Captions {
    /// Waits for the next caption, through any loss of the connection. May be dropped and called
    /// again without losing one.
    ///
    /// # Errors
    /// A message is stored that is no caption, or one of another rig than its subject; the next call goes on behind it.
    pub async fn next(&mut self) -> Result<Caption, InvalidCaption> {
        loop {
            let Some(message) = self.cursor.next().await else {
                continue;
            };
            let caption = Caption::decode(&message.payload)?;
            subjects::speaks_for(&message.subject, caption.id.rig.as_str())?;
            if self.seen.advance(&caption.id, caption.revision) {
                return Ok(caption);
            }
        }
    }
}
