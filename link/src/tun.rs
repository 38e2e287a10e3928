//! The link between two network namespaces: packets, so TCP meets delay, loss and a full queue as
//! it does on a real one.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::{
    accept::accept,
    device::{Device, Reader},
    direction::{Direction, Pair},
    namespace::{Namespace, explained},
};

// From the range that RFC 2544 sets aside for measuring; it exists only within the two namespaces.
const CLIENT: &str = "198.18.0.1/30";
const SERVER: &str = "198.18.0.2/30";
const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// The two ends.
pub struct Namespaces {
    pub client: Namespace,
    pub server: Namespace,
    /// The congestion control of both.
    pub congestion: String,
}

impl Namespaces {
    pub fn new(congestion: Option<&str>) -> io::Result<Self> {
        let (client, server) = (Namespace::new()?, Namespace::new()?);
        client.congestion(congestion)?;
        let congestion = server.congestion(congestion)?;
        Ok(Self {
            client,
            server,
            congestion,
        })
    }
}

/// What carries the packets.
pub struct Tun {
    client: Device,
    server: Device,
    _readers: [Reader; 2],
    listener: TcpListener,
    pair: Arc<Pair<Bytes>>,
    /// Where clients reach the server.
    pub address: SocketAddr,
}

impl Tun {
    /// Clients reach `server`, which listens on loopback
    /// outside, at the same port of the server's namespace.
    pub fn new(
        namespaces: &Namespaces,
        server: SocketAddr,
        pair: Arc<Pair<Bytes>>,
    ) -> io::Result<Self> {
        let address = SocketAddr::from((SERVER_ADDRESS, server.port()));
        let client_end = Device::open(&namespaces.client, CLIENT)?;
        let server_end = Device::open(&namespaces.server, SERVER)?;
        let listen = || TcpListener::bind(address);
        let listener = namespaces.server.run(listen)?.map_err(|error| {
            let what = format!("cannot listen at {address} in the server's namespace");
            explained(&what, &error)
        })?;
        listener.set_nonblocking(true)?;
        let (up, down) = (Arc::clone(&pair), Arc::clone(&pair));
        let readers = [
            client_end.read(move |packet| push(&up.up, packet))?,
            server_end.read(move |packet| push(&down.down, packet))?,
        ];
        Ok(Self {
            client: client_end,
            server: server_end,
            _readers: readers,
            listener,
            pair,
            address,
        })
    }

    /// Carries packets, without end.
    pub async fn serve(self, server: SocketAddr) {
        let send = |device: &Device, packet: Bytes| {
            if let Err(error) = device.send(&packet) {
                tracing::error!(%error, "link: a packet is lost: its device does not take it");
            }
        };
        tokio::join!(
            self.pair.up.run(|packet| send(&self.server, packet)),
            self.pair.down.run(|packet| send(&self.client, packet)),
            accept(self.listener, |client| connection(client, server)),
        );
    }
}

fn push(link: &Direction<Bytes>, packet: &[u8]) {
    // What the link drops, it counts.
    let _ = link.push(Bytes::copy_from_slice(packet), packet.len());
}

/// From the server's namespace to the server outside, unshaped.
async fn connection(mut client: TcpStream, server: SocketAddr) {
    let through = async {
        let mut server = TcpStream::connect(server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await
    };
    if let Err(error) = through.await {
        tracing::debug!(%error, "link: a connection has failed");
    }
}
