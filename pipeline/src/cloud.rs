//! `msao cloud`: a worker that verifies drafts.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{config, runtime, shutdown::StopOn};

/// Options of `msao cloud`.
#[derive(Args)]
pub struct Arguments {
    /// TOML file of the worker; configs/cloud.toml is one to start from.
    #[arg(long)]
    config: PathBuf,
    #[command(flatten)]
    stop: StopOn,
}

/// Runs a worker until it is stopped.
///
/// # Errors
/// As `cloud_sink::run`, or the configuration cannot be read.
pub fn run(arguments: &Arguments) -> Result<()> {
    let config: cloud_sink::Config = config::load(&arguments.config)?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let stop = arguments.stop.wait()?;
        anyhow::Ok(cloud_sink::run(config, stop).await?)
    });
    // Reading standard input cannot be cancelled: the runtime must not wait for it.
    runtime.shutdown_background();
    let summary = done?;
    tracing::info!(
        captioned = summary.captioned,
        confirmed = summary.confirmed,
        corrected = summary.corrected,
        dead = summary.dead,
        "stopped"
    );
    Ok(())
}
