//! What was sent for each position, as codes, and what noise the codes make by themselves.

use ndarray::{Array1, ArrayView2};

use crate::temporal::{self, NoiseFloor, SimHash};
use crate::{Measurement, MeterSettings, quantile};

/// The whole scene changed if so many of its positions did: all but this share of them.
const SCENE: f32 = 0.4;
/// ... by so much of the ramp beyond the noise floor.
const SCENE_RAMP: f32 = 0.25;
/// Weight of a new distance in a position's usual one.
const RESTLESS: f32 = 0.05;
/// A position's floor in units of its usual distance.
const RESTLESS_MARGIN: f32 = 2.0;

/// What a meter knows of one shape of grid.
#[derive(Debug)]
pub(crate) struct Calibrated {
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
    /// Calibrated on a first grid.
    pub fn new(settings: &MeterSettings, features: ArrayView2<'_, f32>) -> Self {
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

    /// Whether it fits grids of this shape.
    pub fn is_for(&self, positions: usize, channels: usize) -> bool {
        self.sent.len() == positions && self.hash.channels() == channels
    }

    /// The codes of a grid of its shape.
    pub fn codes(&self, features: ArrayView2<'_, f32>) -> Vec<Option<u64>> {
        self.hash.codes(features)
    }

    /// The noise floor in bits of 64.
    pub fn noise_floor(&self) -> f32 {
        self.floor.bits()
    }

    /// Takes in a measurement: the noise floors, and whether the whole scene changed.
    pub fn follow(&mut self, codes: &[Option<u64>], number: u64) {
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
    pub fn adapt(&mut self, codes: &[Option<u64>], evidence: &Array1<f32>) {
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

    /// Notes that these positions of a measurement were sent. If the whole scene had changed,
    /// the others are known, too: as they looked after the change.
    pub fn mark_sent(
        &mut self,
        measurement: &Measurement,
        positions: impl IntoIterator<Item = usize>,
    ) {
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
    pub fn slow(&self, position: usize, code: Option<u64>) -> f32 {
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

    /// Change of each position against what was sent.
    pub fn change(&self, codes: &[Option<u64>]) -> Array1<f32> {
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
