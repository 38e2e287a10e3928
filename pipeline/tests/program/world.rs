//! A nats-server, edges and workers that use it, and what they stored there.

use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use broker::captions::{self, Captions, From};
use broker::connect::AtStart;
use broker::test_server::TestServer;
use broker::{Caption, ConnectConfig, Connection, FeatureWindow, StreamsConfig};

use crate::common::{models, msao, root};

/// How long what is waited for may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A nats-server, and a folder for what uses it.
pub struct World {
    pub server: TestServer,
    pub folder: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        Self {
            server: TestServer::start(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `msao edge` of the rig `car`, whose configuration has `more`: its streams first of all.
    pub fn edge(&self, more: &str) -> Command {
        let (model, _) = models();
        self.configured(
            "edge",
            &format!("rig = 'car'\nmodel = '{}'", model.display()),
            more,
        )
    }

    /// `msao cloud` with the full model, whose configuration has `more`.
    pub fn cloud(&self, more: &str) -> Command {
        let (_, full) = models();
        self.configured("cloud", &format!("model = '{}'", full.display()), more)
    }

    /// `msao edge` with `configs/NAME.toml` as it is, but for the server, and as fast as it goes.
    pub fn example(&self, name: &str) -> Command {
        let text = std::fs::read_to_string(root().join(format!("configs/{name}.toml"))).unwrap();
        let text = text
            .replace("loop = true", "")
            .replace("source =", "pace = 'fast'\nsource =");
        let (head, tables) = text.split_at(text.find("\n[").unwrap());
        self.configured("edge", head, tables)
    }

    /// `msao command` with a configuration that begins with `head`, names the server, and ends with `more`.
    pub fn configured(&self, command: &str, head: &str, more: &str) -> Command {
        let path = self.path().join(command).with_extension("toml");
        let text = format!(
            "{head}\nnats = {{ url = '{}' }}\n{more}\n",
            self.server.url()
        );
        std::fs::write(&path, text).unwrap();
        let mut process = msao(self.path());
        process.args([command, "--config"]).arg(path);
        process
    }

    pub async fn connect(&self) -> Connection {
        connect(&self.server).await
    }
}

/// A connection without credentials.
pub async fn connect(server: &TestServer) -> Connection {
    let config = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    Connection::open(&config, AtStart::Fail).await.unwrap()
}

/// All payloads of a stream.
pub async fn payloads(connection: &Connection, stream: &str) -> Vec<Vec<u8>> {
    let stream = connection.jetstream().get_stream(stream).await.unwrap();
    let state = stream.cached_info().state.clone();
    let mut payloads = Vec::new();
    for sequence in 1..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        payloads.push(message.payload.to_vec());
    }
    payloads
}

/// All windows that are stored.
pub async fn windows(connection: &Connection) -> Vec<FeatureWindow> {
    let stored = payloads(connection, "MSAO_FEATURES").await;
    let decoded = stored
        .iter()
        .map(|bytes| FeatureWindow::decode(bytes).unwrap());
    decoded.collect()
}

/// All captions that are stored.
pub async fn captions(connection: &Connection) -> Vec<Caption> {
    let stored = payloads(connection, "MSAO_CAPTIONS").await;
    let decoded = stored.iter().map(|bytes| Caption::decode(bytes).unwrap());
    decoded.collect()
}

/// Captions as they come, after those that are stored.
pub async fn listen(connection: &Connection) -> Captions {
    let streams = StreamsConfig::default();
    let captions = captions::subscribe(connection, &streams, None, From::Beginning);
    captions.await.unwrap()
}

/// What comes in time.
pub async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let come = tokio::time::timeout(PATIENCE, coming).await;
    come.unwrap_or_else(|_| panic!("not in time: {what}"))
}

pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
