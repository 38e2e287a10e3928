//! The early layers of the vision encoder, by one camera alone or by several together.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ndarray::{Array2, Array3};
use ort::value::TensorRef;

use crate::config::{PreprocessorConfig, Size, files};
use crate::frame::Frame;
use crate::network::{Inputs, Network, Port, elements, failed};
use crate::preprocess::Preprocessor;
use crate::together::{Batching, Member, Together};
use crate::{Config, EncoderId, Error, Options, Provider, Result};

/// Channels, rows and columns of the features between probe and trunk.
pub(crate) const FEATURES: [usize; 3] = [24, 56, 56];
/// Channels of the grid that sparsity is measured on.
const GRID_CHANNELS: usize = 96;

/// What the probe sees in a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeOutput {
    /// Early features for [`Trunk::run`](crate::Trunk::run): 24 channels of 56 x 56.
    pub features: Array3<f32>,
    /// Early activations for each token position, row by row from the top left: 49 positions of 96 channels.
    pub grid: Array2<f32>,
}

/// The early layers of the vision encoder, with the preprocessing before them.
#[derive(Debug)]
pub struct Probe {
    early: Early,
    encoder: EncoderId,
    preprocessor: Preprocessor,
    pixels: Pixels,
}

/// A picture as the network takes it.
type Pixels = Vec<f32>;
/// The picture comes back with what was seen in it: its memory serves the next one.
type Seen = (Pixels, Result<ProbeOutput>);

#[derive(Debug)]
enum Early {
    Alone(EarlyLayers),
    Together(Arc<Shared>, Member<Pixels, Seen>),
}

impl Probe {
    /// Loads the probe in `folder`; `options` may be just a [`Provider`].
    ///
    /// # Errors
    /// [`Error::File`] if a file is missing, corrupt, or does not fit the others; [`Error::Provider`] if a provider
    /// asked for by name can't run it; [`Error::Runtime`] if ONNX Runtime can't be loaded.
    pub fn load(folder: &Path, options: impl Into<Options>) -> Result<Self> {
        let folder = Folder::read(folder)?;
        let early = EarlyLayers::load(&folder, options.into(), 1)?;
        Ok(folder.probe(Early::Alone(early)))
    }

    /// Loads the probe in `folder`, or takes part in one that this process loaded with all the same settings and still
    /// has: frames of several are then run together, up to `batching.most` of them; on a GPU, which stalls when a batch has
    /// another size than the last, black ones make up the rest. One that is the only one waits for
    /// nobody, and nobody waits for another for longer than `batching.wait`.
    ///
    /// # Errors
    /// As for [`load`](Self::load), and [`Error::File`] if the network takes one picture at a time.
    pub fn together(
        folder: &Path,
        options: impl Into<Options>,
        batching: Batching,
    ) -> Result<Self> {
        if batching.most <= 1 {
            return Self::load(folder, options);
        }
        let folder = Folder::read(folder)?;
        let shared = Shared::get(&folder, options.into(), batching)?;
        let member = shared.together.join();
        Ok(folder.probe(Early::Together(shared, member)))
    }

    /// The vision encoder that the probe is part of.
    pub fn encoder(&self) -> &EncoderId {
        &self.encoder
    }

    /// What runs it: never [`Provider::Auto`].
    pub fn provider(&self) -> Provider {
        match &self.early {
            Early::Alone(layers) => layers.network.provider(),
            Early::Together(shared, _) => shared.provider,
        }
    }

    /// How many probes, this one included, run on the network that this one runs on.
    pub fn sharing(&self) -> usize {
        match &self.early {
            Early::Alone(_) => 1,
            Early::Together(shared, _) => shared.together.members(),
        }
    }

    /// Looks at a frame.
    ///
    /// # Errors
    /// [`Error::Frame`] if the frame can't be resized, [`Error::Inference`] if the network fails.
    pub fn run(&mut self, frame: &Frame<'_>) -> Result<ProbeOutput> {
        self.preprocessor.run(frame, &mut self.pixels)?;
        match &mut self.early {
            Early::Alone(layers) => layers.run_one(&self.pixels),
            Early::Together(shared, member) => {
                let pixels = std::mem::take(&mut self.pixels);
                let size = pixels.len();
                let Some((pixels, seen)) = member.run(pixels) else {
                    self.pixels = vec![0.0; size];
                    return Err(failed(&shared.key.path, "the thread that runs it panicked"));
                };
                self.pixels = pixels;
                seen
            }
        }
    }
}

/// What is read of a model folder before the network.
struct Folder {
    path: PathBuf,
    config: Config,
    preprocessor: PreprocessorConfig,
}

impl Folder {
    fn read(path: &Path) -> Result<Self> {
        let config = Config::load(path)?;
        let preprocessor = PreprocessorConfig::load(path)?;
        config
            .vision_encoder
            .check(path, "vision_encoder", &[files::PROBE, files::TRUNK])?;
        Ok(Self {
            path: path.join(files::PROBE),
            config,
            preprocessor,
        })
    }

    fn probe(self, early: Early) -> Probe {
        let Size { height, width } = self.preprocessor.size;
        Probe {
            early,
            encoder: self.config.vision_encoder,
            preprocessor: Preprocessor::new(&self.preprocessor),
            pixels: vec![0.0; 3 * height as usize * width as usize],
        }
    }
}

/// A network that several run together.
#[derive(Debug)]
struct Shared {
    key: Key,
    together: Arc<Together<Pixels, Seen>>,
    provider: Provider,
}

/// What must be the same for a network to be shared.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    path: PathBuf,
    encoder: EncoderId,
    size: Size,
    options: Options,
    batching: Batching,
}

impl Shared {
    fn get(folder: &Folder, options: Options, batching: Batching) -> Result<Arc<Self>> {
        static SHARED: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

        let key = Key {
            path: folder.path.clone(),
            encoder: folder.config.vision_encoder.clone(),
            size: folder.preprocessor.size,
            options,
            batching,
        };
        // Held while it loads: those that start at once are to have one.
        let mut all = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|shared| shared.strong_count() > 0);
        let mut there = all.iter().filter_map(Weak::upgrade);
        if let Some(shared) = there.find(|shared| shared.key == key) {
            return Ok(shared);
        }
        let mut layers = EarlyLayers::load(folder, options, batching.most)?;
        let provider = layers.network.provider();
        let together = Together::start(batching, move |pixels| layers.run_all(pixels))
            .map_err(|error| failed(&key.path, format!("no thread can be started: {error}")))?;
        let shared = Arc::new(Self {
            key,
            together: Arc::new(together),
            provider,
        });
        all.push(Arc::downgrade(&shared));
        Ok(shared)
    }
}

/// The network.
#[derive(Debug)]
struct EarlyLayers {
    network: Network,
    size: Size,
    positions: usize,
    /// Pictures of a run at least: missing ones are black, and left out of what is seen.
    least: usize,
    /// Several pictures, one after another.
    pictures: Vec<f32>,
}

impl EarlyLayers {
    /// Opens it for up to `most` pictures at a time.
    fn load(folder: &Folder, options: Options, most: usize) -> Result<Self> {
        let (size, positions) = (folder.preprocessor.size, folder.config.image_tokens);
        let batch = if most > 1 { -1 } else { 1 };
        let Size { height, width } = size;
        let network = Network::load(
            &folder.path,
            options,
            &[Port::f32(
                "pixel_values",
                [batch, 3, i64::from(height), i64::from(width)],
            )],
            &[
                Port::f32("features", of_batch(batch, &FEATURES)),
                Port::f32("grid", of_batch(batch, &[positions, GRID_CHANNELS])),
            ],
        )?;
        // A GPU prepares its convolutions anew whenever a batch has another size than the last, which takes longer than
        // the largest batch does.
        let least = match network.provider() {
            Provider::Auto | Provider::Cpu => 1,
            Provider::Cuda | Provider::TensorRt => most.max(1),
        };
        let mut layers = Self {
            network,
            size,
            positions,
            least,
            pictures: Vec::new(),
        };
        // A network whose sizes are wrong fails here and not at the first frame.
        let black = vec![0.0; 3 * height as usize * width as usize];
        layers.run_one(&black).map_err(Error::at_load)?;
        if most > 1 {
            layers.run(&[&black, &black]).map_err(Error::at_load)?;
        }
        Ok(layers)
    }

    /// What is seen in each picture. If they fail together, only those are at fault that fail alone.
    fn run_all(&mut self, pictures: Vec<Pixels>) -> Vec<Seen> {
        let borrowed: Vec<&[f32]> = pictures.iter().map(Vec::as_slice).collect();
        match self.run(&borrowed) {
            Ok(seen) => pictures.into_iter().zip(seen.into_iter().map(Ok)).collect(),
            Err(error) if pictures.len() == 1 => pictures.into_iter().zip([Err(error)]).collect(),
            Err(error) => {
                tracing::warn!(
                    "{error}; its {} pictures are run one by one",
                    pictures.len()
                );
                let mut alone = |pixels: Pixels| {
                    let seen = self.run_one(&pixels);
                    (pixels, seen)
                };
                pictures.into_iter().map(&mut alone).collect()
            }
        }
    }

    fn run_one(&mut self, picture: &[f32]) -> Result<ProbeOutput> {
        let seen = self.run(&[picture])?.pop();
        seen.ok_or_else(|| failed(self.network.path(), "saw nothing"))
    }

    fn run(&mut self, pictures: &[&[f32]]) -> Result<Vec<ProbeOutput>> {
        let path = self.network.path().to_path_buf();
        let batch = pictures.len().max(self.least);
        let Size { height, width } = self.size;
        let shape = [batch, 3, height as usize, width as usize];
        let pixels = match pictures {
            [one] if batch == 1 => one,
            several => {
                self.pictures.clear();
                several
                    .iter()
                    .for_each(|one| self.pictures.extend_from_slice(one));
                self.pictures.resize(shape.iter().product(), 0.0);
                self.pictures.as_slice()
            }
        };
        let pixels = TensorRef::from_array_view((shape, pixels))
            .map_err(|error| failed(&path, error.to_string()))?;
        let inputs: Inputs<'_> = vec![(Cow::from("pixel_values"), pixels.into())];
        let outputs = self.network.run(inputs)?;
        let get = |name: &str, shape: &[usize]| {
            let value = outputs
                .get(name)
                .ok_or_else(|| failed(&path, format!("gave no `{name}`")))?;
            elements(&path, name, value, shape)
        };
        let [channels, rows, columns] = FEATURES;
        let features = get("features", &[batch, channels, rows, columns])?;
        let grids = get("grid", &[batch, self.positions, GRID_CHANNELS])?;
        let shaped = |error: ndarray::ShapeError| failed(&path, error.to_string());
        let size = channels * rows * columns;
        (features.chunks_exact(size))
            .zip(grids.chunks_exact(self.positions * GRID_CHANNELS))
            .take(pictures.len())
            .map(|(features, grid)| {
                Ok(ProbeOutput {
                    features: Array3::from_shape_vec(FEATURES, features.to_vec())
                        .map_err(shaped)?,
                    grid: Array2::from_shape_vec((self.positions, GRID_CHANNELS), grid.to_vec())
                        .map_err(shaped)?,
                })
            })
            .collect()
    }
}

/// A port's shape for a batch; -1: of any size.
pub(crate) fn of_batch(batch: i64, sizes: &[usize]) -> Vec<i64> {
    std::iter::once(batch)
        .chain(sizes.iter().map(|&size| size as i64))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_a_batch_up_is_left_out_of_what_is_seen() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let library = root.join(".cache/onnxruntime/libonnxruntime.so");
        crate::runtime::init(Some(&library)).unwrap();
        let folder = Folder::read(&root.join("testdata/models/msao-edge")).unwrap();
        let mut layers = EarlyLayers::load(&folder, Provider::Cpu.into(), 4).unwrap();
        let picture = |seed: usize| -> Pixels {
            (0..3 * 224 * 224)
                .map(|at| (at * seed % 97) as f32 / 50.0 - 1.0)
                .collect()
        };
        let pictures: Vec<Pixels> = (1..=3).map(picture).collect();
        let some: Vec<&[f32]> = pictures.iter().map(Vec::as_slice).collect();
        let alone = layers.run(&some).unwrap();
        assert_eq!(alone.len(), 3);
        layers.least = 4;
        assert_eq!(layers.run(&some).unwrap(), alone);
        assert_eq!(layers.run(&some[1..2]).unwrap(), alone[1..2]);
        assert_eq!(layers.pictures.len(), 4 * pictures[0].len());
    }
}
