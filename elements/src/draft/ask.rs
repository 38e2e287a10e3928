//! A question about a window: an answer of the draft model, and what of the window the cloud needs to answer it, too.

use broker::features::ASKED;
use broker::{DraftReport, FeatureWindow, Modality};
use mllm::Modal;
use offload::Action;
use ulid::Ulid;

use super::window::{Drafter, Error, tokens, utc_now};
use crate::beta::LEAST_BETA;

/// `window` as a window of its own that holds the question and its answer. A modality that made little difference to the
/// answer, by beta for this question, is left out, and the answer is one of the rest.
pub(super) fn answer(
    drafter: &mut Drafter,
    mut window: FeatureWindow,
    prompt: &str,
) -> Result<FeatureWindow, Error> {
    window.prompt = prompt.to_owned();
    // Of time 0, so that no answer is newer than any caption of the rig.
    window.id.epoch = Ulid::from_parts(0, Ulid::generate().random());
    window.closed_utc_ns = utc_now();
    window.decision = Action::Verify;
    (window.draft, window.plan) = (None, None);
    window.flags.push(ASKED.to_owned());
    let model = &mut drafter.model;
    let Some(read) = tokens(&window, model.config())? else {
        return Ok(window);
    };
    let mut caption = model.draft(&read, prompt)?;
    let betas = model.modal(&read, prompt, &caption.token_ids)?;
    let before = window.tokens.len();
    (window.tokens).retain(|token| of(&betas, token.modality) >= LEAST_BETA);
    if of(&betas, Modality::Video) < LEAST_BETA {
        window.keyframe = None;
    }
    if window.tokens.len() < before {
        // What the cloud verifies must be an answer of the very tokens that it gets.
        if let Some(kept) = tokens(&window, model.config())? {
            caption = model.draft(&kept, prompt)?;
        }
    }
    for report in &mut window.modalities {
        report.beta = of(&betas, report.modality);
    }
    window.draft = Some(DraftReport {
        confidence: caption.confidence(),
        text: caption.text,
        token_ids: caption.token_ids,
        logprobs: caption.logprobs,
        model: model.config().name.clone(),
    });
    window.drafted_utc_ns = utc_now();
    Ok(window)
}

/// Beta of a modality; 0 of one that there are no tokens of.
fn of(betas: &Modal, modality: Modality) -> f32 {
    let beta = match modality {
        Modality::Video => betas.video,
        Modality::Audio => betas.audio,
        Modality::Sensor => betas.sensor,
    };
    beta.unwrap_or(0.0)
}
