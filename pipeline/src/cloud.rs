//! `msao cloud`: a worker that verifies drafts.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;

use crate::trace::{self, Service};
use crate::{config, metrics, runtime, shutdown::StopOn};

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
    let _tracing = trace::init(
        &config.otlp,
        &Service {
            name: "msao-cloud",
            instance: &config.worker,
        },
    )?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let stop = arguments.stop.wait()?;
        let metrics = Arc::new(metrics::Cloud::default());
        metrics::serve(&config.metrics, Arc::clone(&metrics)).await?;
        anyhow::Ok(cloud_sink::run_observed(config, metrics, stop).await?)
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
