//! The cloud consumer: takes feature windows from the broker, verifies their drafts with the full
//! model, and publishes the result as revision 1 of the caption.
//!
//! [`run`] is the whole of it; [`run_with`] takes any other [`Verifier`] than the model of the
//! configuration.

mod config;
mod error;
mod keyframe;
mod model;
mod run;
mod service;
mod thread;
mod verifier;

pub use config::{Config, ConsumerSection, Rule};
pub use error::Error;
pub use model::FullModel;
pub use run::{Summary, run, run_with};
pub use verifier::{Fault, Verifier};
