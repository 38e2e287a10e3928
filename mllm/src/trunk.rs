//! The rest of the vision encoder: what only frames worth sending pay for, from the probe's output.

use std::borrow::Cow;
use std::path::Path;

use ndarray::{Array2, Array3};
use ort::value::TensorRef;

use crate::config::files;
use crate::network::{Inputs, Network, Port, elements, failed};
use crate::probe::{FEATURES, of_batch};
use crate::{Config, EncoderId, Error, Options, Provider, Result};

/// The rest of the vision encoder.
#[derive(Debug)]
pub struct Trunk {
    network: Network,
    encoder: EncoderId,
    positions: usize,
    width: usize,
}

impl Trunk {
    /// Loads the trunk in `folder`; `options` may be just a [`Provider`].
    ///
    /// # Errors
    /// As for [`Probe::load`](crate::Probe::load).
    pub fn load(folder: &Path, options: impl Into<Options>) -> Result<Self> {
        let config = Config::load(folder)?;
        config
            .vision_encoder
            .check(folder, "vision_encoder", &[files::PROBE, files::TRUNK])?;
        let (positions, width) = (config.image_tokens, config.image_token_size);
        let network = Network::load(
            &folder.join(files::TRUNK),
            options.into(),
            &[Port::f32("features", of_batch(1, &FEATURES))],
            &[Port::f32("image_tokens", of_batch(1, &[positions, width]))],
        )?;
        let mut trunk = Self {
            network,
            encoder: config.vision_encoder,
            positions,
            width,
        };
        trunk
            .run(&Array3::zeros(FEATURES))
            .map_err(Error::at_load)?;
        Ok(trunk)
    }

    /// The vision encoder that the trunk is part of: features from another's probe mean nothing to it.
    pub fn encoder(&self) -> &EncoderId {
        &self.encoder
    }

    /// What runs it: never [`Provider::Auto`].
    pub fn provider(&self) -> Provider {
        self.network.provider()
    }

    /// All image tokens of a frame, one row for each of the 49 positions, from the probe's features.
    ///
    /// # Errors
    /// [`Error::Tokens`] if the features have another size, [`Error::Inference`] if the network fails.
    pub fn run(&mut self, features: &Array3<f32>) -> Result<Array2<f32>> {
        if features.shape() != FEATURES {
            let shape = features.shape();
            return Err(Error::Tokens(format!(
                "features are {shape:?}, expected {FEATURES:?}"
            )));
        }
        let path = self.network.path();
        let features = features.as_standard_layout();
        let [channels, rows, columns] = FEATURES;
        let shape = [1, channels, rows, columns];
        let input = TensorRef::from_array_view((shape, features.as_slice().unwrap_or_default()))
            .map_err(|error| failed(path, error.to_string()))?;
        let inputs: Inputs<'_> = vec![(Cow::from("features"), input.into())];
        let value = self.network.run_for(inputs, "image_tokens")?;
        let path = self.network.path();
        let tokens = elements(
            path,
            "image_tokens",
            &value,
            &[1, self.positions, self.width],
        )?;
        Array2::from_shape_vec((self.positions, self.width), tokens.to_vec())
            .map_err(|error| failed(path, error.to_string()))
    }
}
