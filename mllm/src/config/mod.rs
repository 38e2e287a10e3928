//! The JSON files of a model folder, read and checked, and the identity of its vision encoder.

mod encoder;
mod json;
mod preprocessor;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
pub use encoder::{EncoderId, HopEncoder};
use json::parse_checked;
pub(crate) use json::{MOST_JSON, excerpt, parse_json, read, tokenizer};
pub use preprocessor::{PreprocessorConfig, Size};

/// Longest name, in bytes, as on the wire.
const MOST_NAME: usize = 256;
/// Longest default prompt, in bytes: a question.
const MOST_PROMPT: usize = 4096;

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
    /// [`Error::File`](crate::Error::File) if it is missing, is not JSON, lacks a key, or its values contradict each other.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(files::CONFIG);
        Self::parse(&path, &read(&path, MOST_JSON)?)
    }

    /// Checks the bytes of such a file; `path` is what errors call it.
    #[doc(hidden)]
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        parse_checked(path, bytes, Self::problem)
    }

    fn problem(&self) -> Option<String> {
        if self.model_type != "msao" {
            return Some(format!(
                "model_type is `{}`, expected `msao`",
                excerpt(&self.model_type)
            ));
        }
        // Their products fit a usize, and what a window may hold on the wire is not less.
        let sizes = [
            ("hidden_size", self.hidden_size, 1 << 16),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("num_key_value_heads", self.num_key_value_heads, 1 << 10),
            ("head_dim", self.head_dim, 1 << 12),
            ("vocab_size", self.vocab_size, 1 << 20),
            ("max_caption_tokens", self.max_caption_tokens, 1 << 12),
            ("image_tokens", self.image_tokens, 1 << 16),
            ("image_token_size", self.image_token_size, 1 << 14),
        ];
        if let Some((key, size, most)) =
            (sizes.iter()).find(|(_, size, most)| !(1..=*most).contains(size))
        {
            return Some(format!("{key} is {size}, expected 1 to {most}"));
        }
        let texts = [
            ("name", &self.name, MOST_NAME),
            ("default_prompt", &self.default_prompt, MOST_PROMPT),
        ];
        if let Some((key, text, most)) = texts.iter().find(|(_, text, most)| text.len() > *most) {
            return Some(format!(
                "{key} has {} bytes, expected at most {most}",
                text.len()
            ));
        }
        if let Some(problem) = self.vision_encoder.problem() {
            return Some(format!("vision_encoder.{problem}"));
        }
        if self.suppress_tokens.len() > self.vocab_size {
            let (found, size) = (self.suppress_tokens.len(), self.vocab_size);
            return Some(format!(
                "suppress_tokens has {found} ids, but the vocabulary {size}"
            ));
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

#[cfg(test)]
mod tests {
    use std::fs;

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
            ("num_key_value_heads", json!(1 << 20)),
            ("max_caption_tokens", json!(4097)),
            ("suppress_tokens", json!(vec![3; 17])),
            ("name", json!("n".repeat(257))),
            ("default_prompt", json!("p".repeat(4097))),
            (
                "vision_encoder",
                json!({"id": "e".repeat(257), "sha256": "00"}),
            ),
            ("sensor_encoder", hop(json!(vec!["c"; 257]), 100)),
            ("sensor_encoder", hop(json!(["c".repeat(257)]), 100)),
            ("sensor_encoder", hop(json!(["c"]), 100_001)),
            ("sensor_encoder", hop(json!(["c"]), 0)),
        ] {
            let mut config = config();
            config[key] = value;
            let error = load(&config).unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
    }

    fn hop(channels: Value, rate: u32) -> Value {
        json!({
            "id": "s", "sha256": "00", "tokens": 2, "columns": 2, "hops": 1,
            "channels": channels, "rate": rate
        })
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join(files::CONFIG)).unwrap();
        let error = Config::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
        let mut long = config();
        long["model_type"] = json!({"x".repeat(9999): 1});
        let error = load(&long).unwrap_err().to_string();
        assert!(
            error.contains("not as expected") && error.len() < 600,
            "{error}"
        );
    }
}
