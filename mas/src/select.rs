//! Which positions are sent: several streams share a budget by their contribution β, and of each those go that stand for
//! all of its positions, those that matter most above all.

use ndarray::{Array1, Array2, ArrayView1};

use crate::{Error, check};

/// How many positions to keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// A position whose importance s · u is greater is kept, in \[0, 1\].
    pub threshold: f32,
    /// Positions kept at least, if there are so many.
    pub min: usize,
    /// Positions kept at most; not less than `min`.
    pub max: usize,
}

impl Budget {
    /// # Errors
    /// [`Error::Setting`] if the threshold is not in \[0, 1\] or `max` is less than `min`.
    pub fn new(threshold: f32, min: usize, max: usize) -> Result<Self, Error> {
        check(
            "threshold",
            threshold,
            (0.0..=1.0).contains(&threshold),
            "from 0 to 1",
        )?;
        check("max-tokens", max as f32, max >= min, "at least min-tokens")?;
        Ok(Self {
            threshold,
            min,
            max,
        })
    }
}

/// A stream's positions that could be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// How much each position matters, `[P]`, in any unit: what a model attended to, or
    /// importance s · u where that is not known.
    pub weights: Array1<f32>,
    /// Where each lies.
    pub places: Vec<Place>,
    /// The stream's contribution β in \[0, 1\]; not a number counts as 1.
    pub beta: f32,
}

/// Where a position lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its sample: a frame, a hop.
    pub sample: usize,
    /// Row in the sample.
    pub row: usize,
    /// Column in the sample.
    pub column: usize,
}

/// The `total` positions to send of all that the streams could, of each stream ascending:
/// [`share`] says how many, [`spread`] which.
pub fn choose(total: usize, streams: &[Stream]) -> Vec<Vec<usize>> {
    let want = |stream: &Stream| Want {
        available: stream.weights.len(),
        beta: stream.beta,
    };
    let wants: Vec<Want> = streams.iter().map(want).collect();
    let counts = share(total, &wants);
    let of = |(stream, count): (&Stream, usize)| {
        let spread = spread(stream.weights.view(), &stream.places);
        best(spread.view(), count)
    };
    streams.iter().zip(counts).map(of).collect()
}

/// The `count` positions of the greatest values, ascending; of equals the lower. Values
/// that are not finite count as 0.
pub fn best(values: ArrayView1<'_, f32>, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| finite(values[*b]).total_cmp(&finite(values[*a])));
    order.truncate(count);
    order.sort_unstable();
    order
}

/// A value as it is compared.
fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

/// How far a position stands for others in [`spread`], in samples, rows and columns.
const REACH: f32 = 0.7;
/// What every position weighs in [`spread`] by itself; what matters most weighs 1 more.
const LEAST: f32 = 1.0;

/// What each position adds to those that are better than it: the best of these stand for all,
/// as an encoder's neighbouring tokens say much the same.
///
/// Greedily the position comes next that adds most to the sum over all positions of weight
/// times likeness to the one chosen that is most like it (facility location: the first so many
/// are within 1 − 1/e of the best choice; Nemhauser, Wolsey and Fisher, 1978). Likeness is a
/// Gaussian of the distance in samples, rows and columns. `weights` are divided by the greatest,
/// and some is added to each, as any position may matter and a model also attends to what says
/// nothing. Values that are not finite, or negative, count as 0; of equals the lower position
/// comes first, but for rounding.
pub fn spread(weights: ArrayView1<'_, f32>, places: &[Place]) -> Array1<f32> {
    let all = weights.len().min(places.len());
    let weight = |p: usize| finite(weights[p]).max(0.0);
    let greatest = (0..all).map(weight).fold(0.0, f32::max);
    let unit = if greatest > 0.0 { greatest } else { 1.0 };
    let weight: Vec<f32> = (0..all).map(|p| weight(p) / unit + LEAST).collect();
    let likeness = Array2::from_shape_fn((all, all), |(q, p)| places[q].likeness(places[p]));
    let mut covered = vec![0.0; all];
    let mut gains = likeness.dot(&Array1::from(weight.clone()));
    let mut left: Vec<usize> = (0..all).collect();
    let mut adds = Array1::zeros(weights.len());
    // Nothing adds more than what came before it, but for rounding.
    let mut least = f32::INFINITY;
    while let Some(next) = (0..left.len()).max_by(|a, b| {
        let (a, b) = (left[*a], left[*b]);
        gains[a].total_cmp(&gains[b]).then(b.cmp(&a))
    }) {
        let chosen = left.remove(next);
        least = least.min(gains[chosen].max(0.0));
        adds[chosen] = least;
        for p in 0..all {
            let (before, now) = (covered[p], likeness[[chosen, p]]);
            if now <= before {
                continue;
            }
            covered[p] = now;
            for q in &left {
                let like = likeness[[*q, p]];
                gains[*q] -= weight[p] * ((like - before).max(0.0) - (like - now).max(0.0));
            }
        }
    }
    adds
}

impl Place {
    /// How well one position stands for another: 1 for itself, less with distance, 0 when far.
    fn likeness(self, other: Self) -> f32 {
        let square = |a: usize, b: usize| (a.abs_diff(b) as f32).powi(2);
        let distance = square(self.sample, other.sample)
            + square(self.row, other.row)
            + square(self.column, other.column);
        (-distance / (2.0 * REACH * REACH)).exp()
    }
}

/// What a stream asks of a budget that several share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Want {
    /// Positions that it could send.
    pub available: usize,
    /// Its contribution β in \[0, 1\]; not a number counts as 1.
    pub beta: f32,
}

/// Splits `total` positions among streams in proportion to β, by largest remainder,
/// ties to the first. Nobody gets more than it has; what it leaves is split among the
/// others in the same way, and only what they leave too goes to streams of β = 0. A
/// stream with β > 0 and something to send gets at least 1 while `total` lasts,
/// greatest β first.
pub fn share(total: usize, wants: &[Want]) -> Vec<usize> {
    let weight = |want: &Want| match want.beta {
        beta if beta.is_nan() => 1.0,
        beta => f64::from(beta.clamp(0.0, 1.0)),
    };
    let mut weights: Vec<f64> = wants.iter().map(weight).collect();
    let mut given = vec![0; wants.len()];
    let mut left = total;
    let mut some: Vec<usize> = (0..wants.len())
        .filter(|i| weights[*i] > 0.0 && wants[*i].available > 0)
        .collect();
    some.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
    for i in some.into_iter().take(total) {
        given[i] = 1;
        left -= 1;
    }
    while left > 0 {
        let mut open: Vec<usize> = (0..wants.len())
            .filter(|i| given[*i] < wants[*i].available)
            .collect();
        if open.is_empty() {
            break;
        }
        if open.iter().all(|i| weights[*i] <= 0.0) {
            open.iter().for_each(|i| weights[*i] = 1.0);
        }
        let sum: f64 = open.iter().map(|i| weights[*i]).sum();
        let pool = left as f64;
        let part = |i: usize| pool * weights[i] / sum;
        let before = left;
        for i in &open {
            let open = wants[*i].available - given[*i];
            let whole = (part(*i) as usize).min(open).min(left);
            given[*i] += whole;
            left -= whole;
        }
        if left == before {
            // Less than one each: the largest remainders take them.
            open.sort_by(|a, b| part(*b).total_cmp(&part(*a)));
            for i in open.into_iter().take(left) {
                given[i] += 1;
                left -= 1;
            }
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn places(positions: usize) -> Vec<Place> {
        let place = |p: usize| Place {
            sample: p / 9,
            row: p % 9 / 3,
            column: p % 3,
        };
        (0..positions).map(place).collect()
    }

    #[test]
    fn the_best_are_those_of_the_greatest_values() {
        let values = array![0.9, 0.1, f32::NAN, 0.9, 0.7];
        assert_eq!(best(values.view(), 1), [0]);
        assert_eq!(best(values.view(), 3), [0, 3, 4]);
        assert_eq!(best(values.view(), 9), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_is_chosen_stands_for_all() {
        let places = places(18);
        let chosen =
            |weights: &Array1<f32>, count| best(spread(weights.view(), &places).view(), count);
        // Where all weigh the same: the middle of either sample first.
        let even = Array1::ones(18);
        let first = chosen(&even, 1)[0];
        assert!(first == 4 || first == 13, "{first}");
        assert_eq!(chosen(&even, 99).len(), 18);
        assert_eq!(chosen(&Array1::from_elem(18, f32::NAN), 1), [first]);
        assert!(spread(even.view(), &[]).iter().all(|adds| *adds == 0.0));
    }

    #[test]
    fn what_matters_is_chosen_first_and_then_not_what_lies_beside_it() {
        let chosen = |weights: &Array1<f32>, places: &[Place], count| {
            best(spread(weights.view(), places).view(), count)
        };
        for axis in 0..3 {
            let at = |of: usize, index| if axis == of { index } else { 0 };
            let place = |index| Place {
                sample: at(0, index),
                row: at(1, index),
                column: at(2, index),
            };
            let places: Vec<Place> = (0..9).map(place).collect();
            let mut weights = Array1::zeros(9);
            weights[0] = 1e-3;
            assert_eq!(chosen(&weights, &places, 1), [0]);
            weights[0] = 0.0;
            (weights[3], weights[4], weights[8]) = (1e-3, 6e-4, 6e-4);
            assert_eq!(chosen(&weights, &places, 2), [3, 8]);
        }
    }

    #[test]
    fn streams_share_what_is_chosen_by_beta() {
        let stream = |beta| Stream {
            weights: Array1::ones(9),
            places: places(9),
            beta,
        };
        let counts = |total, betas: [f32; 2]| {
            let chosen = choose(total, &betas.map(stream));
            [chosen[0].len(), chosen[1].len()]
        };
        assert_eq!(counts(9, [1.0, 0.5]), [6, 3]);
        assert_eq!(counts(1, [0.1, 0.5]), [0, 1]);
        assert_eq!(counts(99, [0.1, 0.0]), [9, 9]);
        assert_eq!(choose(1, &[stream(1.0), stream(0.0)])[0], [4]);
        assert_eq!(choose(3, &[]), [] as [Vec<usize>; 0]);
    }

    #[test]
    fn bad_budgets_are_refused() {
        assert!(Budget::new(f32::NAN, 0, 1).is_err());
        let error = Budget::new(0.5, 17, 16).unwrap_err();
        assert_eq!(
            error.to_string(),
            "max-tokens is 16: it must be at least min-tokens"
        );
    }

    #[test]
    fn a_budget_is_shared_by_contribution() {
        let want = |available, beta| Want { available, beta };
        let split = |total, wants: &[Want]| share(total, wants);
        assert_eq!(split(48, &[want(49, 1.0), want(32, 0.5)]), [32, 16]);
        assert_eq!(split(49, &[want(49, 1.0), want(32, 0.5)]), [33, 16]);
        // What one cannot use goes to the others.
        assert_eq!(split(60, &[want(49, 0.2), want(10, 1.0)]), [49, 10]);
        assert_eq!(split(20, &[want(4, 1.0), want(49, 0.1)]), [4, 16]);
        // At least one each while it lasts, greatest beta first; none for beta 0 until the end.
        assert_eq!(
            split(10, &[want(49, 1.0), want(32, 0.01), want(9, 0.0)]),
            [9, 1, 0]
        );
        assert_eq!(split(1, &[want(49, 0.1), want(32, 0.2)]), [0, 1]);
        assert_eq!(split(10, &[want(7, 1.0), want(32, 0.0)]), [7, 3]);
        assert_eq!(split(3, &[want(7, f32::NAN), want(0, 1.0)]), [3, 0]);
        assert_eq!(split(3, &[]), [] as [usize; 0]);
        // Parts so large are not exact, and what they come to must not be more than there is.
        let all = usize::MAX;
        let huge = split(all, &[want(all, 1.0), want(all, 1.0)]);
        assert_eq!(
            huge.iter().map(|part| *part as u128).sum::<u128>(),
            all as u128
        );
        assert_eq!(split(all, &[want(49, 1.0), want(32, 0.5)]), [49, 32]);
    }
}
