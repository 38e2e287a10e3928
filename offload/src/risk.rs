//! The chance that the cloud would change a draft, from the draft's confidence.
//!
//! Confidence in \[0, 1\] falls into 20 equal bins. Each holds the weighted share of its drafts that the cloud changed.
//! A label weighs one over the chance with which its window was to be labelled (inverse-propensity weighting; Horvitz and
//! Thompson, 1952; normalised in each bin as by Hájek, 1971), so that windows kept on the edge, of which only audits are
//! labelled, count in full. Older labels fade. A bin begins as if [`Settings::prior`] labels had said that its drafts are
//! changed with chance 1 − confidence. The estimate is the isotonic regression of the bins (pool-adjacent-violators;
//! Ayer and others, 1955; as a calibration, Zadrozny and Elkan, 2002), between the bins' centres a straight line: it
//! never rises with confidence.

use crate::bounds::{Error, check, within};

const BINS: usize = 20;
/// Least propensity that is reckoned with: no label weighs more than 1000.
const RAREST: f64 = 1e-3;

/// Settings of a [`Risk`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Labels after which an older one counts half, 1 or more.
    pub half_life: f64,
    /// Labels that what is assumed of a bin at first is worth, more than 0.
    pub prior: f64,
}

impl Default for Settings {
    /// 500 labels, 2 labels.
    fn default() -> Self {
        Self {
            half_life: 500.0,
            prior: 2.0,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bin {
    weight: f64,
    changed: f64,
}

/// The calibration.
#[derive(Debug, Clone)]
pub struct Risk {
    fade: f64,
    bins: [Bin; BINS],
    fitted: [f64; BINS],
}

impl Risk {
    /// A calibration without labels: risk is 1 − confidence.
    ///
    /// # Errors
    /// A setting is out of its range.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let Settings { half_life, prior } = settings;
        let holds = half_life >= 1.0 && half_life.is_finite();
        check("half_life", half_life, holds, "1 label or more")?;
        let holds = prior > 0.0 && prior <= 1e6;
        check("prior", prior, holds, "above 0, at most 1e6 labels")?;
        let bins = std::array::from_fn(|at| Bin {
            weight: prior,
            changed: prior * (1.0 - centre(at)),
        });
        Ok(Self {
            fade: (-std::f64::consts::LN_2 / half_life).exp(),
            fitted: isotonic(&bins),
            bins,
        })
    }

    /// The chance, in \[0, 1\], that a draft of this confidence would be changed. A confidence that is not a number
    /// counts as 0.
    #[must_use]
    pub fn estimate(&self, confidence: f64) -> f64 {
        let place = within(confidence, 0.0, 1.0, 0.0) * BINS as f64 - 0.5;
        let place = place.clamp(0.0, (BINS - 1) as f64);
        let below = (place as usize).min(BINS - 2);
        let share = place - below as f64;
        self.fitted[below] * (1.0 - share) + self.fitted[below + 1] * share
    }

    /// The least confidence, to within 0.001, whose estimate is at most `risk`; 1 if there is none.
    #[must_use]
    pub fn confidence(&self, risk: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        if self.estimate(low) <= risk {
            return low;
        }
        while high - low > 1e-3 {
            let middle = f64::midpoint(low, high);
            if self.estimate(middle) <= risk {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }

    /// The cloud changed a draft of this confidence, or did not. `propensity` in (0, 1] is the chance with which the
    /// window was to be verified: [`Decision::propensity`](crate::planner::Decision::propensity). One that is not above
    /// 0 teaches nothing.
    pub fn learn(&mut self, confidence: f64, propensity: f64, changed: bool) {
        if propensity.is_nan() || propensity <= 0.0 {
            return;
        }
        let weight = 1.0 / propensity.clamp(RAREST, 1.0);
        let place = within(confidence, 0.0, 1.0, 0.0) * BINS as f64;
        let hit = (place as usize).min(BINS - 1);
        for (at, bin) in self.bins.iter_mut().enumerate() {
            bin.weight *= self.fade;
            bin.changed *= self.fade;
            if at == hit {
                bin.weight += weight;
                bin.changed += if changed { weight } else { 0.0 };
            }
        }
        self.fitted = isotonic(&self.bins);
    }
}

fn centre(bin: usize) -> f64 {
    (bin as f64 + 0.5) / BINS as f64
}

/// The non-increasing sequence nearest to the bins' shares, by weighted least squares.
fn isotonic(bins: &[Bin; BINS]) -> [f64; BINS] {
    let mut pools: Vec<(Bin, usize)> = Vec::with_capacity(BINS);
    for bin in bins {
        let mut pool = (*bin, 1);
        while let Some((before, count)) = pools.last() {
            if share(before) >= share(&pool.0) {
                break;
            }
            pool.0.weight += before.weight;
            pool.0.changed += before.changed;
            pool.1 += count;
            pools.pop();
        }
        pools.push(pool);
    }
    let mut fitted = [1.0; BINS];
    let shares = pools
        .iter()
        .flat_map(|(pool, count)| std::iter::repeat_n(share(pool), *count));
    for (at, share) in shares.enumerate() {
        fitted[at] = share;
    }
    fitted
}

/// What share was changed; 1 of nothing.
fn share(bin: &Bin) -> f64 {
    if bin.weight > f64::MIN_POSITIVE {
        (bin.changed / bin.weight).clamp(0.0, 1.0)
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_as_the_confidence_says() {
        let risk = Risk::new(Settings::default()).unwrap();
        assert!((risk.estimate(0.725) - 0.275).abs() < 1e-9);
        assert!((risk.confidence(0.25) - 0.75).abs() < 2e-3);
        assert_eq!(risk.estimate(f64::NAN), risk.estimate(0.0));
    }

    #[test]
    fn learns_and_forgets() {
        let mut risk = Risk::new(Settings::default()).unwrap();
        for n in 0..400 {
            risk.learn(0.62, 1.0, n % 10 == 0);
        }
        let learnt = risk.estimate(0.625);
        assert!((learnt - 0.1).abs() < 0.02, "{learnt}");
        for n in 0..4000 {
            risk.learn(0.62, 1.0, n % 2 == 0);
        }
        let later = risk.estimate(0.625);
        assert!((later - 0.5).abs() < 0.02, "{later}");
    }

    #[test]
    fn audits_count_for_the_windows_that_they_stand_for() {
        // Of 1000 windows, half are verified and a tenth of these changed; the others are kept and half of them wrong,
        // of which one in twenty is audited: 0.3 in all.
        let settings = Settings {
            half_life: 1e9,
            prior: 1e-3,
        };
        let mut risk = Risk::new(settings).unwrap();
        for n in 0..500 {
            risk.learn(0.5, 1.0, n % 10 == 0);
        }
        for n in 0..26 {
            risk.learn(0.5, 0.05, n % 2 == 0);
        }
        let estimate = risk.estimate(0.525);
        assert!((estimate - 0.3).abs() < 0.01, "{estimate}");
    }
}
