//! The JSON files of a model folder, read and checked, and the identity of its vision encoder.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::RESTORE;
use crate::{Error, Result};

/// File names in a model folder.
pub mod files {
    /// Sizes and token ids: [`Config`](super::Config).
    pub const CONFIG: &str = "config.json";
    /// Resizing and normalisation: [`PreprocessorConfig`](super::PreprocessorConfig).
    pub const PREPROCESSOR: &str = "preprocessor_config.json";
    /// The tokenizer, in the format of the `tokenizers` library.
    pub const TOKENIZER: &str = "tokenizer.json";
    /// Picture to early features.
    pub const PROBE: &str = "vision_probe.onnx";
    /// Early features to image tokens.
    pub const TRUNK: &str = "vision_trunk.onnx";
    /// Image tokens to the language model's embeddings.
    pub const PROJECTOR: &str = "vision_projector.onnx";
    /// A hop of sound to audio tokens.
    pub const AUDIO: &str = "audio_encoder.onnx";
    /// Audio tokens to the language model's embeddings.
    pub const AUDIO_PROJECTOR: &str = "audio_projector.onnx";
    /// A hop of sensor samples to sensor tokens.
    pub const SENSOR: &str = "sensor_encoder.onnx";
    /// Sensor tokens to the language model's embeddings.
    pub const SENSOR_PROJECTOR: &str = "sensor_projector.onnx";
    /// Token ids to embeddings.
    pub const EMBED: &str = "embed_tokens.onnx";
    /// Embeddings and KV cache to logits and KV cache.
    pub const DECODER: &str = "decoder_model_merged.onnx";
}

/// `config.json` of a model folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Architecture: `msao`.
    pub model_type: String,
    /// Name and version of the model, as reported with captions.
    pub name: String,
    /// Width d of the language model's embeddings.
    pub hidden_size: usize,
    /// Decoder layers, each with one key and one value cache.
    pub num_hidden_layers: usize,
    /// Heads in the KV cache.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Number of token ids: valid ids are below it.
    pub vocab_size: usize,
    /// Padding; never produced.
    pub pad_token_id: u32,
    /// `<s>`: stands between the image and the prompt.
    pub bos_token_id: u32,
    /// `</s>`: ends a caption.
    pub eos_token_id: u32,
    /// `<a>`: stands between the prompt and the caption.
    pub answer_token_id: u32,
    /// A caption is cut after this many tokens.
    pub max_caption_tokens: usize,
    /// Token positions of a picture.
    pub image_tokens: usize,
    /// Width of an image token.
    pub image_token_size: usize,
    /// Token ids that are never produced: their logits are masked in every softmax and argmax.
    #[serde(default)]
    pub suppress_tokens: Vec<u32>,
    /// The prompt that the model was trained with, and that is taken when nothing else is asked.
    pub default_prompt: String,
    /// The vision encoder whose image tokens the model reads.
    pub vision_encoder: EncoderId,
    /// The audio encoder whose tokens the model reads; none if it does not hear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_encoder: Option<HopEncoder>,
    /// The sensor encoder whose tokens the model reads; none if it does not feel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor_encoder: Option<HopEncoder>,
    /// Calibrated factor for [`Agreement::Margin`](crate::Agreement::Margin); only in models that verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement_margin: Option<f32>,
    /// How near in logits two tokens may be for one batched pass not to settle which is best: see
    /// [`verify`](crate::verify).
    #[serde(default = "default_tie_tolerance")]
    pub tie_tolerance: f32,
}

fn default_tie_tolerance() -> f32 {
    1e-3
}

impl Config {
    /// Reads and checks `config.json` in `folder`.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing, is not JSON, lacks a key, or its values contradict each other.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(files::CONFIG);
        let config: Self = read_json(&path)?;
        match config.problem() {
            Some(problem) => Err(Error::broken(&path, problem)),
            None => Ok(config),
        }
    }

    fn problem(&self) -> Option<String> {
        if self.model_type != "msao" {
            return Some(format!(
                "model_type is `{}`, expected `msao`",
                self.model_type
            ));
        }
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("max_caption_tokens", self.max_caption_tokens),
            ("image_tokens", self.image_tokens),
            ("image_token_size", self.image_token_size),
        ];
        if let Some((key, size)) = sizes.iter().find(|(_, size)| !(1..=1 << 20).contains(size)) {
            return Some(format!("{key} is {size}, expected 1 to {}", 1 << 20));
        }
        let hops = [
            ("audio_encoder", &self.audio_encoder),
            ("sensor_encoder", &self.sensor_encoder),
        ];
        for (key, encoder) in hops {
            if let Some(problem) = encoder.as_ref().and_then(HopEncoder::problem) {
                return Some(format!("{key}.{problem}"));
            }
        }
        if (self.sensor_encoder.as_ref()).is_some_and(|e| e.channels.is_empty() || e.rate.is_none())
        {
            return Some("sensor_encoder lacks channels or rate".into());
        }
        let named = [
            ("pad_token_id", self.pad_token_id),
            ("bos_token_id", self.bos_token_id),
            ("eos_token_id", self.eos_token_id),
            ("answer_token_id", self.answer_token_id),
        ];
        let suppressed = self
            .suppress_tokens
            .iter()
            .map(|&id| ("suppress_tokens", id));
        if let Some((key, id)) =
            (named.into_iter().chain(suppressed)).find(|&(_, id)| id as usize >= self.vocab_size)
        {
            let size = self.vocab_size;
            return Some(format!(
                "{key} holds {id}, but the vocabulary ends at {size}"
            ));
        }
        if self.suppress_tokens.contains(&self.eos_token_id) {
            return Some("suppress_tokens holds eos_token_id: captions would not end".into());
        }
        if (self.agreement_margin).is_some_and(|margin| !(margin > 0.0 && margin <= 1.0)) {
            return Some("agreement_margin is not above 0 and at most 1".into());
        }
        if !(self.tie_tolerance >= 0.0 && self.tie_tolerance.is_finite()) {
            return Some("tie_tolerance is not 0 or more".into());
        }
        None
    }
}

/// An encoder of hops, half seconds of sound or of sensor samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HopEncoder {
    /// Its identity. The hash is that of its one ONNX file.
    #[serde(flatten)]
    pub encoder: EncoderId,
    /// Token positions of a hop.
    pub tokens: usize,
    /// Columns of those positions, row by row: quarters of time, or halves.
    pub columns: usize,
    /// Most hops of a window that the model reads.
    pub hops: usize,
    /// Names of the sensor channels, in order; none for sound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Sensor samples a second; none for sound, which has [`SAMPLE_RATE`](crate::log_mel::SAMPLE_RATE).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
}

impl HopEncoder {
    fn problem(&self) -> Option<String> {
        let sizes = [
            ("tokens", self.tokens),
            ("columns", self.columns),
            ("hops", self.hops),
        ];
        if let Some((key, size)) = sizes.iter().find(|(_, size)| !(1..=1 << 12).contains(size)) {
            return Some(format!("{key} is {size}, expected 1 to {}", 1 << 12));
        }
        if !self.tokens.is_multiple_of(self.columns) {
            return Some(format!(
                "tokens is {}, no multiple of columns, {}",
                self.tokens, self.columns
            ));
        }
        None
    }
}

/// Names an encoder: features and image tokens may be mixed only within one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EncoderId {
    /// Name and version.
    pub id: String,
    /// SHA-256, in lowercase hex, of the bytes of its files: for vision `vision_probe.onnx` followed by
    /// `vision_trunk.onnx`.
    pub sha256: String,
}

impl EncoderId {
    /// Hashes the encoder's `names` in `folder` and compares with what its `config.json` says under `key`.
    ///
    /// # Errors
    /// [`Error::File`] if one is missing or they are not the ones that `config.json` names.
    pub(crate) fn check(&self, folder: &Path, key: &str, names: &[&str]) -> Result<()> {
        let mut hash = Sha256::new();
        for name in names {
            hash.update(read(&folder.join(name))?);
        }
        let found: String = (hash.finalize().iter())
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if found == self.sha256 {
            return Ok(());
        }
        let problem = format!(
            "{key}.sha256 is {}, but {} hash to {found}",
            self.sha256,
            names.join(" and ")
        );
        Err(Error::broken(&folder.join(files::CONFIG), problem))
    }
}

/// `preprocessor_config.json` of a model folder, in Hugging Face's terms.
///
/// The whole frame is resized to `size` without keeping its aspect, values are scaled by `rescale_factor`, then
/// normalised by mean and standard deviation of each of R, G and B.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreprocessorConfig {
    /// Must be true.
    pub do_resize: bool,
    /// Size of the network's picture.
    pub size: Size,
    /// Filter, as Pillow numbers them; must be 2, bilinear (a triangle as wide as the scale when shrinking).
    pub resample: u32,
    /// Must be true.
    pub do_rescale: bool,
    /// Factor from 0..255 to the range of mean and deviation: 1/255.
    pub rescale_factor: f32,
    /// Must be true.
    pub do_normalize: bool,
    /// Mean of R, G and B.
    pub image_mean: [f32; 3],
    /// Standard deviation of R, G and B.
    pub image_std: [f32; 3],
}

/// A picture's size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

impl PreprocessorConfig {
    /// Reads and checks `preprocessor_config.json` in `folder`.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing, is not JSON, lacks a key, or asks for what this crate does not do.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(files::PREPROCESSOR);
        let config: Self = read_json(&path)?;
        match config.problem() {
            Some(problem) => Err(Error::broken(&path, problem)),
            None => Ok(config),
        }
    }

    fn problem(&self) -> Option<&'static str> {
        let sizes = 1..=4096;
        if !(self.do_resize && self.do_rescale && self.do_normalize) {
            Some("do_resize, do_rescale and do_normalize must all be true")
        } else if self.resample != 2 {
            Some("resample must be 2 (bilinear)")
        } else if !(sizes.contains(&self.size.height) && sizes.contains(&self.size.width)) {
            Some("size must be 1 to 4096 each way")
        } else if !(self.rescale_factor > 0.0 && self.rescale_factor.is_finite()) {
            Some("rescale_factor must be above 0")
        } else if !self
            .image_std
            .iter()
            .all(|&std| std > 0.0 && std.is_finite())
        {
            Some("image_std must be above 0")
        } else if !self.image_mean.iter().all(|mean| mean.is_finite()) {
            Some("image_mean must be finite")
        } else {
            None
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::broken(path, format!("cannot be read: {error}")))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?)
        .map_err(|error| Error::file(path, format!("is not as expected: {error}"), RESTORE))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config() -> Value {
        json!({
            "model_type": "msao", "name": "m", "hidden_size": 8, "num_hidden_layers": 1,
            "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 16, "pad_token_id": 0,
            "bos_token_id": 1, "eos_token_id": 2, "answer_token_id": 3, "max_caption_tokens": 4,
            "image_tokens": 49, "image_token_size": 8, "suppress_tokens": [0, 1, 3],
            "default_prompt": "describe", "vision_encoder": {"id": "e", "sha256": "00"},
            "an unknown key": true
        })
    }

    fn load(config: &Value) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(files::CONFIG), config.to_string()).unwrap();
        Config::load(folder.path())
    }

    #[test]
    fn defaults_and_unknown_keys() {
        let config = load(&config()).unwrap();
        assert_eq!(config.agreement_margin, None);
        assert_eq!(config.tie_tolerance, 1e-3);
    }

    #[test]
    fn every_needed_key_is_named_when_missing() {
        let keys = [
            "model_type",
            "name",
            "hidden_size",
            "num_hidden_layers",
            "num_key_value_heads",
            "head_dim",
            "vocab_size",
            "pad_token_id",
            "bos_token_id",
            "eos_token_id",
            "answer_token_id",
            "max_caption_tokens",
            "image_tokens",
            "image_token_size",
            "default_prompt",
            "vision_encoder",
        ];
        for key in keys {
            let mut config = config();
            config.as_object_mut().unwrap().remove(key);
            let error = load(&config).unwrap_err().to_string();
            assert!(
                error.contains(key) && error.contains("config.json"),
                "{error}"
            );
        }
    }

    #[test]
    fn contradictions_are_named() {
        for (key, value) in [
            ("model_type", json!("llama")),
            ("hidden_size", json!(0)),
            ("eos_token_id", json!(16)),
            ("suppress_tokens", json!([99])),
            ("suppress_tokens", json!([2])),
            ("agreement_margin", json!(1.5)),
            ("tie_tolerance", json!(-1.0)),
        ] {
            let mut config = config();
            config[key] = value;
            let error = load(&config).unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
    }

    #[test]
    fn the_encoder_is_the_one_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(files::PROBE), "a").unwrap();
        fs::write(folder.path().join(files::TRUNK), "bc").unwrap();
        let mut id = EncoderId {
            id: "e".into(),
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".into(),
        };
        id.check(
            folder.path(),
            "vision_encoder",
            &[files::PROBE, files::TRUNK],
        )
        .unwrap();
        id.sha256 = "00".into();
        let error = id
            .check(
                folder.path(),
                "vision_encoder",
                &[files::PROBE, files::TRUNK],
            )
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("ba7816bf") && error.contains("config.json"),
            "{error}"
        );
        fs::remove_file(folder.path().join(files::TRUNK)).unwrap();
        let error = id
            .check(
                folder.path(),
                "vision_encoder",
                &[files::PROBE, files::TRUNK],
            )
            .unwrap_err()
            .to_string();
        assert!(error.contains(files::TRUNK), "{error}");
    }
}
