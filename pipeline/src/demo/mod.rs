//! `msao demo`: broker, cloud and edge on one video, captions as they come, and what was saved.

mod child;
mod configs;
mod jpeg;
mod nats;
mod run;
mod summary;

pub use run::{Arguments, run};
