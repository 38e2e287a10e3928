//! Which positions are sent: those whose importance s · u is above a threshold,
//! best first within a budget, filled to a minimum by spatial energy; those that
//! stand for all of a modality's, with what a model attended to; and how several
//! streams share a budget by their contribution β.

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

/// The positions to send, ascending. `importance` (s · u) and `energy` are `[P]`;
/// values that are not finite count as 0. Of positions that are equally important the
/// one with more energy is first, as all that hold the energy have s = 1; of those
/// equal in this too the lower one.
pub fn keep(
    importance: ArrayView1<'_, f32>,
    energy: ArrayView1<'_, f32>,
    budget: Budget,
) -> Vec<usize> {
    let mut kept: Vec<usize> = order(importance, energy)
        .into_iter()
        .filter(|p| importance[*p] > budget.threshold)
        .take(budget.max)
        .collect();
    if kept.len() < budget.min {
        let missing = budget.min - kept.len();
        let mut fill = order(energy, energy);
        fill.retain(|p| !kept.contains(p));
        kept.extend(fill.into_iter().take(missing));
    }
    kept.sort_unstable();
    kept
}

/// A value as it is compared.
fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

/// Positions by falling value, then by falling energy, then ascending.
fn order(values: ArrayView1<'_, f32>, energy: ArrayView1<'_, f32>) -> Vec<usize> {
    let key = |p: usize| (finite(values[p]), finite(energy[p]));
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (key(*a), key(*b));
        b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
    });
    order
}

/// Weight of attention in [`mix`].
pub const ATTENTION: f32 = 0.5;
/// How far a position stands for others in [`cover`], in rows and columns.
const REACH: f32 = 1.0;
/// What every position weighs at least in [`cover`].
const LEAST: f32 = 0.25;

/// Importance with what a model attended to, as one value in \[0, 1\] for each position
/// of a modality: `(1 − weight) · rank(importance) + weight · rank(attention)`.
///
/// Ranks, because the two have nothing in common but their order: importance saturates
/// at 1, and attention sinks into a few positions. The least has rank 0, the greatest 1;
/// equals have the mean of the ranks that they take up. Importance is ranked with ties
/// broken by energy, as in [`keep`]. `importance`, `energy` and `attention` are `[P]`;
/// values that are not finite count as 0, as does a weight that is not a number.
pub fn mix(
    importance: ArrayView1<'_, f32>,
    energy: ArrayView1<'_, f32>,
    attention: ArrayView1<'_, f32>,
    weight: f32,
) -> Array1<f32> {
    let weight = finite(weight).clamp(0.0, 1.0);
    let none = Array1::zeros(attention.len());
    let (seen, attended) = (ranks(importance, energy), ranks(attention, none.view()));
    seen * (1.0 - weight) + attended * weight
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

impl Place {
    /// How well one position stands for another: 1 for itself, less with distance, 0 in another sample.
    fn likeness(self, other: Self) -> f32 {
        if self.sample != other.sample {
            return 0.0;
        }
        let rows = self.row.abs_diff(other.row) as f32;
        let columns = self.column.abs_diff(other.column) as f32;
        (-(rows * rows + columns * columns) / (2.0 * REACH * REACH)).exp()
    }
}

/// `count` positions that stand for all of them, ascending, those that matter most above all.
///
/// An encoder's neighbouring tokens say much the same, so the best alone are not the best together. Greedily those are
/// taken that add most to the sum over all positions of weight times likeness to the chosen position that is most like
/// it (facility location; within 1 − 1/e of the best choice: Nemhauser, Wolsey and Fisher, 1978). Likeness is a Gaussian
/// of the distance in rows and columns. `weights` in \[0, 1\], one for each of `places`, come from [`mix`]; a little is
/// added to each, as any position may matter. Values that are not finite count as 0; of equals the lower position is
/// first.
pub fn cover(weights: ArrayView1<'_, f32>, places: &[Place], count: usize) -> Vec<usize> {
    let all = weights.len().min(places.len());
    let weight = |p: usize| finite(weights[p]).max(0.0) + LEAST;
    let likeness = Array2::from_shape_fn((all, all), |(q, p)| places[q].likeness(places[p]));
    let mut covered = Array1::<f32>::zeros(all);
    let mut left: Vec<usize> = (0..all).collect();
    let mut kept = Vec::new();
    while kept.len() < count.min(all) {
        let gain = |q: usize| -> f32 {
            let row = likeness.row(q);
            let more = |p: usize| weight(p) * (row[p] - covered[p]).max(0.0);
            (0..all).map(more).sum()
        };
        let gains: Vec<f32> = left.iter().map(|q| gain(*q)).collect();
        let better = |a: &usize, b: &usize| gains[*a].total_cmp(&gains[*b]).then(b.cmp(a));
        let Some(best) = (0..left.len()).max_by(better) else {
            break;
        };
        let best = left.remove(best);
        covered.zip_mut_with(&likeness.row(best), |covered, like| {
            *covered = covered.max(*like);
        });
        kept.push(best);
    }
    kept.sort_unstable();
    kept
}

/// Ranks from 0 (least) to 1 by value and then energy; equals have their mean rank.
fn ranks(values: ArrayView1<'_, f32>, energy: ArrayView1<'_, f32>) -> Array1<f32> {
    let order = order(values, energy);
    let same = |a: &usize, b: &usize| {
        finite(values[*a]) == finite(values[*b]) && finite(energy[*a]) == finite(energy[*b])
    };
    let mut ranks = Array1::zeros(values.len());
    let last = values.len().saturating_sub(1).max(1) as f32;
    let mut after = values.len();
    for equals in order.chunk_by(same) {
        let rank = after as f32 - (equals.len() as f32 + 1.0) / 2.0;
        equals.iter().for_each(|p| ranks[*p] = rank / last);
        after -= equals.len();
    }
    ranks
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
            let whole = (part(*i) as usize).min(wants[*i].available - given[*i]);
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

    #[test]
    fn best_first_within_the_budget_then_by_energy() {
        let importance = array![0.9, 0.1, f32::NAN, 0.8, 0.7];
        let energy = array![1.0, 2.0, f32::NAN, 1.0, 1.0];
        let keep = |threshold, min, max| {
            keep(
                importance.view(),
                energy.view(),
                Budget::new(threshold, min, max).unwrap(),
            )
        };
        assert_eq!(keep(0.5, 0, 2), [0, 3]);
        assert_eq!(keep(0.5, 0, 9), [0, 3, 4]);
        assert_eq!(keep(0.5, 4, 9), [0, 1, 3, 4]);
        assert_eq!(keep(0.5, 9, 9), [0, 1, 2, 3, 4]);
        assert_eq!(keep(1.0, 0, 9), [] as [usize; 0]);
    }

    #[test]
    fn of_equally_important_positions_the_one_with_more_energy_is_first() {
        let kept = keep(
            array![1.0, 1.0, 1.0, 0.2].view(),
            array![1.0, 5.0, 3.0, 9.0].view(),
            Budget::new(0.0, 2, 2).unwrap(),
        );
        assert_eq!(kept, [1, 2]);
    }

    #[test]
    fn ranks_of_both_are_mixed() {
        let importance = array![1.0, 1.0, 0.5, f32::NAN];
        let energy = array![2.0, 3.0, 1.0, 1.0];
        let attention = array![0.1, 0.1, 0.7, 0.1];
        let mixed =
            |weight| mix(importance.view(), energy.view(), attention.view(), weight).to_vec();
        let third = 1.0 / 3.0;
        assert_eq!(mixed(0.0), [2.0 * third, 1.0, third, 0.0]);
        assert_eq!(mixed(1.0), [third, third, 1.0, third]);
        assert_eq!(mixed(f32::NAN), mixed(0.0));
        assert_eq!(mixed(9.0), mixed(1.0));
        let one = array![0.4];
        assert_eq!(mix(one.view(), one.view(), one.view(), 0.5).len(), 1);
    }

    #[test]
    fn what_is_chosen_stands_for_all() {
        let places: Vec<Place> = (0..18)
            .map(|p| Place {
                sample: p / 9,
                row: p % 9 / 3,
                column: p % 3,
            })
            .collect();
        // Where all weigh the same: the middle of each sample first.
        let even = Array1::ones(18);
        assert_eq!(cover(even.view(), &places, 2), [4, 13]);
        // What matters is taken though it lies in a corner; of two side by side one will do.
        let mut weights = Array1::zeros(18);
        weights[0] = 1.0;
        assert_eq!(cover(weights.view(), &places, 1), [0]);
        weights[1] = 1.0;
        let two = cover(weights.view(), &places, 2);
        assert!(!(two.contains(&0) && two.contains(&1)), "{two:?}");
        assert_eq!(cover(weights.view(), &places, 99).len(), 18);
        weights.fill(f32::NAN);
        assert_eq!(cover(weights.view(), &places, 1), [4]);
        assert_eq!(cover(even.view(), &[], 3), [] as [usize; 0]);
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
    }
}
