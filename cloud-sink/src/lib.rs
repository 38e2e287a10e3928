//! The cloud consumer: takes feature windows from the broker, verifies their drafts with the full
//! model, and publishes the result as the last revision of the caption.
//!
//! The model is a folder, ours ([`FullModel`]) or one of pictures and text as exported for Hugging Face
//! ([`LookingModel`]), or is behind an OpenAI-compatible server ([`ServerModel`]).
//! [`run`] is the whole of it; [`run_with`] takes any other [`Verifier`] than the model of the
//! configuration.

mod chat;
mod config;
mod error;
mod keyframe;
mod looking;
mod model;
mod observer;
mod prompt;
mod run;
mod service;
mod telemetry;
mod thread;
#[doc(hidden)]
pub mod tls;
mod turns;
mod verifier;

pub use chat::{Counters, Price, ServerModel, ServerSection};
pub use config::{BatchSection, Config, ConsumerSection, Rule};
pub use error::Error;
#[doc(hidden)]
pub use keyframe::picture;
pub use looking::{ChatSection, LookingModel};
pub use model::FullModel;
pub use observer::Observer;
pub use run::{Summary, run, run_observed, run_with};
pub use telemetry::{MetricsSection, OtlpSection};
pub use verifier::{Fault, Judged, Verifier};
