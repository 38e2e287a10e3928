//! The windows that are sent: real encodings, made as large as wanted by their number of tokens.

use std::sync::Arc;

use anyhow::{Result, ensure};
use broker::caption::Verdict;
use broker::{DraftReport, FeatureWindow, Modality, ModalityReport, Rig, Token, WindowId};
use ulid::Ulid;

/// Channels of a token of the default models.
const CHANNELS: usize = 256;
/// Tokens of a window of `make demo` on its default clip, the mean.
pub const DEMO_TOKENS: usize = 17;
const TEXT: &str = "a man in a dark jacket walks past a bench on the left";

/// A window of `rig` with a draft and so many tokens of a camera.
fn of_tokens(rig: Rig, epoch: Ulid, tokens: usize) -> FeatureWindow {
    let report = ModalityReport {
        modality: Modality::Video,
        stream: "front".to_owned(),
        rho: 0.61,
        gamma: 0.72,
        beta: 1.0,
        mas: 0.89,
        encoder: "efficientnet-lite2-msao-v2".to_owned(),
        encoder_sha256: "7c".repeat(32),
    };
    let stream: Arc<str> = "front".into();
    let token = |index: usize| Token {
        modality: Modality::Video,
        stream: Arc::clone(&stream),
        t: (index / 49) as u16,
        y: (index % 49 / 7) as u16,
        x: (index % 7) as u16,
        importance: 1.0 / (1.0 + index as f32),
        scale: 0.03,
        feature: (0..CHANNELS)
            .map(|c| ((index * CHANNELS + c) * 31 % 251) as u8 as i8)
            .collect(),
    };
    FeatureWindow {
        end_utc_ns: 1_000_000_000,
        end_running_ns: 1_000_000_000,
        modalities: vec![report],
        draft: Some(DraftReport {
            text: TEXT.to_owned(),
            token_ids: (100..113).collect(),
            logprobs: vec![-0.25; 14],
            confidence: 0.77,
            model: "msao-edge-v2".to_owned(),
        }),
        tokens: (0..tokens).map(token).collect(),
        tokens_possible: tokens.max(49) as u32,
        frames_in: 10,
        frames_kept: 3,
        ..FeatureWindow::empty(WindowId { rig, epoch, seq: 0 })
    }
}

/// How large the windows of a run are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// As those of `make demo`.
    Demo,
    /// At most so many bytes when encoded, and less by no more than a token.
    Bytes(usize),
}

impl Size {
    /// A window of `rig` of this size.
    ///
    /// # Errors
    /// It is too small for any token.
    pub fn window(self, rig: Rig) -> Result<FeatureWindow> {
        let epoch = Ulid::generate();
        let bytes = match self {
            Self::Demo => return Ok(of_tokens(rig, epoch, DEMO_TOKENS)),
            Self::Bytes(bytes) => bytes,
        };
        let length = |tokens| {
            Ok::<_, broker::features::Error>(of_tokens(rig.clone(), epoch, tokens).encode()?.len())
        };
        let (one, two) = (length(1)?, length(65)?);
        ensure!(
            bytes >= one,
            "a window of one token takes {one} bytes, more than {bytes}"
        );
        let a_token = (two - one).div_ceil(64);
        let mut tokens = 1 + (bytes - one) / a_token;
        while length(tokens + 1)? <= bytes {
            tokens += 1;
        }
        while length(tokens)? > bytes {
            tokens -= 1;
        }
        Ok(of_tokens(rig, epoch, tokens))
    }
}

/// What the model is taken to say of a window: that its draft stands.
pub fn verdict(window: &FeatureWindow) -> Option<Verdict> {
    let draft = window.draft.as_ref()?;
    Some(Verdict {
        confirmed: true,
        text: draft.text.clone(),
        tokens: draft.token_ids.len() as u32,
        confidence: draft.confidence,
        accepted_tokens: Some(draft.token_ids.len() as u32),
        model: "none".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_as_large_as_asked() {
        let rig: Rig = "rig-0".parse().unwrap();
        for bytes in [8_000, 65_536, 500_000] {
            let window = Size::Bytes(bytes).window(rig.clone()).unwrap();
            let length = window.encode().unwrap().len();
            assert!(
                (bytes - 320..=bytes).contains(&length),
                "{length} of {bytes}"
            );
        }
        assert!(Size::Bytes(100).window(rig).is_err());
    }
}
