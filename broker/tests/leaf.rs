//! An edge box with a server of its own, and the hub, as in configs/nats.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{sync::Arc, time::Duration};

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
use common::{
    connect,
    hub::{config, count, free_port, open, street, street_window},
    message, stored, until, window, within,
};
use futures::{StreamExt, future::try_join_all};

/// The edge's connection to its own server.
async fn behind(server: &TestServer) -> Connection {
    let config = ConnectConfig {
        url: server.url(),
        cloud_domain: Some("hub".to_owned()),
        inbox: Some("_INBOX.street".to_owned()),
        ..ConnectConfig::default()
    };
    Connection::open(&config, AtStart::Fail).await.unwrap()
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
    // The hub's server waits before it tries again, longer each time.
    within(Duration::from_secs(120), "the hub has all", async || {
        count(&cloud, streams::FEATURES).await >= 3610
    })
    .await;
    for (place, connection) in [("edge", &edge), ("hub", &cloud)] {
        let windows = stored(connection, streams::FEATURES).await;
        assert_eq!(windows.len(), 3610, "at the {place}");
        for (seq, message) in (0..).zip(&windows) {
            let id = FeatureWindow::decode(&message.payload).unwrap().id;
            assert_eq!(id.seq, seq, "at the {place}");
        }
    }
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
    deliverer.deliver(&message).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_box_cannot_speak_for_another_rig_or_touch_the_hubs_streams() {
    let port = free_port();
    let hub = TestServer::with_whole_config(&config("hub.conf", port));
    let box_ = TestServer::with_whole_config(&config("edge.conf", port));
    let edge = behind(&box_).await;
    let admin = open(&hub, "admin").await;
    // Said twice is said once.
    for _ in 0..2 {
        leaf::source(&admin, &StreamsConfig::default(), &street(), true)
            .await
            .unwrap();
    }
    let publisher = publisher(edge.clone());
    publisher.publish(message(&window(0))).unwrap();
    publisher.publish(message(&street_window(1))).unwrap();
    acknowledged(&publisher, 2).await;
    until("its own window is at the hub", async || {
        count(&admin, streams::FEATURES).await >= 1
    })
    .await;
    let stored = stored(&admin, streams::FEATURES).await;
    let subjects: Vec<&str> = stored
        .iter()
        .map(|message| message.subject.as_str())
        .collect();
    assert_eq!(subjects, ["msao.v1.features.street"]);
    for subject in [
        "$JS.hub.API.STREAM.DELETE.MSAO_CAPTIONS",
        "$JS.hub.API.CONSUMER.CREATE.MSAO_FEATURES",
    ] {
        let request = async_nats::Request::new().timeout(Some(Duration::from_millis(300)));
        let reply = edge.client().send_request(subject, request).await;
        assert!(reply.is_err(), "{subject} is answered");
    }

    leaf::source(&admin, &StreamsConfig::default(), &street(), false)
        .await
        .unwrap();
    let stream = admin
        .jetstream()
        .get_stream(streams::FEATURES)
        .await
        .unwrap();
    let sources = stream.cached_info().config.sources.clone();
    assert!(sources.unwrap_or_default().is_empty());
}

/// The server takes a stream's configuration as a whole: who changes it at the same time must not undo the others' change.
#[tokio::test(flavor = "multi_thread")]
async fn rigs_that_are_added_at_once_are_all_there() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let streams = StreamsConfig::default();
    let rigs: Vec<Rig> = (0..16)
        .map(|n| format!("rig-{n}").parse().unwrap())
        .collect();
    let count = async |stream: &str| {
        let stream = connection.jetstream().get_stream(stream).await.unwrap();
        let sources = stream.cached_info().config.sources.as_ref();
        sources.map_or(0, Vec::len)
    };
    for (wanted, there) in [(true, 16), (false, 0)] {
        let all = rigs
            .iter()
            .map(|rig| leaf::source(&connection, &streams, rig, wanted));
        try_join_all(all).await.unwrap();
        for stream in [streams::FEATURES, streams::CAPTIONS] {
            assert_eq!(count(stream).await, there, "{stream}");
        }
    }
}
