//! Whether someone speaks: Silero VAD (Silero Team, MIT licence), version 5 of its ONNX model.

use std::borrow::Cow;
use std::path::Path;

use ort::value::{Tensor, TensorRef};

use crate::network::{Network, Port, elements, failed};
use crate::{Error, Options, Result};

/// Samples at 16 kHz that the network judges at once, and those before them that it is given again.
const PIECE: usize = 512;
const CONTEXT: usize = 64;
const STATE: [usize; 3] = [2, 1, 128];
const RATE: i64 = 16_000;

/// Follows one stream of sound and tells where someone speaks.
#[derive(Debug)]
pub struct SpeechDetector {
    network: Network,
    /// The context, and after it what has not been judged yet: less than a piece.
    waiting: Vec<f32>,
    state: Vec<f32>,
}

impl SpeechDetector {
    /// Loads `silero_vad.onnx`.
    ///
    /// # Errors
    /// As for [`Probe::load`](crate::Probe::load).
    pub fn load(path: &Path, options: impl Into<Options>) -> Result<Self> {
        let network = Network::load(
            path,
            options.into(),
            &[
                Port::f32("input", [-1, -1]),
                Port::f32("state", [2, -1, 128]),
                Port::scalar("sr"),
            ],
            &[
                Port::f32("output", [-1, 1]),
                Port::f32("stateN", [-1, -1, -1]),
            ],
        )?;
        let mut detector = Self {
            network,
            waiting: Vec::new(),
            state: Vec::new(),
        };
        detector.reset();
        detector.push(&[0.0; PIECE]).map_err(Error::at_load)?;
        detector.reset();
        Ok(detector)
    }

    /// Forgets what was heard.
    pub fn reset(&mut self) {
        self.waiting = vec![0.0; CONTEXT];
        self.state = vec![0.0; STATE.iter().product()];
    }

    /// Hears on: samples at 16 kHz in \[-1, 1\]. Returns the greatest probability of speech, in \[0, 1\], among the pieces of
    /// 32 ms that these complete; `None` if they complete none. Samples that are not finite are heard as silence.
    ///
    /// # Errors
    /// [`Error::Inference`] if the network fails.
    pub fn push(&mut self, samples: &[f32]) -> Result<Option<f32>> {
        let finite = samples.iter().map(|s| if s.is_finite() { *s } else { 0.0 });
        self.waiting.extend(finite);
        let mut greatest: Option<f32> = None;
        while self.waiting.len() >= CONTEXT + PIECE {
            let probability = self.judge()?;
            greatest = Some(greatest.map_or(probability, |so_far| so_far.max(probability)));
            self.waiting.drain(..PIECE);
        }
        Ok(greatest)
    }

    fn judge(&mut self) -> Result<f32> {
        let path = self.network.path().to_path_buf();
        let bad = |error: ort::Error| failed(&path, error.to_string());
        let piece = &self.waiting[..CONTEXT + PIECE];
        let rate = Tensor::from_array(([0_usize; 0], vec![RATE])).map_err(bad)?;
        let outputs = self.network.run(vec![
            (
                Cow::from("input"),
                TensorRef::from_array_view(([1, piece.len()], piece))
                    .map_err(bad)?
                    .into(),
            ),
            (
                Cow::from("state"),
                TensorRef::from_array_view((STATE, &self.state[..]))
                    .map_err(bad)?
                    .into(),
            ),
            (Cow::from("sr"), rate.into()),
        ])?;
        let get = |name: &str, shape: &[usize]| {
            let value = outputs
                .get(name)
                .ok_or_else(|| failed(&path, format!("gave no `{name}`")))?;
            elements(&path, name, value, shape).map(<[f32]>::to_vec)
        };
        let probability = get("output", &[1, 1])?[0];
        let state = get("stateN", &STATE)?;
        drop(outputs);
        self.state = state;
        Ok(probability.clamp(0.0, 1.0))
    }
}
