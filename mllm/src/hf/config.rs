//! What the JSON files of an export say. They are others', so keys that are not needed are left alone.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::resample::Filter;
use crate::config::{MOST_JSON, excerpt, files, parse_json, read};
use crate::{Error, Result};

const GENERATION: &str = "generation_config.json";
const PROCESSOR: &str = "processor_config.json";

/// Longest side of a tile, and of a picture that is cut into tiles.
const MOST_SIDE: usize = 4096;
/// Most pixels of a picture that is read whole, and tokens of a tile.
const MOST_PIXELS: usize = 1 << 24;
const MOST_TOKENS: usize = 1 << 14;

/// The architecture of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Idefics3, and SmolVLM, which is the same: `model_type` is `idefics3` or `smolvlm`.
    Smolvlm,
    /// Qwen2-VL: `model_type` is `qwen2_vl`.
    Qwen2Vl,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smolvlm => "SmolVLM",
            Self::Qwen2Vl => "Qwen2-VL",
        })
    }
}

impl Architecture {
    fn named(model_type: &str) -> Option<Self> {
        match model_type {
            "idefics3" | "smolvlm" => Some(Self::Smolvlm),
            "qwen2_vl" => Some(Self::Qwen2Vl),
            _ => None,
        }
    }
}

/// Whether the `config.json` in `folder` is of a model that [`ChatModel`](super::ChatModel) loads. If there is none, or it
/// can't be read, it is not.
pub fn is_known(folder: &Path) -> bool {
    #[derive(Deserialize)]
    struct TypeFile {
        model_type: String,
    }
    let file: Result<TypeFile> = json(&folder.join(files::CONFIG));
    file.is_ok_and(|file| Architecture::named(&file.model_type).is_some())
}

/// What is read of `config.json` and `generation_config.json`.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub architecture: Architecture,
    /// Stands for one embedding of a picture.
    pub image_token: u32,
    /// Any of them ends an answer.
    pub ends: Vec<u32>,
    /// Never produced.
    pub suppressed: Vec<u32>,
    /// Most tokens of prompt and answer together.
    pub longest: usize,
}

#[derive(Deserialize)]
struct ConfigFile {
    model_type: String,
    #[serde(alias = "image_token_index")]
    image_token_id: Option<u32>,
    eos_token_id: Option<Ids>,
    max_position_embeddings: Option<usize>,
    text_config: Option<TextFile>,
}

#[derive(Deserialize, Default)]
struct TextFile {
    eos_token_id: Option<Ids>,
    max_position_embeddings: Option<usize>,
}

#[derive(Deserialize, Default)]
struct GenerationFile {
    eos_token_id: Option<Ids>,
    #[serde(default)]
    suppress_tokens: Option<Vec<u32>>,
    #[serde(default)]
    bad_words_ids: Option<Vec<Vec<u32>>>,
}

/// One id or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Several(Vec<u32>),
}

impl From<Ids> for Vec<u32> {
    fn from(ids: Ids) -> Self {
        match ids {
            Ids::One(id) => vec![id],
            Ids::Several(ids) => ids,
        }
    }
}

impl Model {
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(files::CONFIG);
        let config: ConfigFile = json(&path)?;
        let Some(architecture) = Architecture::named(&config.model_type) else {
            let problem = format!("model_type is `{}`", excerpt(&config.model_type));
            let mend = "models of type idefics3, smolvlm and qwen2_vl can be loaded";
            return Err(Error::file(&path, problem, mend));
        };
        let image_token = (config.image_token_id)
            .ok_or_else(|| Error::broken(&path, "says no image_token_id"))?;
        let text = config.text_config.unwrap_or_default();
        let longest = text.max_position_embeddings;
        let longest = longest.or(config.max_position_embeddings);
        let longest = longest.unwrap_or(1 << 13).clamp(1, 1 << 20);

        let generation: GenerationFile = optional(&folder.join(GENERATION))?.unwrap_or_default();
        let ends = (generation.eos_token_id)
            .or(config.eos_token_id)
            .or(text.eos_token_id)
            .map(Vec::from)
            .filter(|ends| !ends.is_empty())
            .ok_or_else(|| Error::broken(&folder.join(GENERATION), "says no eos_token_id"))?;
        let words = generation.bad_words_ids.unwrap_or_default();
        let mut suppressed = generation.suppress_tokens.unwrap_or_default();
        suppressed.extend(words.iter().filter(|ids| ids.len() == 1).flatten());
        suppressed.retain(|id| !ends.contains(id));
        Ok(Self {
            architecture,
            image_token,
            ends,
            suppressed,
            longest,
        })
    }
}

/// `preprocessor_config.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Pixels {
    #[serde(default = "yes")]
    do_resize: bool,
    #[serde(default = "yes")]
    do_rescale: bool,
    #[serde(default = "yes")]
    do_normalize: bool,
    resample: Option<u32>,
    #[serde(default = "of_bytes")]
    rescale_factor: f64,
    image_mean: [f32; 3],
    image_std: [f32; 3],
    size: Option<Edges>,
    max_image_size: Option<Edges>,
    #[serde(default = "yes")]
    pub do_image_splitting: bool,
    min_pixels: Option<usize>,
    max_pixels: Option<usize>,
    patch_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    merge_size: Option<usize>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Edges {
    longest_edge: Option<usize>,
    shortest_edge: Option<usize>,
}

fn yes() -> bool {
    true
}

fn of_bytes() -> f64 {
    1.0 / 255.0
}

/// Sizes of Idefics3's tiles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TileSizes {
    /// The longer side of a picture is resized to this.
    pub longest: usize,
    /// Side of a tile.
    pub tile: usize,
    /// Embeddings of a tile.
    pub tokens: usize,
}

/// Sizes of Qwen2-VL's patches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PatchSizes {
    pub patch: usize,
    /// Patches of one place that are looked at together, of consecutive pictures.
    pub temporal: usize,
    /// So many patches each way make an embedding.
    pub merge: usize,
    pub least_pixels: usize,
    pub most_pixels: usize,
}

impl Pixels {
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(files::PREPROCESSOR);
        let config: Self = json(&path)?;
        let problem = if !(config.do_resize && config.do_rescale && config.do_normalize) {
            "do_resize, do_rescale and do_normalize must all be true"
        } else if config
            .resample
            .is_some_and(|n| Filter::numbered(n).is_none())
        {
            "resample must be 1 (Lanczos), 2 (bilinear) or 3 (bicubic)"
        } else if !(config.rescale_factor > 0.0 && config.rescale_factor.is_finite()) {
            "rescale_factor must be above 0"
        } else if !config
            .image_std
            .iter()
            .all(|&std| std > 0.0 && std.is_finite())
        {
            "image_std must be above 0"
        } else if !config.image_mean.iter().all(|mean| mean.is_finite()) {
            "image_mean must be finite"
        } else {
            return Ok(config);
        };
        Err(Error::broken(&path, problem))
    }

    pub(crate) fn filter(&self, otherwise: Filter) -> Filter {
        self.resample
            .and_then(Filter::numbered)
            .unwrap_or(otherwise)
    }

    /// What each byte of R, G and B becomes.
    pub(crate) fn normalised(&self) -> [Vec<f32>; 3] {
        std::array::from_fn(|channel| {
            let (mean, std) = (self.image_mean[channel], self.image_std[channel]);
            let rescaled = (0..=255).map(|byte| (f64::from(byte) * self.rescale_factor) as f32);
            rescaled.map(|value| (value - mean) / std).collect()
        })
    }

    pub(crate) fn tiles(&self, folder: &Path) -> Result<TileSizes> {
        #[derive(Deserialize)]
        struct ProcessorFile {
            image_seq_len: usize,
        }
        let path = folder.join(files::PREPROCESSOR);
        let edge = |edges: Option<Edges>, key: &str| {
            let edge = edges.and_then(|edges| edges.longest_edge);
            within(&path, &format!("{key}.longest_edge"), edge, MOST_SIDE)
        };
        let (longest, tile) = (
            edge(self.size, "size")?,
            edge(self.max_image_size, "max_image_size")?,
        );
        let path = folder.join(PROCESSOR);
        let file: ProcessorFile = json(&path)?;
        let tokens = Some(file.image_seq_len);
        Ok(TileSizes {
            longest,
            tile,
            tokens: within(&path, "image_seq_len", tokens, MOST_TOKENS)?,
        })
    }

    pub(crate) fn patches(&self, folder: &Path) -> Result<PatchSizes> {
        let path = folder.join(files::PREPROCESSOR);
        let shortest = self.size.and_then(|size| size.shortest_edge);
        let longest = self.size.and_then(|size| size.longest_edge);
        let least_pixels = self.min_pixels.or(shortest);
        let most_pixels = self.max_pixels.or(longest);
        let sizes = PatchSizes {
            patch: within(&path, "patch_size", self.patch_size, 256)?,
            temporal: within(&path, "temporal_patch_size", self.temporal_patch_size, 16)?,
            merge: within(&path, "merge_size", self.merge_size, 16)?,
            least_pixels: within(&path, "min_pixels", least_pixels, MOST_PIXELS)?,
            most_pixels: within(&path, "max_pixels", most_pixels, MOST_PIXELS)?,
        };
        if sizes.least_pixels > sizes.most_pixels {
            return Err(Error::broken(&path, "min_pixels is above max_pixels"));
        }
        Ok(sizes)
    }
}

/// A size that must be there, from 1 to `most`.
fn within(path: &Path, key: &str, size: Option<usize>, most: usize) -> Result<usize> {
    match size {
        Some(size) if (1..=most).contains(&size) => Ok(size),
        Some(size) => {
            let problem = format!("{key} is {size}, expected 1 to {most}");
            Err(Error::broken(path, problem))
        }
        None => Err(Error::broken(path, format!("says no {key}"))),
    }
}

pub(crate) fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    parse_json(path, &read(path, MOST_JSON)?)
}

/// As [`json`], of a file that need not be there.
pub(crate) fn optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    path.exists().then(|| json(path)).transpose()
}
