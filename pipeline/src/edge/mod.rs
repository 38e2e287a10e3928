//! `msao edge`: captions the streams of a rig and publishes features and drafts.

mod ask;
mod config;
mod launch;
mod run;
mod sources;
mod stats;
mod whole;

pub use config::{Config, DEVICE, check_senses, redacted};
pub use run::{Arguments, run};
