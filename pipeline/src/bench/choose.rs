//! Which of a window's tokens are sent.

use mas::select::{self, Place, Stream, Want};
use mllm::{ByModality, Modality, Saliency};
use ndarray::Array1;

use super::windows::{Encoded, Sense};

/// Every modality counts whole.
pub const UNKNOWN: ByModality<f32> = ByModality {
    video: 1.0,
    audio: 1.0,
    sensor: 1.0,
};

/// How many positions are worth sending: of each modality the share 1 − MAS, at least one in all.
pub fn worth(encoded: &Encoded, betas: &ByModality<f32>) -> usize {
    let of = |(modality, sense): (Modality, &Sense)| betas.get(modality) * sense.importance.sum();
    let worth: f32 = encoded.present().map(of).sum();
    (worth.round() as usize).max(1)
}

/// All positions.
pub fn all(encoded: &Encoded) -> ByModality<Vec<usize>> {
    let mut keep = ByModality::default();
    for (modality, sense) in encoded.present() {
        *keep.get_mut(modality) = (0..sense.importance.len()).collect();
    }
    keep
}

/// `count` positions as MAS has it: modalities share them by β, and of each those go that stand for all by what the draft
/// attended to, or by importance where its decoder does not tell.
pub fn by_mas(
    encoded: &Encoded,
    count: usize,
    saliency: Option<&Saliency>,
    betas: &ByModality<f32>,
) -> ByModality<Vec<usize>> {
    let stream = |(modality, sense): (Modality, &Sense)| {
        let attention = saliency.map(|saliency| saliency.get(modality));
        let attention = attention.filter(|shares| shares.len() == sense.importance.len());
        let place = |position| {
            let (sample, row, column) = sense.place(position);
            Place {
                sample,
                row,
                column,
            }
        };
        Stream {
            weights: attention.map_or_else(
                || sense.importance.clone(),
                |shares| Array1::from(shares.clone()),
            ),
            places: (0..sense.importance.len()).map(place).collect(),
            beta: *betas.get(modality),
        }
    };
    let streams: Vec<Stream> = encoded.present().map(stream).collect();
    named(encoded, select::choose(count, &streams))
}

/// `count` positions, of each modality by how many it has, evenly spaced.
pub fn evenly(encoded: &Encoded, count: usize) -> ByModality<Vec<usize>> {
    let all: usize = encoded.present().map(|(_, s)| s.importance.len()).sum();
    let want = |(_, sense): (Modality, &Sense)| Want {
        available: sense.importance.len(),
        beta: sense.importance.len() as f32 / all.max(1) as f32,
    };
    let wants: Vec<Want> = encoded.present().map(want).collect();
    let counts = select::share(count, &wants);
    let spaced = |(want, count): (&Want, usize)| {
        let at = |i| (2 * i + 1) * want.available / (2 * count);
        (0..count).map(at).collect()
    };
    named(encoded, wants.iter().zip(counts).map(spaced).collect())
}

fn named(encoded: &Encoded, chosen: Vec<Vec<usize>>) -> ByModality<Vec<usize>> {
    let mut keep = ByModality::default();
    for ((modality, _), positions) in encoded.present().zip(chosen) {
        *keep.get_mut(modality) = positions;
    }
    keep
}
