//! Encoders of hops: half a second of sound, or of sensor samples, to its tokens.

use std::borrow::Cow;
use std::path::Path;

use ndarray::{Array2, ArrayView2};
use ort::value::TensorRef;

use crate::config::files;
use crate::log_mel::{BANDS, FRAMES};
use crate::network::{Network, Port, elements, failed};
use crate::tokens::Modality;
use crate::{Config, EncoderId, Error, HopEncoder, Options, Provider, Result};

/// Hops a second.
const HOPS_A_SECOND: u32 = 2;

/// What an encoder sees in a hop.
#[derive(Debug, Clone, PartialEq)]
pub struct HopOutput {
    /// Early activations that sparsity is measured on: one row a position.
    pub grid: Array2<f32>,
    /// Tokens: one row a position, [`Config::image_token_size`] wide.
    pub tokens: Array2<f32>,
}

/// The encoder of hops of one modality.
#[derive(Debug)]
pub struct HopNetwork {
    network: Network,
    about: HopEncoder,
    input: &'static str,
    output: String,
    shape: [usize; 2],
    width: usize,
}

impl HopNetwork {
    /// Loads the audio encoder in `folder`. Its input is [`LogMel`](crate::LogMel) `[50, 64]`.
    ///
    /// # Errors
    /// [`Error::Unread`] if the folder's model does not hear; else as for [`Probe::load`](crate::Probe::load).
    pub fn audio(folder: &Path, options: impl Into<Options>) -> Result<Self> {
        Self::load(folder, Modality::Audio, options.into())
    }

    /// Loads the sensor encoder in `folder`. Its input is `[channels, samples]`, half a second at
    /// [`HopEncoder::rate`] of [`HopEncoder::channels`] in m/s², rad/s and m/s.
    ///
    /// # Errors
    /// [`Error::Unread`] if the folder's model does not feel; else as for [`Probe::load`](crate::Probe::load).
    pub fn sensor(folder: &Path, options: impl Into<Options>) -> Result<Self> {
        Self::load(folder, Modality::Sensor, options.into())
    }

    fn load(folder: &Path, modality: Modality, options: Options) -> Result<Self> {
        let config = Config::load(folder)?;
        let (about, file, input, key) = match modality {
            Modality::Audio => (
                config.audio_encoder,
                files::AUDIO,
                "log_mel",
                "audio_encoder",
            ),
            _ => (
                config.sensor_encoder,
                files::SENSOR,
                "samples",
                "sensor_encoder",
            ),
        };
        let about = about.ok_or(Error::Unread {
            modality,
            model: config.name,
        })?;
        about.encoder.check(folder, key, &[file])?;
        let shape = match about.rate {
            Some(rate) => [about.channels.len(), (rate / HOPS_A_SECOND) as usize],
            None => [FRAMES, BANDS],
        };
        let output = format!("{modality}_tokens");
        let (tokens, width) = (about.tokens as i64, config.image_token_size);
        let network = Network::load(
            &folder.join(file),
            options,
            &[Port::f32(input, [1, shape[0] as i64, shape[1] as i64])],
            // The grid may have any number of channels: the first run tells.
            &[Port::f32(&output, [1, tokens, width as i64])],
        )?;
        let mut encoder = Self {
            network,
            about,
            input,
            output,
            shape,
            width,
        };
        encoder
            .run(Array2::zeros(shape).view())
            .map_err(Error::at_load)?;
        Ok(encoder)
    }

    /// Its identity, its tokens, and for sensors its channels and rate.
    pub fn about(&self) -> &HopEncoder {
        &self.about
    }

    /// The encoder's identity.
    pub fn encoder(&self) -> &EncoderId {
        &self.about.encoder
    }

    /// What runs it: never [`Provider::Auto`].
    pub fn provider(&self) -> Provider {
        self.network.provider()
    }

    /// Rows and columns of the input.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Encodes a hop. Values that are not finite give features that are not finite.
    ///
    /// # Errors
    /// [`Error::Tokens`] if the hop is not of [`Self::shape`], [`Error::Inference`] if the network fails.
    pub fn run(&mut self, hop: ArrayView2<'_, f32>) -> Result<HopOutput> {
        if hop.shape() != self.shape {
            return Err(Error::Tokens(format!(
                "a hop is {:?}, expected {:?}",
                hop.shape(),
                self.shape
            )));
        }
        let path = self.network.path().to_path_buf();
        let bad = |reason: String| failed(&path, reason);
        let hop = hop.as_standard_layout();
        let shape = [1, self.shape[0], self.shape[1]];
        let input = TensorRef::from_array_view((shape, hop.as_slice().unwrap_or_default()))
            .map_err(|error| bad(error.to_string()))?;
        let outputs = self
            .network
            .run(vec![(Cow::from(self.input), input.into())])?;
        let grid = outputs
            .get("grid")
            .ok_or_else(|| bad("gave no `grid`".into()))?;
        let (given, values) =
            (grid.try_extract_tensor::<f32>()).map_err(|error| bad(error.to_string()))?;
        let (positions, channels) = (self.about.tokens, values.len() / self.about.tokens);
        if **given != [1, positions as i64, channels as i64] {
            return Err(bad(format!(
                "output `grid` has shape {given:?} for {positions} positions"
            )));
        }
        let shaped = |error: ndarray::ShapeError| bad(error.to_string());
        let grid =
            Array2::from_shape_vec((positions, channels), values.to_vec()).map_err(shaped)?;
        let tokens =
            (outputs.get(&self.output)).ok_or_else(|| bad(format!("gave no `{}`", self.output)))?;
        let tokens = elements(&path, &self.output, tokens, &[1, positions, self.width])?;
        let tokens =
            Array2::from_shape_vec((positions, self.width), tokens.to_vec()).map_err(shaped)?;
        Ok(HopOutput { grid, tokens })
    }
}
