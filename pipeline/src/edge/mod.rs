//! `msao edge`: captions the streams of a rig and publishes features and drafts.

mod ask;
mod config;
mod launch;
mod pictures;
mod run;
mod sources;
mod stats;
mod streams;
mod whole;

pub use config::{Config, check_senses};
pub use run::{Arguments, run};
pub use streams::{DEVICE, redacted};
