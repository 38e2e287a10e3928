//! The cloud consumer: takes feature windows from the broker, verifies their drafts with the full
//! model, and publishes the result as the last revision of the caption.
//!
//! The model is ours ([`FullModel`]), or one of pictures and text as exported for Hugging Face ([`LookingModel`]).
//! [`run`] is the whole of it; [`run_with`] takes any other [`Verifier`] than the model of the
//! configuration.

mod config;
mod error;
mod keyframe;
mod looking;
mod model;
mod run;
mod service;
mod thread;
mod turns;
mod verifier;

pub use config::{BatchSection, Config, ConsumerSection, Rule};
pub use error::Error;
#[doc(hidden)]
pub use keyframe::picture;
pub use looking::{ChatSection, LookingModel};
pub use model::FullModel;
pub use run::{Summary, run, run_with};
pub use verifier::{Fault, Verifier};
