//! A window as the draft model reads it, and the draft on it.

use std::time::{SystemTime, UNIX_EPOCH};

use broker::{DraftReport, FeatureWindow};
use mllm::{CaptionModel, Config, ModalTokens, Modality, Tokens};
use offload::Action;

/// Why a window could not be drafted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("not a window: {0}")]
    Window(#[from] broker::features::Error),
    #[error(transparent)]
    Model(#[from] mllm::Error),
}

/// Drafts a caption of the window, if it holds tokens, and sets the decision to verify it.
pub(super) fn draft(model: &mut CaptionModel, window: &mut FeatureWindow) -> Result<(), Error> {
    let Some(tokens) = tokens(window, model.config())? else {
        return Ok(());
    };
    let caption = model.draft(&tokens, &window.prompt)?;
    window.draft = Some(DraftReport {
        confidence: caption.confidence(),
        text: caption.text,
        token_ids: caption.token_ids,
        logprobs: caption.logprobs,
        model: model.config().name.clone(),
    });
    window.decision = Action::Verify;
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    window.drafted_utc_ns = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    Ok(())
}

/// What the window holds of each modality; `None` if it holds no tokens.
fn tokens(window: &FeatureWindow, config: &Config) -> Result<Option<Tokens>, Error> {
    let mut tokens = Tokens::default();
    for (sent, read) in [
        (broker::Modality::Video, Modality::Video),
        (broker::Modality::Audio, Modality::Audio),
        (broker::Modality::Sensor, Modality::Sensor),
    ] {
        let Some(stream) = window.stream(sent) else {
            continue;
        };
        let rows = (stream.tokens.iter()).map(|t| (t.t, t.y, t.x, t.scale, t.feature.as_slice()));
        let (encoder, sha256) = (stream.encoder, stream.encoder_sha256);
        *tokens.get_mut(read) = Some(ModalTokens::received(read, config, encoder, sha256, rows)?);
    }
    Ok((tokens.count() > 0).then_some(tokens))
}
