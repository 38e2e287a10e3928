//! Which of a window's tokens are kept: by MAS, and by other ways to compare it with.

use std::fmt;

use clap::ValueEnum;
use mas::select::{self, Place, Stream, Want};
use mllm::{ByModality, Modal, Modality};
use ndarray::Array1;
use rand_core::Rng;
use rand_pcg::Pcg32;

/// A way to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// Those that stand for all by what the draft attended to, or by importance s · u if its decoder does not tell
    Mas,
    /// Drawn at random
    Random,
    /// Evenly spaced positions
    Grid,
    /// Those nearest the middle of the picture, or of each hop
    Centre,
    /// Those with the greatest spatial energy
    Energy,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// What is known of a modality's positions before any is chosen. All arrays are `[P]`.
#[derive(Debug, Clone)]
pub struct Known {
    pub importance: Array1<f32>,
    pub energy: Array1<f32>,
    /// What the draft attended to for the prompt.
    pub attention: Option<Array1<f32>>,
    /// Positions of one sample (a frame, a hop), and columns of them.
    pub sample: (usize, usize),
}

impl Known {
    /// As the draft element offers it.
    fn offer(&self, beta: f32) -> Stream {
        Stream {
            weights: self.attention.as_ref().unwrap_or(&self.importance).clone(),
            places: self.places(),
            beta,
        }
    }

    fn places(&self) -> Vec<Place> {
        let (positions, columns) = self.sample;
        let place = |p: usize| Place {
            sample: p / positions,
            row: p % positions / columns,
            column: p % positions % columns,
        };
        (0..self.importance.len()).map(place).collect()
    }
}

/// Whether each position is among the chosen, which make up `share` of all, at least one. They are shared among
/// modalities in proportion to β, or to how many there are.
pub fn choose(
    choice: Choice,
    known: &ByModality<Option<Known>>,
    share: f32,
    beta: Option<&Modal>,
    random: &mut Pcg32,
) -> ByModality<Vec<bool>> {
    let there: Vec<(Modality, &Known)> = Modality::ALL
        .into_iter()
        .filter_map(|modality| Some((modality, known.get(modality).as_ref()?)))
        .collect();
    let all: usize = there.iter().map(|(_, known)| known.importance.len()).sum();
    let total = ((all as f32 * share).round() as usize).clamp(1, all.max(1));
    let beta = |modality: Modality, known: &Known| match beta {
        Some(beta) => beta.get(modality).unwrap_or(0.0),
        None => known.importance.len() as f32 / all.max(1) as f32,
    };
    let chosen = match choice {
        Choice::Mas => {
            let offer =
                |(modality, known): &(Modality, &Known)| known.offer(beta(*modality, known));
            let offers: Vec<Stream> = there.iter().map(offer).collect();
            select::choose(total, &offers)
        }
        choice => {
            let want = |(modality, known): &(Modality, &Known)| Want {
                available: known.importance.len(),
                beta: beta(*modality, known),
            };
            let wants: Vec<Want> = there.iter().map(want).collect();
            let counts = select::share(total, &wants);
            let some = |((_, known), count)| positions(choice, known, count, random);
            there.iter().copied().zip(counts).map(some).collect()
        }
    };
    let mut keep = ByModality::default();
    for ((modality, known), chosen) in there.into_iter().zip(chosen) {
        let keep: &mut Vec<bool> = keep.get_mut(modality);
        keep.resize(known.importance.len(), false);
        chosen.into_iter().for_each(|p| keep[p] = true);
    }
    keep
}

/// `count` positions of a modality, chosen without MAS.
fn positions(choice: Choice, known: &Known, count: usize, random: &mut Pcg32) -> Vec<usize> {
    let all = known.importance.len();
    let mut order: Vec<usize> = (0..all).collect();
    match choice {
        Choice::Mas | Choice::Energy => return select::best(known.energy.view(), count),
        Choice::Grid => {
            return (0..count)
                .map(|i| (2 * i + 1) * all / (2 * count))
                .collect();
        }
        Choice::Random => {
            for last in (1..all).rev() {
                order.swap(last, random.next_u32() as usize % (last + 1));
            }
        }
        Choice::Centre => order.sort_by(|a, b| {
            let distance = |p| from_centre(p, known.sample);
            distance(*a).total_cmp(&distance(*b))
        }),
    }
    order.truncate(count);
    order
}

/// Squared distance of a position from the middle of its sample, whose sides count as 1.
fn from_centre(position: usize, (positions, columns): (usize, usize)) -> f32 {
    let within = position % positions.max(1);
    let rows = (positions / columns.max(1)).max(1);
    let off = |at: usize, count: usize| (at as f32 + 0.5) / count.max(1) as f32 - 0.5;
    let (y, x) = (
        off(within / columns.max(1), rows),
        off(within % columns.max(1), columns),
    );
    y * y + x * x
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOICES: [Choice; 5] = [
        Choice::Mas,
        Choice::Random,
        Choice::Grid,
        Choice::Centre,
        Choice::Energy,
    ];

    fn known(positions: usize, sample: (usize, usize)) -> Known {
        let value = |p: usize| ((p * 37) % 101) as f32 / 100.0;
        Known {
            importance: Array1::from_shape_fn(positions, value),
            energy: Array1::from_shape_fn(positions, |p| value(p * 3 + 1)),
            attention: None,
            sample,
        }
    }

    fn window() -> ByModality<Option<Known>> {
        ByModality {
            video: Some(known(49, (49, 7))),
            audio: Some(known(32, (16, 4))),
            sensor: Some(known(28, (14, 2))),
        }
    }

    fn counts(choice: Choice, share: f32, beta: Option<&Modal>) -> [usize; 3] {
        let keep = choose(choice, &window(), share, beta, &mut Pcg32::new(1, 0));
        let count = |modality| keep.get(modality).iter().filter(|kept| **kept).count();
        Modality::ALL.map(count)
    }

    /// What is chosen of a sound, in ninths.
    fn places(choice: Choice, known: &Known, count: usize) -> Vec<usize> {
        let window = ByModality {
            audio: Some(known.clone()),
            ..ByModality::default()
        };
        let share = count as f32 / known.importance.len() as f32;
        let keep = choose(choice, &window, share, None, &mut Pcg32::new(1, 0)).audio;
        (0..keep.len()).filter(|p| keep[*p]).collect()
    }

    #[test]
    fn every_choice_keeps_as_many_of_each_as_the_others() {
        let heard = Modal {
            video: Some(0.25),
            audio: Some(1.0),
            sensor: Some(0.0),
        };
        for choice in CHOICES {
            let given = |share, beta| counts(choice, share, beta);
            assert_eq!(given(1.0, None), [49, 32, 28], "{choice}");
            assert_eq!(given(0.5, None), [25, 16, 14], "{choice}");
            assert_eq!(given(0.0, None), [1, 0, 0], "{choice}");
            assert_eq!(given(0.25, Some(&heard)), [6, 21, 0], "{choice}");
            assert_eq!(given(1.0, Some(&heard)), [49, 32, 28], "{choice}");
        }
    }

    #[test]
    fn a_seed_fixes_what_is_drawn() {
        let draw = |seed| {
            choose(
                Choice::Random,
                &window(),
                0.4,
                None,
                &mut Pcg32::new(seed, 0),
            )
        };
        assert_eq!(draw(3).video, draw(3).video);
        assert_ne!(draw(3).video, draw(4).video);
    }

    #[test]
    fn each_choice_is_what_it_says() {
        let mut known = known(18, (9, 3));
        assert_eq!(places(Choice::Grid, &known, 6), [1, 4, 7, 10, 13, 16]);
        // The middles of both hops, then what is beside them.
        assert_eq!(places(Choice::Centre, &known, 2), [4, 13]);
        assert!(!places(Choice::Centre, &known, 10).contains(&0));
        known.energy[11] = 9.0;
        assert_eq!(places(Choice::Energy, &known, 1), [11]);
        known.importance = Array1::zeros(18);
        known.importance[5] = 2.0;
        known.sample = (18, 18);
        assert_eq!(places(Choice::Mas, &known, 1), [5]);
        // What the draft attended to counts instead, once it is known.
        let mut attention = Array1::zeros(18);
        (attention[3], attention[17]) = (1.0, 0.9);
        known.attention = Some(attention);
        assert_eq!(places(Choice::Mas, &known, 2), [3, 17]);
    }
}
