//! `msao demo`: broker, cloud and edge on one video, captions as they come, and what was saved.

pub(crate) mod child;
pub(crate) mod configs;
mod jpeg;
pub(crate) mod nats;
mod run;
mod summary;

pub use run::{Arguments, run};
