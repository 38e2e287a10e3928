//! A window as the draft model reads it, and the draft on it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::{DraftReport, FeatureWindow};
use gst::ClockTime;
use mllm::{CaptionModel, Config, ModalTokens, Modality, Tokens};
use offload::Action;

use super::contribution::{Contribution, Pace};
use crate::beta;
use crate::keep::keep;

/// Why a window could not be drafted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("not a window: {0}")]
    Window(#[from] broker::features::Error),
    #[error(transparent)]
    Model(#[from] mllm::Error),
}

/// The draft model, and what is known of the modalities' contributions to its drafts.
pub(super) struct Drafter {
    pub model: CaptionModel,
    pub contribution: Contribution,
}

/// How a window is drafted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub pace: Pace,
    /// Tokens that go on; 0 for all.
    pub keep_tokens: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pace: Pace {
                interval: ClockTime::from_seconds(5),
                budget: Duration::from_millis(100),
            },
            keep_tokens: 0,
        }
    }
}

impl Drafter {
    /// Drafts a caption of the window, if it holds tokens, and sets the decision to verify
    /// it. Whether β was measured.
    pub fn draft(&mut self, window: &mut FeatureWindow, settings: Settings) -> Result<bool, Error> {
        let Some(read) = tokens(window, self.model.config())? else {
            self.fuse(window);
            return Ok(false);
        };
        let Self {
            model,
            contribution,
        } = self;
        let prompt = window.prompt.clone();
        let most = settings.keep_tokens;
        let too_many = most > 0 && window.tokens.len() > most;
        let (mut caption, saliency) = if too_many && model.attends() {
            model.draft_with_saliency(&read, &prompt)?
        } else {
            (model.draft(&read, &prompt)?, None)
        };
        let running = ClockTime::from_nseconds(window.start_running_ns);
        let answer = (&read, prompt.as_str(), caption.token_ids.as_slice());
        let refreshed = contribution.refresh(model, answer, running, settings.pace)?;
        if too_many {
            keep(window, most, saliency.as_ref(), &contribution.betas());
            // What the cloud verifies must be a caption of the very tokens that it gets.
            if let Some(kept) = tokens(window, model.config())? {
                caption = model.draft(&kept, &prompt)?;
            }
        }
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
        self.fuse(window);
        Ok(refreshed)
    }

    /// Fuses what is known of β into the window's MAS.
    fn fuse(&self, window: &mut FeatureWindow) {
        let betas = self.contribution.betas();
        for report in &mut window.modalities {
            let beta = beta::of(&betas, report.modality);
            if beta != report.beta && report.beta > 0.0 {
                let worth = (1.0 - report.mas) / report.beta;
                report.mas = (1.0 - beta * worth).clamp(0.0, 1.0);
                report.beta = beta;
            }
        }
    }
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
