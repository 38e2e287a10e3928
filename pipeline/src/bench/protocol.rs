//! What the benchmark and its edge process say to each other: lines of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// To the edge: caption windows, one after the other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// The first item; after the last comes the first again.
    pub first: usize,
    /// How many windows.
    pub count: usize,
    /// Seconds from one to the next.
    pub pace: f64,
    /// Seconds that answers may take after the last window.
    pub patience: f64,
}

/// From the edge.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// Models are loaded, and broker and cloud are there.
    Ready,
    /// What became of the windows asked for, in order.
    Windows(Vec<Record>),
}

/// A caption as the edge had it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Had {
    /// Seconds after the window arrived.
    pub after: f64,
    /// The text.
    pub text: String,
    /// Its number of tokens.
    pub tokens: usize,
}

/// What became of a window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The item's number.
    pub item: usize,
    /// When it arrived, seconds since the first was due.
    pub arrived: f64,
    /// What was decided; of a window that waited, the last.
    pub decision: String,
    /// Whether it had to wait for the link or the cloud.
    pub deferred: bool,
    /// The draft.
    pub draft: Option<Had>,
    /// The last word: the cloud's, or the draft of a window that stayed on the edge. `None`: it has not come.
    pub last: Option<Had>,
    /// Of the draft, how many tokens the cloud accepted.
    pub accepted: Option<usize>,
    /// Tokens that were sent, by modality.
    pub tokens: BTreeMap<String, usize>,
    /// Whether the picture was sent as JPEG.
    pub keyframe: bool,
    /// Whether it went to the cloud with its draft.
    pub verified: bool,
    /// Bytes of its messages, headers included.
    pub bytes: u64,
    /// Seconds that the cloud worked on it.
    pub cloud: Option<f64>,
}
