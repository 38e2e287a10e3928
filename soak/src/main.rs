//! Fault tests with an oracle: real edges and workers as processes, a real nats-server, faults drawn by a seed, and a
//! judge who reads what was acknowledged, what is stored and what readers saw.
//!
//! `soak run` starts itself as `soak edge` and `soak worker`, so that kill -9, SIGSTOP and a stepped clock are real.
//! `docs/operations.md` says what is checked.

mod clock;
mod collect;
mod copies;
mod disk;
mod edge;
mod evidence;
mod judge;
mod ledger;
mod poison;
mod process;
mod reader;
mod records;
mod run;
mod schedule;
mod server;
mod system;
mod windows;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Breaks broker, edge and worker by a seed, and judges what is left.
#[derive(Parser)]
#[command(name = "soak", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run seeds one after another; the exit code is 1 if the judge finds a violation.
    Run(run::Arguments),
    /// An edge that publishes windows and drafts; started by `run`.
    #[command(hide = true)]
    Edge(edge::Arguments),
    /// A cloud worker whose model is a stub; started by `run`.
    #[command(hide = true)]
    Worker(worker::Arguments),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // What `run` says is its report; its own connections meet the faults, too.
    let level = if matches!(command, Command::Run(_)) {
        "off"
    } else {
        "warn"
    };
    let filter = EnvFilter::try_from_env("MSAO_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            match command {
                Command::Run(arguments) => run::run(arguments).await,
                Command::Edge(arguments) => edge::run(arguments).await,
                Command::Worker(arguments) => worker::run(arguments).await,
            }
        })
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}
