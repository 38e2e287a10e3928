//! Where the activations are: a soft mask of the positions that stand out.
//!
//! The energy of a position is its squared distance from the channels' medians, less
//! what three quarters of the positions exceed: `a[p] = max(0, e[p] − quartile(e))`,
//! `e[p] = ‖F[p] − median over p of F‖²`. The median is a centre that a few strong
//! positions cannot pull towards themselves, and the lower quartile is the level
//! that texture alone gives, so what is left says which positions stand out.
//!
//! The least set of positions that holds `coverage` of the total energy has `s = 1`;
//! below it `s = a / τ`, where τ is the least energy in the set. So `s` is monotone in
//! the energy, the same for equal energies, and unchanged by a gain on all features.
//!
//! If no position stands out (a flat grid, a single position) no position can be
//! spared on that account: `s = 1` everywhere, ρ = 0.

use ndarray::{Array1, ArrayView1, ArrayView2};

use crate::quantile;

/// Share of the positions whose squared distance is taken for the scene's own level.
const LEVEL: f32 = 0.25;

/// Energy `a[p] >= 0` of each row of `features` `[P, C]`, which must be finite.
pub fn energy(features: ArrayView2<'_, f32>) -> Array1<f32> {
    let mut column = Vec::with_capacity(features.nrows());
    let mut squares = Array1::<f64>::zeros(features.nrows());
    for channel in features.columns() {
        column.clear();
        column.extend(channel);
        let centre = f64::from(quantile(&mut column, 0.5));
        for (square, value) in squares.iter_mut().zip(channel) {
            *square += (f64::from(*value) - centre).powi(2);
        }
    }
    let squares = squares.mapv(|square| square.min(f64::from(f32::MAX)) as f32);
    let level = quantile(&mut squares.to_vec(), LEVEL);
    squares.mapv(|square| square - level.min(square))
}

/// Mask `s[p]` in \[0, 1\] from energies `a[p]` (finite, not negative) and
/// `coverage` in (0, 1\].
pub fn mask(energy: ArrayView1<'_, f32>, coverage: f32) -> Array1<f32> {
    let mut sorted: Vec<f32> = energy.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let total: f64 = sorted.iter().map(|a| f64::from(*a)).sum();
    // A hair less than asked, so that rounding in the sum never adds a position.
    let goal = total * f64::from(coverage) * (1.0 - 1e-6);
    let mut held = 0f64;
    let least = sorted
        .iter()
        .find(|a| {
            held += f64::from(**a);
            held >= goal
        })
        .copied()
        .unwrap_or(0.0);
    energy.mapv(|a| if a >= least { 1.0 } else { a / least })
}

/// Spatial sparsity ρ = 1 − mean(s), in \[0, 1\]; 0 for no positions.
pub fn sparsity(mask: ArrayView1<'_, f32>) -> f32 {
    mask.mean().map_or(0.0, |mean| 1.0 - mean)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn one_outlier_holds_all_the_energy() {
        let mut features = Array2::zeros((49, 4));
        features[[20, 1]] = 49.0;
        let energy = energy(features.view());
        assert_eq!((energy[20], energy[0]), (49.0 * 49.0, 0.0));
        let mask = mask(energy.view(), 0.5);
        assert_eq!((mask[20], mask[0]), (1.0, 0.0));
        assert!(sparsity(mask.view()) > 0.97);
    }

    #[test]
    fn what_most_positions_share_is_no_energy() {
        // Texture of one strength everywhere, and one position three times as strong.
        let features = Array2::from_shape_fn((49, 8), |(p, c)| {
            (((p + c) % 3) as f32 - 1.0) * if p == 30 { 9.0 } else { 1.0 }
        });
        let mask = mask(energy(features.view()).view(), 0.9);
        assert_eq!(mask[30], 1.0);
        assert!(sparsity(mask.view()) > 0.9, "{mask}");
    }

    #[test]
    fn flat_grids_and_single_positions_spare_nothing() {
        for features in [
            Array2::zeros((49, 8)),
            Array2::from_elem((49, 8), 3.0),
            array![[1.0, 2.0]],
        ] {
            let mask = mask(energy(features.view()).view(), 0.9);
            assert!(mask.iter().all(|s| *s == 1.0));
            assert_eq!(sparsity(mask.view()), 0.0);
        }
    }

    #[test]
    fn huge_features_stay_finite() {
        let features = array![[f32::MAX, f32::MAX], [-f32::MAX, f32::MAX], [0.0, 0.0]];
        let energy = energy(features.view());
        assert!(energy.iter().all(|a| a.is_finite()));
        assert!(
            mask(energy.view(), 0.9)
                .iter()
                .all(|s| (0.0..=1.0).contains(s))
        );
    }

    #[test]
    fn no_positions_are_defined() {
        let none = Array2::<f32>::zeros((0, 4));
        assert_eq!(sparsity(mask(energy(none.view()).view(), 0.9).view()), 0.0);
    }
}
