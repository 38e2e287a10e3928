//! Measures the grids of one stream, with what T0 saw of its pictures.

use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::codes::Calibrated;
use crate::scene::Look;
use crate::sight::Sight;
use crate::{Error, Mas, check, spatial, temporal};

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
    /// Counts the meter's measurements.
    pub(crate) number: u64,
    /// What T0 saw, and its number.
    look: Option<(Arc<Look>, u64)>,
    /// Spatial mask by energy alone.
    energetic: Array1<f32>,
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
    measured: u64,
    calibrated: Option<Calibrated>,
    sight: Option<Sight>,
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
            measured: 0,
            calibrated: None,
            sight: None,
        })
    }

    /// Forgets what was sent and the calibration; the next grid is a first one.
    pub fn reset(&mut self) {
        self.calibrated = None;
        self.sight = None;
    }

    /// Sets the modal contribution β of later measurements, in \[0, 1\].
    pub fn set_beta(&mut self, beta: f32) {
        self.beta = beta;
    }

    /// The noise floor in bits of 64; 0 before the second measurement.
    pub fn noise_floor(&self) -> f32 {
        self.calibrated
            .as_ref()
            .map_or(0.0, |calibrated| calibrated.noise_floor())
    }

    /// Looks at a picture's luma blocks (T0), for a grid of `rows` x `columns` positions.
    /// Measurements from here on hold what was seen, until the next look.
    pub fn look(&mut self, blocks: ArrayView2<'_, f32>, rows: usize, columns: usize) -> Arc<Look> {
        let sight = self
            .sight
            .get_or_insert_with(|| Sight::new(blocks, rows, columns));
        sight.look(blocks)
    }

    /// Measures `features` `[P, C]`.
    pub fn measure(&mut self, features: ArrayView2<'_, f32>) -> Measurement {
        let (positions, channels) = features.dim();
        let clean = without_non_finite(features);
        let same = self
            .calibrated
            .take()
            .filter(|calibrated| calibrated.is_for(positions, channels));
        let mut calibrated = same.unwrap_or_else(|| {
            self.calibration += 1;
            Calibrated::new(&self.settings, clean.view())
        });
        self.measured += 1;
        let codes = calibrated.codes(features);
        calibrated.follow(&codes, self.measured);
        if let Some(look) = self.sight.as_ref().and_then(Sight::explained) {
            calibrated.adapt(&codes, &look.evidence);
        }
        self.calibrated = Some(calibrated);
        let energy = spatial::energy(clean.view());
        let mut s = spatial::mask(energy.view(), self.settings.coverage);
        for (s, code) in s.iter_mut().zip(&codes) {
            if code.is_none() {
                *s = 0.0;
            }
        }
        if let Some(sight) = &mut self.sight {
            sight.mark_probed();
        }
        let none = Array1::zeros(positions);
        self.finish(Measurement {
            u: none.clone(),
            mas: Mas::fuse(s.view(), none.view(), energy.view(), self.beta),
            energetic: s.clone(),
            s,
            energy,
            codes,
            calibration: self.calibration,
            number: self.measured,
            look: self.sight.as_ref().and_then(Sight::current),
        })
    }

    /// The measurement of a frame that the probe did not run on: the features of the
    /// last one that it did, and what T0 saw since.
    pub fn carry(&self, measurement: &Measurement) -> Measurement {
        let mut carried = measurement.clone();
        carried.look = self.sight.as_ref().and_then(Sight::current);
        self.finish(carried)
    }

    /// The same grid measured against what was sent by now; unchanged if the meter was
    /// calibrated anew since.
    pub fn again(&self, measurement: &Measurement) -> Measurement {
        self.finish(measurement.clone())
    }

    /// Fills in what depends on what was sent: s, u and MAS.
    fn finish(&self, mut measurement: Measurement) -> Measurement {
        let calibrated = self.calibrated.as_ref();
        let Some(calibrated) = calibrated.filter(|_| measurement.calibration == self.calibration)
        else {
            return measurement;
        };
        measurement.u = calibrated.change(&measurement.codes);
        measurement.s.assign(&measurement.energetic);
        if let (Some((look, number)), Some(sight)) = (&measurement.look, &self.sight)
            && look.evidence.len() == measurement.u.len()
        {
            // Either tier may see what the other does not; what T0 sees stands out.
            for (p, evidence) in look.evidence.iter().enumerate() {
                if *evidence == 0.0 && sight.is_news(p, *number) && measurement.codes[p].is_some() {
                    measurement.u[p] = calibrated.slow(p, measurement.codes[p]);
                }
                if sight.is_news(p, *number) && measurement.codes[p].is_some() {
                    measurement.u[p] = measurement.u[p].max(*evidence);
                    measurement.s[p] = measurement.s[p].max(*evidence);
                    measurement.u[p] *= look.fresh[p];
                }
            }
        }
        measurement.mas = Mas::fuse(
            measurement.s.view(),
            measurement.u.view(),
            measurement.energy.view(),
            self.beta,
        );
        measurement
    }

    /// Notes that these positions of a measurement were sent. Positions beyond its
    /// shape, and measurements of an earlier calibration, are passed over. If the whole
    /// scene had changed, the other positions are taken as known by it, too: as they
    /// looked after the change.
    pub fn mark_sent(
        &mut self,
        measurement: &Measurement,
        positions: impl IntoIterator<Item = usize>,
    ) {
        if measurement.calibration != self.calibration {
            return;
        }
        let positions: Vec<usize> = positions.into_iter().collect();
        if let (Some(sight), Some((look, number))) = (&mut self.sight, &measurement.look) {
            sight.mark_sent(look, *number, &positions);
        }
        if let Some(calibrated) = &mut self.calibrated {
            calibrated.mark_sent(measurement, positions);
        }
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
