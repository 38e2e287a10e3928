//! The multimodal model on ONNX Runtime: encoders, draft, verification.
//!
//! A model is a folder in the layout of Hugging Face's ONNX exports. On the edge, [`Probe`] turns a [`Frame`] into
//! early features and [`Trunk`] turns those into image tokens; [`HopNetwork`] turns half a second of sound
//! ([`LogMel`]) or of sensor samples into theirs. [`CaptionModel::draft`] writes a caption, or an answer, from any
//! subset of them ([`Tokens`]); [`CaptionModel::modal`] says how much each modality contributed. In the cloud, [`CaptionModel::verify`] judges such a draft token by token with a
//! larger model.
//!
//! ONNX Runtime is a shared library loaded at run time: see [`runtime::init`].

mod batch;
mod caption;
pub mod config;
mod decoder;
mod error;
pub mod frame;
pub mod generate;
pub mod hf;
mod hop;
pub mod log_mel;
pub mod logits;
pub mod modal;
mod network;
pub mod preprocess;
mod probe;
pub mod runtime;
mod sequences;
mod speech;
pub mod tensorrt;
mod together;
pub mod tokens;
mod trunk;
pub mod verify;

pub use caption::{Caption, CaptionModel, Saliency, Verified, Window};
pub use config::{Config, EncoderId, HopEncoder};
pub use error::{Error, Result};
pub use frame::Frame;
pub use hop::{HopNetwork, HopOutput};
pub use log_mel::LogMel;
pub use modal::Modal;
pub use probe::{Probe, ProbeOutput};
pub use runtime::{Options, Provider};
pub use speech::SpeechDetector;
pub use tensorrt::TensorRt;
pub use together::Batching;
pub use tokens::{ByModality, ModalTokens, Modality, Tokens};
pub use trunk::Trunk;
pub use verify::Agreement;
