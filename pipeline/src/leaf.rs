//! `msao leaf`: has the hub take in what an edge box with a server of its own stores.

use anyhow::Result;
use broker::{Rig, StreamsConfig, streams::leaf};
use clap::Args;

use crate::{nats::Nats, output, runtime};

/// Options of `msao leaf`.
#[derive(Args)]
pub struct Arguments {
    /// The rig whose box has a leaf node, with the JetStream domain edge-RIG: configs/nats/edge.conf.
    rig: Rig,
    /// No longer take in what it stores.
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    nats: Nats,
}

/// Adds the box to the sources of the hub's streams, or removes it.
///
/// # Errors
/// The hub is not there, its streams cannot be set up, or it refuses the change.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = runtime()?;
    let Arguments { rig, remove, nats } = arguments;
    runtime.block_on(async {
        let hub = nats.connect().await?;
        leaf::source(&hub, &StreamsConfig::default(), rig, !remove).await?;
        let (url, domain) = (hub.url(), leaf::domain(rig));
        let done = if *remove {
            "no longer takes in"
        } else {
            "takes in"
        };
        Ok(output::line(format!("{url} {done} what {domain} stores"))?)
    })
}
