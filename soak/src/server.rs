//! nats-server with JetStream on a disk that can be filled.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use broker::{ConnectConfig, Connection, connect::AtStart, test_server};

use crate::{disk::Disk, process::Process};

/// How long the server may take until JetStream answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server, its disk, and a connection to it that no fault of a link touches.
pub struct Server {
    pub process: Process,
    pub disk: std::sync::Arc<Disk>,
    pub address: SocketAddr,
}

impl Server {
    /// A server with its files in `folder`; it does not run yet.
    pub fn new(folder: &Path) -> Result<Self> {
        let store = folder.join("store");
        std::fs::create_dir(&store)?;
        let disk = std::sync::Arc::new(Disk::new(store.clone()));
        // Free now; nobody else is told of it.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let config = folder.join("nats.conf");
        let text = format!("jetstream {{ store_dir: {store:?}, max_file_store: 2GB }}\n");
        std::fs::write(&config, text)?;
        let (log, binary, on) = (
            folder.join("nats.log"),
            test_server::binary(),
            std::sync::Arc::clone(&disk),
        );
        let make = move || {
            let mut command = on.command(&binary);
            command
                .args(["-a", "127.0.0.1", "-p", &port.port().to_string(), "-c"])
                .arg(&config);
            command
        };
        Ok(Self {
            process: Process::new("nats-server", log, make),
            disk,
            address: port,
        })
    }

    /// Where it is reached without a link.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Waits until it can be connected to.
    pub async fn connect(&self) -> Result<Connection> {
        let config = ConnectConfig {
            url: self.url(),
            ..ConnectConfig::default()
        };
        let until = Instant::now() + PATIENCE;
        loop {
            match Connection::open(&config, AtStart::Fail).await {
                Ok(connection) => return Ok(connection),
                Err(error) if Instant::now() > until => return Err(error).context("nats-server"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// Waits until JetStream answers.
pub async fn answers(connection: &Connection) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = connection.jetstream().query_account();
        match tokio::time::timeout(Duration::from_secs(2), asked).await {
            Ok(Ok(_)) => return Ok(()),
            _ if Instant::now() > until => {
                bail!("JetStream does not answer {PATIENCE:?} after all faults were mended")
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
