//! How edges and cloud workers are: JSON, every second, not stored.

use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use ulid::Ulid;

use crate::{
    connect::{ConnectError, Connection},
    identity::{InvalidName, Rig, excerpt, is_name},
    limits::{self, TooLong},
    publisher::Counters,
    schema::{Schema, UnreadableSchema},
    subjects::{self, Foreign},
};

const SCHEMA: Schema = Schema {
    name: "status",
    major: 1,
    minor: 3,
};

/// How an edge is. Counters count from the start of its epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `status/1.3`: name, major and minor of the schema.
    pub schema: String,
    /// The rig.
    pub rig: Rig,
    /// Made when the edge process started.
    pub epoch: Ulid,
    /// When this was said, UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// What runs the models, such as `cpu` or `cuda`, several with commas.
    pub provider: String,
    /// Frames that entered.
    pub frames_in: u64,
    /// Frames that the gate let through.
    pub frames_kept: u64,
    /// Hops of sound and of sensors that were measured.
    #[serde(default)]
    pub hops_in: u64,
    /// Windows made.
    pub windows: u64,
    /// Positions kept of all windows.
    pub tokens_kept: u64,
    /// Positions that there would be had nothing been left out.
    pub tokens_possible: u64,
    /// The rig's streams. Since 1.2.
    #[serde(default)]
    pub streams: Vec<StreamStatus>,
    /// What was decided on windows; all 0 without a planner.
    #[serde(default)]
    pub decisions: Decisions,
    /// What became of the edge's messages.
    #[serde(flatten)]
    pub messages: Counters,
}

/// How a stream of a rig is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// The stream, such as `video_1`.
    pub stream: String,
    /// What it reads, without user and password.
    pub source: String,
    /// Frames or hops that were measured.
    pub measured: u64,
    /// Buffers that its gate let through.
    pub kept: u64,
    /// What is wrong with it, if it brings nothing while the others go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Decisions by kind. A window that waits for the cloud is decided on again: `windows` of the status are
/// `skip + keep + verify + offload + waiting + dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decisions {
    /// Nothing happened in the window.
    pub skip: u64,
    /// The draft is final.
    pub keep: u64,
    /// Features and draft go to the cloud.
    pub verify: u64,
    /// The cloud captions without a draft.
    pub offload: u64,
    /// The cloud was away: the window waits.
    pub defer: u64,
    /// Of `verify`, those decided only to learn from the answer.
    pub audits: u64,
    /// Windows that wait now.
    pub waiting: u64,
    /// Of `keep`, those that waited too long.
    pub stale: u64,
    /// Windows without a draft that waited too long, or found no room to wait.
    pub dropped: u64,
}

impl Status {
    /// A status of now with every counter at 0.
    pub fn new(rig: Rig, epoch: Ulid, provider: impl Into<String>) -> Self {
        Self {
            schema: SCHEMA.text(),
            rig,
            epoch,
            time: OffsetDateTime::now_utc(),
            provider: provider.into(),
            frames_in: 0,
            frames_kept: 0,
            hops_in: 0,
            windows: 0,
            tokens_kept: 0,
            tokens_possible: 0,
            streams: Vec::new(),
            decisions: Decisions::default(),
            messages: Counters::default(),
        }
    }
}

/// How a cloud worker is. Counters count from its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloudStatus {
    /// `status/1.3`: name, major and minor of the schema.
    pub schema: String,
    /// The worker's name.
    pub worker: String,
    /// When this was said, UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// The model that verifies.
    pub model: String,
    /// What runs it, such as `cpu` or `cuda`, several with commas; `server` if a server does.
    pub provider: String,
    /// Windows that wait, in the broker and in the worker for the model.
    pub queue: u64,
    /// Windows captioned.
    pub captioned: u64,
    /// Of these, drafts that stood whole.
    pub confirmed: u64,
    /// Of these, texts that replaced a draft or had none.
    pub corrected: u64,
    /// Windows that had been captioned before and were passed over.
    pub duplicates: u64,
    /// Messages that could not be handled and went to the dead letters.
    pub dead: u64,
    /// How long the last window took, in milliseconds; 0 before the first.
    pub last_ms: f64,
    /// Windows a second that it can serve, from its time of work alone; 0 before the first. Since 1.1.
    #[serde(default)]
    pub service_rate: f64,
    /// Mean time from taking up a draft that is confirmed to the verdict, in milliseconds. Since 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_ms: Option<f64>,
    /// The same of a draft that is corrected. Since 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrected_ms: Option<f64>,
    /// The same of a window without a draft. Since 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captioned_ms: Option<f64>,
    /// What was asked of the server that has the model, if one has. Since 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerUse>,
}

/// What was asked of a model's server, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerUse {
    /// Requests sent, every try counted.
    pub requests: u64,
    /// Of these, tries beyond the first.
    pub retries: u64,
    /// Windows of which all tries failed.
    pub failures: u64,
    /// Tokens read, as the server counts.
    pub input_tokens: u64,
    /// Tokens written, as the server counts.
    pub output_tokens: u64,
    /// What these cost, by the configuration's price, in its currency; 0 without one.
    pub cost: f64,
}

impl CloudStatus {
    /// A status of now with every counter at 0.
    pub fn new(
        worker: impl Into<String>,
        model: impl Into<String>,
        provider: impl Into<String>,
    ) -> Self {
        Self {
            schema: SCHEMA.text(),
            worker: worker.into(),
            time: OffsetDateTime::now_utc(),
            model: model.into(),
            provider: provider.into(),
            queue: 0,
            captioned: 0,
            confirmed: 0,
            corrected: 0,
            duplicates: 0,
            dead: 0,
            last_ms: 0.0,
            service_rate: 0.0,
            confirmed_ms: None,
            corrected_ms: None,
            captioned_ms: None,
            server: None,
        }
    }
}

/// A status message from either side.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyStatus {
    /// From an edge.
    Edge(Status),
    /// From a cloud worker.
    Cloud(CloudStatus),
}

/// A status could not be sent or read.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The worker's name is not one subject token.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Not JSON, or not of the schema.
    #[error("not a status: {}", excerpt(&.0.to_string()))]
    Json(#[from] serde_json::Error),
    /// Another schema or major.
    #[error(transparent)]
    Schema(#[from] UnreadableSchema),
    /// The message came on a subject that is no status subject.
    #[error("'{0}' is not a status subject")]
    Subject(String),
    /// It is of another edge or worker than its subject.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// The message, or a field, is too long.
    #[error("status: {0}")]
    TooLong(#[from] TooLong),
    /// A time or rate that is none.
    #[error("status of worker '{worker}': {field} is {value}, not a number of at least 0")]
    OutOfRange {
        /// The worker.
        worker: String,
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
    },
    /// The client does not work any more.
    #[error("cannot publish on {subject}: {reason}")]
    Publish {
        /// Where it should have gone.
        subject: String,
        /// What the client says.
        reason: String,
    },
}

/// Publishes an edge's status. Without a connection it is dropped: a late status is worth nothing.
///
/// # Errors
/// The client does not work any more.
pub async fn publish_edge(connection: &Connection, status: &Status) -> Result<(), StatusError> {
    publish(
        connection,
        subjects::edge_status(&status.rig),
        serde_json::to_vec(status)?,
    )
    .await
}

/// Publishes a cloud worker's status. Without a connection it is dropped: a late status is worth nothing.
///
/// # Errors
/// The worker's name is not one subject token, or the client does not work any more.
pub async fn publish_cloud(
    connection: &Connection,
    status: &CloudStatus,
) -> Result<(), StatusError> {
    publish(
        connection,
        subjects::cloud_status(&status.worker)?,
        serde_json::to_vec(status)?,
    )
    .await
}

async fn publish(
    connection: &Connection,
    subject: String,
    payload: Vec<u8>,
) -> Result<(), StatusError> {
    if !connection.is_connected() {
        return Ok(());
    }
    let sent = connection
        .client()
        .publish(subject.clone(), payload.into())
        .await;
    sent.map_err(|error| StatusError::Publish {
        subject,
        reason: error.to_string(),
    })
}

/// Status messages of all edges and cloud workers from now on; one that cannot be read is an error item.
///
/// # Errors
/// The client does not work any more.
pub async fn subscribe(
    connection: &Connection,
) -> Result<impl Stream<Item = Result<AnyStatus, StatusError>> + use<>, ConnectError> {
    on(connection, subjects::STATUS).await
}

/// The same of cloud workers alone: for an edge, which need not hear of all other edges.
///
/// # Errors
/// As for [`subscribe`].
pub async fn subscribe_cloud(
    connection: &Connection,
) -> Result<impl Stream<Item = Result<AnyStatus, StatusError>> + use<>, ConnectError> {
    on(connection, subjects::CLOUD_STATUS).await
}

async fn on(
    connection: &Connection,
    subject: &'static str,
) -> Result<impl Stream<Item = Result<AnyStatus, StatusError>> + use<>, ConnectError> {
    let messages = connection.client().subscribe(subject).await;
    let messages = messages.map_err(|error| connection.fault(subject, &error))?;
    Ok(messages.map(|message| AnyStatus::decode(&message.subject, &message.payload)))
}

impl AnyStatus {
    /// The status as JSON.
    ///
    /// # Errors
    /// As of `serde_json`: not in practice.
    #[doc(hidden)]
    pub fn encode(&self) -> Result<Vec<u8>, StatusError> {
        Ok(match self {
            Self::Edge(status) => serde_json::to_vec(status)?,
            Self::Cloud(status) => serde_json::to_vec(status)?,
        })
    }

    /// Reads a status that came on `subject`. Fields that a newer minor added are ignored.
    ///
    /// # Errors
    /// The subject is no status subject, or of another edge or worker; the bytes are not JSON of this schema's major; or a
    /// field is out of range or too long.
    pub fn decode(subject: &str, payload: &[u8]) -> Result<Self, StatusError> {
        limits::check("the message", payload.len(), limits::JSON)?;
        if subject.starts_with("msao.v1.status.edge.") {
            let status: Status = serde_json::from_slice(payload)?;
            SCHEMA.check(&status.schema)?;
            limits::check("provider", status.provider.len(), limits::SHORT_TEXT)?;
            limits::check("streams", status.streams.len(), limits::STREAMS)?;
            subjects::speaks_for(subject, status.rig.as_str())?;
            Ok(Self::Edge(status))
        } else if subject.starts_with("msao.v1.status.cloud.") {
            let status: CloudStatus = serde_json::from_slice(payload)?;
            SCHEMA.check(&status.schema)?;
            status.check()?;
            subjects::speaks_for(subject, &status.worker)?;
            Ok(Self::Cloud(status))
        } else {
            Err(StatusError::Subject(excerpt(subject)))
        }
    }
}

impl CloudStatus {
    fn check(&self) -> Result<(), StatusError> {
        if !is_name(&self.worker) {
            return Err(InvalidName::new("worker", &self.worker).into());
        }
        limits::check("model", self.model.len(), limits::SHORT_TEXT)?;
        limits::check("provider", self.provider.len(), limits::SHORT_TEXT)?;
        let numbers = [
            ("last_ms", Some(self.last_ms)),
            ("service_rate", Some(self.service_rate)),
            ("confirmed_ms", self.confirmed_ms),
            ("corrected_ms", self.corrected_ms),
            ("captioned_ms", self.captioned_ms),
            ("server.cost", self.server.map(|server| server.cost)),
        ];
        for (field, value) in numbers {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                let worker = self.worker.clone();
                return Err(StatusError::OutOfRange {
                    worker,
                    field,
                    value,
                });
            }
        }
        Ok(())
    }
}
