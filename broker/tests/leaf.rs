//! The server configurations that come with MSAO: who may do what at the hub, and an edge box with a server of its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{net::TcpListener, path::Path, sync::Arc};

use broker::{
    Caption, CloudStatus, ConnectConfig, Connection, FeatureWindow, LatencyMs, Message, Publisher,
    PublisherConfig, Rig, StreamsConfig,
    caption::{LAST, Verdict},
    captions::{self, From},
    connect::AtStart,
    deliver::Deliverer,
    headers::TraceParent,
    publisher::Counters,
    status,
    streams::{self, leaf},
    test_server::TestServer,
};
use common::{message, stored, until, window};
use futures::StreamExt;

/// A configuration file with its variables filled in.
fn config(name: &str, leaf_port: u16) -> String {
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

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn open(server: &TestServer, user: &str) -> Connection {
    let config = ConnectConfig {
        url: server.url(),
        user: Some(user.to_owned()),
        password: Some(server.secret(user)),
        ..ConnectConfig::default()
    };
    Connection::open(&config, AtStart::Fail).await.unwrap()
}

/// The edge's connection to its own server.
async fn behind(server: &TestServer) -> Connection {
    let config = ConnectConfig {
        url: server.url(),
        cloud_domain: Some("hub".to_owned()),
        ..ConnectConfig::default()
    };
    Connection::open(&config, AtStart::Fail).await.unwrap()
}

/// How many messages a stream holds.
async fn count(connection: &Connection, stream: &str) -> u64 {
    let stream = connection.jetstream().get_stream(stream).await.unwrap();
    stream.cached_info().state.messages
}

fn street() -> Rig {
    "street".parse().unwrap()
}

fn street_window(seq: u64) -> FeatureWindow {
    let mut window = window(seq);
    window.id.rig = street();
    window
}

fn publisher(connection: Connection) -> Arc<Publisher> {
    let config = PublisherConfig::default();
    Arc::new(Publisher::start(connection, StreamsConfig::default(), config).unwrap())
}

async fn acknowledged(publisher: &Publisher, count: u64) {
    until("all is acknowledged", async || {
        let Counters { acknowledged, .. } = publisher.counters();
        acknowledged == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_edge_goes_on_and_the_hub_has_all_of_it_once_in_order() {
    let port = free_port();
    let mut hub = TestServer::with_whole_config(&config("hub.conf", port));
    let box_ = TestServer::with_whole_config(&config("edge.conf", port));
    let edge = behind(&box_).await;
    let (admin, cloud) = (open(&hub, "admin").await, open(&hub, "cloud").await);
    leaf::source(&admin, &StreamsConfig::default(), &street(), true)
        .await
        .unwrap();
    let publisher = publisher(edge.clone());
    for seq in 0..10 {
        publisher.publish(message(&street_window(seq))).unwrap();
    }
    acknowledged(&publisher, 10).await;
    until("the hub has the first", async || {
        count(&cloud, streams::FEATURES).await == 10
    })
    .await;

    // An hour of windows.
    hub.kill();
    for seq in 10..3610 {
        let message = message(&street_window(seq));
        // Waits where the queue is full.
        tokio::task::block_in_place(|| publisher.publish(message)).unwrap();
    }
    acknowledged(&publisher, 3610).await;
    hub.restart();
    cloud.connected().await;
    until("the hub has all", async || {
        count(&cloud, streams::FEATURES).await >= 3610
    })
    .await;
    let windows = stored(&cloud, streams::FEATURES).await;
    let seqs: Vec<u64> = windows
        .iter()
        .map(|message| FeatureWindow::decode(&message.payload).unwrap().id.seq)
        .collect();
    assert_eq!(seqs, (0..3610).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_leaf_node_drafts_go_up_and_captions_come_back() {
    let port = free_port();
    let hub = TestServer::with_whole_config(&config("hub.conf", port));
    let box_ = TestServer::with_whole_config(&config("edge.conf", port));
    let edge = behind(&box_).await;
    let cloud = open(&hub, "cloud").await;
    let admin = open(&hub, "admin").await;
    leaf::source(&admin, &StreamsConfig::default(), &street(), true)
        .await
        .unwrap();

    let edge_streams = StreamsConfig::default();
    streams::set_up(&edge, &edge_streams).await.unwrap();
    let mut heard = edge
        .client()
        .subscribe("msao.v1.status.cloud.*")
        .await
        .unwrap();
    let mut answers = None;
    until("the leaf is connected", async || {
        answers = captions::subscribe(&edge, &edge_streams, Some(&street()), From::Beginning)
            .await
            .ok();
        answers.is_some()
    })
    .await;
    let window = street_window(0);
    let publisher = publisher(edge.clone());
    let draft = Caption::draft(&window).unwrap();
    publisher
        .publish(Message::caption(&draft, TraceParent::generate()).unwrap())
        .unwrap();
    let mut answers = answers.unwrap();
    assert_eq!(answers.next().await.unwrap().revision, 0);

    let verdict = Verdict {
        text: "a dog".to_owned(),
        tokens: 2,
        confidence: 0.9,
        accepted_tokens: Some(0),
        confirmed: false,
        model: "full".to_owned(),
    };
    let caption = Caption::verified(&window, verdict, LatencyMs::default());
    let message = Message::caption(&caption, TraceParent::generate()).unwrap();
    let deliverer = Deliverer::new(cloud.clone(), StreamsConfig::default());
    deliverer.deliver(&message, || {}).await.unwrap();
    let answer = answers.next().await.unwrap();
    assert_eq!((answer.revision, answer.text.as_str()), (LAST, "a dog"));
    assert_eq!(count(&cloud, streams::CAPTIONS).await, 2);
    assert_eq!(count(&edge, streams::CAPTIONS).await, 1);

    let status = CloudStatus::new("worker", "full", "CPU");
    until("the edge hears the worker", async || {
        status::publish_cloud(&cloud, &status).await.unwrap();
        let patience = std::time::Duration::from_millis(100);
        tokio::time::timeout(patience, heard.next()).await.is_ok()
    })
    .await;
}
