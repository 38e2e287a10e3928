//! `msao watch`: captions in a terminal, as they come.

use anyhow::{Context, Result};
use broker::captions::{self, From};
use broker::{Rig, StreamsConfig};
use clap::Args;

use crate::captions::Printer;
use crate::nats::Nats;
use crate::{output, runtime, shutdown::StopOn};

/// Options of `msao watch`.
#[derive(Args)]
pub struct Arguments {
    /// Only this rig; all rigs by default.
    #[arg(long)]
    rig: Option<Rig>,
    #[command(flatten)]
    nats: Nats,
    /// Begin with the oldest caption stored.
    #[arg(long)]
    all: bool,
    /// Print captions as they are on the wire, one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    stop: StopOn,
}

/// Prints captions until it is stopped.
///
/// # Errors
/// The broker is not there, or its streams cannot be set up.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let stop = arguments.stop.wait()?;
        tokio::select! {
            done = watch(arguments) => done,
            () = stop => Ok(()),
        }
    });
    runtime.shutdown_background();
    done
}

async fn watch(arguments: &Arguments) -> Result<()> {
    let connection = arguments.nats.connect().await?;
    let from = if arguments.all {
        From::Beginning
    } else {
        From::Now
    };
    let mut captions = captions::subscribe(
        &connection,
        &StreamsConfig::default(),
        arguments.rig.as_ref(),
        from,
    )
    .await?;
    let mut printer = Printer::default();
    loop {
        match captions.next().await {
            Ok(caption) if arguments.json => {
                let json = caption
                    .encode()
                    .context("a caption was read that cannot be written")?;
                output::line(String::from_utf8_lossy(&json))?;
            }
            Ok(caption) => {
                let rig = if arguments.rig.is_none() {
                    format!("{}  ", caption.id.rig)
                } else {
                    String::new()
                };
                output::line(format!("{rig}{}", printer.line(&caption)))?;
            }
            Err(error) => tracing::warn!("a stored message is no caption: {error}"),
        }
    }
}
