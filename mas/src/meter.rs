//! The state of one stream: what was sent for each position, and its noise floor.

use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::scene::{Look, Scene};
use crate::temporal::{self, NoiseFloor, SimHash};
use crate::{Error, Mas, check, quantile, spatial};

/// Change of brightness, in luma levels, that is no event if exposure explains it.
const EXPOSURE: f32 = 60.0;
/// The whole scene changed if so many of its positions did: all but this share of them.
const SCENE: f32 = 0.4;
/// ... by so much of the ramp beyond the noise floor.
const SCENE_RAMP: f32 = 0.25;
/// Weight of a new distance in a position's usual one.
const RESTLESS: f32 = 0.05;
/// A position's floor in units of its usual distance.
const RESTLESS_MARGIN: f32 = 2.0;

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
    number: u64,
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

/// T0 of a stream of pictures.
#[derive(Debug)]
struct Sight {
    scene: Scene,
    look: Option<Arc<Look>>,
    number: u64,
    /// Number of the look that was last sent, by position.
    sent: Vec<u64>,
    /// Brightness when something was last sent.
    brightness: f32,
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
            .map_or(0.0, |calibrated| calibrated.floor.bits())
    }

    /// Looks at a picture's luma blocks (T0), for a grid of `rows` x `columns` positions.
    /// Measurements from here on hold what was seen, until the next look.
    pub fn look(&mut self, blocks: ArrayView2<'_, f32>, rows: usize, columns: usize) -> Arc<Look> {
        let sight = self.sight.get_or_insert_with(|| Sight {
            scene: Scene::new(rows, columns),
            look: None,
            number: 0,
            sent: vec![0; rows * columns],
            brightness: blocks.mean().unwrap_or(0.0),
        });
        let look = Arc::new(sight.scene.look(blocks));
        sight.number += 1;
        sight.look = Some(Arc::clone(&look));
        look
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
            Calibrated::new(&self.settings, clean.view())
        });
        self.measured += 1;
        let codes = calibrated.hash.codes(features);
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
        if let Some(sight) = &mut self.sight
            && let Some(look) = &sight.look
        {
            sight.scene.mark_probed(Arc::clone(look));
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
                if *evidence == 0.0 && *number > sight.sent[p] && measurement.codes[p].is_some() {
                    measurement.u[p] = calibrated.slow(p, measurement.codes[p]);
                }
                if *number > sight.sent[p] && measurement.codes[p].is_some() {
                    measurement.u[p] = measurement.u[p].max(*evidence);
                    measurement.s[p] = measurement.s[p].max(*evidence);
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
            sight.mark(look, *number, &positions);
        }
        if let Some(calibrated) = &mut self.calibrated {
            calibrated.mark(measurement, positions);
        }
    }
}

impl Sight {
    fn current(&self) -> Option<(Arc<Look>, u64)> {
        Some((Arc::clone(self.look.as_ref()?), self.number))
    }

    /// The last look, if exposure explains it and is not far from when something was sent:
    /// then other codes are no news.
    fn explained(&self) -> Option<&Look> {
        let look = self.look.as_deref()?;
        let quiet = look.evidence.iter().filter(|e| **e < 0.5).count();
        let near =
            (look.brightness - self.brightness).abs() < EXPOSURE && (0.6..1.7).contains(&look.gain);
        (near && quiet * 5 >= look.evidence.len() * 4).then_some(look)
    }

    fn mark(&mut self, look: &Look, number: u64, positions: &[usize]) {
        if positions.is_empty() {
            return;
        }
        self.scene.mark_sent(look, positions.iter().copied());
        self.brightness = look.brightness;
        for position in positions {
            if let Some(sent) = self.sent.get_mut(*position) {
                *sent = number.max(*sent);
            }
        }
    }
}

/// What a meter knows of one shape of grid.
#[derive(Debug)]
struct Calibrated {
    settings: MeterSettings,
    hash: SimHash,
    floor: NoiseFloor,
    /// Distance that each position usually makes by itself, in bits.
    restless: Vec<f32>,
    sent: Vec<Option<u64>>,
    previous: Vec<Option<u64>>,
    turned: Option<Turned>,
}

/// A change of the whole scene (lights, exposure, day to night) of which nothing was sent yet.
#[derive(Debug)]
struct Turned {
    /// Number of the first measurement after it.
    number: u64,
    /// How each position looked once it had settled.
    codes: Vec<Option<u64>>,
}

impl Calibrated {
    fn new(settings: &MeterSettings, features: ArrayView2<'_, f32>) -> Self {
        let positions = features.nrows();
        Self {
            settings: *settings,
            hash: SimHash::calibrate(features, settings.seed),
            floor: NoiseFloor::new(settings.noise_quantile, settings.noise_most),
            restless: vec![0.0; positions],
            sent: vec![None; positions],
            previous: vec![None; positions],
            turned: None,
        }
    }

    /// Takes in a measurement: the noise floors, and whether the whole scene changed.
    fn follow(&mut self, codes: &[Option<u64>], number: u64) {
        let steps = distances(codes, &self.previous);
        // In a change of the whole scene there is nothing to learn about noise.
        let turning = self.is_scene(&steps);
        if !turning {
            self.floor.observe(steps.iter().flatten().copied());
            for (restless, step) in self.restless.iter_mut().zip(&steps) {
                if let Some(step) = step {
                    let step = (*step as f32).min(2.0 * *restless + 2.0);
                    *restless += RESTLESS * (step - *restless);
                }
            }
        }
        let changed = self.is_scene(&distances(codes, &self.sent));
        match &mut self.turned {
            _ if !changed => self.turned = None,
            Some(turned) if turning => turned.codes = codes.to_vec(),
            Some(_) => {}
            None => {
                let codes = codes.to_vec();
                self.turned = Some(Turned { number, codes });
            }
        }
        self.previous = codes.to_vec();
    }

    /// Takes a change of the whole scene that exposure explains for no change, but where
    /// T0 has evidence of something else.
    fn adapt(&mut self, codes: &[Option<u64>], evidence: &Array1<f32>) {
        if self.turned.is_none() || evidence.len() != codes.len() {
            return;
        }
        self.turned = None;
        for ((sent, code), evidence) in self.sent.iter_mut().zip(codes).zip(evidence) {
            if *evidence < 0.1 && sent.is_some() && code.is_some() {
                *sent = *code;
            }
        }
    }

    /// Whether most positions are too far away for noise. Those that nothing is known of
    /// do not count, but must not be the most.
    fn is_scene(&self, distances: &[Option<u32>]) -> bool {
        let mut known: Vec<f32> = distances
            .iter()
            .flatten()
            .map(|bits| *bits as f32)
            .collect();
        let enough = known.len() * 2 >= distances.len();
        let beyond = self.floor.bits() + self.settings.ramp * SCENE_RAMP;
        enough && quantile(&mut known, SCENE) >= beyond
    }

    fn mark(&mut self, measurement: &Measurement, positions: impl IntoIterator<Item = usize>) {
        let mut marked = false;
        for position in positions {
            if let (Some(sent), Some(Some(code))) =
                (self.sent.get_mut(position), measurement.codes.get(position))
            {
                *sent = Some(*code);
                marked = true;
            }
        }
        let told = |turned: &Turned| marked && measurement.number >= turned.number;
        if let Some(turned) = self.turned.take_if(|turned| told(turned)) {
            let others = self
                .sent
                .iter_mut()
                .zip(&turned.codes)
                .zip(&measurement.codes);
            for ((sent, settled), now) in others {
                // What was just sent keeps its own code.
                if sent.is_some() && settled.is_some() && *sent != *now {
                    *sent = *settled;
                }
            }
        }
    }

    /// Change of a position in which T0 sees nothing: what its blocks do not show must be
    /// a whole ramp beyond the greatest floor.
    fn slow(&self, position: usize, code: Option<u64>) -> f32 {
        let MeterSettings {
            noise_most, ramp, ..
        } = self.settings;
        match (code, self.sent[position]) {
            (None, _) => 0.0,
            (Some(_), None) => 1.0,
            (Some(code), Some(sent)) => {
                temporal::change(temporal::distance(code, sent), noise_most + ramp, ramp)
            }
        }
    }

    fn change(&self, codes: &[Option<u64>]) -> Array1<f32> {
        let MeterSettings {
            noise_most, ramp, ..
        } = self.settings;
        let floor = self.floor.bits();
        let all = codes.iter().zip(&self.sent).zip(&self.restless);
        all.map(|((code, sent), restless)| match (code, sent) {
            (None, _) => 0.0,
            (Some(_), None) => 1.0,
            (Some(code), Some(sent)) => {
                let floor = floor.max(RESTLESS_MARGIN * restless).min(noise_most);
                temporal::change(temporal::distance(*code, *sent), floor, ramp)
            }
        })
        .collect()
    }
}

/// Distance in bits of each position whose codes are both known.
fn distances(now: &[Option<u64>], then: &[Option<u64>]) -> Vec<Option<u32>> {
    let pairs = now.iter().zip(then);
    pairs
        .map(|(a, b)| Some(temporal::distance((*a)?, (*b)?)))
        .collect()
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
