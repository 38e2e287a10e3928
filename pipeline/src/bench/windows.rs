//! The benchmark's windows: files, and what the edge's encoders make of them.
//!
//! `models/msao_models/testset.py` writes them: `items.jsonl`, one question or prompt for a caption a line, with the files of
//! its window beside it. Each is a window of one second at first sight: nothing of it was sent before.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use broker::{ModalityReport, Token};
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use mas::{Mas, Meter, MeterSettings};
use mllm::log_mel::{self, LogMel};
use mllm::tokens::{Quantised, quantise};
use mllm::{
    ByModality, EncoderId, Frame, HopNetwork, HopOutput, ModalTokens, Modality, Options, Probe,
    Tokens, Trunk,
};
use ndarray::{Array1, ArrayView2};
use serde::Deserialize;

/// What prompts for a caption are called.
const CAPTION: &str = "caption";

/// A window and its prompt: a line of items.jsonl.
#[derive(Clone, Debug, Deserialize)]
pub struct Item {
    /// Picture, PNG or JPEG.
    #[serde(default)]
    image: Option<String>,
    /// Sound: 32-bit floats, little-endian, 16,000 a second.
    #[serde(default)]
    audio: Option<String>,
    /// Trace: the same, sample by sample, each with the sensor encoder's channels in order.
    #[serde(default)]
    sensor: Option<String>,
    /// What the models are asked.
    pub prompt: String,
    kind: String,
    /// Right answers, or captions to compare with.
    pub right: Vec<String>,
}

impl Item {
    /// Whether a caption is asked for, not an answer.
    pub fn is_caption(&self) -> bool {
        self.kind == CAPTION
    }
}

/// Reads items.jsonl.
///
/// # Errors
/// It cannot be read, or holds no item.
pub fn items(path: &Path) -> Result<Vec<Item>> {
    let at = || format!("windows {}", path.display());
    let text = fs::read_to_string(path).with_context(at)?;
    let parse = |(number, line)| {
        serde_json::from_str(line).with_context(|| format!("{}: line {}", at(), number + 1))
    };
    let items: Vec<Item> = text.lines().enumerate().map(parse).collect::<Result<_>>()?;
    ensure!(!items.is_empty(), "{} is empty: make windows first", at());
    Ok(items)
}

/// A window as it arrives at the edge: frames, samples.
#[derive(Default)]
pub struct Raw {
    picture: Option<RgbImage>,
    sound: Option<Vec<f32>>,
    trace: Option<Vec<f32>>,
}

impl Raw {
    /// Reads the files of `item`, which lie in `folder`.
    ///
    /// # Errors
    /// A file is missing or not what it should be.
    pub fn read(folder: &Path, item: &Item) -> Result<Self> {
        let picture = |name: &String| {
            let path = folder.join(name);
            let picture = image::open(&path);
            let picture = picture.with_context(|| format!("reading {}", path.display()))?;
            anyhow::Ok(picture.into_rgb8())
        };
        let floats = |name: &String| floats(&folder.join(name));
        Ok(Self {
            picture: item.image.as_ref().map(picture).transpose()?,
            sound: item.audio.as_ref().map(floats).transpose()?,
            trace: item.sensor.as_ref().map(floats).transpose()?,
        })
    }

    /// The picture as JPEG.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn jpeg(&self, quality: u8) -> Result<Option<Vec<u8>>> {
        let Some(picture) = &self.picture else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
        picture.write_with_encoder(encoder)?;
        Ok(Some(bytes))
    }
}

fn floats(path: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let (values, rest) = bytes.as_chunks::<4>();
    let (path, length) = (path.display(), bytes.len());
    ensure!(
        rest.is_empty(),
        "{path} is {length} bytes: not a whole number of 32-bit floats"
    );
    Ok(values.iter().map(|v| f32::from_le_bytes(*v)).collect())
}

/// What is known of a modality's positions in a window.
pub struct Sense {
    /// Importance s · u of each position.
    pub importance: Array1<f32>,
    /// Positions of one sample (a frame, a hop), and columns of them.
    pub sample: (usize, usize),
    mas: Mas,
    encoder: EncoderId,
    rows: Vec<Quantised>,
}

impl Sense {
    /// Sample, row and column of a position.
    pub fn place(&self, position: usize) -> (usize, usize, usize) {
        let (positions, columns) = self.sample;
        let within = position % positions;
        (position / positions, within / columns, within % columns)
    }
}

/// A window as the models read it, all of it.
#[derive(Default)]
pub struct Encoded {
    /// What is known of each modality.
    pub senses: ByModality<Option<Sense>>,
    /// All tokens, as received.
    pub tokens: Tokens,
}

/// The edge's encoders.
pub struct Encoders {
    probe: Probe,
    trunk: Trunk,
    audio: Option<HopNetwork>,
    sensor: Option<HopNetwork>,
    log_mel: LogMel,
}

impl Encoders {
    /// Loads those in `folder`.
    ///
    /// # Errors
    /// As for [`Probe::load`].
    pub fn load(folder: &Path, options: Options) -> Result<Self> {
        let config = mllm::Config::load(folder)?;
        let audio = config.audio_encoder.is_some();
        let sensor = config.sensor_encoder.is_some();
        Ok(Self {
            probe: Probe::load(folder, options)?,
            trunk: Trunk::load(folder, options)?,
            audio: audio
                .then(|| HopNetwork::audio(folder, options))
                .transpose()?,
            sensor: sensor
                .then(|| HopNetwork::sensor(folder, options))
                .transpose()?,
            log_mel: LogMel::new(),
        })
    }

    /// Encodes a window; the picture only if it is to be `seen`. What the model has no encoder for is left out.
    ///
    /// # Errors
    /// Sound or trace are shorter than the model's hops, or a network fails.
    pub fn encode(&mut self, raw: &Raw, seen: bool) -> Result<Encoded> {
        let mut encoded = Encoded::default();
        if let Some(picture) = raw.picture.as_ref().filter(|_| seen) {
            let frame = Frame::rgb(picture.width(), picture.height(), picture)?;
            let seen = self.probe.run(&frame)?;
            let tokens = self.trunk.run(&seen.features)?;
            let columns = tokens.nrows().isqrt();
            let hop = HopOutput {
                grid: seen.grid,
                tokens,
            };
            encoded.add(Modality::Video, vec![hop], columns, self.probe.encoder())?;
        }
        if let (Some(sound), Some(encoder)) = (&raw.sound, &mut self.audio) {
            // Before the first hop there was silence.
            let mut samples = vec![0.0; log_mel::CONTEXT_SAMPLES];
            samples.extend(sound);
            let about = encoder.about().clone();
            let mut hops = Vec::new();
            for hop in 0..about.hops {
                let start = hop * log_mel::HOP_SAMPLES;
                let end = start + log_mel::CONTEXT_SAMPLES + log_mel::HOP_SAMPLES;
                let samples = samples.get(start..end).context("the sound is too short")?;
                hops.push(encoder.run(self.log_mel.hop(samples).view())?);
            }
            encoded.add(Modality::Audio, hops, about.columns, &about.encoder)?;
        }
        if let (Some(trace), Some(encoder)) = (&raw.trace, &mut self.sensor) {
            let about = encoder.about().clone();
            let [channels, length] = encoder.shape();
            let mut hops = Vec::new();
            for hop in 0..about.hops {
                let part = trace.get(hop * channels * length..(hop + 1) * channels * length);
                let part = part.context("the trace of the sensors is too short")?;
                let samples = ArrayView2::from_shape((length, channels), part)?;
                hops.push(encoder.run(samples.t())?);
            }
            encoded.add(Modality::Sensor, hops, about.columns, &about.encoder)?;
        }
        Ok(encoded)
    }
}

impl Encoded {
    fn add(
        &mut self,
        modality: Modality,
        hops: Vec<HopOutput>,
        columns: usize,
        encoder: &EncoderId,
    ) -> Result<()> {
        let mut meter = Meter::new(MeterSettings::default())?;
        let (mut importance, mut rows, mut mas) = (Vec::new(), Vec::new(), None);
        for hop in &hops {
            let measured = meter.measure(hop.grid.view());
            importance.extend(measured.importance());
            mas.get_or_insert(measured.mas);
            rows.extend(hop.tokens.outer_iter().map(|row| quantise(&row.to_vec())));
        }
        let mas = mas.context("an encoder has no hops")?;
        let restored: Vec<f32> = rows.iter().flat_map(Quantised::restore).collect();
        let width = restored.len() / rows.len().max(1);
        let features = ndarray::Array2::from_shape_vec((rows.len(), width), restored)?;
        *self.tokens.get_mut(modality) = Some(ModalTokens::all(features));
        *self.senses.get_mut(modality) = Some(Sense {
            importance: Array1::from_vec(importance),
            sample: (rows.len() / hops.len(), columns),
            mas,
            encoder: encoder.clone(),
            rows,
        });
        Ok(())
    }

    /// The modalities that are there.
    pub fn present(&self) -> impl Iterator<Item = (Modality, &Sense)> {
        let sense = |modality| Some((modality, self.senses.get(modality).as_ref()?));
        Modality::ALL.into_iter().filter_map(sense)
    }

    /// The positions in `keep`, as they travel.
    pub fn tokens_of(&self, keep: &ByModality<Vec<usize>>) -> Vec<Token> {
        let token = |(modality, sense): (Modality, &Sense), position: usize| {
            let (t, y, x) = sense.place(position);
            let row = &sense.rows[position];
            Token {
                modality: sent(modality),
                stream: modality.to_string().into(),
                t: t as u16,
                y: y as u16,
                x: x as u16,
                importance: sense.importance[position],
                scale: row.scale,
                feature: row.steps.clone().into(),
            }
        };
        self.present()
            .flat_map(|sense| keep.get(sense.0).iter().map(move |p| token(sense, *p)))
            .collect()
    }

    /// What is said of the streams, with these β.
    pub fn reports(&self, betas: &ByModality<f32>) -> Vec<ModalityReport> {
        let report = |(modality, sense): (Modality, &Sense)| {
            let beta = *betas.get(modality);
            let worth = beta * sense.importance.mean().unwrap_or(0.0);
            ModalityReport {
                modality: sent(modality),
                stream: modality.to_string(),
                rho: sense.mas.rho,
                gamma: sense.mas.gamma,
                beta,
                mas: (1.0 - worth).clamp(0.0, 1.0),
                encoder: sense.encoder.id.clone(),
                encoder_sha256: sense.encoder.sha256.clone(),
            }
        };
        self.present().map(report).collect()
    }
}

/// The modality as the wire calls it.
fn sent(modality: Modality) -> broker::Modality {
    match modality {
        Modality::Video => broker::Modality::Video,
        Modality::Audio => broker::Modality::Audio,
        Modality::Sensor => broker::Modality::Sensor,
    }
}
