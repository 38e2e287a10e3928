//! A window as the draft model reads it, and the draft on it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::{DraftReport, FeatureWindow};
use gst::ClockTime;
use mllm::{Caption, CaptionModel, Config, ModalTokens, Modality, Tokens};
use offload::{Action, audit, step};

use super::contribution::{Contribution, Pace};
use crate::beta;
use crate::feedback::Stop;
use crate::keep::keep;

/// The flag on a window whose draft was given up half-way: the cloud captions it.
const STOPPED: &str = "stopped";

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
    /// How long drafts are, with their end: the mean, a new one counting a tenth.
    length: Option<f64>,
}

/// How a window is drafted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub pace: Pace,
    /// Tokens that go on; 0 for all.
    pub keep_tokens: usize,
    /// When a draft is given up.
    pub stop: Stop,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pace: Pace {
                interval: ClockTime::from_seconds(5),
                budget: Duration::from_millis(100),
            },
            keep_tokens: 0,
            stop: Stop::default(),
        }
    }
}

impl Drafter {
    pub fn new(model: CaptionModel) -> Self {
        Self {
            model,
            contribution: Contribution::default(),
            length: None,
        }
    }

    /// The draft, or `None` if it was given up: the rest would not have been worth its time.
    fn write(
        &mut self,
        read: &Tokens,
        window: &FeatureWindow,
        stop: Stop,
    ) -> Result<Option<Caption>, Error> {
        let audited = audit::drawn(stop.seed, window.id.seq, stop.audit);
        let known = self.length.filter(|_| !audited);
        let settings = step::Settings::default();
        let caption = (self.model).draft_unless(read, &window.prompt, |logprobs| {
            // Until one draft was written nobody knows how long they are.
            known.is_some_and(|length| {
                step::stops(&settings, logprobs, length.round() as usize, stop.below)
            })
        })?;
        if let Some(caption) = &caption {
            let length = caption.logprobs.len() as f64;
            let mean = self.length.unwrap_or(length);
            self.length = Some(mean + 0.1 * (length - mean));
        }
        Ok(caption)
    }

    /// Drafts a caption of the window, if it holds tokens, and sets the decision to verify
    /// it. Whether β was measured.
    pub fn draft(&mut self, window: &mut FeatureWindow, settings: Settings) -> Result<bool, Error> {
        let Some(read) = tokens(window, self.model.config())? else {
            self.fuse(window);
            return Ok(false);
        };
        let prompt = window.prompt.clone();
        let most = settings.keep_tokens;
        let too_many = most > 0 && window.tokens.len() > most;
        let (mut caption, saliency) = if too_many && self.model.attends() {
            self.model.draft_with_saliency(&read, &prompt)?
        } else {
            let Some(caption) = self.write(&read, window, settings.stop)? else {
                window.flags.push(STOPPED.to_owned());
                window.drafted_utc_ns = utc_now();
                self.fuse(window);
                return Ok(false);
            };
            (caption, None)
        };
        let Self {
            model,
            contribution,
            ..
        } = self;
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
        window.drafted_utc_ns = utc_now();
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

pub(super) fn utc_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX)
}

/// What the window holds of each modality; `None` if it holds no tokens.
pub(super) fn tokens(window: &FeatureWindow, config: &Config) -> Result<Option<Tokens>, Error> {
    let mut tokens = Tokens::default();
    for (sent, read) in [
        (broker::Modality::Video, Modality::Video),
        (broker::Modality::Audio, Modality::Audio),
        (broker::Modality::Sensor, Modality::Sensor),
    ] {
        let Some(stream) = window.stream(sent) else {
            continue;
        };
        let rows = (stream.tokens.iter()).map(|t| (t.t, t.y, t.x, t.scale, &*t.feature));
        let (encoder, sha256) = (stream.encoder, stream.encoder_sha256);
        *tokens.get_mut(read) = Some(ModalTokens::received(read, config, encoder, sha256, rows)?);
    }
    Ok((tokens.count() > 0).then_some(tokens))
}
