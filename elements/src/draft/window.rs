//! A window as the draft model reads it, and the draft on it.

use std::time::{SystemTime, UNIX_EPOCH};

use broker::{DraftReport, FeatureWindow};
use mllm::{CaptionModel, Config, ImageTokens};
use offload::Action;

/// Why a window could not be drafted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("not a window: {0}")]
    Window(#[from] broker::features::Error),
    #[error(transparent)]
    Model(#[from] mllm::Error),
}

/// Drafts a caption of the window's image, if it has one, and sets the decision to verify it.
pub(super) fn draft(model: &mut CaptionModel, window: &mut FeatureWindow) -> Result<(), Error> {
    let Some(tokens) = image(window, model.config())? else {
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

/// The tokens of the window's video stream.
fn image(window: &FeatureWindow, config: &Config) -> Result<Option<ImageTokens>, Error> {
    let Some(video) = window.video() else {
        return Ok(None);
    };
    let tokens = video
        .tokens
        .iter()
        .map(|t| (t.y, t.x, t.scale, t.feature.as_slice()));
    Ok(Some(ImageTokens::received(
        config,
        video.encoder,
        video.encoder_sha256,
        tokens,
    )?))
}
