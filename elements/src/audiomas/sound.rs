//! What `msaoaudiomas` does with a hop of sound.

use broker::Modality;
use mllm::log_mel::{self, LogMel};
use mllm::{EncoderId, HopNetwork, HopOutput, SpeechDetector};

use super::resample::Resampler;
use crate::hops::{Hop, Look, Shape};

/// Samples a second that the encoder hears.
const RATE: u32 = log_mel::SAMPLE_RATE;

/// Detects speech.
pub(super) struct Speech {
    pub detector: SpeechDetector,
    /// Hops above this probability are flagged.
    pub threshold: f32,
}

/// The audio encoder, and what goes before and beside it.
pub(super) struct Sound {
    log_mel: LogMel,
    encoder: HopNetwork,
    speech: Option<Speech>,
    /// Channels of the stream, and its rate.
    stream: (usize, u32),
    /// None where the stream has the encoder's rate.
    resampler: Option<Resampler>,
}

impl Sound {
    pub fn new(encoder: HopNetwork, speech: Option<Speech>) -> Self {
        Self {
            log_mel: LogMel::new(),
            encoder,
            speech,
            stream: (1, RATE),
            resampler: None,
        }
    }

    fn forget_speech(&mut self) {
        if let Some(speech) = &mut self.speech {
            speech.detector.reset();
        }
    }

    /// What comes from now on has so many channels at this rate.
    pub fn hear(&mut self, channels: usize, rate: u32) {
        self.stream = (channels, rate);
        self.resampler = (rate != RATE).then(|| Resampler::new(rate, RATE));
    }
}

impl Hop for Sound {
    const MODALITY: Modality = Modality::Audio;

    fn shape(&self) -> Shape {
        Shape {
            channels: 1,
            rate: RATE,
            hop: log_mel::HOP_SAMPLES,
            context: log_mel::CONTEXT_SAMPLES,
        }
    }

    fn source(&self) -> (usize, u32) {
        self.stream
    }

    /// All channels count alike.
    fn convert(&mut self, samples: Vec<f32>) -> Vec<f32> {
        let (channels, _) = self.stream;
        let mixed = match channels {
            1 => samples,
            _ => {
                let frames = samples.chunks_exact(channels);
                let mean = |frame: &[f32]| frame.iter().sum::<f32>() / channels as f32;
                frames.map(mean).collect()
            }
        };
        match &mut self.resampler {
            Some(resampler) => resampler.push(mixed),
            None => mixed,
        }
    }

    fn encoder(&self) -> &EncoderId {
        self.encoder.encoder()
    }

    fn provider(&self) -> mllm::Provider {
        self.encoder.provider()
    }

    fn columns(&self) -> usize {
        self.encoder.about().columns
    }

    fn run(&mut self, samples: &[f32]) -> Result<HopOutput, mllm::Error> {
        self.encoder.run(self.log_mel.hop(samples).view())
    }

    fn look(&mut self, samples: &[f32]) -> Result<Look, mllm::Error> {
        let mut look = Look::default();
        if samples.iter().all(|sample| *sample == 0.0) {
            look.flags.push("silent");
        }
        if samples.iter().any(|sample| !sample.is_finite()) {
            look.flags.push("non-finite");
            // The detector remembers what it hears, and would never get rid of these.
            self.forget_speech();
        } else if let Some(speech) = &mut self.speech {
            look.speech = speech.detector.push(samples)?;
            if look
                .speech
                .is_some_and(|probability| probability > speech.threshold)
            {
                look.flags.push("speech");
            }
        }
        Ok(look)
    }

    fn restart(&mut self) {
        let (channels, rate) = self.stream;
        self.hear(channels, rate);
        self.forget_speech();
    }
}
