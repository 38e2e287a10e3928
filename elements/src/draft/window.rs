//! A window as the draft model reads it, and the draft on it.

use std::time::{SystemTime, UNIX_EPOCH};

use broker::{DraftReport, FeatureWindow, Modality, Token};
use mllm::tokens::restore;
use mllm::{CaptionModel, Config, ImageTokens};
use ndarray::Array2;
use offload::Action;

/// Why a window could not be drafted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("not a window: {0}")]
    Window(#[from] broker::features::Error),
    #[error(transparent)]
    Model(#[from] mllm::Error),
    #[error("{0}")]
    Shape(#[from] ndarray::ShapeError),
    #[error(
        "window {id} was encoded by `{found}`, the draft model reads `{reads}`: \
         give msaowindow and msaodraft the same model folder"
    )]
    Encoder {
        id: String,
        found: String,
        reads: String,
    },
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

/// The tokens of the window's first video stream.
fn image(window: &FeatureWindow, config: &Config) -> Result<Option<ImageTokens>, Error> {
    let video = |token: &&Token| token.modality == Modality::Video;
    let Some(first) = window.tokens.iter().find(video) else {
        return Ok(None);
    };
    let report = window
        .modalities
        .iter()
        .find(|report| report.modality == Modality::Video && report.stream == first.stream);
    let reads = &config.vision_encoder;
    if let Some(report) = report.filter(|report| report.encoder_sha256 != reads.sha256) {
        return Err(Error::Encoder {
            id: window.id.to_string(),
            found: report.encoder.clone(),
            reads: reads.id.clone(),
        });
    }
    let width = config.image_tokens.isqrt();
    let tokens: Vec<&Token> = window
        .tokens
        .iter()
        .filter(video)
        .filter(|token| token.stream == first.stream)
        .collect();
    let rows = tokens
        .iter()
        .flat_map(|token| restore(token.scale, &token.feature))
        .collect();
    Ok(Some(ImageTokens {
        positions: tokens
            .iter()
            .map(|token| i64::from(token.y) * width as i64 + i64::from(token.x))
            .collect(),
        features: Array2::from_shape_vec((tokens.len(), first.feature.len()), rows)?,
    }))
}
