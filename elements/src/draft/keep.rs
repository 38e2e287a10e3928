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

#[cfg(test)]
mod tests {
    use broker::{ModalityReport, Token, WindowId};
    use offload::Action;

    use super::*;

    /// A window with tokens of two cameras and of sound, each `(stream, position, importance)`.
    fn window(tokens: &[(&str, u16, f32)]) -> FeatureWindow {
        let modality = |stream: &str| match stream {
            "mic" => Modality::Audio,
            _ => Modality::Video,
        };
        let report = |stream: &str| ModalityReport {
            modality: modality(stream),
            stream: stream.to_owned(),
            rho: 0.0,
            gamma: 0.0,
            beta: 1.0,
            mas: 0.0,
            encoder: "e".to_owned(),
            encoder_sha256: "0".to_owned(),
        };
        FeatureWindow {
            id: WindowId {
                rig: "car".parse().unwrap(),
                epoch: ulid::Ulid::nil(),
                seq: 0,
            },
            start_utc_ns: 0,
            end_utc_ns: 0,
            start_running_ns: 0,
            end_running_ns: 0,
            prompt: "describe".to_owned(),
            decision: Action::Offload,
            modalities: vec![report("front"), report("rear"), report("mic")],
            draft: None,
            tokens: (tokens.iter())
                .map(|(stream, position, importance)| Token {
                    modality: modality(stream),
                    stream: (*stream).to_owned(),
                    t: 0,
                    y: position / 4,
                    x: position % 4,
                    importance: *importance,
                    scale: 1.0,
                    feature: vec![0],
                })
                .collect(),
            tokens_possible: 100,
            frames_in: 0,
            frames_kept: 0,
            flags: vec![],
            closed_utc_ns: 0,
            drafted_utc_ns: 0,
        }
    }

    fn kept(tokens: &[(&str, u16, f32)], most: usize, saliency: Option<Saliency>) -> Vec<f32> {
        let mut window = window(tokens);
        keep(&mut window, most, saliency.as_ref());
        window.tokens.iter().map(|token| token.importance).collect()
    }

    #[test]
    fn importance_decides_alone_or_with_attention() {
        let tokens = [
            ("front", 2, 0.5),
            ("front", 0, 0.3),
            ("rear", 1, 0.6),
            ("mic", 7, 0.4),
            ("mic", 3, 0.1),
        ];
        assert_eq!(kept(&tokens, 2, None), [0.5, 0.6]);
        assert_eq!(kept(&tokens, 9, None).len(), 5);
        // Shares are in order of position: the draft looked most at the sound's first.
        let saliency = Saliency {
            video: vec![0.1, 0.2],
            audio: vec![0.6, 0.1],
            sensor: vec![],
        };
        // 0.5 + 0.33, 0.3 + 0.17, 0.6 + 0 (the model does not read it), 0.4 + 0.17, 0.1 + 1.
        assert_eq!(kept(&tokens, 2, Some(saliency.clone())), [0.5, 0.1]);
        assert_eq!(kept(&tokens, 3, Some(saliency)), [0.5, 0.6, 0.1]);
        let nothing = Saliency::default();
        assert_eq!(kept(&tokens, 2, Some(nothing)), [0.5, 0.6]);
    }
}
