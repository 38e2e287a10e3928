//! The features of a window, and their form on the wire: an Arrow IPC stream of one row.

mod check;
pub(crate) mod compression;
mod decode;
mod encode;
pub(crate) mod file;
mod frame;

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use arrow_buffer::ScalarBuffer;
use bytes::Bytes;
use offload::Action;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    identity::{WindowId, excerpt},
    schema::{Schema, UnreadableSchema},
};

pub use check::InvalidWindow;
pub use compression::Compression;

/// The schema that this build writes, in the Arrow schema's metadata under [`SCHEMA_KEY`].
const SCHEMA: Schema = Schema {
    name: "features",
    major: 1,
    minor: 1,
};
const SCHEMA_KEY: &str = "msao.schema";
/// Ends an Arrow IPC stream.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// The flag on a window whose least important tokens were dropped to fit a message.
pub const THINNED: &str = "thinned";

/// The flag on a window that waited for the cloud: its draft was published when it began to wait.
pub const DEFERRED: &str = "deferred";

/// Bytes of a token in a window's message, beside those of its feature.
pub const TOKEN_BYTES: usize = 34;

/// About so many bytes a window's caption, and the headers of both messages, take.
pub const CAPTION_BYTES: u32 = 4_000;

/// The flag on a window that is not of the stream: a question about one that is.
pub const ASKED: &str = "asked";

/// The flag on a window whose draft's text is the cloud's correction of a window like it.
pub const REDRAFTED: &str = "redrafted";

/// What a stream senses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Numeric channels.
    Sensor,
}

impl Modality {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Sensor => "sensor",
        }
    }
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a modality.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown modality '{0}': use video, audio or sensor")]
pub struct UnknownModality(String);

impl FromStr for Modality {
    type Err = UnknownModality;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "video" => Ok(Self::Video),
            "audio" => Ok(Self::Audio),
            "sensor" => Ok(Self::Sensor),
            _ => Err(UnknownModality(excerpt(name))),
        }
    }
}

/// How sparse one stream was in the window, and what encoded it. All four measures are in [0, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct ModalityReport {
    /// What the stream senses.
    pub modality: Modality,
    /// The stream's name: 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub stream: String,
    /// Spatial sparsity.
    pub rho: f32,
    /// Temporal redundancy.
    pub gamma: f32,
    /// Contribution to the output.
    pub beta: f32,
    /// The share of the stream's activations that need not be sent.
    pub mas: f32,
    /// Id of the encoder that made the features.
    pub encoder: String,
    /// SHA-256 of the encoder's files, in hexadecimal.
    pub encoder_sha256: String,
}

/// The edge's caption of the window.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftReport {
    /// The caption.
    pub text: String,
    /// Its tokens, without the end-of-sequence token.
    pub token_ids: Vec<u32>,
    /// Natural-log probability of each token; one more at the end if the sequence ended by itself.
    pub logprobs: Vec<f32>,
    /// The geometric mean of the tokens' probabilities, in [0, 1].
    pub confidence: f32,
    /// The model that wrote it.
    pub model: String,
}

/// The feature of one kept position.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// What the stream senses.
    pub modality: Modality,
    /// The stream's name, as in one of the window's [`ModalityReport`]s; those of a stream share it.
    pub stream: Arc<str>,
    /// Sample within the window, from 0.
    pub t: u16,
    /// Row of the position.
    pub y: u16,
    /// Column of the position.
    pub x: u16,
    /// How much the position matters, at least 0; the least important go first when a window is thinned.
    pub importance: f32,
    /// What one step of `feature` is worth: the value at c is `feature[c] * scale`.
    pub scale: f32,
    /// The quantised feature: at least one channel, of one length within a window. Those of a decoded window lie in the
    /// message that it came in, which each of them keeps.
    pub feature: ScalarBuffer<i8>,
}

/// What is left of all of a rig's streams in a window of time.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureWindow {
    /// The window's identity.
    pub id: WindowId,
    /// Start of the window, nanoseconds of the Unix epoch (UTC).
    pub start_utc_ns: i64,
    /// End of the window, nanoseconds of the Unix epoch (UTC).
    pub end_utc_ns: i64,
    /// Start of the window in media (running) time, nanoseconds.
    pub start_running_ns: u64,
    /// End of the window in media (running) time, nanoseconds.
    pub end_running_ns: u64,
    /// What the models are asked.
    pub prompt: String,
    /// What is to become of the window.
    pub decision: Action,
    /// What that rests on: [`offload::planner::Decision`] as JSON. `None` if nobody weighed it, or the caption has it.
    pub plan: Option<String>,
    /// One report a stream.
    pub modalities: Vec<ModalityReport>,
    /// The edge's caption, if it wrote one.
    pub draft: Option<DraftReport>,
    /// Kept positions of all streams.
    pub tokens: Vec<Token>,
    /// A picture of the window as JPEG, in place of video tokens: the cloud encodes it.
    pub keyframe: Option<Vec<u8>>,
    /// Positions that there would be had nothing been left out.
    pub tokens_possible: u32,
    /// Frames that entered in the window.
    pub frames_in: u32,
    /// Frames that the gate let through.
    pub frames_kept: u32,
    /// What was out of the ordinary, such as [`THINNED`]: each 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub flags: Vec<String>,
    /// When the window was complete on the edge, nanoseconds of the Unix epoch (UTC).
    pub closed_utc_ns: i64,
    /// When the draft was written, nanoseconds of the Unix epoch (UTC); as `closed_utc_ns` with no draft.
    pub drafted_utc_ns: i64,
}

/// A window could not be encoded, decoded or thinned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The window holds a value that the schema does not allow.
    #[error(transparent)]
    Invalid(#[from] InvalidWindow),
    /// The message's schema has another name or major.
    #[error(transparent)]
    Schema(#[from] UnreadableSchema),
    /// The bytes are not an Arrow IPC stream of one schema and one record batch.
    #[error("not a features message: {0}")]
    Malformed(String),
    /// The Arrow library refused the data.
    #[error("not a features message: {}", excerpt(&.0.to_string()))]
    Arrow(#[from] arrow_schema::ArrowError),
    /// Even without tokens the window is larger than a message may be.
    #[error(
        "window {id} takes {bytes} bytes without any token, more than the {max} that a message may have: raise max_payload of the NATS server"
    )]
    TooLarge {
        /// The window.
        id: WindowId,
        /// Its encoded length without tokens.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// What a window holds of one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream<'a> {
    /// The stream's name.
    pub name: &'a str,
    /// Id of its encoder; empty if the window does not tell.
    pub encoder: &'a str,
    /// SHA-256 of the encoder; empty if the window does not tell.
    pub encoder_sha256: &'a str,
    /// Its tokens, in the window's order.
    pub tokens: Vec<&'a Token>,
}

impl FeatureWindow {
    /// A window without any data, to be verified; all its times are 0.
    pub fn empty(id: WindowId) -> Self {
        Self {
            id,
            start_utc_ns: 0,
            end_utc_ns: 0,
            start_running_ns: 0,
            end_running_ns: 0,
            prompt: "describe".to_owned(),
            decision: Action::Verify,
            plan: None,
            modalities: Vec::new(),
            draft: None,
            tokens: Vec::new(),
            keyframe: None,
            tokens_possible: 0,
            frames_in: 0,
            frames_kept: 0,
            flags: Vec::new(),
            closed_utc_ns: 0,
            drafted_utc_ns: 0,
        }
    }

    /// The stream of a modality whose token comes first: the one that the models read. `None` without a token of it.
    pub fn stream(&self, modality: Modality) -> Option<Stream<'_>> {
        let mut tokens = self
            .tokens
            .iter()
            .filter(|t| t.modality == modality)
            .peekable();
        let name = &*tokens.peek()?.stream;
        let report = self
            .modalities
            .iter()
            .find(|r| r.modality == modality && r.stream == name);
        Some(Stream {
            name,
            encoder: report.map_or("", |r| &r.encoder),
            encoder_sha256: report.map_or("", |r| &r.encoder_sha256),
            tokens: tokens.filter(|t| &*t.stream == name).collect(),
        })
    }

    /// Media type of an encoded window.
    pub const CONTENT_TYPE: &'static str = "application/vnd.apache.arrow.stream";

    /// The window as an Arrow IPC stream of one row.
    ///
    /// # Errors
    /// The window holds a value that the schema does not allow; the error names it.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        encode::encode(self)
    }

    /// Reads what [`encode`](Self::encode) wrote, or a newer minor of it, [compressed](Compression) or not. Never panics, and
    /// allocates in proportion to `bytes`, whatever they hold.
    ///
    /// # Errors
    /// The bytes are cut short, corrupt, of another schema major, or hold a value out of range.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Self::decode_shared(&Bytes::copy_from_slice(bytes))
    }

    /// As [`decode`](Self::decode), without a copy of the features: unless they are compressed they stay in `bytes`, and
    /// keep it.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    pub fn decode_shared(bytes: &Bytes) -> Result<Self, Error> {
        let expanded = match compression::expand(bytes)? {
            Cow::Borrowed(_) => bytes.clone(),
            Cow::Owned(expanded) => expanded.into(),
        };
        let window = decode::decode(&expanded)?;
        window.check()?;
        Ok(window)
    }

    /// Leaves out video tokens if there is a keyframe, which stands for them on the wire. Returns whether there were any.
    pub fn send_keyframe_alone(&mut self) -> bool {
        let before = self.tokens.len();
        if self.keyframe.is_some() {
            self.tokens
                .retain(|token| token.modality != Modality::Video);
        }
        self.tokens.len() < before
    }

    /// Drops the least important tokens until the encoded window takes at most `max_bytes`, and
    /// flags the window [`THINNED`]. Returns whether any were dropped.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); or even without tokens the window is larger.
    pub fn thin(&mut self, max_bytes: usize) -> Result<bool, Error> {
        if self.encode()?.len() <= max_bytes {
            return Ok(false);
        }
        if !self.flags.iter().any(|flag| flag == THINNED) {
            self.flags.push(THINNED.to_owned());
        }
        let all = std::mem::take(&mut self.tokens);
        let bare = self.encode()?.len();
        if bare > max_bytes {
            self.tokens = all;
            return Err(Error::TooLarge {
                id: self.id.clone(),
                bytes: bare,
                max: max_bytes,
            });
        }
        let mut by_importance: Vec<usize> = (0..all.len()).collect();
        by_importance.sort_by(|&a, &b| all[b].importance.total_cmp(&all[a].importance));
        // Invariant: `fits` tokens fit, `too_many` do not.
        let (mut fits, mut too_many) = (0, all.len());
        while too_many - fits > 1 {
            let middle = fits.midpoint(too_many);
            self.tokens = pick(&all, &by_importance[..middle]);
            if self.encode()?.len() <= max_bytes {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        self.tokens = pick(&all, &by_importance[..fits]);
        Ok(true)
    }
}

/// The tokens at `indices`, in their own order.
fn pick(tokens: &[Token], indices: &[usize]) -> Vec<Token> {
    let mut indices = indices.to_vec();
    indices.sort_unstable();
    indices.into_iter().map(|i| tokens[i].clone()).collect()
}

/// Nanoseconds of the Unix epoch as a time. Every `i64` is within the range of `OffsetDateTime`.
pub(crate) fn utc(nanoseconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.into())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
