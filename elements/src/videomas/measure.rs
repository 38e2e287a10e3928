//! T0, T1 and MAS of one stream of frames.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mas::scene::Look;
use mas::{Measurement, Meter, MeterSettings};
use mllm::{Batching, EncoderId, Probe};
use ndarray::{Array2, Array3};

use super::frame::{self, Unreadable};
use super::pace::Pace;
use crate::lock;
use crate::meta::{Features, Measured};
use crate::model::{ModelSettings, load_error};

/// A picture is black if no block's mean luma is above this.
const BLACK: f32 = 20.0;
/// Rows, and columns, of the probe's grid of positions.
const SIDE: usize = 7;
/// T0 sees something at a position if its evidence is at least this.
const EVIDENCE: f32 = 0.5;
/// Of frames that a gate drops in any case T0 looks at one in so long.
const GLANCE: gst::ClockTime = gst::ClockTime::from_mseconds(60);
/// A picture is frozen if every block's mean stays exactly the same for this long.
const FROZEN: gst::ClockTime = gst::ClockTime::from_seconds(5);

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub model: ModelSettings,
    pub batching: Batching,
    pub t0_threshold: f32,
    pub heartbeat: gst::ClockTime,
    /// Time that a frame may take in the mean; 0 for any.
    pub budget: Duration,
    pub coverage: f32,
    pub seed: u64,
    pub message: bool,
    pub heed_gate: bool,
    pub probe_interval: gst::ClockTime,
}

impl Default for Settings {
    fn default() -> Self {
        let meter = MeterSettings::default();
        Self {
            model: ModelSettings::default(),
            batching: Batching {
                most: 1,
                wait: Duration::ZERO,
            },
            t0_threshold: 0.0005,
            heartbeat: gst::ClockTime::from_seconds(2),
            budget: Duration::ZERO,
            coverage: meter.coverage,
            seed: meter.seed,
            message: false,
            heed_gate: true,
            probe_interval: gst::ClockTime::ZERO,
        }
    }
}

pub(super) struct State {
    probe: Probe,
    encoder: Arc<EncoderId>,
    meter: Arc<Mutex<Meter>>,
    pub info: Option<gst_video::VideoInfo>,
    luma: Vec<u8>,
    frame: u64,
    seen: Option<Seen>,
    probed: Option<Probed>,
    still: Option<Still>,
    pace: Pace,
    started: Instant,
    /// Makes the probe as slow as a test needs it.
    #[cfg(test)]
    pub slow: Duration,
}

/// The last frame that T0 looked at.
struct Seen {
    running: Option<gst::ClockTime>,
    score: f32,
    flags: Vec<&'static str>,
}

/// The last frame that the probe ran on.
struct Probed {
    look: Arc<Look>,
    running: Option<gst::ClockTime>,
    features: Arc<Array3<f32>>,
    measurement: Arc<Measurement>,
}

impl Probed {
    /// Whether T0 now sees something at a position where it saw nothing then.
    fn is_news(&self, look: &Look) -> bool {
        let mut both = look.evidence.iter().zip(&self.look.evidence);
        both.any(|(now, then)| *now >= EVIDENCE && *then < EVIDENCE)
    }
}

/// The last luma grid that differed from the one before, and since when it stays.
struct Still {
    grid: Array2<f32>,
    since: Option<gst::ClockTime>,
}

/// Counters since the element started.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Stats {
    pub frames: u64,
    pub probed: u64,
    pub unreadable: u64,
    /// Frames that were not probed because they came too late, and because of the budget.
    pub late: u64,
    pub over_budget: u64,
    /// Frames that changed, or were not looked at, and were not probed because a gate downstream drops them in any case.
    pub too_soon: u64,
    /// How far the budget has made it back off.
    pub step: u32,
    pub t0: Duration,
    pub t1: Duration,
}

/// Why a frame gets no measurement.
pub(super) enum Failure {
    /// This frame only: it is dropped.
    Frame(Unreadable),
    /// The probe does not work.
    Probe(mllm::Error),
}

impl From<Unreadable> for Failure {
    fn from(error: Unreadable) -> Self {
        Self::Frame(error)
    }
}

impl State {
    /// Loads the probe.
    pub fn new(settings: &Settings) -> Result<Self, gst::ErrorMessage> {
        let meter = MeterSettings {
            coverage: settings.coverage,
            seed: settings.seed,
            ..MeterSettings::default()
        };
        let meter = Meter::new(meter)
            .map_err(|error| gst::error_msg!(gst::ResourceError::Settings, ("{error}")))?;
        let probe = Probe::together(
            &settings.model.folder()?,
            settings.model.provider(),
            settings.batching,
        )
        .map_err(|error| load_error(&error))?;
        Ok(Self {
            encoder: Arc::new(probe.encoder().clone()),
            probe,
            meter: Arc::new(Mutex::new(meter)),
            info: None,
            luma: Vec::new(),
            frame: 0,
            seen: None,
            probed: None,
            still: None,
            pace: Pace::default(),
            started: Instant::now(),
            #[cfg(test)]
            slow: Duration::ZERO,
        })
    }

    /// What runs the probe.
    pub fn provider(&self) -> mllm::Provider {
        self.probe.provider()
    }

    /// How many elements run the session that this one runs.
    pub fn sharing(&self) -> usize {
        self.probe.sharing()
    }

    /// Later frames are measured with this β.
    pub fn set_beta(&self, beta: f32) {
        lock(&self.meter).set_beta(beta);
    }

    /// What comes next does not follow what came before.
    pub fn restart(&mut self) {
        self.seen = None;
        self.probed = None;
        self.still = None;
    }

    /// T0, T1 if asked for and there is time, and MAS of one frame: whether it comes too late, and whether a gate
    /// downstream drops it in any case.
    pub fn measure(
        &mut self,
        buffer: &gst::BufferRef,
        running: Option<gst::ClockTime>,
        (late, shut): (bool, bool),
        settings: &Settings,
        stats: &Mutex<Stats>,
    ) -> Result<Measured, Failure> {
        let arrived = Instant::now();
        if shut && self.is_soon(running) {
            lock(stats).too_soon += 1;
            return self.measured(arrived, false, settings, stats);
        }
        let info = self
            .info
            .as_ref()
            .ok_or(Unreadable::Format(gst_video::VideoFormat::Unknown))?;
        let frame = frame::map(buffer, info)?;
        let begun = Instant::now();
        let span = tracing::debug_span!("T0", frame = self.frame).entered();
        let grid = frame::luma_grid(&frame, &mut self.luma)?;
        let look = lock(&self.meter).look(grid.view(), SIDE, SIDE);
        drop(span);
        lock(stats).t0 += begun.elapsed();

        let mut flags = Vec::new();
        if grid.iter().all(|mean| *mean <= BLACK) {
            flags.push("black");
        }
        if self.is_frozen(&grid, running) {
            flags.push("frozen");
        }

        let since = (self.probed.as_ref())
            .and_then(|probed| running.zip(probed.running))
            .and_then(|(now, then)| now.checked_sub(then));
        // Time that is unknown or jumped back asks for a look, too.
        let lasts = |time| since.is_none_or(|since| since >= time);
        let silent = self.probed.is_none() || lasts(settings.heartbeat);
        let news = |probed: &Probed| probed.is_news(&look);
        let due = lasts(settings.probe_interval) || self.probed.as_ref().is_none_or(news);
        let changed = !silent && look.score >= settings.t0_threshold && due;
        let room = self.pace.allows();
        let ask = self.probed.is_none() || !shut && (silent || (changed && !late && room));
        if changed && !ask {
            let mut stats = lock(stats);
            if shut {
                stats.too_soon += 1;
            } else if late {
                stats.late += 1;
            } else {
                stats.over_budget += 1;
            }
        }
        if ask {
            let input = frame::for_probe(&frame)?;
            let begun = Instant::now();
            let _span = tracing::debug_span!("T1", frame = self.frame).entered();
            #[cfg(test)]
            std::thread::sleep(self.slow);
            let output = self.probe.run(&input).map_err(|error| match error {
                mllm::Error::Frame(_) => Failure::Frame(error.into()),
                _ => Failure::Probe(error),
            })?;
            let measurement = lock(&self.meter).measure(output.grid.view());
            let mut stats = lock(stats);
            stats.t1 += begun.elapsed();
            stats.probed += 1;
            drop(stats);
            self.probed = Some(Probed {
                look: Arc::clone(&look),
                running,
                features: Arc::new(output.features),
                measurement: Arc::new(measurement),
            });
        }
        self.seen = Some(Seen {
            running,
            score: look.score,
            flags,
        });
        self.measured(arrived, ask, settings, stats)
    }

    /// Whether a frame comes so soon after one that was looked at that it may be passed over.
    fn is_soon(&self, running: Option<gst::ClockTime>) -> bool {
        let then = self.seen.as_ref().and_then(|seen| seen.running);
        let since = running
            .zip(then)
            .and_then(|(now, then)| now.checked_sub(then));
        self.probed.is_some() && since.is_some_and(|since| since < GLANCE)
    }

    /// The measurement of a frame that `arrived` then, by what was seen and probed last, this frame included.
    fn measured(
        &mut self,
        arrived: Instant,
        probed_now: bool,
        settings: &Settings,
        stats: &Mutex<Stats>,
    ) -> Result<Measured, Failure> {
        let (Some(seen), Some(probed)) = (&self.seen, &mut self.probed) else {
            return Err(Unreadable::Format(gst_video::VideoFormat::Unknown).into());
        };
        if !probed_now {
            let again = lock(&self.meter).carry(&probed.measurement);
            probed.measurement = Arc::new(again);
        }
        let mut flags = seen.flags.clone();
        if probed.measurement.has_non_finite() {
            flags.push("non-finite");
        }
        let mas = Measured {
            modality: broker::Modality::Video,
            frame: self.frame,
            t0: seen.score,
            probed: probed_now,
            measurement: Arc::clone(&probed.measurement),
            features: Features::Frame(Arc::clone(&probed.features)),
            encoder: Arc::clone(&self.encoder),
            columns: columns(probed.measurement.s.len()),
            meter: Arc::clone(&self.meter),
            end: None,
            flags,
        };
        self.frame += 1;
        let (now, took) = (self.started.elapsed(), arrived.elapsed());
        let budget = (!settings.budget.is_zero()).then_some(settings.budget);
        if self.pace.note(now, took, probed_now, budget) {
            lock(stats).step = self.pace.step();
            gst::info!(
                super::imp::CAT,
                "budget of {:?}: the probe may run on one frame of {}",
                settings.budget,
                self.pace.every()
            );
        }
        Ok(mas)
    }

    fn is_frozen(&mut self, grid: &Array2<f32>, running: Option<gst::ClockTime>) -> bool {
        match &self.still {
            Some(still) if still.grid == *grid => {
                let lasted = running
                    .zip(still.since)
                    .and_then(|(now, then)| now.checked_sub(then));
                lasted.is_some_and(|lasted| lasted >= FROZEN)
            }
            _ => {
                self.still = Some(Still {
                    grid: grid.clone(),
                    since: running,
                });
                false
            }
        }
    }
}

/// Columns of a square grid of positions; all of them if it is none.
fn columns(positions: usize) -> usize {
    let side = positions.isqrt();
    if side * side == positions {
        side.max(1)
    } else {
        positions
    }
}
