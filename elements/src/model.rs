//! What the elements that run a network share: the model folder and the provider.

use std::path::PathBuf;

use gst::glib;
use gst::prelude::*;

/// Environment variable with the default model folder.
const MODEL_DIR: &str = "MSAO_MODEL_DIR";

/// What runs the networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstMsaoProvider")]
pub enum ProviderChoice {
    /// The first that works of TensorRT, CUDA and CPU.
    #[default]
    #[enum_value(
        name = "Auto: the first that works of TensorRT, CUDA and CPU",
        nick = "auto"
    )]
    Auto,
    /// The CPU.
    #[enum_value(name = "CPU", nick = "cpu")]
    Cpu,
    /// CUDA; an error if it is not there.
    #[enum_value(name = "CUDA, an error if it is not there", nick = "cuda")]
    Cuda,
    /// TensorRT; an error if it is not there.
    #[enum_value(name = "TensorRT, an error if it is not there", nick = "tensorrt")]
    Tensorrt,
}

impl From<ProviderChoice> for mllm::Provider {
    fn from(choice: ProviderChoice) -> Self {
        match choice {
            ProviderChoice::Auto => Self::Auto,
            ProviderChoice::Cpu => Self::Cpu,
            ProviderChoice::Cuda => Self::Cuda,
            ProviderChoice::Tensorrt => Self::TensorRt,
        }
    }
}

/// The settings `model` and `provider`.
#[derive(Debug, Clone)]
pub(crate) struct ModelSettings {
    folder: Option<String>,
    provider: ProviderChoice,
}

impl Default for ModelSettings {
    fn default() -> Self {
        let folder = std::env::var(MODEL_DIR)
            .ok()
            .filter(|folder| !folder.is_empty());
        Self {
            folder,
            provider: ProviderChoice::default(),
        }
    }
}

impl ModelSettings {
    /// The properties `model` and `provider`.
    pub(crate) fn properties() -> [glib::ParamSpec; 2] {
        [
            glib::ParamSpecString::builder("model")
                .nick("Model folder")
                .blurb("Folder with the edge model's files (default: $MSAO_MODEL_DIR)")
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder::<ProviderChoice>("provider")
                .nick("Execution provider")
                .blurb("What runs the networks")
                .mutable_ready()
                .build(),
        ]
    }

    /// Sets one of the properties; whether it is one of them.
    pub(crate) fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "model" => self.folder = value.get().unwrap_or_default(),
            "provider" => self.provider = value.get().unwrap_or_default(),
            _ => return false,
        }
        true
    }

    /// The value of one of the properties.
    pub(crate) fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "model" => Some(self.folder.clone().into()),
            "provider" => Some(self.provider.into()),
            _ => None,
        }
    }

    pub(crate) fn provider(&self) -> mllm::Provider {
        self.provider.into()
    }

    /// The folder as an absolute path.
    pub(crate) fn folder(&self) -> Result<PathBuf, gst::ErrorMessage> {
        let Some(folder) = &self.folder else {
            return Err(gst::error_msg!(
                gst::ResourceError::Settings,
                ("no model folder: set the property `model` or {MODEL_DIR}")
            ));
        };
        std::path::absolute(folder).map_err(|error| {
            gst::error_msg!(
                gst::ResourceError::Settings,
                ("model folder `{folder}`: {error}")
            )
        })
    }
}

/// The element error for a model that does not load.
pub(crate) fn load_error(error: &mllm::Error) -> gst::ErrorMessage {
    match error {
        mllm::Error::File { .. } => gst::error_msg!(gst::ResourceError::OpenRead, ("{error}")),
        _ => gst::error_msg!(gst::LibraryError::Init, ("{error}")),
    }
}
