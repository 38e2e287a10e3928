//! What is changed of a window on its way.

use broker::FeatureWindow;
use broker::features::REDRAFTED;

use super::desk::Item;
use crate::beta::{Betas, UNKNOWN};

/// Puts the cloud's correction of a window like it in place of its draft.
pub(super) fn amend(window: &mut FeatureWindow, text: String) {
    if let Some(draft) = &mut window.draft {
        draft.text = text;
    }
    window.flags.push(REDRAFTED.to_owned());
}

/// A window's second draft, to be published alone.
pub(super) fn second(first: &Item, text: &str) -> Item {
    let mut again = first.clone();
    amend(&mut again.window, text.to_owned());
    again
}

/// Leaves out what stays on the edge.
pub(super) fn strip(window: &mut FeatureWindow) {
    window.tokens.clear();
    window.keyframe = None;
}

/// β of each modality as the window has it.
pub(super) fn betas(window: &FeatureWindow) -> Betas {
    let mut betas = UNKNOWN;
    for report in &window.modalities {
        match report.modality {
            broker::Modality::Video => betas.video = report.beta,
            broker::Modality::Audio => betas.audio = report.beta,
            broker::Modality::Sensor => betas.sensor = report.beta,
        }
    }
    betas
}
