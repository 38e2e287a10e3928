//! The windows that are sent, and what a model that is not broken says of them.

use broker::{
    DraftReport, FeatureWindow, Modality, ModalityReport, Token, WindowId, caption::Verdict,
};
use offload::Action;

/// The encoder that the stub of the model knows.
pub const ENCODER: &str = "soak-v1";
/// The flag of a window that the stub always fails on.
pub const FAILS: &str = "fails";
/// The flag of a window that takes its worker with it.
pub const KILLS: &str = "kills";
/// Channels of a token.
const CHANNELS: usize = 256;

/// What is to become of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A draft, and features to verify it by.
    Verify,
    /// Features without a draft.
    Offload,
    /// A draft that is final: the cloud is not asked.
    Keep,
}

impl Kind {
    /// Of the window number `seq`: one in eight is kept, one offloaded.
    pub fn of(seq: u64) -> Self {
        match seq % 8 {
            3 => Self::Keep,
            6 => Self::Offload,
            _ => Self::Verify,
        }
    }

    /// Whether the cloud is to caption it.
    pub fn is_sent(self) -> bool {
        self != Self::Keep
    }
}

/// A number drawn for a window, below `below`.
pub fn drawn(seed: u64, id: &WindowId, below: u64) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (seed, id).hash(&mut hasher);
    hasher.finish() % below
}

/// What the draft of a window says.
pub fn draft_text(id: &WindowId) -> String {
    format!("drafted {id}")
}

/// What the last caption of a window says: of each another, so that none can be taken for another's.
pub fn last_text(id: &WindowId) -> String {
    if confirmed(id) {
        draft_text(id)
    } else {
        format!("corrected {id}")
    }
}

/// Drafts of even windows are right.
fn confirmed(id: &WindowId) -> bool {
    id.seq.is_multiple_of(2) && Kind::of(id.seq) == Kind::Verify
}

/// The stub's verdict.
pub fn verdict(window: &FeatureWindow) -> Verdict {
    let confirmed = confirmed(&window.id);
    Verdict {
        confirmed,
        text: last_text(&window.id),
        tokens: 3,
        confidence: 0.75,
        accepted_tokens: window.draft.as_ref().map(|_| if confirmed { 3 } else { 1 }),
        model: "stub".to_owned(),
    }
}

/// A window with so many tokens, of 300 bytes each.
pub fn window(id: WindowId, kind: Kind, tokens: u64) -> FeatureWindow {
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() as i64;
    let draft = DraftReport {
        text: draft_text(&id),
        token_ids: vec![5, 6, 7],
        logprobs: vec![-0.1; 4],
        confidence: 0.9,
        model: "stub-draft".to_owned(),
    };
    let token = |index: u64| Token {
        modality: Modality::Video,
        stream: "front".into(),
        t: (index / 49) as u16,
        y: (index % 49 / 7) as u16,
        x: (index % 7) as u16,
        importance: 1.0 / (1.0 + index as f32),
        scale: 0.03,
        feature: (0..CHANNELS)
            .map(|c| (index as usize * CHANNELS + c) as i8)
            .collect(),
    };
    FeatureWindow {
        start_utc_ns: now - 1_020_000_000,
        end_utc_ns: now - 20_000_000,
        start_running_ns: id.seq * 1_000_000_000,
        end_running_ns: (id.seq + 1) * 1_000_000_000,
        decision: match kind {
            Kind::Verify => Action::Verify,
            Kind::Offload => Action::Offload,
            Kind::Keep => Action::Keep,
        },
        modalities: vec![ModalityReport {
            modality: Modality::Video,
            stream: "front".to_owned(),
            rho: 0.5,
            gamma: 0.5,
            beta: 1.0,
            mas: 0.75,
            encoder: ENCODER.to_owned(),
            encoder_sha256: "ab".repeat(32),
        }],
        draft: (kind != Kind::Offload).then_some(draft),
        tokens: (0..tokens).map(token).collect(),
        tokens_possible: tokens.max(49) as u32,
        frames_in: 10,
        frames_kept: 1,
        closed_utc_ns: now - 20_000_000,
        drafted_utc_ns: now - 5_000_000,
        ..FeatureWindow::empty(id)
    }
}
