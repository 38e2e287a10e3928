//! Exports of others, small and with random weights, against what transformers and PyTorch make of the same pictures and
//! questions: `testdata/tiny_hf`, from `models/tiny_hf`.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod errors;
mod golden;
mod reading;
mod variants;
mod verify;
