//! Another `msao` that stops when this one does.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, ChildStdin, Command};

/// A child process. It stops when the pipe to its standard input closes, which is so however this process ends.
pub struct Msao {
    name: &'static str,
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Msao {
    /// Starts `msao NAME --config CONFIG`.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(name: &'static str, config: &OsStr) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command
            .args([name, "--stop-on-eof", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            // Ctrl-C is for this process, which stops its children in order.
            .process_group(0)
            .kill_on_drop(true);
        if std::env::var_os("MSAO_LOG").is_none() {
            command.env("MSAO_LOG", "warn");
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start msao {name}"))?;
        let pipe = child.stdin.take();
        Ok(Self { name, child, pipe })
    }

    /// Its process id, until it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks it to stop; it finishes what it has in hand.
    pub fn ask_to_stop(&mut self) {
        self.pipe = None;
    }

    /// Waits for its end. May be dropped and called again.
    ///
    /// # Errors
    /// It failed; what went wrong it has said on standard error.
    pub async fn ended(&mut self) -> Result<()> {
        let status = self.child.wait().await?;
        if !status.success() {
            bail!("msao {} stopped with {status}", self.name);
        }
        Ok(())
    }

    /// Asks it to stop and waits for its end, but not for ever.
    ///
    /// # Errors
    /// It failed, or was killed because it did not stop in time.
    pub async fn stop(mut self, patience: Duration) -> Result<()> {
        self.ask_to_stop();
        let Ok(ended) = tokio::time::timeout(patience, self.ended()).await else {
            self.child.kill().await?;
            bail!(
                "msao {} did not stop within {patience:?} and was killed",
                self.name
            );
        };
        ended
    }
}
