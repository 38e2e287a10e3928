//! Questions: asked of a rig by NATS request at any time, answered by its edge at once, and by the cloud after that
//! as a caption under the answer's id, unless the edge was sure.

use std::time::Duration;

use async_nats::{Subject, client::RequestErrorKind};
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};

use crate::{
    connect::{ConnectError, Connection},
    identity::{Rig, WindowId, excerpt},
    limits::{self, TooLong},
    schema::{Schema, UnreadableSchema},
    subjects,
};

const QUESTION: Schema = Schema {
    name: "question",
    major: 1,
    minor: 0,
};
const ANSWER: Schema = Schema {
    name: "answer",
    major: 1,
    minor: 0,
};
#[derive(Serialize, Deserialize)]
struct Question {
    schema: String,
    prompt: String,
}

/// How far an answer can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerStatus {
    /// The cloud's answer follows.
    Draft,
    /// The edge is sure: nothing follows, and nothing left it.
    Final,
}

/// What the edge says at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Of the question; the cloud's answer comes as a caption of this id. Its seq is that of the window asked about, its
    /// epoch its own: a ULID of time 0, so that no answer is ever the rig's latest caption for long.
    pub id: WindowId,
    /// The answer.
    pub text: String,
    /// The geometric mean of its tokens' probabilities, in [0, 1].
    pub confidence: f32,
    /// Whether the cloud's answer follows.
    pub status: AnswerStatus,
    /// The model that wrote it.
    pub model: String,
}

#[derive(Serialize, Deserialize)]
struct Reply {
    schema: String,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Content {
    Answer(Answer),
    Refusal { error: String },
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody has subscribed to the rig's questions.
    #[error(
        "no edge of rig '{0}' listens: start it with `msao edge`, or correct the rig's name (`msao watch` shows those that speak)"
    )]
    Nobody(Rig),
    /// The edge did not reply in time.
    #[error(
        "the edge of rig '{rig}' did not answer within {seconds} s: is it busy, or its link away?"
    )]
    Late {
        /// The rig.
        rig: Rig,
        /// How long it had.
        seconds: f64,
    },
    /// The edge has no answer.
    #[error("the edge of rig '{rig}' cannot answer: {reason}")]
    Refused {
        /// The rig.
        rig: Rig,
        /// Its reason.
        reason: String,
    },
    /// The question is empty or too long.
    #[error("a question has 1 to {max} bytes, this one has {0}", max = limits::QUESTION)]
    Question(usize),
    /// Not JSON, or not of the schema.
    #[error("not a message about a question: {}", excerpt(&.0.to_string()))]
    Json(#[from] serde_json::Error),
    /// Another schema or major.
    #[error(transparent)]
    Schema(#[from] UnreadableSchema),
    /// The message, or a field, is too long.
    #[error("a message about a question: {0}")]
    TooLong(#[from] TooLong),
    /// The answer's confidence is no share.
    #[error("the answer's confidence is {0}, not within 0 and 1")]
    Confidence(f32),
    /// The client does not work any more.
    #[error(transparent)]
    Connection(#[from] ConnectError),
}

/// Asks the edge of `rig`.
///
/// # Errors
/// Nobody listens there, the answer does not come within `patience`, or there is none.
pub async fn ask(
    connection: &Connection,
    rig: &Rig,
    prompt: &str,
    patience: Duration,
) -> Result<Answer, AskError> {
    let request = async_nats::Request::new()
        .payload(write_question(prompt)?.into())
        .timeout(Some(patience));
    let subject = subjects::ask(rig);
    let reply = (connection.client().send_request(subject.clone(), request)).await;
    let reply = reply.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => AskError::Nobody(rig.clone()),
        RequestErrorKind::TimedOut => AskError::Late {
            rig: rig.clone(),
            seconds: patience.as_secs_f64(),
        },
        _ => connection.fault(&subject, &error).into(),
    })?;
    read_answer(&reply.payload)?.map_err(|reason| AskError::Refused {
        rig: rig.clone(),
        reason,
    })
}

fn check(prompt: &str) -> Result<(), AskError> {
    if (1..=limits::QUESTION).contains(&prompt.len()) {
        Ok(())
    } else {
        Err(AskError::Question(prompt.len()))
    }
}

/// A question that somebody waits for the answer to.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub prompt: String,
    reply: Subject,
}

impl Asked {
    /// Answers it, or says why not.
    ///
    /// # Errors
    /// The client does not work any more.
    pub async fn answer(
        self,
        connection: &Connection,
        answer: Result<Answer, String>,
    ) -> Result<(), AskError> {
        send(connection, self.reply, answer).await
    }
}

async fn send(
    connection: &Connection,
    to: Subject,
    answer: Result<Answer, String>,
) -> Result<(), AskError> {
    let reply = write_answer(answer)?;
    let sent = connection.client().publish(to.clone(), reply.into()).await;
    sent.map_err(|error| connection.fault(&to, &error).into())
}

/// The questions to `rig` from now on. One that cannot be read is refused here.
///
/// # Errors
/// The client does not work any more.
pub async fn questions(
    connection: &Connection,
    rig: &Rig,
) -> Result<impl Stream<Item = Asked> + use<>, ConnectError> {
    let subject = subjects::ask(rig);
    let messages = connection.client().subscribe(subject.clone()).await;
    let messages = messages.map_err(|error| connection.fault(&subject, &error))?;
    let connection = connection.clone();
    Ok(messages.filter_map(move |message| {
        let connection = connection.clone();
        async move {
            // Nobody waits for the answer to what is no request.
            let reply = message.reply?;
            match read_question(&message.payload) {
                Ok(prompt) => Some(Asked { prompt, reply }),
                Err(error) => {
                    let error = error.to_string();
                    tracing::warn!("a question is refused: {error}");
                    if let Err(error) = send(&connection, reply, Err(error)).await {
                        tracing::warn!("no refusal was sent: {error}");
                    }
                    None
                }
            }
        }
    }))
}

/// The message that asks `prompt`.
#[doc(hidden)]
pub fn write_question(prompt: &str) -> Result<Vec<u8>, AskError> {
    check(prompt)?;
    Ok(serde_json::to_vec(&Question {
        schema: QUESTION.text(),
        prompt: prompt.to_owned(),
    })?)
}

/// The prompt of a question.
#[doc(hidden)]
pub fn read_question(payload: &[u8]) -> Result<String, AskError> {
    limits::check("the message", payload.len(), limits::JSON)?;
    let question: Question = serde_json::from_slice(payload)?;
    QUESTION.check(&question.schema)?;
    check(&question.prompt)?;
    Ok(question.prompt)
}

/// The message that answers, or says why not.
#[doc(hidden)]
pub fn write_answer(answer: Result<Answer, String>) -> Result<Vec<u8>, AskError> {
    let content = match answer {
        Ok(answer) => Content::Answer(answer),
        Err(error) => Content::Refusal { error },
    };
    Ok(serde_json::to_vec(&Reply {
        schema: ANSWER.text(),
        content,
    })?)
}

/// The answer in a reply, or the start of the reason why there is none.
#[doc(hidden)]
pub fn read_answer(payload: &[u8]) -> Result<Result<Answer, String>, AskError> {
    limits::check("the message", payload.len(), limits::JSON)?;
    let reply: Reply = serde_json::from_slice(payload)?;
    ANSWER.check(&reply.schema)?;
    let answer = match reply.content {
        Content::Answer(answer) => answer,
        Content::Refusal { error } => return Ok(Err(excerpt(&error))),
    };
    limits::check("text", answer.text.len(), limits::TEXT)?;
    limits::check("model", answer.model.len(), limits::SHORT_TEXT)?;
    if !(0.0..=1.0).contains(&answer.confidence) {
        return Err(AskError::Confidence(answer.confidence));
    }
    Ok(Ok(answer))
}
