//! Draws from a seeded generator.

use rand_core::Rng;
use rand_pcg::Pcg32;

/// Evenly from 0, and below 1.
pub fn uniform(random: &mut Pcg32) -> f64 {
    f64::from(random.next_u32()) / 4_294_967_296.0
}

/// Near enough to the standard normal distribution: the sum of twelve even draws, less six.
pub fn normal(random: &mut Pcg32) -> f64 {
    (0..12).map(|_| uniform(random)).sum::<f64>() - 6.0
}
