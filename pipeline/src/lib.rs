//! The `msao` program: an edge, a cloud worker, and what shows and checks them.

mod ask;
#[cfg(feature = "edge")]
mod bench;
mod captions;
mod check;
mod cloud;
mod completions;
mod config;
mod dash;
mod dead;
#[cfg(feature = "edge")]
mod demo;
mod doctor;
#[cfg(feature = "edge")]
mod edge;
mod explain;
#[cfg(feature = "edge")]
mod gst_log;
mod help;
#[cfg(feature = "edge")]
mod init;
mod leaf;
mod listener;
mod metrics;
mod models;
mod nats;
mod nats_server;
mod output;
mod record;
mod replay;
mod shutdown;
mod trace;
mod vtt;
mod watch;

use std::io::Write;
use std::process::ExitCode;

#[doc(hidden)]
pub use check::messages as check_config;
#[doc(hidden)]
pub use config::parse as parse_config;
#[cfg(feature = "edge")]
#[doc(hidden)]
pub use edge::Config as EdgeConfig;

use clap::{FromArgMatches, Parser, Subcommand};

/// Watches cameras, microphones and sensors at the edge, says at once what they tell, and lets the cloud confirm or correct it.
#[derive(Parser)]
#[command(name = "msao", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Caption the streams of a rig and publish features and drafts.
    #[cfg(feature = "edge")]
    Edge(edge::Arguments),
    /// Verify drafts with the full model and publish final captions.
    Cloud(cloud::Arguments),
    /// Show captions as they come.
    Watch(watch::Arguments),
    /// Show all rigs on a web page, live: pictures, captions, decisions and what was saved.
    Dash(dash::Arguments),
    /// Ask a rig about what it senses now: its edge answers at once, and the cloud after it.
    Ask(ask::Arguments),
    /// Say why a window was kept, verified, captioned in the cloud, or had to wait.
    Explain(explain::Arguments),
    /// Store windows and captions in files: Arrow, and JSON lines.
    Record(record::Arguments),
    /// Send a recording again.
    Replay(replay::Arguments),
    /// Write the captions of a run as WebVTT subtitles, on the time of its video.
    Vtt(vtt::Arguments),
    /// List, show and replay messages that could not be handled.
    Dead(dead::Arguments),
    /// Have the hub take in what an edge box with a server of its own stores.
    Leaf(leaf::Arguments),
    /// List, fetch and verify models.
    Models(models::Arguments),
    #[cfg(feature = "edge")]
    /// Run all of it on one video: broker, cloud and edge, and a summary.
    Demo(demo::Arguments),
    /// Measure what MSAO gains against other ways.
    #[cfg(feature = "edge")]
    Bench(bench::Arguments),
    /// Write a configuration for this machine, from the cameras, microphones, model and server that are found.
    #[cfg(feature = "edge")]
    Init(init::Arguments),
    /// Say all that is wrong with a configuration, with line and column.
    Check(check::Arguments),
    /// Say what is installed, which provider runs and whether NATS is there, with a mend for each fault.
    Doctor(doctor::Arguments),
    /// Print a script with which a shell completes these commands and their options.
    Completions(completions::Arguments),
}

impl Command {
    /// Whether it begins to log by itself, once its configuration says whether it traces windows, too.
    fn traces(&self) -> bool {
        #[cfg(feature = "edge")]
        if matches!(self, Self::Edge(_)) {
            return true;
        }
        matches!(self, Self::Cloud(_))
    }
}

/// Runs the command that the arguments of this process name.
pub fn main() -> ExitCode {
    let parsed = Cli::from_arg_matches(&help::command::<Cli>().get_matches());
    let command = parsed.unwrap_or_else(|error| error.exit()).command;
    if !command.traces() {
        trace::log();
    }
    let result = match command {
        #[cfg(feature = "edge")]
        Command::Edge(arguments) => edge::run(&arguments),
        Command::Cloud(arguments) => cloud::run(&arguments),
        Command::Watch(arguments) => watch::run(&arguments),
        Command::Dash(arguments) => dash::run(&arguments),
        Command::Ask(arguments) => ask::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Record(arguments) => record::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Vtt(arguments) => vtt::run(&arguments),
        Command::Dead(arguments) => dead::run(&arguments),
        Command::Leaf(arguments) => leaf::run(&arguments),
        Command::Models(arguments) => models::run(&arguments),
        #[cfg(feature = "edge")]
        Command::Demo(arguments) => demo::run(&arguments),
        #[cfg(feature = "edge")]
        Command::Bench(arguments) => bench::run(&arguments),
        #[cfg(feature = "edge")]
        Command::Init(arguments) => init::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments, help::command::<Cli>()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::reader_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed, too.
            let _ = writeln!(anstream::stderr().lock(), "msao: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The runtime that a command runs in.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}
