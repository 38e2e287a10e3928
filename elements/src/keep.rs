//! Which of a window's tokens go on to the cloud: those that stand for all, by what the draft
//! looked at.

use broker::{FeatureWindow, Modality, Token};
use mas::select::{Place, Stream, choose};
use mllm::Saliency;
use ndarray::Array1;

use crate::beta::{self, Betas};

/// Drops tokens until `most` are left. Streams share them by β, and each keeps those that stand for
/// all of it: by `saliency`, the draft's attention to the tokens that the model read, or by
/// importance where that is not known.
pub(crate) fn keep(
    window: &mut FeatureWindow,
    most: usize,
    saliency: Option<&Saliency>,
    betas: &Betas,
) {
    let mut names: Vec<(Modality, &str)> = Vec::new();
    for token in &window.tokens {
        let name = (token.modality, &*token.stream);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let indices: Vec<Vec<usize>> = names.iter().map(|name| of_stream(window, name)).collect();
    let streams: Vec<Stream> = (names.iter().zip(&indices))
        .map(|((modality, name), indices)| {
            let importance = || {
                indices
                    .iter()
                    .map(|i| window.tokens[*i].importance)
                    .collect()
            };
            let attention = saliency
                .map(|saliency| of(saliency, *modality))
                .filter(|shares| shares.len() == indices.len() && is_read(window, *modality, name));
            Stream {
                weights: attention.map_or_else(importance, |shares| Array1::from(shares.clone())),
                places: indices.iter().map(|i| place(&window.tokens[*i])).collect(),
                beta: beta::of(betas, *modality),
            }
        })
        .collect();
    let mut stays = vec![false; window.tokens.len()];
    for (chosen, indices) in choose(most, &streams).iter().zip(&indices) {
        chosen
            .iter()
            .for_each(|index| stays[indices[*index]] = true);
    }
    let mut stays = stays.into_iter();
    window.tokens.retain(|_| stays.next().unwrap_or(false));
}

/// Where a stream's tokens are in the window, in order of position, which is how a model reads them.
fn of_stream(window: &FeatureWindow, (modality, name): &(Modality, &str)) -> Vec<usize> {
    let tokens = &window.tokens;
    let is_of = |i: &usize| tokens[*i].modality == *modality && &*tokens[*i].stream == *name;
    let mut indices: Vec<usize> = (0..tokens.len()).filter(is_of).collect();
    indices.sort_by_key(|i| (tokens[*i].t, tokens[*i].y, tokens[*i].x));
    indices
}

/// Whether the stream is the one of its modality that models read.
fn is_read(window: &FeatureWindow, modality: Modality, name: &str) -> bool {
    (window.stream(modality)).is_some_and(|stream| stream.name == name)
}

fn of(saliency: &Saliency, modality: Modality) -> &Vec<f32> {
    match modality {
        Modality::Video => &saliency.video,
        Modality::Audio => &saliency.audio,
        Modality::Sensor => &saliency.sensor,
    }
}

fn place(token: &Token) -> Place {
    Place {
        sample: token.t.into(),
        row: token.y.into(),
        column: token.x.into(),
    }
}

#[cfg(test)]
mod tests {
    use broker::{ModalityReport, WindowId};
    use offload::Action;

    use super::*;
    use crate::beta::UNKNOWN;

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
            decision: Action::Offload,
            modalities: vec![report("front"), report("rear"), report("mic")],
            tokens: (tokens.iter())
                .map(|(stream, position, importance)| Token {
                    modality: modality(stream),
                    stream: (*stream).into(),
                    t: 0,
                    y: position / 4,
                    x: position % 4,
                    importance: *importance,
                    scale: 1.0,
                    feature: vec![0].into(),
                })
                .collect(),
            tokens_possible: 100,
            ..FeatureWindow::empty(WindowId {
                rig: "car".parse().unwrap(),
                epoch: ulid::Ulid::nil(),
                seq: 0,
            })
        }
    }

    fn kept(
        tokens: &[(&str, u16, f32)],
        most: usize,
        saliency: Option<&Saliency>,
        betas: &Betas,
    ) -> Vec<(String, u16)> {
        let mut window = window(tokens);
        keep(&mut window, most, saliency, betas);
        let place = |token: &Token| (token.stream.to_string(), token.y * 4 + token.x);
        window.tokens.iter().map(place).collect()
    }

    /// Positions of one camera that do not lie beside each other.
    const APART: [(&str, u16, f32); 4] = [
        ("front", 2, 0.5),
        ("front", 0, 0.3),
        ("front", 10, 0.6),
        ("front", 8, 0.4),
    ];

    fn of_front(positions: &[u16]) -> Vec<(String, u16)> {
        let one = |position: &u16| ("front".to_owned(), *position);
        positions.iter().map(one).collect()
    }

    #[test]
    fn attention_decides_or_importance_where_it_is_not_known() {
        assert_eq!(kept(&APART, 2, None, &UNKNOWN), of_front(&[2, 10]));
        assert_eq!(kept(&APART, 9, None, &UNKNOWN).len(), 4);
        // Shares are in order of position: 0, 2, 8, 10.
        let saliency = Saliency {
            video: vec![0.4, 0.1, 0.3, 0.2],
            ..Saliency::default()
        };
        let looked_at = kept(&APART, 2, Some(&saliency), &UNKNOWN);
        assert_eq!(looked_at, of_front(&[0, 8]));
        // What the model looked at is not what this window holds: as if it were not known.
        let nothing = Saliency::default();
        assert_eq!(
            kept(&APART, 2, Some(&nothing), &UNKNOWN),
            of_front(&[2, 10])
        );
    }

    #[test]
    fn streams_share_by_beta_and_those_that_are_not_read_go_by_importance() {
        let tokens = [
            ("front", 0, 0.9),
            ("front", 2, 0.1),
            ("rear", 0, 0.1),
            ("rear", 2, 0.9),
            ("mic", 0, 0.9),
            ("mic", 2, 0.1),
        ];
        let saliency = Saliency {
            video: vec![0.1, 0.5],
            audio: vec![0.1, 0.3],
            sensor: vec![],
        };
        let at = |stream: &str, position| (stream.to_owned(), position);
        let three = kept(&tokens, 3, Some(&saliency), &UNKNOWN);
        assert_eq!(three, [at("front", 2), at("rear", 2), at("mic", 2)]);
        let seen = Betas {
            audio: 0.01,
            ..UNKNOWN
        };
        let five = kept(&tokens, 5, Some(&saliency), &seen);
        assert_eq!(five.len(), 5);
        assert_eq!(five[4], at("mic", 2));
    }
}
