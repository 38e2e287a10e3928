//! Which of a folder's files are run: exports hold each network in several precisions.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The precision of a network's weights, which is part of its file's name: `decoder_model_merged_q4.onnx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// f32; the name has no suffix.
    #[default]
    Fp32,
    /// f16.
    Fp16,
    /// 4-bit blocks, the rest f32.
    Q4,
    /// 4-bit blocks, the rest f16.
    Q4F16,
    /// Signed 8-bit.
    Int8,
    /// Unsigned 8-bit.
    Uint8,
    /// 8-bit, as the exporter chose.
    Quantized,
    /// 4-bit, as bitsandbytes has it.
    Bnb4,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Fp32,
        Self::Fp16,
        Self::Q4,
        Self::Q4F16,
        Self::Int8,
        Self::Uint8,
        Self::Quantized,
        Self::Bnb4,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Q4 => "q4",
            Self::Q4F16 => "q4f16",
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
            Self::Quantized => "quantized",
            Self::Bnb4 => "bnb4",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|variant| variant.name() == text);
        found.ok_or_else(|| {
            format!(
                "unknown variant `{text}`: it is one of {}",
                list(&Self::ALL)
            )
        })
    }
}

/// The variant of each network. A [`Variant`] by itself is that of all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variants {
    /// Of `vision_encoder`.
    pub vision: Variant,
    /// Of `embed_tokens`.
    pub embed: Variant,
    /// Of `decoder_model_merged`.
    pub decoder: Variant,
}

impl From<Variant> for Variants {
    fn from(variant: Variant) -> Self {
        Self {
            vision: variant,
            embed: variant,
            decoder: variant,
        }
    }
}

/// The file of a network; in the folder's `onnx/`, or in the folder itself if it has none.
///
/// # Errors
/// [`Error::File`] if it is not there, which says what variants are.
pub(crate) fn find(folder: &Path, network: &str, variant: Variant) -> Result<PathBuf> {
    let inner = folder.join("onnx");
    let folder = if inner.is_dir() { &inner } else { folder };
    let file = |variant: Variant| match variant {
        Variant::Fp32 => folder.join(format!("{network}.onnx")),
        other => folder.join(format!("{network}_{other}.onnx")),
    };
    let path = file(variant);
    if path.is_file() {
        return Ok(path);
    }
    let there: Vec<_> = Variant::ALL
        .into_iter()
        .filter(|&other| file(other).is_file())
        .collect();
    let mend = if there.is_empty() {
        "no other variant of it is there either: fetch the file, or export the model again".into()
    } else {
        format!(
            "fetch it, or take a variant that is there: {}",
            list(&there)
        )
    };
    Err(Error::file(&path, "is not there", mend))
}

fn list(variants: &[Variant]) -> String {
    let names: Vec<_> = variants.iter().map(|variant| variant.name()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_files_and_configurations_say() {
        for variant in Variant::ALL {
            let name = variant.to_string();
            assert_eq!(name.parse::<Variant>(), Ok(variant));
            assert_eq!(
                serde_json::to_string(&variant).unwrap(),
                format!("\"{name}\"")
            );
        }
        let error = "q5".parse::<Variant>().unwrap_err();
        assert!(error.contains("`q5`") && error.contains("q4f16"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named_with_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let error = |variant| {
            find(folder.path(), "embed_tokens", variant)
                .unwrap_err()
                .to_string()
        };
        assert!(error(Variant::Q4).contains("no other variant"));
        std::fs::create_dir(folder.path().join("onnx")).unwrap();
        for name in ["embed_tokens.onnx", "embed_tokens_int8.onnx"] {
            std::fs::write(folder.path().join("onnx").join(name), "").unwrap();
        }
        let error = error(Variant::Q4);
        assert!(
            error.contains("onnx/embed_tokens_q4.onnx") && error.ends_with("fp32, int8"),
            "{error}"
        );
        let found = find(folder.path(), "embed_tokens", Variant::Int8).unwrap();
        assert!(found.ends_with("onnx/embed_tokens_int8.onnx"));
    }
}
