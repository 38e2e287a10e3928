//! A real nats-server for tests: on a free loopback port, its data in a temporary folder.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::connect::{Connection, Secret};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running nats-server with JetStream, killed when dropped. Every method panics on failure.
#[derive(Debug)]
pub struct TestServer {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
}

/// The nats-server binary: `$NATS_SERVER`, or `.cache/bin/nats-server` of the workspace.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("NATS_SERVER").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bin/nats-server"),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "there is no nats-server at {}: run `make setup`",
        path.display()
    );
    path
}

/// Waits until the server has all that was sent through the connection, such as a subscription: a flush tells only that it
/// was written. Panics without JetStream.
pub async fn reached(connection: &Connection) {
    // What every role may ask, be the stream there or not.
    let request = (connection.client()).request("$JS.API.STREAM.INFO.MSAO_FEATURES", "".into());
    if let Err(error) = request.await {
        panic!("{} does not answer: {error}", connection.url());
    }
}

impl TestServer {
    /// Starts a server.
    pub fn start() -> Self {
        Self::with_config("")
    }

    /// Starts a server with lines added to its configuration file, such as `max_payload: 64KB`.
    pub fn with_config(extra: &str) -> Self {
        let dir =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let store = dir.path().join("store");
        let config =
            format!("jetstream {{ store_dir: {store:?}, max_file_store: 2GB }}\n{extra}\n");
        Self::begin(dir, &config)
    }

    /// Starts a server with this configuration, in which `nats-data` stands for a temporary folder. Where it does not say how
    /// much JetStream may store, it is the same on every machine, and not a share of what room its disk has.
    pub fn with_whole_config(config: &str) -> Self {
        let dir =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let mut config = config.replace("nats-data", &dir.path().display().to_string());
        if !config.contains("max_file_store") {
            config = config.replace("jetstream {", "jetstream { max_file_store: 2GB,");
        }
        Self::begin(dir, &config)
    }

    fn begin(dir: TempDir, config: &str) -> Self {
        let file = dir.path().join("nats.conf");
        std::fs::write(&file, config)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
        let mut server = Self {
            child: None,
            port: 0,
            dir,
        };
        server.spawn("-1");
        server.port = server.announced_port();
        server.wait_until_it_answers();
        server
    }

    /// A secret of this text, in a file that is there as long as the server.
    pub fn secret(&self, text: &str) -> Secret {
        let file = self.dir.path().join(format!("{text}.secret"));
        std::fs::write(&file, text)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
        Secret::File(file)
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it as `kill -9` does. Its data stays.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; either way nothing is left of it after the wait.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it as `kill -STOP` does: connections stay, and nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = (self.child.as_ref()).unwrap_or_else(|| panic!("nats-server was killed"));
        kill_process(Pid::from_child(child), signal)
            .unwrap_or_else(|error| panic!("nats-server cannot be signalled: {error}"));
    }

    /// Kills it, and starts it again on the same port with the same data.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn(&self.port.to_string());
        self.wait_until_it_answers();
    }

    fn spawn(&mut self, port: &str) {
        let (binary, dir) = (binary(), self.dir.path());
        let child = Command::new(&binary)
            .args(["-a", "127.0.0.1", "-p", port, "-c"])
            .arg(dir.join("nats.conf"))
            .arg("--ports_file_dir")
            .arg(dir)
            .arg("-l")
            .arg(dir.join("nats.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(
            child.unwrap_or_else(|error| panic!("cannot start {}: {error}", binary.display())),
        );
    }

    /// The port that the server chose, from the file that it writes once it listens.
    fn announced_port(&mut self) -> u16 {
        self.poll("it does not say where it listens", |server| {
            let entries = std::fs::read_dir(server.dir.path()).ok()?;
            let ports = entries
                .flatten()
                .find(|entry| entry.path().extension().is_some_and(|e| e == "ports"))?;
            let text = std::fs::read_to_string(ports.path()).ok()?;
            let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
            ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
        })
    }

    fn wait_until_it_answers(&mut self) {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        self.poll("it does not answer", |_| {
            let connection = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
            connection
                .set_read_timeout(Some(Duration::from_secs(1)))
                .ok()?;
            let mut line = String::new();
            BufReader::new(connection).read_line(&mut line).ok()?;
            line.starts_with("INFO ").then_some(())
        });
    }

    fn poll<T>(&mut self, failure: &str, mut attempt: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = attempt(self) {
                return value;
            }
            let ended = self
                .child
                .as_mut()
                .is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
            if ended || Instant::now() > deadline {
                let log =
                    std::fs::read_to_string(self.dir.path().join("nats.log")).unwrap_or_default();
                panic!("nats-server: {failure}; its log:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill();
    }
}
