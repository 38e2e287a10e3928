//! When to stop: Ctrl-C, SIGTERM, or the end of standard input for a child that must not outlive its parent.

use anyhow::{Context, Result};
use clap::Args;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// How a long-running command is stopped.
#[derive(Args)]
pub struct StopOn {
    /// Also stop when standard input ends: the parent holds a pipe, which closes however it ends.
    #[arg(long, hide = true)]
    pub stop_on_eof: bool,
}

impl StopOn {
    /// Completes when it is time to stop. Signals are caught from the moment of the call on.
    ///
    /// # Errors
    /// The process cannot catch signals.
    pub fn wait(&self) -> Result<impl Future<Output = ()> + Send + use<>> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
        let stop_on_eof = self.stop_on_eof;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = end_of_input(), if stop_on_eof => {}
            }
        })
    }
}

async fn end_of_input() {
    let mut input = tokio::io::stdin();
    let mut buffer = [0; 64];
    while matches!(input.read(&mut buffer).await, Ok(1..)) {}
}
