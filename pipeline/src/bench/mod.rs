//! `msao bench`: what MSAO gains against other ways, measured.

mod answers;
mod bars;
mod cameras;
mod choose;
mod edge;
mod flops;
mod judge;
mod links;
mod load;
mod maker;
mod measure;
mod methods;
mod offload;
mod plot;
mod pooled;
mod protocol;
mod run;
mod table;
mod windows;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Options of `msao bench`.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Cloud only, edge only, layer split, MSAO and ablations of it, on links of several speeds: a table, plots, JSON.
    Offload(offload::Arguments),
    /// Windows a second from edge to broker to worker without a model, against JetStream alone; delays; memory.
    Load(load::Arguments),
    /// CPU time of a camera's pipeline with and without our elements, at 720p30 and 1080p30: cameras a core.
    Cameras(cameras::Arguments),
    /// The edge process of a benchmark.
    #[command(hide = true)]
    Edge(edge::Arguments),
}

/// Runs a benchmark.
///
/// # Errors
/// It cannot be run.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Offload(arguments) => offload::run_all(arguments),
        What::Load(arguments) => load::run_all(arguments),
        What::Cameras(arguments) => cameras::run_all(arguments),
        What::Edge(arguments) => edge::run(arguments),
    }
}
