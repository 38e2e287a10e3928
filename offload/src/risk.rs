//! The chance that the cloud would change a draft, from the draft's confidence.
//!
//! Confidence in \[0, 1\] falls into 20 equal bins. Three steps give the estimate:
//!
//! 1. A logistic curve over the bins (Platt, *Probabilistic outputs for support vector machines*, 1999), fitted to all
//!    labels alike by Newton's method. It never rises with confidence, and carries what is learnt to bins with few labels.
//! 2. Each bin's own share of changed drafts, in which a label weighs one over the chance with which its window was to be
//!    labelled (inverse-propensity weighting; Horvitz and Thompson, 1952; normalised as by Hájek, 1971), so that windows
//!    kept on the edge, of which only audits are labelled, count in full. It is mixed with the curve, which counts as
//!    [`Settings::prior`] labels against as many as the weighted ones are worth (Kish's effective sample size, 1965).
//! 3. Isotonic regression of the bins (pool-adjacent-violators; Ayer and others, 1955; as a calibration, Zadrozny and
//!    Elkan, 2002), and between their centres a straight line: the estimate never rises with confidence.
//!
//! Older labels fade. Before there are labels, the curve is fitted to risk = 1 − confidence.

use crate::bounds::{Error, check, within};

const BINS: usize = 20;
/// Least propensity that is reckoned with: no label weighs more than 1000.
const RAREST: f64 = 1e-3;

/// Settings of a [`Risk`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Labels after which an older one counts half, 1 or more.
    pub half_life: f64,
    /// Labels that the curve is worth in each bin; also, in all, what is assumed before there are labels. Above 0, at most
    /// 1,000,000.
    pub prior: f64,
}

impl Default for Settings {
    /// 500 labels, 20 labels.
    fn default() -> Self {
        Self {
            half_life: 500.0,
            prior: 20.0,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bin {
    /// Labels, and those of changed drafts.
    labels: f64,
    hits: f64,
    /// Sum of weights, of their squares, and of the weights of changed drafts.
    weight: f64,
    squares: f64,
    changed: f64,
}

impl Bin {
    /// How many labels of equal weight would say as much (Kish).
    fn worth(&self) -> f64 {
        if self.squares > f64::MIN_POSITIVE {
            self.weight * self.weight / self.squares
        } else {
            0.0
        }
    }

    fn share(&self) -> f64 {
        if self.weight > f64::MIN_POSITIVE {
            (self.changed / self.weight).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

/// The calibration.
#[derive(Debug, Clone)]
pub struct Risk {
    settings: Settings,
    fade: f64,
    bins: [Bin; BINS],
    curve: Curve,
    fitted: [f64; BINS],
}

impl Risk {
    /// A calibration without labels.
    ///
    /// # Errors
    /// A setting is out of its range.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let Settings { half_life, prior } = settings;
        let holds = half_life >= 1.0 && half_life.is_finite();
        check("half_life", half_life, holds, "1 label or more")?;
        let holds = prior > 0.0 && prior <= 1e6;
        check("prior", prior, holds, "above 0, at most 1e6 labels")?;
        let empty = Bin {
            labels: 0.0,
            hits: 0.0,
            weight: 0.0,
            squares: 0.0,
            changed: 0.0,
        };
        let mut risk = Self {
            settings,
            fade: (-std::f64::consts::LN_2 / half_life).exp(),
            bins: [empty; BINS],
            curve: Curve::default(),
            fitted: [1.0; BINS],
        };
        risk.fit();
        Ok(risk)
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
            bin.labels *= self.fade;
            bin.hits *= self.fade;
            bin.weight *= self.fade;
            bin.squares *= self.fade;
            bin.changed *= self.fade;
            if at == hit {
                bin.labels += 1.0;
                bin.hits += if changed { 1.0 } else { 0.0 };
                bin.weight += weight;
                bin.squares += weight * weight;
                bin.changed += if changed { weight } else { 0.0 };
            }
        }
        self.fit();
    }

    fn fit(&mut self) {
        let prior = self.settings.prior;
        let labels = self.bins.map(|bin| (bin.labels, bin.hits));
        self.curve.fit(&labels, prior / BINS as f64);
        let mut mixed = self.bins.map(|bin| (bin.worth(), bin.share()));
        for (at, (count, share)) in mixed.iter_mut().enumerate() {
            *share = (*count * *share + prior * self.curve.at(centre(at))) / (*count + prior);
            *count += prior;
        }
        self.fitted = isotonic(&mixed);
    }
}

fn centre(bin: usize) -> f64 {
    (bin as f64 + 0.5) / BINS as f64
}

/// A logistic curve that never rises: 1 / (1 + exp(-(height + slope (confidence - 1/2)))).
#[derive(Debug, Clone, Copy)]
struct Curve {
    height: f64,
    slope: f64,
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            height: 0.0,
            slope: -4.0,
        }
    }
}

impl Curve {
    fn at(&self, confidence: f64) -> f64 {
        1.0 / (1.0 + (-(self.height + self.slope * (confidence - 0.5))).exp())
    }

    /// A few of Newton's steps from the last fit towards the likeliest curve, for bins of (labels, those changed), each
    /// with `prior` labels more that say 1 - confidence.
    fn fit(&mut self, bins: &[(f64, f64); BINS], prior: f64) {
        for _ in 0..3 {
            let (mut g0, mut g1, mut h00, mut h01, mut h11) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for (at, (labels, changed)) in bins.iter().enumerate() {
                let x = centre(at) - 0.5;
                let chance = self.at(centre(at));
                let error = changed - labels * chance + prior * (0.5 - x - chance);
                let bend = (labels + prior) * (chance * (1.0 - chance)).max(1e-6);
                g0 += error;
                g1 += error * x;
                h00 += bend;
                h01 += bend * x;
                h11 += bend * x * x;
            }
            let det = h00 * h11 - h01 * h01;
            let height = self.height + ((h11 * g0 - h01 * g1) / det).clamp(-1.0, 1.0);
            let slope = self.slope + ((h00 * g1 - h01 * g0) / det).clamp(-2.0, 2.0);
            self.height = within(height, -20.0, 20.0, 0.0);
            self.slope = within(slope, -40.0, 0.0, -4.0);
        }
    }
}

/// The non-increasing sequence nearest to the shares of bins of (labels, share), by weighted least squares.
fn isotonic(bins: &[(f64, f64); BINS]) -> [f64; BINS] {
    let mut pools: Vec<(f64, f64, usize)> = Vec::with_capacity(BINS);
    for (weight, share) in bins {
        let mut pool = (*weight, *share, 1);
        while let Some((labels, share, count)) = pools.last().copied() {
            if share >= pool.1 {
                break;
            }
            let sum = labels + pool.0;
            pool = (
                sum,
                (labels * share + pool.0 * pool.1) / sum,
                count + pool.2,
            );
            pools.pop();
        }
        pools.push(pool);
    }
    let mut fitted = [1.0; BINS];
    let shares = pools
        .iter()
        .flat_map(|(_, share, count)| std::iter::repeat_n(*share, *count));
    for (at, share) in shares.enumerate() {
        fitted[at] = share.clamp(0.0, 1.0);
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_about_as_the_confidence_says() {
        let risk = Risk::new(Settings::default()).unwrap();
        for confidence in [0.1, 0.5, 0.725, 0.9] {
            let estimate = risk.estimate(confidence);
            assert!(
                (estimate - 1.0 + confidence).abs() < 0.06,
                "{confidence}: {estimate}"
            );
        }
        let confidence = risk.confidence(0.25);
        assert!((risk.estimate(confidence) - 0.25).abs() < 2e-3);
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
    fn the_curve_reaches_bins_without_labels() {
        let mut risk = Risk::new(Settings::default()).unwrap();
        let before = risk.estimate(0.95);
        for n in 0..300 {
            risk.learn(0.52, 1.0, n % 10 == 0);
            risk.learn(0.72, 1.0, n % 50 == 0);
        }
        assert!(risk.estimate(0.95) < before.min(0.02));
        assert!(risk.estimate(0.3) > 0.15);
    }

    #[test]
    fn audits_count_for_the_windows_that_they_stand_for() {
        // Of 10,000 windows, half are verified and a tenth of these changed; the others are kept and half of them wrong,
        // of which one in twenty is audited: 0.3 in all.
        let settings = Settings {
            half_life: 1e9,
            prior: 1e-3,
        };
        let mut risk = Risk::new(settings).unwrap();
        for n in 0..5000 {
            risk.learn(0.5, 1.0, n % 10 == 0);
        }
        for n in 0..250 {
            risk.learn(0.5, 0.05, n % 2 == 0);
        }
        let estimate = risk.estimate(0.525);
        assert!((estimate - 0.3).abs() < 0.01, "{estimate}");
    }
}
