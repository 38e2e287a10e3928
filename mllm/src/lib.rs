//! The multimodal model on ONNX Runtime: vision encoder, draft, verification.
//!
//! A model is a folder in the layout of Hugging Face's ONNX exports. On the edge, [`Probe`] turns a [`Frame`] into
//! early features and [`Trunk`] turns those into image tokens; [`CaptionModel::draft`] writes a caption from any
//! subset of them ([`ImageTokens`]). In the cloud, [`CaptionModel::verify`] judges such a draft token by token with a
//! larger model.
//!
//! ONNX Runtime is a shared library loaded at run time: see [`runtime::init`].

mod caption;
pub mod config;
mod decoder;
mod error;
pub mod frame;
pub mod generate;
pub mod logits;
mod network;
pub mod preprocess;
pub mod runtime;
pub mod tokens;
pub mod verify;
mod vision;

pub use caption::{Caption, CaptionModel, Verified};
pub use config::{Config, EncoderId};
pub use error::{Error, Result};
pub use frame::Frame;
pub use runtime::{Options, Provider};
pub use tokens::ImageTokens;
pub use verify::Agreement;
pub use vision::{Probe, ProbeOutput, Trunk};
