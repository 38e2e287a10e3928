//! The vision encoder, in two networks so that nothing is computed twice: the probe, which every frame pays for, and
//! the trunk, from the probe's output, which only frames worth sending do.

use std::borrow::Cow;
use std::path::Path;

use ndarray::{Array2, Array3, Array4};
use ort::value::TensorRef;

use crate::config::{PreprocessorConfig, files};
use crate::frame::Frame;
use crate::network::{Inputs, Network, Port, elements, failed};
use crate::preprocess::Preprocessor;
use crate::{Config, EncoderId, Error, Options, Provider, Result};

/// Channels, rows and columns of the features between probe and trunk.
const FEATURES: [usize; 3] = [24, 56, 56];
/// Channels of the grid that sparsity is measured on.
const GRID_CHANNELS: usize = 96;

/// What the probe sees in a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeOutput {
    /// Early features for [`Trunk::run`]: 24 channels of 56 x 56.
    pub features: Array3<f32>,
    /// Early activations for each token position, row by row from the top left: 49 positions of 96 channels.
    pub grid: Array2<f32>,
}

/// The early layers of the vision encoder, with the preprocessing before them.
#[derive(Debug)]
pub struct Probe {
    network: Network,
    encoder: EncoderId,
    preprocessor: Preprocessor,
    pixels: Array4<f32>,
    positions: usize,
}

impl Probe {
    /// Loads the probe in `folder`; `options` may be just a [`Provider`].
    ///
    /// # Errors
    /// [`Error::File`] if a file is missing, corrupt, or does not fit the others; [`Error::Provider`] if a provider
    /// asked for by name can't run it; [`Error::Runtime`] if ONNX Runtime can't be loaded.
    pub fn load(folder: &Path, options: impl Into<Options>) -> Result<Self> {
        let config = Config::load(folder)?;
        let preprocessor = PreprocessorConfig::load(folder)?;
        config
            .vision_encoder
            .check(folder, "vision_encoder", &[files::PROBE, files::TRUNK])?;
        let (height, width) = (preprocessor.size.height, preprocessor.size.width);
        let network = Network::load(
            &folder.join(files::PROBE),
            options.into(),
            &[Port::f32(
                "pixel_values",
                [1, 3, i64::from(height), i64::from(width)],
            )],
            &[
                Port::f32("features", batch_of_one(&FEATURES)),
                Port::f32("grid", batch_of_one(&[config.image_tokens, GRID_CHANNELS])),
            ],
        )?;
        let mut probe = Self {
            network,
            encoder: config.vision_encoder,
            preprocessor: Preprocessor::new(&preprocessor),
            pixels: Array4::zeros((1, 3, height as usize, width as usize)),
            positions: config.image_tokens,
        };
        // A network whose sizes are wrong fails here and not at the first frame.
        probe.forward().map_err(Error::at_load)?;
        Ok(probe)
    }

    /// The vision encoder that the probe is part of.
    pub fn encoder(&self) -> &EncoderId {
        &self.encoder
    }

    /// What runs it: never [`Provider::Auto`].
    pub fn provider(&self) -> Provider {
        self.network.provider()
    }

    /// Looks at a frame.
    ///
    /// # Errors
    /// [`Error::Frame`] if the frame can't be resized, [`Error::Inference`] if the network fails.
    pub fn run(&mut self, frame: &Frame<'_>) -> Result<ProbeOutput> {
        self.preprocessor
            .run(frame, self.pixels.as_slice_mut().unwrap_or_default())?;
        self.forward()
    }

    fn forward(&mut self) -> Result<ProbeOutput> {
        let path = self.network.path().to_path_buf();
        let pixels = TensorRef::from_array_view(&self.pixels)
            .map_err(|error| failed(&path, error.to_string()))?;
        let inputs: Inputs<'_> = vec![(Cow::from("pixel_values"), pixels.into())];
        let outputs = self.network.run(inputs)?;
        let get = |name: &str, shape: &[usize]| {
            let value = outputs
                .get(name)
                .ok_or_else(|| failed(&path, format!("gave no `{name}`")))?;
            elements(&path, name, value, shape).map(<[f32]>::to_vec)
        };
        let [channels, rows, columns] = FEATURES;
        let features = get("features", &[1, channels, rows, columns])?;
        let grid = get("grid", &[1, self.positions, GRID_CHANNELS])?;
        let shaped = |error: ndarray::ShapeError| failed(&path, error.to_string());
        Ok(ProbeOutput {
            features: Array3::from_shape_vec(FEATURES, features).map_err(shaped)?,
            grid: Array2::from_shape_vec((self.positions, GRID_CHANNELS), grid).map_err(shaped)?,
        })
    }
}

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
    /// As for [`Probe::load`].
    pub fn load(folder: &Path, options: impl Into<Options>) -> Result<Self> {
        let config = Config::load(folder)?;
        config
            .vision_encoder
            .check(folder, "vision_encoder", &[files::PROBE, files::TRUNK])?;
        let (positions, width) = (config.image_tokens, config.image_token_size);
        let network = Network::load(
            &folder.join(files::TRUNK),
            options.into(),
            &[Port::f32("features", batch_of_one(&FEATURES))],
            &[Port::f32("image_tokens", batch_of_one(&[positions, width]))],
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

/// A port's shape for a batch of one.
fn batch_of_one(sizes: &[usize]) -> Vec<i64> {
    std::iter::once(1)
        .chain(sizes.iter().map(|&size| size as i64))
        .collect()
}
