//! Models of others, as exported to ONNX for Hugging Face: SmolVLM (Idefics3) and Qwen2-VL.
//!
//! [`ChatModel`] answers a question about pictures, and verifies what another model answered, as
//! [`CaptionModel`](crate::CaptionModel) does for our own. It reads a folder as optimum and transformers.js lay it out:
//! `config.json`, `generation_config.json`, `preprocessor_config.json`, `processor_config.json` (Idefics3),
//! `tokenizer.json`, `tokenizer_config.json`, the chat template, and the networks `vision_encoder`, `embed_tokens` and
//! `decoder_model_merged` in `onnx/`, each in one of its [variants](Variant).

mod chat;
mod config;
mod networks;
mod picture;
mod qwen2_vl;
mod reader;
mod resample;
mod sequences;
mod smolvlm;
mod template;
mod variant;

pub use chat::{ChatModel, Turn};
pub use config::{Architecture, is_known};
pub use picture::{Layout, Seen};
pub use reader::Read;
pub use variant::{Variant, Variants};
