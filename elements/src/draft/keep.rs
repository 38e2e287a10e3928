//! Which of a window's tokens go on to the cloud: those most worth sending that the draft
//! also looked at.

use broker::{FeatureWindow, Modality};
use mllm::Saliency;

/// Drops tokens until `most` are left, the best of importance and attention. `saliency` is the
/// draft's attention to the tokens that the model read; without it importance decides alone.
pub(super) fn keep(window: &mut FeatureWindow, most: usize, saliency: Option<&Saliency>) {
    let attention = saliency.map(|saliency| attention(window, saliency));
    let score = |index: usize| {
        let looked_at = attention.as_ref().map_or(0.0, |attention| attention[index]);
        window.tokens[index].importance + looked_at
    };
    let mut order: Vec<usize> = (0..window.tokens.len()).collect();
    order.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
    let mut stays = vec![false; order.len()];
    for index in order.into_iter().take(most) {
        stays[index] = true;
    }
    let mut stays = stays.into_iter();
    window.tokens.retain(|_| stays.next().unwrap_or(false));
}

/// The attention to each token of the window, the most looked at being 1; 0 for those of
/// streams that the model does not read.
fn attention(window: &FeatureWindow, saliency: &Saliency) -> Vec<f32> {
    let mut attention = vec![0.0; window.tokens.len()];
    for (modality, shares) in [
        (Modality::Video, &saliency.video),
        (Modality::Audio, &saliency.audio),
        (Modality::Sensor, &saliency.sensor),
    ] {
        let Some(read) = window.stream(modality) else {
            continue;
        };
        // The model reads them in order of position.
        let mut of_stream: Vec<usize> = (0..window.tokens.len())
            .filter(|index| {
                let token = &window.tokens[*index];
                token.modality == modality && token.stream == read.name
            })
            .collect();
        of_stream.sort_by_key(|index| {
            let token = &window.tokens[*index];
            (token.t, token.y, token.x)
        });
        for (index, share) in of_stream.into_iter().zip(shares) {
            attention[index] = *share;
        }
    }
    let most = attention.iter().copied().fold(0.0, f32::max);
    if most > 0.0 {
        attention.iter_mut().for_each(|share| *share /= most);
    }
    attention
}
