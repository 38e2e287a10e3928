//! What can go wrong, each naming the thing at fault and the mend.

use std::path::{Path, PathBuf};

use crate::Provider;
use crate::tokens::Modality;

/// The mend for a file that an exporter wrote, or a download broke.
pub(crate) const RESTORE: &str =
    "restore the model folder, or export it again with the scripts in models/";

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// ONNX Runtime's shared library could not be loaded.
    #[error(
        "cannot load ONNX Runtime from `{}`: {reason}; set ORT_DYLIB_PATH to a libonnxruntime.so, \
         version 1.24 or newer (`make setup` fetches one)",
        library.display()
    )]
    Runtime {
        /// The library tried.
        library: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The execution provider asked for by name can't run this network.
    #[error(
        "provider `{provider}` cannot run `{}`: {reason}; {}, or choose `auto` or `cpu`",
        path.display(),
        provider.mend()
    )]
    Provider {
        /// The provider asked for.
        provider: Provider,
        /// The network it was to run.
        path: PathBuf,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// A setting of [`TensorRt`](crate::TensorRt) that cannot be used.
    #[error("tensorrt.{key} {problem}")]
    TensorRt {
        /// The setting.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There are settings of [`TensorRt`](crate::TensorRt), but it may not run.
    #[error("there is [tensorrt], but provider is `{0}`: leave one out")]
    NoTensorRt(Provider),
    /// A file of a model folder is missing, corrupt, or not what the rest of the folder needs.
    #[error("`{}`: {problem}; {mend}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// How to put it right.
        mend: String,
    },
    /// A video frame's planes don't hold the picture that its format and size promise.
    #[error("video frame: {0}")]
    Frame(String),
    /// Features or tokens that don't fit the model.
    #[error("tokens: {0}")]
    Tokens(String),
    /// Tokens of a modality that the model does not read.
    #[error("model `{model}` reads no {modality}: leave the stream out, or use a model that does")]
    Unread {
        /// What the tokens are of.
        modality: Modality,
        /// Name of the model.
        model: String,
    },
    /// Features of another encoder than the model was trained on.
    #[error(
        "features were encoded by `{found}` ({found_sha256}), this model reads `{reads}` ({reads_sha256}): \
         run models of one release on edge and cloud"
    )]
    Encoder {
        /// The encoder's id.
        found: String,
        /// SHA-256 of its files.
        found_sha256: String,
        /// The id of the encoder that the model reads.
        reads: String,
        /// SHA-256 of that one's files.
        reads_sha256: String,
    },
    /// A prompt that can't be given to the model.
    #[error("prompt: {0}")]
    Prompt(String),
    /// A draft that can't be judged.
    #[error("draft: {0}")]
    Draft(String),
    /// The factor of [`Agreement::Margin`](crate::Agreement::Margin) is out of range.
    #[error("agreement margin {0} is out of range: it must be above 0 and at most 1")]
    Margin(f32),
    /// No token can be chosen.
    #[error("the model's logits are not finite: its input or its weights are broken")]
    Logits,
    /// A network failed while running.
    #[error("running `{}`: {reason}", path.display())]
    Inference {
        /// The network.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

impl Error {
    /// A [`Error::File`] that is mended by restoring the folder.
    pub(crate) fn broken(path: &Path, problem: impl Into<String>) -> Self {
        Self::file(path, problem, RESTORE)
    }

    /// A network that fails when first tried, at load, does so because of its file.
    pub(crate) fn at_load(self) -> Self {
        match self {
            Self::Inference { path, reason } => Self::broken(&path, reason),
            other => other,
        }
    }

    pub(crate) fn file(path: &Path, problem: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::File {
            path: path.to_path_buf(),
            problem: problem.into(),
            mend: mend.into(),
        }
    }
}
