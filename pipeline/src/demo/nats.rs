//! A nats-server of the demo's own, with its data in a folder of the demo's own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(5);

/// A running server, killed when dropped.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub url: String,
}

/// What the server writes about its ports.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

impl Server {
    /// Starts `binary` on `port` of the loopback interface, or on a free one, and waits until it listens.
    ///
    /// # Errors
    /// The port is taken, the program cannot be run, or it does not listen within five seconds.
    pub async fn start(binary: &Path, port: Option<u16>, folder: &Path) -> Result<Self> {
        if let Some(port) = port {
            TcpListener::bind(("127.0.0.1", port)).with_context(|| {
                format!("port {port} of 127.0.0.1 cannot be used: leave --port out for a free one, or stop what listens there")
            })?;
        }
        let log = folder.join("nats-server.log");
        // With no parent left to stop it, the server must not stay behind.
        let guard = Path::new("/usr/bin/setpriv");
        let mut command = if guard.exists() {
            let mut command = Command::new(guard);
            command.args(["--pdeathsig", "KILL", "--"]).arg(binary);
            command
        } else {
            Command::new(binary)
        };
        command
            .args([
                "-a",
                "127.0.0.1",
                "-p",
                &port.map_or("-1".to_owned(), |port| port.to_string()),
                "-js",
                "-sd",
            ])
            .arg(folder.join("jetstream"))
            .arg("--ports_file_dir")
            .arg(folder)
            .arg("-l")
            .arg(&log)
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {}: run `make setup`", binary.display()))?;
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                bail!(
                    "nats-server stopped with {status}: {}",
                    log.lines().last().unwrap_or("it wrote no log")
                );
            }
            if let Some(url) = listening(folder) {
                return Ok(Self { child, url });
            }
            if begun.elapsed() > PATIENCE {
                bail!("nats-server does not listen after {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its process id, until it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it and waits for its end: then nothing writes into its folder any more.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// The URL in the ports file, once it is there and whole.
fn listening(folder: &Path) -> Option<String> {
    let files = std::fs::read_dir(folder).ok()?;
    let path: PathBuf = files
        .flatten()
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|e| e == "ports"))?;
    let ports: Ports = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    ports.nats.into_iter().next()
}
