//! What the edge makes of a window: encoded, drafted, and what of it would be sent.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use broker::{DraftReport, FeatureWindow, WindowId};
use gstmsao::beta::LEAST_BETA;
use mllm::{ByModality, Caption, CaptionModel, Modality, Options, Saliency};
use offload::Action;
use time::OffsetDateTime;

use super::choose;
use super::methods::{Method, Payload};
use super::windows::{Encoded, Encoders, Item, Raw};

/// Quality of the JPEG that cloud only sends.
pub const QUALITY: u8 = 85;

/// The models of the edge, and what of a window they send.
pub struct Maker {
    method: Method,
    encoders: Encoders,
    draft: Option<CaptionModel>,
    /// Tokens that are sent at least by MAS.
    least: usize,
}

/// A window that was looked at.
pub struct Looked {
    /// Its tokens; without those of the picture if that goes as JPEG.
    pub encoded: Encoded,
    jpeg: Option<Vec<u8>>,
    /// The draft, and what it attended to.
    draft: Option<(Caption, Option<Saliency>)>,
    /// How long the encoders took.
    pub encoding: Duration,
    /// How long the draft took.
    pub drafting: Duration,
}

/// Positions that are sent, and the β by which they were chosen.
pub struct Chosen {
    /// Positions of each modality.
    pub keep: ByModality<Vec<usize>>,
    betas: ByModality<f32>,
}

impl Chosen {
    /// No position, and nothing known of β.
    pub fn nothing() -> Self {
        Self {
            keep: ByModality::default(),
            betas: choose::UNKNOWN,
        }
    }

    /// How many.
    pub fn counts(&self) -> ByModality<usize> {
        ByModality {
            video: self.keep.video.len(),
            audio: self.keep.audio.len(),
            sensor: self.keep.sensor.len(),
        }
    }
}

impl Looked {
    /// The draft's text, and how sure the model was of it.
    pub fn draft(&self) -> Option<&Caption> {
        self.draft.as_ref().map(|(caption, _)| caption)
    }
}

impl Maker {
    /// Loads what `method` needs of the edge model in `folder`.
    ///
    /// # Errors
    /// A file is missing, corrupt or does not fit the others.
    pub fn load(method: Method, folder: &Path, options: Options, least: usize) -> Result<Self> {
        let draft = method.has_draft_model();
        let draft = draft.then(|| CaptionModel::load(folder, options));
        Ok(Self {
            method,
            encoders: Encoders::load(folder, options)?,
            draft: draft.transpose()?,
            least,
        })
    }

    /// Encodes the window and drafts it, as far as the method does.
    ///
    /// # Errors
    /// A model fails.
    pub fn look(&mut self, item: &Item, raw: &Raw) -> Result<Looked> {
        let begun = Instant::now();
        let keyframe = self.method.payload == Payload::Keyframe;
        let jpeg = if keyframe { raw.jpeg(QUALITY)? } else { None };
        let encoded = self.encoders.encode(raw, !keyframe)?;
        let encoding = begun.elapsed();
        let draft = match &mut self.draft {
            Some(model) => Some(model.draft_with_saliency(&encoded.tokens, &item.prompt)?),
            None => None,
        };
        Ok(Looked {
            encoded,
            jpeg,
            draft,
            encoding,
            drafting: begun.elapsed() - encoding,
        })
    }

    /// As many tokens as can be worth sending, whatever β is.
    pub fn most(&self, looked: &Looked) -> usize {
        let worth = choose::worth(&looked.encoded, &choose::UNKNOWN);
        worth.max(self.least)
    }

    /// Which positions are sent, at most `most` of them if any are left out.
    ///
    /// # Errors
    /// β cannot be measured: the model fails.
    pub fn choose(&mut self, item: &Item, looked: &Looked, most: usize) -> Result<Chosen> {
        let encoded = &looked.encoded;
        if !self.method.thins() {
            return Ok(Chosen {
                keep: choose::all(encoded),
                betas: choose::UNKNOWN,
            });
        }
        let draft = self.draft.as_mut().zip(looked.draft.as_ref());
        let (model, (caption, saliency)) =
            draft.context("tokens are chosen by a draft, and there is none")?;
        let measured = model.modal(&encoded.tokens, &item.prompt, &caption.token_ids)?;
        let beta = |modality| measured.get(modality).unwrap_or(1.0).clamp(LEAST_BETA, 1.0);
        let betas = ByModality {
            video: beta(Modality::Video),
            audio: beta(Modality::Audio),
            sensor: beta(Modality::Sensor),
        };
        let count = choose::worth(encoded, &betas).max(self.least).min(most);
        if self.method.payload == Payload::Even {
            return Ok(Chosen {
                keep: choose::evenly(encoded, count),
                betas: choose::UNKNOWN,
            });
        }
        let keep = choose::by_mas(encoded, count, saliency.as_ref(), &betas);
        Ok(Chosen { keep, betas })
    }

    /// The window as it is published, with the positions that were chosen.
    pub fn window(
        &self,
        id: WindowId,
        closed: OffsetDateTime,
        item: &Item,
        looked: &Looked,
        chosen: &Chosen,
    ) -> FeatureWindow {
        let ns = |time: OffsetDateTime| time.unix_timestamp_nanos() as i64;
        let running = id.seq * 1_000_000_000;
        let report = |caption: &Caption, model: &CaptionModel| DraftReport {
            text: caption.text.clone(),
            token_ids: caption.token_ids.clone(),
            logprobs: caption.logprobs.clone(),
            confidence: caption.confidence(),
            model: model.config().name.clone(),
        };
        let draft = looked.draft().zip(self.draft.as_ref());
        let drafts = self.method.drafts;
        let possible: usize = looked
            .encoded
            .present()
            .map(|(_, s)| s.importance.len())
            .sum();
        FeatureWindow {
            id,
            start_utc_ns: ns(closed - time::Duration::SECOND),
            end_utc_ns: ns(closed),
            start_running_ns: running,
            end_running_ns: running + 1_000_000_000,
            prompt: item.prompt.clone(),
            decision: if drafts {
                Action::Verify
            } else {
                Action::Offload
            },
            plan: None,
            modalities: looked.encoded.reports(&chosen.betas),
            draft: draft
                .filter(|_| drafts)
                .map(|(caption, model)| report(caption, model)),
            tokens: looked.encoded.tokens_of(&chosen.keep),
            tokens_possible: possible as u32,
            frames_in: 1,
            frames_kept: 1,
            flags: Vec::new(),
            closed_utc_ns: ns(closed),
            drafted_utc_ns: ns(OffsetDateTime::now_utc()),
            keyframe: looked.jpeg.clone(),
        }
    }
}
