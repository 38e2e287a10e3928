//! Which of a window's tokens are kept: by MAS, and by other ways to compare it with.

use std::fmt;

use clap::ValueEnum;
use mas::select::{self, Budget, Place, Want};
use mllm::{ByModality, Modality};
use ndarray::Array1;
use rand_core::Rng;
use rand_pcg::Pcg32;

/// A way to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// Those that stand for all by importance s · u, mixed with what the draft attended to if its decoder tells
    Mas,
    /// The best by the same mix, whatever lies beside them
    Best,
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
    fn mixed(&self, weight: f32) -> Array1<f32> {
        let (importance, energy) = (self.importance.view(), self.energy.view());
        match &self.attention {
            Some(attention) => select::mix(importance, energy, attention.view(), weight),
            None => select::mix(importance, energy, energy, 0.0),
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

/// How many positions of each modality make up `share` of all, at least one: in proportion to β, or to how many
/// there are.
pub fn budget(
    known: &ByModality<Option<Known>>,
    share: f32,
    beta: Option<&mllm::Modal>,
) -> ByModality<usize> {
    let available = Modality::ALL.map(|modality| {
        known
            .get(modality)
            .as_ref()
            .map_or(0, |known| known.importance.len())
    });
    let all: usize = available.iter().sum();
    let total = ((all as f32 * share).round() as usize).clamp(1, all.max(1));
    let wants: Vec<Want> = (Modality::ALL.into_iter().zip(available))
        .map(|(modality, available)| Want {
            available,
            beta: match beta {
                Some(beta) => beta.get(modality).unwrap_or(0.0),
                None => available as f32 / all.max(1) as f32,
            },
        })
        .collect();
    let mut given = ByModality::default();
    for (modality, count) in Modality::ALL.into_iter().zip(select::share(total, &wants)) {
        *given.get_mut(modality) = count;
    }
    given
}

/// Whether each position of a modality is among the `count` chosen. `weight` is that of attention in MAS's mix.
pub fn choose(
    choice: Choice,
    known: &Known,
    count: usize,
    weight: f32,
    random: &mut Pcg32,
) -> Vec<bool> {
    let all = known.importance.len();
    let count = count.min(all);
    let chosen: Vec<usize> = match choice {
        Choice::Mas => select::cover(known.mixed(weight).view(), &known.places(), count),
        Choice::Best => best(&known.mixed(weight), &known.energy, count),
        Choice::Energy => best(&known.energy, &known.energy, count),
        Choice::Random => {
            let mut order: Vec<usize> = (0..all).collect();
            for last in (1..all).rev() {
                order.swap(last, random.next_u32() as usize % (last + 1));
            }
            order[..count].to_vec()
        }
        Choice::Grid => (0..count)
            .map(|i| (2 * i + 1) * all / (2 * count))
            .collect(),
        Choice::Centre => {
            let mut order: Vec<usize> = (0..all).collect();
            order.sort_by(|a, b| {
                let distance = |p| from_centre(p, known.sample);
                distance(*a).total_cmp(&distance(*b))
            });
            order[..count].to_vec()
        }
    };
    let mut keep = vec![false; all];
    chosen.into_iter().for_each(|p| keep[p] = true);
    keep
}

/// The `count` best, as the window element takes them.
fn best(values: &Array1<f32>, energy: &Array1<f32>, count: usize) -> Vec<usize> {
    let exactly = Budget {
        threshold: 0.0,
        min: count,
        max: count,
    };
    select::keep(values.view(), energy.view(), exactly)
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
    use mllm::Modal;

    use super::*;

    const CHOICES: [Choice; 6] = [
        Choice::Mas,
        Choice::Best,
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

    fn places(keep: &[bool]) -> Vec<usize> {
        (0..keep.len()).filter(|p| keep[*p]).collect()
    }

    #[test]
    fn every_choice_keeps_as_many_as_it_is_told() {
        for sample in [(49, 7), (14, 2)] {
            let mut known = known(sample.0 * 2, sample);
            for attention in [None, Some(known.energy.clone())] {
                known.attention = attention;
                for choice in CHOICES {
                    for count in 0..=sample.0 * 2 + 1 {
                        let keep = choose(choice, &known, count, 0.5, &mut Pcg32::new(1, 0));
                        let kept = places(&keep).len();
                        assert_eq!(kept, count.min(sample.0 * 2), "{choice} {count}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_seed_fixes_what_is_drawn() {
        let known = known(49, (49, 7));
        let draw = |seed| choose(Choice::Random, &known, 20, 0.0, &mut Pcg32::new(seed, 0));
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn each_choice_is_what_it_says() {
        let mut known = known(18, (9, 3));
        let keep = |choice, known: &Known, count, weight| {
            places(&choose(choice, known, count, weight, &mut Pcg32::new(1, 0)))
        };
        assert_eq!(keep(Choice::Grid, &known, 6, 0.0), [1, 4, 7, 10, 13, 16]);
        // The middles of both hops, then what is beside them.
        assert_eq!(keep(Choice::Centre, &known, 2, 0.0), [4, 13]);
        assert_eq!(keep(Choice::Centre, &known, 10, 0.0).len(), 10);
        assert!(!keep(Choice::Centre, &known, 10, 0.0).contains(&0));
        known.energy[11] = 9.0;
        assert_eq!(keep(Choice::Energy, &known, 1, 0.0), [11]);
        known.importance[5] = 2.0;
        assert_eq!(keep(Choice::Best, &known, 1, 1.0), [5]);
        let mut attention = Array1::zeros(18);
        attention[3] = 1.0;
        known.attention = Some(attention);
        assert_eq!(keep(Choice::Best, &known, 1, 1.0), [3]);
        assert_eq!(keep(Choice::Best, &known, 1, 0.0), [5]);
        // Of two that lie side by side one will do.
        let mut attention = Array1::zeros(18);
        (attention[4], attention[5], attention[13]) = (1.0, 0.9, 0.8);
        known.attention = Some(attention);
        assert_eq!(keep(Choice::Best, &known, 2, 1.0), [4, 5]);
        assert_eq!(keep(Choice::Mas, &known, 2, 1.0), [4, 13]);
    }

    #[test]
    fn a_budget_goes_by_count_or_by_beta() {
        let window = window();
        let given = |share, beta: Option<&Modal>| {
            let given = budget(&window, share, beta);
            [given.video, given.audio, given.sensor]
        };
        assert_eq!(given(1.0, None), [49, 32, 28]);
        assert_eq!(given(0.5, None), [25, 16, 14]);
        assert_eq!(given(0.0, None), [1, 0, 0]);
        let heard = Modal {
            video: Some(0.25),
            audio: Some(1.0),
            sensor: Some(0.0),
        };
        assert_eq!(given(0.25, Some(&heard)), [6, 21, 0]);
        assert_eq!(given(1.0, Some(&heard)), [49, 32, 28]);
    }
}
