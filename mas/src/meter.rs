//! The state of one stream: what was sent for each position, and its noise floor.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::temporal::{self, NoiseFloor, SimHash};
use crate::{Error, Mas, check, spatial};

/// Settings of a [`Meter`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeterSettings {
    /// Share of a frame's energy that the spatial mask holds, in (0, 1\].
    pub coverage: f32,
    /// Seed of the hyperplanes.
    pub seed: u64,
    /// Quantile of recent distances that counts as noise, in \[0, 1\].
    pub noise_quantile: f32,
    /// Greatest noise floor in bits of 64, not negative.
    pub noise_most: f32,
    /// Bits from no change to full change, greater than 0.
    pub ramp: f32,
}

impl Default for MeterSettings {
    fn default() -> Self {
        Self {
            coverage: 0.9,
            seed: 0,
            noise_quantile: 0.6,
            noise_most: 8.0,
            ramp: 8.0,
        }
    }
}

impl MeterSettings {
    /// # Errors
    /// [`Error::Setting`] if a value is out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let Self {
            coverage,
            noise_quantile,
            noise_most,
            ramp,
            ..
        } = *self;
        let most = temporal::BITS as f32;
        check(
            "coverage",
            coverage,
            coverage > 0.0 && coverage <= 1.0,
            "above 0 and at most 1",
        )?;
        let quantile = (0.0..=1.0).contains(&noise_quantile);
        check("noise-quantile", noise_quantile, quantile, "from 0 to 1")?;
        check(
            "noise-most",
            noise_most,
            (0.0..=most).contains(&noise_most),
            "from 0 to 64",
        )?;
        check(
            "ramp",
            ramp,
            ramp > 0.0 && ramp <= most,
            "above 0 and at most 64",
        )
    }
}

/// MAS of one grid, position by position. All arrays are `[P]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Spatial mask, in \[0, 1\].
    pub s: Array1<f32>,
    /// Change against what was sent, in \[0, 1\]; 1 where nothing was sent.
    pub u: Array1<f32>,
    /// Energy, at least 0, in the features' units.
    pub energy: Array1<f32>,
    /// SimHash codes; none where a feature was not finite.
    pub codes: Vec<Option<u64>>,
    /// The fused value and its components.
    pub mas: Mas,
    /// Which calibration of the meter the codes belong to.
    calibration: u64,
}

impl Measurement {
    /// Importance s · u of each position, in \[0, 1\].
    pub fn importance(&self) -> Array1<f32> {
        &self.s * &self.u
    }

    /// Whether some feature was NaN or infinite.
    pub fn has_non_finite(&self) -> bool {
        self.codes.iter().any(Option::is_none)
    }
}

/// Measures the grids of one stream.
///
/// * First grid, and the first of another shape: u = 1 everywhere (nothing was sent),
///   and the hash is calibrated on it.
/// * Frozen picture: u = 0, MAS = 1, once it was sent.
/// * All-black or flat picture: s = 1 everywhere; new once, then MAS = 1.
/// * A position with NaN or infinity: s = u = 0, so that nothing of it is sent; if all
///   are, MAS = 1. The others are measured as if it had the mean features.
#[derive(Debug)]
pub struct Meter {
    settings: MeterSettings,
    beta: f32,
    calibration: u64,
    calibrated: Option<Calibrated>,
}

#[derive(Debug)]
struct Calibrated {
    hash: SimHash,
    floor: NoiseFloor,
    sent: Vec<Option<u64>>,
    previous: Vec<Option<u64>>,
}

impl Meter {
    /// # Errors
    /// [`Error::Setting`] if a setting is out of its range.
    pub fn new(settings: MeterSettings) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self {
            settings,
            beta: 1.0,
            calibration: 0,
            calibrated: None,
        })
    }

    /// Forgets what was sent and the calibration; the next grid is a first one.
    pub fn reset(&mut self) {
        self.calibrated = None;
    }

    /// Sets the modal contribution β of later measurements, in \[0, 1\].
    pub fn set_beta(&mut self, beta: f32) {
        self.beta = beta;
    }

    /// The noise floor in bits of 64; 0 before the second measurement.
    pub fn noise_floor(&self) -> f32 {
        self.calibrated
            .as_ref()
            .map_or(0.0, |calibrated| calibrated.floor.bits())
    }

    /// Measures `features` `[P, C]`.
    pub fn measure(&mut self, features: ArrayView2<'_, f32>) -> Measurement {
        let (positions, channels) = features.dim();
        let clean = without_non_finite(features);
        let same = self.calibrated.take().filter(|calibrated| {
            calibrated.sent.len() == positions && calibrated.hash.channels() == channels
        });
        let mut calibrated = same.unwrap_or_else(|| {
            self.calibration += 1;
            Calibrated {
                hash: SimHash::calibrate(clean.view(), self.settings.seed),
                floor: NoiseFloor::new(self.settings.noise_quantile, self.settings.noise_most),
                sent: vec![None; positions],
                previous: vec![None; positions],
            }
        });
        let codes = calibrated.hash.codes(features);
        let pairs = codes.iter().zip(&calibrated.previous);
        let distances = pairs.filter_map(|(now, then)| Some(temporal::distance((*now)?, (*then)?)));
        calibrated.floor.observe(distances);
        calibrated.previous.clone_from(&codes);
        let energy = spatial::energy(clean.view());
        let mut s = spatial::mask(energy.view(), self.settings.coverage);
        for (s, code) in s.iter_mut().zip(&codes) {
            if code.is_none() {
                *s = 0.0;
            }
        }
        let u = self.change(&codes, &calibrated);
        self.calibrated = Some(calibrated);
        let mas = Mas::fuse(s.view(), u.view(), energy.view(), self.beta);
        Measurement {
            s,
            u,
            energy,
            codes,
            mas,
            calibration: self.calibration,
        }
    }

    /// The same grid measured against what was sent by now; unchanged if the meter was
    /// calibrated anew since.
    pub fn again(&self, measurement: &Measurement) -> Measurement {
        let mut again = measurement.clone();
        if let Some(calibrated) = self.calibration_of(measurement) {
            again.u = self.change(&again.codes, calibrated);
            again.mas = Mas::fuse(
                again.s.view(),
                again.u.view(),
                again.energy.view(),
                self.beta,
            );
        }
        again
    }

    /// Notes that these positions of a measurement were sent. Positions beyond its
    /// shape, and measurements of an earlier calibration, are passed over.
    pub fn mark_sent(
        &mut self,
        measurement: &Measurement,
        positions: impl IntoIterator<Item = usize>,
    ) {
        if measurement.calibration != self.calibration {
            return;
        }
        let Some(calibrated) = &mut self.calibrated else {
            return;
        };
        for position in positions {
            if let (Some(sent), Some(Some(code))) = (
                calibrated.sent.get_mut(position),
                measurement.codes.get(position),
            ) {
                *sent = Some(*code);
            }
        }
    }

    fn calibration_of(&self, measurement: &Measurement) -> Option<&Calibrated> {
        self.calibrated
            .as_ref()
            .filter(|_| measurement.calibration == self.calibration)
    }

    fn change(&self, codes: &[Option<u64>], calibrated: &Calibrated) -> Array1<f32> {
        let floor = calibrated.floor.bits();
        let change = |(code, sent): (&Option<u64>, &Option<u64>)| match (code, sent) {
            (None, _) => 0.0,
            (Some(_), None) => 1.0,
            (Some(code), Some(sent)) => {
                temporal::change(temporal::distance(*code, *sent), floor, self.settings.ramp)
            }
        };
        codes.iter().zip(&calibrated.sent).map(change).collect()
    }
}

/// The features with each row that is not finite replaced by the mean of those that are.
fn without_non_finite(features: ArrayView2<'_, f32>) -> Array2<f32> {
    let finite: Vec<bool> = features
        .outer_iter()
        .map(|row| row.iter().all(|value| value.is_finite()))
        .collect();
    let mut clean = features.to_owned();
    if finite.iter().all(|finite| *finite) {
        return clean;
    }
    let kept: Vec<usize> = (0..finite.len()).filter(|p| finite[*p]).collect();
    let mean = features.select(Axis(0), &kept).mean_axis(Axis(0));
    let mean = mean.unwrap_or_else(|| Array1::zeros(features.ncols()));
    for (mut row, finite) in clean.outer_iter_mut().zip(finite) {
        if !finite {
            row.assign(&mean);
        }
    }
    clean
}
