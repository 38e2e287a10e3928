//! Which windows are verified only to learn from them.
//!
//! Of the windows whose fate would teach nothing, a fixed share is verified in the cloud all the same. Whether a window is
//! drawn depends on the seed and its number alone, so a decision can be repeated, and on nothing that the draft says, so
//! the sample is fair.

use crate::bounds::within;

/// Whether the window is drawn: with chance `share` in \[0, 1\] over windows, the same for the same seed and number.
#[must_use]
pub fn drawn(seed: u64, seq: u64, share: f64) -> bool {
    // 53 bits, the most that an f64 holds exactly.
    let place = (mix(seed ^ mix(seq)) >> 11) as f64 / (1_u64 << 53) as f64;
    place < within(share, 0.0, 1.0, 0.0)
}

/// SplitMix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_the_share_by_seed_and_number() {
        let draw = |seed| (0..100_000).filter(|seq| drawn(seed, *seq, 0.05)).count();
        // Four standard deviations about 5000.
        assert!((4725..=5275).contains(&draw(1)), "{}", draw(1));
        assert!((4725..=5275).contains(&draw(2)), "{}", draw(2));
        let both = (0..100_000).filter(|seq| drawn(1, *seq, 0.05) && drawn(2, *seq, 0.05));
        assert!((190..=310).contains(&both.count()));
        assert_eq!(drawn(7, 9, 0.05), drawn(7, 9, 0.05));
        assert!(drawn(1, 1, 1.0) && !drawn(1, 1, 0.0) && !drawn(1, 1, f64::NAN));
    }
}
