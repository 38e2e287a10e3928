//! Which positions of a window's streams are sent: they share one budget by β.

use mas::Mas;
use mas::select::{Budget, Place, Stream, Want, best, choose, share};
use ndarray::{Array1, Axis, concatenate};

use super::collect::Sample;

/// What a stream could send: the positions of its samples, one after the other.
pub(super) struct Candidate {
    importance: Array1<f32>,
    energy: Array1<f32>,
    places: Vec<Place>,
    rho: f32,
    gamma: f32,
    beta: f32,
    /// Share of it that is worth sending: 1 − MAS.
    pub worth: f32,
}

impl Candidate {
    pub fn new(samples: &[Sample], beta: f32) -> Self {
        let joined = |part: fn(&Sample) -> Array1<f32>| {
            let parts: Vec<Array1<f32>> = samples.iter().map(part).collect();
            let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
            concatenate(Axis(0), &views).unwrap_or_default()
        };
        let mean = |value: fn(&Sample) -> f32| {
            samples.iter().map(value).sum::<f32>() / samples.len().max(1) as f32
        };
        let importance = joined(|sample| sample.now.importance());
        Self {
            worth: beta * importance.mean().unwrap_or(0.0),
            importance,
            energy: joined(|sample| sample.now.energy.clone()),
            places: samples.iter().enumerate().flat_map(places).collect(),
            rho: mean(|sample| sample.now.mas.rho),
            gamma: mean(|sample| sample.now.mas.gamma),
            beta,
        }
    }

    /// MAS of the stream in the window: ρ and γ are the means of its samples.
    pub fn report(&self) -> Mas {
        Mas {
            rho: self.rho,
            gamma: self.gamma,
            beta: self.beta,
            mas: (1.0 - self.worth).clamp(0.0, 1.0),
        }
    }
}

/// Where the positions of a sample lie.
fn places((index, sample): (usize, &Sample)) -> impl Iterator<Item = Place> {
    let columns = sample.measured.columns.max(1);
    (0..sample.now.s.len()).map(move |position| Place {
        sample: index,
        row: position / columns,
        column: position % columns,
    })
}

/// The positions of each stream that are sent, ascending. Those that exceed the threshold are
/// chosen among up to `max`; what is missing to `min` is shared by β too, and filled up by energy.
pub(super) fn select(streams: &[&Candidate], budget: Budget) -> Vec<Vec<usize>> {
    let exceed: Vec<Vec<usize>> = (streams.iter())
        .map(|stream| {
            let exceeds = |p: &usize| stream.importance[*p] > budget.threshold;
            (0..stream.importance.len()).filter(exceeds).collect()
        })
        .collect();
    let offers: Vec<Stream> = (streams.iter().zip(&exceed))
        .map(|(stream, exceed)| Stream {
            weights: stream.importance.select(Axis(0), exceed),
            places: exceed.iter().map(|p| stream.places[*p]).collect(),
            beta: stream.beta,
        })
        .collect();
    let mut kept: Vec<Vec<usize>> = (choose(budget.max, &offers).iter().zip(&exceed))
        .map(|(chosen, exceed)| chosen.iter().map(|index| exceed[*index]).collect())
        .collect();
    let missing = (budget.min).saturating_sub(kept.iter().map(Vec::len).sum());
    let wants: Vec<Want> = (streams.iter().zip(&kept))
        .map(|(stream, kept)| Want {
            available: stream.importance.len() - kept.len(),
            beta: stream.beta,
        })
        .collect();
    for ((stream, kept), count) in streams.iter().zip(&mut kept).zip(share(missing, &wants)) {
        let mut rest = stream.energy.clone();
        kept.iter().for_each(|p| rest[*p] = f32::MIN);
        kept.extend(best(rest.view(), count));
        kept.sort_unstable();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of so many positions, of which the first `new` are worth sending.
    fn stream(positions: usize, new: usize, beta: f32) -> Candidate {
        let importance = Array1::from_shape_fn(positions, |p| match p < new {
            true => 1.0 - p as f32 / 1_000.0,
            false => 0.0,
        });
        Candidate {
            worth: beta * importance.mean().unwrap(),
            importance,
            energy: Array1::from_shape_fn(positions, |p| p as f32),
            places: (0..positions)
                .map(|p| Place {
                    sample: 0,
                    row: p / 7,
                    column: p % 7,
                })
                .collect(),
            rho: 0.5,
            gamma: 0.5,
            beta,
        }
    }

    fn counts(streams: &[Candidate], min: usize, max: usize) -> Vec<usize> {
        let streams: Vec<&Candidate> = streams.iter().collect();
        let budget = Budget::new(0.1, min, max).unwrap();
        let kept = select(&streams, budget);
        kept.iter().map(Vec::len).collect()
    }

    #[test]
    fn streams_share_the_most_by_beta() {
        let streams = [
            stream(49, 49, 1.0),
            stream(32, 32, 0.5),
            stream(28, 28, 0.5),
        ];
        assert_eq!(counts(&streams, 16, 40), [20, 10, 10]);
        assert_eq!(counts(&streams, 16, 109), [49, 32, 28]);
        // What one does not need goes to the others.
        let streams = [stream(49, 4, 1.0), stream(32, 32, 0.5), stream(28, 28, 0.5)];
        assert_eq!(counts(&streams, 16, 40), [4, 18, 18]);
    }

    #[test]
    fn what_is_missing_to_the_least_is_shared_too_and_filled_up_by_energy() {
        let streams = [stream(49, 2, 1.0), stream(32, 0, 0.5)];
        assert_eq!(counts(&streams, 16, 109), [11, 5]);
        let kept = select(
            &[&streams[0], &streams[1]],
            Budget::new(0.1, 16, 109).unwrap(),
        );
        assert_eq!(kept[1], (27..32).collect::<Vec<_>>());
        assert_eq!(kept[0][..2], [0, 1]);
        assert_eq!(counts(&streams, 0, 109), [2, 0]);
        assert_eq!(counts(&streams, 100, 109), [49, 32]);
    }

    #[test]
    fn within_a_stream_those_come_first_that_stand_for_all_that_exceed() {
        let one = stream(49, 21, 1.0);
        let kept = select(&[&one], Budget::new(0.1, 4, 8).unwrap());
        assert!(kept[0].iter().all(|p| *p < 21), "{kept:?}");
        // Of three rows some in each.
        for row in 0..3 {
            assert!(kept[0].iter().any(|p| p / 7 == row), "{kept:?}");
        }
    }

    #[test]
    fn the_report_is_fused_with_beta() {
        let report = stream(4, 4, 0.5).report();
        assert!(
            (report.mas - (1.0 - 0.5 * 0.9985)).abs() < 1e-6,
            "{report:?}"
        );
        assert_eq!(report.beta, 0.5);
    }
}
