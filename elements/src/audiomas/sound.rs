//! What `msaoaudiomas` does with a hop of sound.

use broker::Modality;
use mllm::log_mel::{self, LogMel};
use mllm::{EncoderId, HopNetwork, HopOutput, SpeechDetector};

use super::convert::Converter;
use crate::hops::{Error, Hop, Look, Shape, Source};

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
    /// From the stream's format, once it is known.
    converter: Option<Converter>,
}

impl Sound {
    pub fn new(encoder: HopNetwork, speech: Option<Speech>) -> Self {
        Self {
            converter: None,
            log_mel: LogMel::new(),
            encoder,
            speech,
        }
    }

    /// What comes from now on is of the format that this converts from.
    pub fn hear(&mut self, converter: Converter) {
        self.converter = Some(converter);
    }

    /// Hops with speech more probable than this are flagged from now on.
    pub fn set_threshold(&mut self, threshold: f32) {
        if let Some(speech) = &mut self.speech {
            speech.threshold = threshold;
        }
    }

    fn forget_speech(&mut self) {
        if let Some(speech) = &mut self.speech {
            speech.detector.reset();
        }
    }
}

impl Hop for Sound {
    const MODALITY: Modality = Modality::Audio;

    fn shape(&self) -> Shape {
        Shape {
            channels: 1,
            rate: log_mel::SAMPLE_RATE,
            hop: log_mel::HOP_SAMPLES,
            context: log_mel::CONTEXT_SAMPLES,
        }
    }

    fn source(&self) -> Source {
        let unknown = Source {
            sample: size_of::<f32>(),
            rate: log_mel::SAMPLE_RATE,
        };
        self.converter.as_ref().map_or(unknown, Converter::source)
    }

    fn read(&mut self, bytes: &[u8]) -> Result<Vec<f32>, Error> {
        let converter = self.converter.as_mut();
        converter.map_or_else(|| Ok(Vec::new()), |converter| converter.convert(bytes))
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
        if let Some(converter) = &mut self.converter {
            converter.reset();
        }
        self.forget_speech();
    }
}
