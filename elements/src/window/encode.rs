//! From what was gathered to a feature window: T2, selection, quantisation.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use broker::{FeatureWindow, Modality, ModalityReport, Rig, Token, WindowId, limits};
use gst::ClockTime;
use mllm::{Trunk, tokens::quantise};
use ndarray::{Array2, Axis};
use offload::Action;
use ulid::Ulid;

use super::collect::Sample;
use super::feed::HOP;
use super::gather::{Closed, utc_now};
use super::properties::{Settings, Stats};
use super::select::{self, Candidate};
use crate::beta::{self, Betas};
use crate::lock;
use crate::meta::{Features, Measured};
use crate::model::load_error;

/// Why no window could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Model(#[from] mllm::Error),
    #[error(transparent)]
    Window(#[from] broker::features::Error),
    #[error("the JPEG picture of stream `{stream}`: {reason}")]
    Picture { stream: String, reason: String },
    #[error(
        "stream `{stream}` was encoded by `{found}`, this element's model {loaded}: \
         give msaovideomas, msaoaudiomas, msaosensormas and msaowindow the same model folder"
    )]
    Encoder {
        stream: String,
        found: String,
        loaded: String,
    },
}

/// Makes windows. From the element's start to its stop.
pub(super) struct Encoder {
    trunk: Trunk,
    config: mllm::Config,
    rig: Rig,
    pub epoch: Ulid,
    seq: u64,
}

/// One stream on its way into a window.
struct Source {
    stream: String,
    modality: Modality,
    samples: Vec<Sample>,
    candidate: Candidate,
}

impl Encoder {
    pub fn new(settings: &Settings) -> Result<Self, gst::ErrorMessage> {
        let wrong = |error: &dyn std::fmt::Display| {
            gst::error_msg!(gst::ResourceError::Settings, ("{error}"))
        };
        let rig = settings
            .rig
            .parse()
            .map_err(|error: broker::identity::InvalidName| wrong(&error))?;
        settings.budget().map_err(|error| wrong(&error))?;
        let folder = settings.model.folder()?;
        let config = mllm::Config::load(&folder).map_err(|error| load_error(&error))?;
        let trunk =
            Trunk::load(&folder, settings.model.provider()).map_err(|error| load_error(&error))?;
        Ok(Self {
            trunk,
            config,
            rig,
            epoch: Ulid::generate(),
            seq: 0,
        })
    }

    /// What runs T2.
    pub fn provider(&self) -> mllm::Provider {
        self.trunk.provider()
    }

    /// The window of what was gathered, encoded; none if there is nothing to send.
    pub fn window(
        &mut self,
        closed: Closed,
        settings: &Settings,
        betas: &Betas,
        stats: &Mutex<Stats>,
    ) -> Result<Option<gst::Buffer>, Error> {
        let (start, end) = (closed.start, closed.end);
        let streams = closed.streams;
        let tokens_possible = (streams.iter())
            .map(|(_, stream)| read(stream.modality).positions(&self.config) as u32)
            .sum();
        let frames_in = streams.iter().map(|(_, stream)| stream.frames_in).sum();
        let frames_kept = streams.iter().map(|(_, stream)| stream.frames_kept).sum();
        let mut sources = Vec::new();
        for (stream, gathered) in streams {
            let modality = gathered.modality;
            let hops = hop_encoder(&self.config, modality).map_or(1, |encoder| encoder.hops);
            let samples = gathered.samples(start, HOP, hops, settings.threshold);
            if !samples.is_empty() {
                let candidate = Candidate::new(&samples, beta::of(betas, modality));
                sources.push(Source {
                    stream,
                    modality,
                    samples,
                    candidate,
                });
            }
        }
        if sources.is_empty() {
            let mut stats = lock(stats);
            stats.skipped += 1;
            stats.tokens_possible += u64::from(tokens_possible);
            return Ok(None);
        }
        // The models read of each modality the stream that comes first.
        let worth = |source: &Source| source.candidate.worth;
        sources.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
        let closed_utc_ns = utc_now();
        let mut window = FeatureWindow {
            id: WindowId {
                rig: self.rig.clone(),
                epoch: self.epoch,
                seq: self.seq,
            },
            start_utc_ns: utc(start, closed.utc_offset),
            end_utc_ns: utc(end, closed.utc_offset),
            start_running_ns: start.nseconds(),
            end_running_ns: end.nseconds(),
            prompt: (settings.prompt.clone()).unwrap_or_else(|| self.config.default_prompt.clone()),
            // Until a draft is there to be verified.
            decision: Action::Offload,
            plan: None,
            modalities: Vec::new(),
            draft: None,
            tokens: Vec::new(),
            keyframe: None,
            tokens_possible,
            frames_in,
            frames_kept,
            flags: Vec::new(),
            closed_utc_ns,
            drafted_utc_ns: closed_utc_ns,
        };
        let _span = broker::trace::window(&window).entered();
        let candidates: Vec<&Candidate> = sources.iter().map(|source| &source.candidate).collect();
        let kept = select::select(&candidates, settings.shared());
        let mut spent = Duration::ZERO;
        for (source, kept) in sources.iter().zip(&kept) {
            spent += self.add(&mut window, source, kept)?;
        }
        window.keyframe = keyframe(&sources)?;
        let mut buffer = gst::Buffer::from_slice(window.encode()?);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(start);
            buffer.set_duration(end - start);
        }
        // Marked once nothing can fail any more.
        for (source, kept) in sources.iter().zip(&kept) {
            mark_sent(&source.samples, kept);
        }
        self.seq += 1;
        let mut stats = lock(stats);
        stats.windows += 1;
        stats.tokens_kept += window.tokens.len() as u64;
        stats.tokens_possible += u64::from(window.tokens_possible);
        stats.t2 += spent;
        Ok(Some(buffer))
    }

    /// Adds a stream's tokens at the positions `kept` of its samples, one after the other,
    /// and what was measured of it. Returns the time that T2 took.
    fn add(
        &mut self,
        window: &mut FeatureWindow,
        source: &Source,
        kept: &[usize],
    ) -> Result<Duration, Error> {
        let stream: Arc<str> = source.stream.as_str().into();
        let mut spent = Duration::ZERO;
        let mut first = 0;
        for sample in &source.samples {
            self.check(source, &sample.measured)?;
            let positions = sample.now.s.len();
            let of_sample = kept.iter().filter_map(|p| p.checked_sub(first));
            let within: Vec<usize> = of_sample.filter(|p| *p < positions).collect();
            first += positions;
            if within.is_empty() {
                continue;
            }
            let begun = Instant::now();
            let span = broker::trace::encode(&window.id, sample.measured.frame).entered();
            let features = match &sample.measured.features {
                Features::Frame(frame) => self.trunk.run(frame)?,
                Features::Tokens(tokens) => rows(tokens, &within),
            };
            drop(span);
            spent += begun.elapsed();
            let whole = matches!(sample.measured.features, Features::Frame(_));
            let importance = sample.now.importance();
            let columns = sample.measured.columns.max(1);
            for (index, position) in within.into_iter().enumerate() {
                let row = if whole { position } else { index };
                if row >= features.nrows() {
                    continue;
                }
                let row = quantise(&features.row(row).to_vec());
                window.tokens.push(Token {
                    modality: source.modality,
                    stream: Arc::clone(&stream),
                    t: sample.t,
                    y: (position / columns) as u16,
                    x: (position % columns) as u16,
                    importance: importance[position],
                    scale: row.scale,
                    feature: row.steps.into(),
                });
            }
        }
        let encoder = source
            .samples
            .first()
            .map(|sample| &sample.measured.encoder);
        let measured = source.candidate.report();
        window.modalities.push(ModalityReport {
            modality: source.modality,
            stream: source.stream.clone(),
            rho: measured.rho,
            gamma: measured.gamma,
            beta: measured.beta,
            mas: measured.mas,
            encoder: encoder.map(|e| e.id.clone()).unwrap_or_default(),
            encoder_sha256: encoder.map(|e| e.sha256.clone()).unwrap_or_default(),
        });
        for flag in source.samples.iter().flat_map(|s| &s.measured.flags) {
            if !window.flags.iter().any(|known| known == flag) {
                window.flags.push((*flag).to_owned());
            }
        }
        Ok(spent)
    }

    /// Whether the stream's encoder is that of this element's model.
    fn check(&self, source: &Source, measured: &Measured) -> Result<(), Error> {
        let loaded = read(source.modality).encoder(&self.config);
        if loaded == Some(&*measured.encoder) {
            return Ok(());
        }
        Err(Error::Encoder {
            stream: source.stream.clone(),
            found: measured.encoder.id.clone(),
            loaded: match loaded {
                Some(encoder) => format!("holds `{}`", encoder.id),
                None => format!("`{}` reads no {}", self.config.name, source.modality),
            },
        })
    }
}

/// The picture of the video stream that comes first, if its frames come as pictures.
fn keyframe(sources: &[Source]) -> Result<Option<Vec<u8>>, Error> {
    let video = sources.iter().find(|s| s.modality == Modality::Video);
    let Some((source, jpeg)) = video.and_then(|s| Some((s, s.samples.first()?.jpeg.as_ref()?)))
    else {
        return Ok(None);
    };
    let picture = jpeg.map_readable().map_err(|error| Error::Picture {
        stream: source.stream.clone(),
        reason: error.to_string(),
    })?;
    if picture.len() > limits::KEYFRAME {
        return Err(Error::Picture {
            stream: source.stream.clone(),
            reason: format!(
                "it has {} bytes, at most {} are allowed: scale frames down before they are encoded",
                picture.len(),
                limits::KEYFRAME
            ),
        });
    }
    Ok(Some(picture.to_vec()))
}

fn mark_sent(samples: &[Sample], kept: &[usize]) {
    let mut first = 0;
    for sample in samples {
        let positions = sample.now.s.len();
        let of_sample = kept.iter().filter_map(|p| p.checked_sub(first));
        let within = of_sample.filter(|p| *p < positions);
        sample.measured.mark_sent(within);
        first += positions;
    }
}

fn rows(tokens: &Array2<f32>, positions: &[usize]) -> Array2<f32> {
    let there: Vec<usize> = (positions.iter().copied())
        .filter(|position| *position < tokens.nrows())
        .collect();
    tokens.select(Axis(0), &there)
}

/// The modality as the models know it.
fn read(modality: Modality) -> mllm::Modality {
    match modality {
        Modality::Video => mllm::Modality::Video,
        Modality::Audio => mllm::Modality::Audio,
        Modality::Sensor => mllm::Modality::Sensor,
    }
}

fn hop_encoder(config: &mllm::Config, modality: Modality) -> Option<&mllm::HopEncoder> {
    match modality {
        Modality::Video => None,
        Modality::Audio => config.audio_encoder.as_ref(),
        Modality::Sensor => config.sensor_encoder.as_ref(),
    }
}

fn utc(running: ClockTime, offset: i64) -> i64 {
    i64::try_from(running.nseconds())
        .unwrap_or(i64::MAX)
        .saturating_add(offset)
}
