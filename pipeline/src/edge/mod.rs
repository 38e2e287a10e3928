//! `msao edge`: captions the streams of a rig and publishes features and drafts.

mod config;
mod launch;
mod run;
mod stats;

pub use config::Config;
pub use run::{Arguments, run};
