//! Test windows as files, and how they are encoded and measured: as on the edge, at first sight.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use mas::{Meter, MeterSettings};
use mllm::log_mel::{self, LogMel};
use mllm::{
    ByModality, Frame, HopNetwork, HopOutput, ModalTokens, Modality, Probe, Provider, Tokens, Trunk,
};
use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate};
use serde::Deserialize;

use crate::choose::Known;

/// One question, or the prompt for a caption, about a window: a line of items.jsonl.
#[derive(Debug, Clone, Deserialize)]
pub struct Item {
    pub id: String,
    #[serde(flatten)]
    pub files: Files,
    pub prompt: String,
    pub kind: String,
    /// Right answers, or captions that people wrote.
    pub right: Vec<String>,
    /// The modality that the answer is in.
    pub about: String,
}

/// A window's files, beside items.jsonl.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Files {
    /// Picture, PNG or JPEG.
    #[serde(default)]
    pub image: Option<String>,
    /// Sound: 32-bit floats, little-endian, 16,000 a second.
    #[serde(default)]
    pub audio: Option<String>,
    /// Trace: the same, sample by sample, each with the sensor encoder's channels in order.
    #[serde(default)]
    pub sensor: Option<String>,
}

/// A window as the models read it, all of it, and what is known of its positions.
#[derive(Debug, Default)]
pub struct Window {
    pub tokens: Tokens,
    pub known: ByModality<Option<Known>>,
}

/// The encoders of the edge.
pub struct Encoders {
    probe: Probe,
    trunk: Trunk,
    audio: Option<HopNetwork>,
    sensor: Option<HopNetwork>,
    log_mel: LogMel,
}

impl Encoders {
    pub fn load(edge: &Path, provider: Provider) -> Result<Self> {
        let config = mllm::Config::load(edge)?;
        let audio = config.audio_encoder.as_ref();
        let sensor = config.sensor_encoder.as_ref();
        Ok(Self {
            probe: Probe::load(edge, provider)?,
            trunk: Trunk::load(edge, provider)?,
            audio: audio
                .map(|_| HopNetwork::audio(edge, provider))
                .transpose()?,
            sensor: sensor
                .map(|_| HopNetwork::sensor(edge, provider))
                .transpose()?,
            log_mel: LogMel::new(),
        })
    }

    /// Encodes a window whose files lie in `folder`. What the model has no encoder for is left out.
    pub fn window(&mut self, folder: &Path, files: &Files) -> Result<Window> {
        let mut window = Window::default();
        if let Some(name) = &files.image {
            let path = folder.join(name);
            let at = || format!("reading {}", path.display());
            let picture = image::open(&path).with_context(at)?.into_rgb8();
            let frame = Frame::rgb(picture.width(), picture.height(), &picture)?;
            let seen = self.probe.run(&frame)?;
            let features = self.trunk.run(&seen.features)?;
            let columns = features.nrows().isqrt();
            let hop = HopOutput {
                grid: seen.grid,
                tokens: features,
            };
            window.add(Modality::Video, vec![hop], columns)?;
        }
        if let (Some(name), Some(encoder)) = (&files.audio, &mut self.audio) {
            let path = folder.join(name);
            // Before the first hop there was silence.
            let mut samples = vec![0.0; log_mel::CONTEXT_SAMPLES];
            samples.extend(floats(&path)?);
            let about = encoder.about().clone();
            let mut hops = Vec::new();
            for hop in 0..about.hops {
                let start = hop * log_mel::HOP_SAMPLES;
                let end = start + log_mel::CONTEXT_SAMPLES + log_mel::HOP_SAMPLES;
                let samples = samples.get(start..end);
                let samples = samples.with_context(|| short(&path, about.hops))?;
                hops.push(encoder.run(self.log_mel.hop(samples).view())?);
            }
            window.add(Modality::Audio, hops, about.columns)?;
        }
        if let (Some(name), Some(encoder)) = (&files.sensor, &mut self.sensor) {
            let path = folder.join(name);
            let values = floats(&path)?;
            let about = encoder.about().clone();
            let [channels, length] = encoder.shape();
            let mut hops = Vec::new();
            for hop in 0..about.hops {
                let part = values.get(hop * channels * length..(hop + 1) * channels * length);
                let part = part.with_context(|| short(&path, about.hops))?;
                let samples = ArrayView2::from_shape((length, channels), part)?;
                hops.push(encoder.run(samples.t())?);
            }
            window.add(Modality::Sensor, hops, about.columns)?;
        }
        Ok(window)
    }
}

impl Window {
    fn add(&mut self, modality: Modality, hops: Vec<HopOutput>, columns: usize) -> Result<()> {
        let mut meter = Meter::new(MeterSettings::default())?;
        let (mut importance, mut energy) = (Vec::new(), Vec::new());
        for hop in &hops {
            let measured = meter.measure(hop.grid.view());
            importance.extend(measured.importance());
            energy.extend(measured.energy);
        }
        let features: Vec<_> = hops.iter().map(|hop| hop.tokens.view()).collect();
        let features: Array2<f32> = concatenate(Axis(0), &features)?;
        *self.known.get_mut(modality) = Some(Known {
            importance: Array1::from_vec(importance),
            energy: Array1::from_vec(energy),
            attention: None,
            sample: (features.nrows() / hops.len(), columns),
        });
        // Each row has a scale of its own, so it may be rounded before rows are chosen.
        *self.tokens.get_mut(modality) = Some(ModalTokens::all(features).as_received());
        Ok(())
    }

    /// The rows whose place in `keep` is true.
    pub fn kept(&self, keep: &ByModality<Vec<bool>>) -> Tokens {
        let mut kept = Tokens::default();
        for (modality, tokens) in self.tokens.present() {
            let some = ModalTokens::kept(&tokens.features, keep.get(modality));
            *kept.get_mut(modality) = Some(some);
        }
        kept
    }
}

fn floats(path: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let (values, rest) = bytes.as_chunks::<4>();
    ensure!(
        rest.is_empty(),
        "{} is {} bytes: not a whole number of 32-bit floats",
        path.display(),
        bytes.len()
    );
    Ok(values
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect())
}

fn short(path: &Path, hops: usize) -> String {
    format!(
        "{} is shorter than {hops} hops of half a second",
        path.display()
    )
}
