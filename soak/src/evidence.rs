//! What the judge has before it: what was acknowledged, what is stored, and what readers saw.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use broker::{MessageId, WindowId};

use crate::poison::Doomed;

/// A caption as it is stored.
#[derive(Clone, Debug)]
pub struct StoredCaption {
    pub id: WindowId,
    pub revision: u32,
    pub text: String,
    /// Nanoseconds of the server's clock.
    pub stored_ns: i128,
    /// Nanoseconds of the clock of whoever made it.
    pub made_ns: i128,
    /// Whether it was put there as a fault.
    pub is_copy: bool,
}

/// A dead letter as it is stored.
#[derive(Clone, Debug)]
pub struct StoredLetter {
    /// The window that it is about, if its payload or its id tells.
    pub id: Option<WindowId>,
    pub reason: String,
    /// Nanoseconds of the server's clock.
    pub stored_ns: i128,
    /// Whether its message had the id of the window's own message; copies do not.
    pub is_own: bool,
}

/// Most resident memory of a process.
#[derive(Clone, Debug)]
pub struct Memory {
    pub who: String,
    pub peak: u64,
    pub bound: u64,
}

/// All of it, after a run.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// For how long the server knows a message id again.
    pub duplicate_window: Duration,
    /// Windows that edges made.
    pub handed: HashSet<WindowId>,
    /// Messages that the broker acknowledged to edges.
    pub acknowledged: HashSet<MessageId>,
    /// Poison that the broker acknowledged.
    pub poison: Vec<Doomed>,
    /// Messages in the stream of features.
    pub features: HashSet<MessageId>,
    pub captions: Vec<StoredCaption>,
    pub letters: Vec<StoredLetter>,
    /// When it was first recorded that a window has its last caption.
    pub recorded: HashMap<WindowId, i128>,
    /// When a model began with a window, on the same monotonic clock.
    pub taken: Vec<(WindowId, i128)>,
    /// Windows of which a worker logged that the broker did not say, or could not be told, whether they are captioned.
    pub unanswered: HashSet<WindowId>,
    /// What each reader read, in order.
    pub readers: Vec<(String, Vec<(WindowId, u32)>)>,
    pub memory: Vec<Memory>,
}
