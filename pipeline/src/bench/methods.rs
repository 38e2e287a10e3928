//! The ways to caption windows that are compared, as data: one code path runs all of them.

use serde::Serialize;

/// What of a window goes to the cloud when the window is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// Nothing: there is no cloud.
    Nothing,
    /// The picture as JPEG, which the cloud encodes; the tokens of sound and sensors.
    Keyframe,
    /// All tokens.
    All,
    /// As many tokens as by MAS, evenly spaced.
    Even,
    /// Tokens by MAS and what the draft attended to, shared by β.
    Mas,
}

/// A way to caption windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Method {
    /// Its name in tables.
    pub name: &'static str,
    /// What is sent.
    pub payload: Payload,
    /// The edge's draft is the first caption, and goes with the window to be verified; else the cloud captions from scratch.
    pub drafts: bool,
    /// The planner decides what becomes of a window, and how many tokens it has; else every window is sent.
    pub plans: bool,
    /// Risk and thresholds learn from what the cloud says.
    pub calibrates: bool,
}

/// What the others are compared with.
pub const CLOUD_ONLY: &str = "cloud only";
/// The same.
pub const EDGE_ONLY: &str = "edge only";
/// The same.
pub const LAYER_SPLIT: &str = "layer split";
/// What is compared with them.
pub const MSAO: &str = "MSAO";

/// All, in the order of the tables.
pub const METHODS: [Method; 7] = [
    Method {
        name: CLOUD_ONLY,
        payload: Payload::Keyframe,
        drafts: false,
        plans: false,
        calibrates: false,
    },
    Method {
        name: EDGE_ONLY,
        payload: Payload::Nothing,
        drafts: true,
        plans: false,
        calibrates: false,
    },
    Method {
        name: LAYER_SPLIT,
        payload: Payload::All,
        drafts: false,
        plans: false,
        calibrates: false,
    },
    // MSAO without modality awareness.
    Method {
        name: "uniform thinning",
        payload: Payload::Even,
        drafts: true,
        plans: true,
        calibrates: true,
    },
    // MSAO without the collaboration of two models.
    Method {
        name: "no speculation",
        payload: Payload::Mas,
        drafts: false,
        plans: true,
        calibrates: true,
    },
    Method {
        name: "no calibration",
        payload: Payload::Mas,
        drafts: true,
        plans: true,
        calibrates: false,
    },
    Method {
        name: MSAO,
        payload: Payload::Mas,
        drafts: true,
        plans: true,
        calibrates: true,
    },
];

impl Method {
    /// The method of this name.
    pub fn named(name: &str) -> Option<Self> {
        METHODS.into_iter().find(|method| method.name == name)
    }

    /// Whether there is a cloud.
    pub fn has_cloud(self) -> bool {
        self.payload != Payload::Nothing
    }

    /// Whether the draft model runs: to draft, or for its attention and β.
    pub fn has_draft_model(self) -> bool {
        self.drafts || self.thins()
    }

    /// Whether fewer than all tokens are sent.
    pub fn thins(self) -> bool {
        matches!(self.payload, Payload::Even | Payload::Mas)
    }
}
