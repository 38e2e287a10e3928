//! The dead letters as they are stored: listed, read, and replayed once what was wrong is mended.

use async_nats::{
    HeaderMap,
    jetstream::{
        consumer::DeliverPolicy,
        message::PublishMessage,
        stream::{LastRawMessageErrorKind, RawMessageError},
    },
};
use bytes::Bytes;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    connect::Connection,
    features::FeatureWindow,
    headers::{self, TraceParent},
    identity::{Rig, excerpt},
    message::{Kind, Message, MessageId},
    scan, streams, subjects,
};

/// What is known of a dead letter. Whoever may publish dead letters may have written any of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its sequence in `MSAO_DEAD`, from 1: what it is called by.
    pub number: u64,
    /// The rig that it is about; `_` if its message named none.
    pub rig: Option<Rig>,
    /// The value of its `Nats-Msg-Id` header.
    pub id: String,
    /// When it was stored.
    pub time: OffsetDateTime,
    /// Why the message could not be handled.
    pub reason: String,
    /// How often the message was delivered.
    pub deliveries: Option<u64>,
    /// Stream and sequence of the message.
    pub origin: String,
    /// The message's own subject.
    pub origin_subject: String,
    /// Length of the message's payload in bytes, if it had to be cut.
    pub cut_from: Option<u64>,
}

/// A dead letter with all that is stored of it.
#[derive(Clone, Debug)]
pub struct Whole {
    /// What is known of it.
    pub letter: Letter,
    /// Its headers.
    pub headers: HeaderMap,
    /// The message's payload.
    pub payload: Bytes,
}

/// Dead letters cannot be read or replayed.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// There is none of this number.
    #[error("there is no dead letter {0}: `msao dead list` shows those that there are")]
    Missing(u64),
    /// What is stored is not what was sent.
    #[error(
        "dead letter {number} ({id}) cannot be replayed: its payload was cut from {bytes} bytes to fit max_payload; the edge's message is gone"
    )]
    Cut {
        /// The letter.
        number: u64,
        /// Its message id.
        id: String,
        /// Length of the payload before.
        bytes: u64,
    },
    /// The message was not of a subject of features.
    #[error(
        "dead letter {number} cannot be replayed: its message came on '{subject}', which is no subject of features"
    )]
    Foreign {
        /// The letter.
        number: u64,
        /// The subject that it names.
        subject: String,
    },
    /// It is in the queue again, and still among the dead letters.
    #[error(
        "dead letter {number} was replayed, but not removed ({reason}): once that is mended, replay it again, which is safe"
    )]
    Kept {
        /// The letter.
        number: u64,
        /// What went wrong.
        reason: String,
    },
    /// The broker does not serve.
    #[error("the NATS server at {url} does not serve dead letters: {reason}")]
    Broker {
        /// The address, without credentials.
        url: String,
        /// What went wrong.
        reason: String,
    },
}

impl Letter {
    fn of(number: u64, subject: &str, headers: &HeaderMap, time: OffsetDateTime) -> Self {
        let value = |name| headers.get(name).map(|value| value.as_str());
        let text = |name| headers::one_line(value(name).unwrap_or_default());
        let whole = |name| value(name).and_then(|value| value.parse().ok());
        Self {
            number,
            rig: subjects::rig_of(subject),
            id: text(headers::MESSAGE_ID),
            time,
            reason: text(headers::REASON),
            deliveries: whole(headers::DELIVERIES),
            origin: text(headers::ORIGIN),
            origin_subject: text(headers::ORIGIN_SUBJECT),
            cut_from: whole(headers::CUT_FROM),
        }
    }
}

/// All dead letters, or those of `rig`, the oldest first.
///
/// # Errors
/// The server does not answer as it should.
pub async fn list(connection: &Connection, rig: Option<&Rig>) -> Result<Vec<Letter>, LetterError> {
    let mut letters = Vec::new();
    let read = async {
        let Some(stream) = scan::stream(connection, streams::DEAD).await? else {
            return Ok(());
        };
        let subject = rig.map_or_else(|| subjects::DEAD.to_owned(), subjects::dead);
        scan::heads(&stream, subject, DeliverPolicy::All, |head| {
            letters.push(Letter::of(
                head.sequence,
                head.subject,
                head.headers,
                head.time,
            ));
        })
        .await
    };
    read.await.map_err(|reason| broker(connection, reason))?;
    Ok(letters)
}

/// The dead letter of this number.
///
/// # Errors
/// There is none, or the server does not answer as it should.
pub async fn get(connection: &Connection, number: u64) -> Result<Whole, LetterError> {
    let stream = scan::stream(connection, streams::DEAD).await;
    let stream = stream.map_err(|reason| broker(connection, reason))?;
    let stream = stream.ok_or(LetterError::Missing(number))?;
    // Sequence 0 would ask for something else.
    if number == 0 {
        return Err(LetterError::Missing(number));
    }
    let message = match stream.get_raw_message(number).await {
        Ok(message) => message,
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
            return Err(LetterError::Missing(number));
        }
        Err(error) => return Err(broker(connection, error.to_string())),
    };
    Ok(Whole {
        letter: Letter::of(number, &message.subject, &message.headers, message.time),
        headers: message.headers,
        payload: message.payload,
    })
}

/// Puts the message of a letter into the queue again, and removes the letter once the server has stored it. Its message
/// id counts one replay more, so that the duplicate window lets it through, and lets it through once: replayed again
/// because the letter could not be removed, it is the same message. A worker passes over a window that has its caption.
///
/// # Errors
/// The payload was cut, the message was not of a subject of features, or the server does not store or remove it.
pub async fn replay(connection: &Connection, whole: Whole) -> Result<(), LetterError> {
    let number = whole.letter.number;
    let message = message(whole)?;
    let publish = PublishMessage::build()
        .headers(message.headers)
        .payload(message.payload)
        .expected_stream(streams::FEATURES);
    let stored = async {
        let sent = connection
            .jetstream()
            .send_publish(message.subject, publish);
        sent.await?.await
    };
    let stored = stored.await;
    stored.map_err(|error| {
        broker(
            connection,
            format!("letter {number} is not stored: {error}"),
        )
    })?;
    let kept = |reason| LetterError::Kept { number, reason };
    let stream = scan::stream(connection, streams::DEAD).await;
    let Some(stream) = stream.map_err(kept)? else {
        return Ok(());
    };
    match stream.delete_message(number).await {
        Ok(_) => Ok(()),
        // Somebody else may have removed it meanwhile.
        Err(_) if is_missing(stream.get_raw_message(number).await.err()) => Ok(()),
        Err(error) => Err(kept(error.to_string())),
    }
}

fn is_missing(error: Option<RawMessageError>) -> bool {
    error.is_some_and(|error| error.kind() == LastRawMessageErrorKind::NoMessageFound)
}

/// The message of a letter as it was, but for its id.
fn message(whole: Whole) -> Result<Message, LetterError> {
    let Whole {
        letter,
        headers: found,
        payload,
    } = whole;
    let number = letter.number;
    if let Some(bytes) = letter.cut_from {
        let id = letter.id;
        return Err(LetterError::Cut { number, id, bytes });
    }
    if !subjects::is_features(&letter.origin_subject) {
        let subject = excerpt(&letter.origin_subject);
        return Err(LetterError::Foreign { number, subject });
    }
    let before: Option<MessageId> = letter.id.parse().ok();
    let replays = (before.as_ref()).map_or(1, |id| id.revision.saturating_add(1));
    let trace = TraceParent::of(&found).map_or_else(TraceParent::generate, TraceParent::child);
    if let Ok(window) = FeatureWindow::decode(&payload) {
        let message = Message::features_again(&window, payload, trace, replays);
        return Ok(Message {
            subject: letter.origin_subject,
            ..message
        });
    }
    // Only what is known: another header could tell the server to do something.
    let content_type = headers::content_type(&found);
    let (id, headers) = match before {
        Some(before) => {
            let id = MessageId {
                kind: Kind::Features,
                revision: replays,
                ..before
            };
            let made = found
                .get(headers::CE_TIME)
                .and_then(|time| OffsetDateTime::parse(time.as_str(), &Rfc3339).ok());
            let headers = headers::stored(&id, &content_type, made.unwrap_or(letter.time), trace);
            (id.to_string(), headers)
        }
        None => {
            // The time tells apart letters of a stream that was made anew.
            let nanos = letter.time.unix_timestamp_nanos();
            let id = format!("{}/{number}/{nanos}/replay/1", streams::DEAD);
            let mut headers = HeaderMap::new();
            headers.insert(headers::MESSAGE_ID, id.as_str());
            headers.insert(headers::CONTENT_TYPE, content_type);
            (id, headers)
        }
    };
    Ok(Message {
        id,
        subject: letter.origin_subject,
        headers,
        payload,
        span: tracing::Span::none(),
        is_caption: false,
    })
}

fn broker(connection: &Connection, reason: String) -> LetterError {
    let url = connection.url().to_owned();
    LetterError::Broker { url, reason }
}
