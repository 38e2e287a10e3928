//! The server configurations of configs/nats, and connections to the hub.

use std::{net::TcpListener, path::Path};

use broker::{
    ConnectConfig, Connection, FeatureWindow, Rig, connect::AtStart, test_server::TestServer,
};

use super::window;

/// A configuration file with its variables filled in.
pub fn config(name: &str, leaf_port: u16) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/nats");
    let text = std::fs::read_to_string(path.join(name)).unwrap();
    let text = text.replace("127.0.0.1:7422", &format!("127.0.0.1:{leaf_port}"));
    let leaf = format!("\"nats-leaf://street-leaf:street@127.0.0.1:{leaf_port}\"");
    let text = text.replace("$MSAO_HUB_LEAF", &leaf);
    ["admin", "cloud", "reader", "street"]
        .iter()
        .fold(text, |text, user| {
            text.replace(&format!("$MSAO_{}_PASSWORD", user.to_uppercase()), user)
        })
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub async fn open(server: &TestServer, user: &str) -> Connection {
    let config = ConnectConfig {
        url: server.url(),
        user: Some(user.to_owned()),
        password: Some(server.secret(user)),
        ..ConnectConfig::default()
    };
    Connection::open(&config, AtStart::Fail).await.unwrap()
}

pub fn street() -> Rig {
    "street".parse().unwrap()
}

pub fn street_window(seq: u64) -> FeatureWindow {
    let mut window = window(seq);
    window.id.rig = street();
    window
}

/// How many messages a stream holds.
pub async fn count(connection: &Connection, stream: &str) -> u64 {
    let stream = connection.jetstream().get_stream(stream).await.unwrap();
    stream.cached_info().state.messages
}
