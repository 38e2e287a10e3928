//! The five things that may become of a window.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What becomes of a window after its draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing is published: nothing happened in the window.
    Skip,
    /// The draft is final; the features stay on the edge.
    Keep,
    /// Features and draft go to the cloud, which verifies the draft.
    Verify,
    /// Features go to the cloud, which captions without a draft.
    Offload,
    /// The cloud is away: the window waits for it.
    Defer,
}

impl Action {
    /// Every action, in the order of the design.
    pub const ALL: [Self; 5] = [
        Self::Skip,
        Self::Keep,
        Self::Verify,
        Self::Offload,
        Self::Defer,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Keep => "keep",
            Self::Verify => "verify",
            Self::Offload => "offload",
            Self::Defer => "defer",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of an action.
#[derive(Debug, thiserror::Error)]
#[error("unknown action '{0}': use skip, keep, verify, offload or defer")]
pub struct UnknownAction(String);

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|action| action.name() == name)
            .ok_or_else(|| UnknownAction(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for action in Action::ALL {
            assert_eq!(action.name().parse::<Action>().unwrap(), action);
        }
        assert!(
            "send"
                .parse::<Action>()
                .unwrap_err()
                .to_string()
                .contains("send")
        );
    }
}
