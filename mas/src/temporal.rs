//! What is new: change of each position against what was last *sent* for it.
//!
//! A position's features become a 64-bit code, SimHash (M. Charikar, "Similarity
//! estimation techniques from rounding algorithms", STOC 2002): bit `i` is the
//! side of seeded random hyperplane `i` that the vector lies on. Two vectors at
//! angle θ differ in `64 θ / π` bits on average. Because the reference is what was
//! sent and not the previous frame, slow drift adds up until it is seen.
//!
//! The vector hashed is `[F[p] − centre, κ]`. The centre (the first grid's mean)
//! removes what all positions share; the constant κ, a tenth of the first grid's
//! mean norm, makes the angle between two vectors that are both much smaller than
//! κ small as well: without it the noise of a flat patch would point anywhere.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

/// Bits of a code.
pub const BITS: usize = 64;

/// κ as a share of the mean norm of the grid that calibrates the hash.
const STEADY: f32 = 0.1;

/// Random hyperplanes, and the centre and κ of the module's description.
#[derive(Debug, Clone)]
pub struct SimHash {
    planes: Array2<f32>,
    centre: Array1<f32>,
    steady: f32,
}

impl SimHash {
    /// Hyperplanes from `seed`, centre and κ from `features` `[P, C]`, which must be
    /// finite. The same seed and features give the same codes.
    pub fn calibrate(features: ArrayView2<'_, f32>, seed: u64) -> Self {
        let channels = features.ncols();
        let centre = features
            .mean_axis(Axis(0))
            .unwrap_or_else(|| Array1::zeros(channels));
        let norms = features.outer_iter().map(|row| row.dot(&row).sqrt());
        let norm = norms.sum::<f32>() / features.nrows().max(1) as f32;
        let steady = (STEADY * norm).clamp(1e-6, f32::MAX);
        let mut random = Pcg64::seed_from_u64(seed);
        let planes = Array2::from_shape_simple_fn((channels + 1, BITS), || gaussian(&mut random));
        Self {
            planes,
            centre,
            steady,
        }
    }

    /// Channels that the features must have.
    pub fn channels(&self) -> usize {
        self.centre.len()
    }

    /// A code for each row of `features` `[P, C]`, with `C` = [`Self::channels`].
    /// Rows that hold a value that is not finite have none.
    pub fn codes(&self, features: ArrayView2<'_, f32>) -> Vec<Option<u64>> {
        let centred = &features - &self.centre;
        let constant = &self.planes.row(self.channels()) * self.steady;
        let sides = centred.dot(&self.planes.slice(s![..self.channels(), ..])) + constant;
        let finite = features
            .outer_iter()
            .map(|row| row.iter().all(|value| value.is_finite()));
        sides
            .outer_iter()
            .zip(finite)
            .map(|(row, finite)| finite.then(|| code(row)))
            .collect()
    }
}

fn code(sides: ArrayView1<'_, f32>) -> u64 {
    sides.iter().enumerate().fold(0, |code, (bit, side)| {
        code | (u64::from(*side > 0.0) << bit)
    })
}

/// One standard normal number (Box and Muller, 1958).
fn gaussian(random: &mut Pcg64) -> f32 {
    let mut unit = || ((random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    let (radius, turn) = (unit(), unit());
    ((-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()) as f32
}

/// Hamming distance of two codes, 0 to [`BITS`]; the angle is `π · distance / 64`.
pub fn distance(a: u64, b: u64) -> u32 {
    (a ^ b).count_ones()
}

/// The distance that noise alone makes, in bits: a quantile of the distances
/// between successive measurements, most of which see no change. Older distances
/// fade; a scene that moves everywhere cannot raise the floor above `most`.
#[derive(Debug, Clone)]
pub struct NoiseFloor {
    counts: [f32; BITS + 1],
    quantile: f32,
    most: f32,
}

impl NoiseFloor {
    /// What is left of a measurement's weight after the next.
    const FADE: f32 = 0.97;

    /// `quantile` in \[0, 1\], `most` in bits. The floor is 0 until something was observed.
    pub fn new(quantile: f32, most: f32) -> Self {
        Self {
            counts: [0.0; BITS + 1],
            quantile,
            most,
        }
    }

    /// Takes in the distances of one measurement to the one before it.
    pub fn observe(&mut self, distances: impl IntoIterator<Item = u32>) {
        for count in &mut self.counts {
            *count *= Self::FADE;
        }
        for distance in distances {
            self.counts[(distance as usize).min(BITS)] += 1.0;
        }
    }

    /// The floor in bits, in \[0, `most`\].
    pub fn bits(&self) -> f32 {
        let goal = self.counts.iter().sum::<f32>() * self.quantile;
        let mut held = 0.0;
        let bits = self.counts.iter().position(|count| {
            held += count;
            held >= goal
        });
        (bits.unwrap_or(0) as f32).min(self.most)
    }
}

/// Change u in \[0, 1\] for a distance in bits: 0 up to `floor`, 1 from
/// `floor + ramp` on, a smooth step between. Monotone in the distance; 0 for distance 0.
pub fn change(distance: u32, floor: f32, ramp: f32) -> f32 {
    let t = ((distance as f32 - floor) / ramp).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Temporal redundancy γ = 1 − mean(u) weighted by energy, in \[0, 1\]; weighted
/// equally where there is no energy at all; 1 for no positions.
pub fn redundancy(change: ArrayView1<'_, f32>, energy: ArrayView1<'_, f32>) -> f32 {
    let total: f64 = energy.iter().map(|a| f64::from(*a)).sum();
    let mean = if total > 0.0 {
        let held = change
            .iter()
            .zip(energy)
            .map(|(u, a)| f64::from(*u) * f64::from(*a));
        (held.sum::<f64>() / total) as f32
    } else {
        change.mean().unwrap_or(0.0)
    };
    (1.0 - mean).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn distance_estimates_the_angle() {
        // Channels enough to make the constant small, and codes averaged over seeds.
        let mut sum = 0;
        for seed in 0..200 {
            let mut hash = SimHash::calibrate(array![[1.0, 0.0], [0.0, 1.0]].view(), seed);
            hash.centre.fill(0.0);
            hash.steady = 0.0;
            let codes = hash.codes(array![[5.0, 0.0], [3.0, 3.0]].view());
            sum += distance(codes[0].unwrap(), codes[1].unwrap());
        }
        let angle = f64::from(sum) / 200.0 / 64.0 * 180.0;
        assert!((angle - 45.0).abs() < 2.0, "{angle}");
    }

    #[test]
    fn noise_of_a_flat_patch_is_small() {
        let picture = array![[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let hash = SimHash::calibrate(picture.view(), 7);
        let mean = 1.0 / 3.0;
        let quiet = array![[mean, mean, mean], [mean + 0.004, mean - 0.004, mean]];
        let codes = hash.codes(quiet.view());
        assert!(distance(codes[0].unwrap(), codes[1].unwrap()) <= 6);
    }

    #[test]
    fn rows_that_are_not_finite_have_no_code() {
        let hash = SimHash::calibrate(array![[1.0, 2.0]].view(), 1);
        let codes = hash.codes(array![[f32::NAN, 0.0], [1.0, f32::INFINITY], [1.0, 2.0]].view());
        assert!(codes[0].is_none() && codes[1].is_none() && codes[2].is_some());
    }

    #[test]
    fn the_floor_follows_the_quantile_and_is_bounded() {
        let mut floor = NoiseFloor::new(0.5, 10.0);
        assert_eq!(floor.bits(), 0.0);
        floor.observe([1, 2, 3, 30, 2]);
        assert_eq!(floor.bits(), 2.0);
        for _ in 0..200 {
            floor.observe([40; 49]);
        }
        assert_eq!(floor.bits(), 10.0);
    }

    #[test]
    fn change_is_a_soft_step() {
        assert_eq!(change(0, 0.0, 8.0), 0.0);
        assert_eq!(change(4, 4.0, 8.0), 0.0);
        assert_eq!(change(8, 4.0, 8.0), 0.5);
        assert_eq!(change(12, 4.0, 8.0), 1.0);
        assert_eq!(change(64, 4.0, 8.0), 1.0);
    }

    #[test]
    fn redundancy_weighs_by_energy() {
        let gamma = redundancy(array![1.0, 0.0].view(), array![3.0, 1.0].view());
        assert_eq!(gamma, 0.25);
        assert_eq!(
            redundancy(array![1.0, 0.0].view(), array![0.0, 0.0].view()),
            0.5
        );
        assert_eq!(
            redundancy(Array1::zeros(0).view(), Array1::zeros(0).view()),
            1.0
        );
    }
}
