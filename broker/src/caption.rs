//! What was seen in a window, in words: JSON on the wire.
//!
//! A window's captions are revisions of one statement: 0 is the edge's draft, 1 is its second one, if what the first
//! rested on was corrected, 2 is the cloud's word, or the edge's that a draft which waited for the cloud is final. Readers go by `(id, revision)`, because a message can arrive twice or out of order.

use offload::Action;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    features::{
        ASKED, DEFERRED, DraftReport, FeatureWindow, Modality, ModalityReport, REDRAFTED, utc,
    },
    identity::{WindowId, excerpt},
    limits::{self, TooLong},
    schema::{Schema, UnreadableSchema},
    subjects::Foreign,
};

const SCHEMA: Schema = Schema {
    name: "caption",
    major: 1,
    minor: 1,
};

/// Revision of the edge's second draft.
pub const REDRAFT: u32 = 1;
/// Revision of the last word on a window that was sent or that waited.
pub const LAST: u32 = 2;

/// How far a caption can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptionStatus {
    /// The edge's first word; the cloud may correct it.
    Draft,
    /// The cloud agrees with the draft's text.
    Confirmed,
    /// The cloud's text replaces the draft's, or there was no draft.
    Corrected,
    /// The draft is taken back and nothing replaces it.
    Retracted,
}

/// How sparse one stream was in the window. All four measures are in [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamMas {
    /// What the stream senses.
    pub modality: Modality,
    /// The stream's name.
    pub stream: String,
    /// Spatial sparsity.
    pub rho: f32,
    /// Temporal redundancy.
    pub gamma: f32,
    /// Contribution to the output.
    pub beta: f32,
    /// The share of the stream's activations that need not be sent.
    pub mas: f32,
}

impl From<&ModalityReport> for StreamMas {
    fn from(report: &ModalityReport) -> Self {
        Self {
            modality: report.modality,
            stream: report.stream.clone(),
            rho: report.rho,
            gamma: report.gamma,
            beta: report.beta,
            mas: report.mas,
        }
    }
}

/// Where the time went, in milliseconds, at least 0. Absent: that stage is not behind this caption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyMs {
    /// From the window's end to its draft.
    pub edge: f64,
    /// From the draft to the broker having the features; two clocks, so below 0 is given as 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<f64>,
    /// From the broker having the features to a cloud worker taking them up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<f64>,
    /// From there to the caption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<f64>,
}

/// One revision of a window's caption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Caption {
    /// `caption/1.1`: name, major and minor of the schema.
    pub schema: String,
    /// The window that the caption is about.
    pub id: WindowId,
    /// 0 is the edge's draft, [`REDRAFT`] its second one, [`LAST`] the last word; the highest counts.
    pub revision: u32,
    /// How far it can be relied on.
    pub status: CaptionStatus,
    /// Whether the edge keeps its draft: the cloud is not asked. Absent is false, and what the cloud says is final anyway.
    #[serde(rename = "final", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_final: bool,
    /// Whether the edge took the text from the cloud's correction of a window like it: its model wrote another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redrafted: bool,
    /// The question that the text answers; absent if it is about the window as the rig's prompt asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The caption.
    pub text: String,
    /// How many tokens the caption has, without the end-of-sequence token.
    pub tokens: u32,
    /// The geometric mean of the tokens' probabilities under `model`, in [0, 1].
    pub confidence: f32,
    /// How many of the draft's tokens the cloud accepted; absent in a draft, or if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_tokens: Option<u32>,
    /// Start of the window, UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub start: OffsetDateTime,
    /// End of the window, UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub end: OffsetDateTime,
    /// Start of the window in media (running) time, nanoseconds.
    pub start_running_ns: u64,
    /// End of the window in media (running) time, nanoseconds.
    pub end_running_ns: u64,
    /// When this revision was made, UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// Sparsity by stream.
    pub mas: Vec<StreamMas>,
    /// The model that wrote `text`.
    pub model: String,
    /// Where the time went.
    pub latency_ms: LatencyMs,
    /// What the decision on the window rests on: [`offload::planner::Decision`] as JSON, if it was made with this caption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<serde_json::Value>,
}

/// A caption cannot be written, or bytes are not a caption.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCaption {
    /// Not JSON, or not of the schema.
    #[error("not a caption: {}", excerpt(&.0.to_string()))]
    Json(#[from] serde_json::Error),
    /// Another schema or major.
    #[error(transparent)]
    Schema(#[from] UnreadableSchema),
    /// A number out of its range.
    #[error("caption of {id}: {field} is out of range")]
    OutOfRange {
        /// The window.
        id: WindowId,
        /// The field.
        field: &'static str,
    },
    /// It is of another rig than its subject.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// The message, or a field, is too long.
    #[error("caption: {0}")]
    TooLong(#[from] TooLong),
}

/// What the cloud made of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Whether the whole draft stood, with equal text.
    pub confirmed: bool,
    /// The caption.
    pub text: String,
    /// Its number of tokens.
    pub tokens: u32,
    /// The geometric mean of the tokens' probabilities, in [0, 1].
    pub confidence: f32,
    /// How many of the draft's tokens were accepted; `None` if there was no draft.
    pub accepted_tokens: Option<u32>,
    /// The model that wrote it.
    pub model: String,
}

impl Caption {
    /// Media type of an encoded caption.
    pub const CONTENT_TYPE: &'static str = "application/json";

    /// The window's draft, or `None` if it has none: revision 0; [`REDRAFT`] if it is flagged [`REDRAFTED`] and not kept;
    /// [`LAST`] if it is kept after it waited for the cloud.
    pub fn draft(window: &FeatureWindow) -> Option<Self> {
        let DraftReport {
            text,
            token_ids,
            confidence,
            model,
            ..
        } = window.draft.as_ref()?;
        let is_final = window.decision == Action::Keep;
        let flagged = |name: &str| window.flags.iter().any(|flag| flag == name);
        let revision = match is_final {
            true if flagged(DEFERRED) => LAST,
            false if flagged(REDRAFTED) => REDRAFT,
            _ => 0,
        };
        Some(Self {
            schema: SCHEMA.text(),
            id: window.id.clone(),
            revision,
            status: CaptionStatus::Draft,
            is_final,
            redrafted: flagged(REDRAFTED),
            question: question(window),
            text: text.clone(),
            tokens: token_ids.len() as u32,
            confidence: *confidence,
            accepted_tokens: None,
            start: utc(window.start_utc_ns),
            end: utc(window.end_utc_ns),
            start_running_ns: window.start_running_ns,
            end_running_ns: window.end_running_ns,
            time: utc(window.drafted_utc_ns),
            mas: window.modalities.iter().map(StreamMas::from).collect(),
            model: model.clone(),
            latency_ms: LatencyMs {
                edge: edge_ms(window),
                ..LatencyMs::default()
            },
            plan: (window.plan.as_deref()).and_then(|plan| serde_json::from_str(plan).ok()),
        })
    }

    /// Revision [`LAST`]: the cloud's word on a window. `latency_ms.edge` is taken from the window.
    pub fn verified(window: &FeatureWindow, verdict: Verdict, latency_ms: LatencyMs) -> Self {
        let status = if verdict.confirmed {
            CaptionStatus::Confirmed
        } else {
            CaptionStatus::Corrected
        };
        Self {
            schema: SCHEMA.text(),
            id: window.id.clone(),
            revision: LAST,
            status,
            is_final: false,
            redrafted: false,
            question: question(window),
            text: verdict.text,
            tokens: verdict.tokens,
            confidence: verdict.confidence,
            accepted_tokens: verdict.accepted_tokens,
            start: utc(window.start_utc_ns),
            end: utc(window.end_utc_ns),
            start_running_ns: window.start_running_ns,
            end_running_ns: window.end_running_ns,
            time: OffsetDateTime::now_utc(),
            mas: window.modalities.iter().map(StreamMas::from).collect(),
            model: verdict.model,
            latency_ms: LatencyMs {
                edge: edge_ms(window),
                ..latency_ms
            },
            plan: None,
        }
    }

    /// The caption as JSON.
    ///
    /// # Errors
    /// A number is not finite or not in its range, or a text or list too long.
    pub fn encode(&self) -> Result<Vec<u8>, InvalidCaption> {
        self.check()?;
        Ok(serde_json::to_vec(self)?)
    }

    /// Reads a caption of this schema's major. Fields that a newer minor added are ignored.
    ///
    /// # Errors
    /// Not JSON, another schema or major, a field missing, out of range or too long.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidCaption> {
        #[derive(Deserialize)]
        struct Version {
            schema: String,
        }
        limits::check("the message", bytes.len(), limits::JSON)?;
        SCHEMA.check(&serde_json::from_slice::<Version>(bytes)?.schema)?;
        let caption: Self = serde_json::from_slice(bytes)?;
        caption.check()?;
        Ok(caption)
    }

    /// Orders captions of one rig: by window, then by revision.
    pub fn order(&self) -> (&WindowId, u32) {
        (&self.id, self.revision)
    }

    fn check(&self) -> Result<(), InvalidCaption> {
        let question = self.question.as_ref().map_or(0, String::len);
        let plan = self.plan.as_ref().map_or(0, |plan| plan.to_string().len());
        limits::check("schema", self.schema.len(), limits::NAME)?;
        limits::check("text", self.text.len(), limits::TEXT)?;
        limits::check("question", question, limits::TEXT)?;
        limits::check("plan", plan, limits::TEXT)?;
        limits::check("model", self.model.len(), limits::SHORT_TEXT)?;
        limits::check("mas", self.mas.len(), limits::STREAMS)?;
        for stream in &self.mas {
            limits::check("stream", stream.stream.len(), limits::NAME)?;
        }
        let share = |value: f32| (0.0..=1.0).contains(&value);
        let LatencyMs {
            edge,
            uplink,
            queue,
            cloud,
        } = self.latency_ms;
        let mut latencies = [Some(edge), uplink, queue, cloud].into_iter().flatten();
        let field = if !share(self.confidence) {
            "confidence"
        } else if !self
            .mas
            .iter()
            .all(|s| [s.rho, s.gamma, s.beta, s.mas].into_iter().all(share))
        {
            "mas"
        } else if !latencies.all(|ms| ms.is_finite() && ms >= 0.0) {
            "latency_ms"
        } else {
            return Ok(());
        };
        Err(InvalidCaption::OutOfRange {
            id: self.id.clone(),
            field,
        })
    }
}

/// The prompt of a window that is a question.
fn question(window: &FeatureWindow) -> Option<String> {
    let asked = window.flags.iter().any(|flag| flag == ASKED);
    asked.then(|| window.prompt.clone())
}

/// Milliseconds from the window's end to its draft, at least 0.
fn edge_ms(window: &FeatureWindow) -> f64 {
    window
        .drafted_utc_ns
        .saturating_sub(window.closed_utc_ns)
        .max(0) as f64
        / 1e6
}
