//! A real nats-server behind a link that breaks for a moment.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use broker::{
    Caption, CaptionStatus, ConnectConfig, Connection, LatencyMs, Message, Publisher,
    PublisherConfig, StreamsConfig, WindowId, connect::AtStart, headers::TraceParent, streams,
    test_server::TestServer,
};
use common::{broken, constant, ms, open};
use link::{Kind, Link, Mode, Outage};
use time::OffsetDateTime;
use tokio::runtime::Runtime;
use ulid::Ulid;

const CAPTIONS: u64 = 300;

fn message(seq: u64) -> Message {
    let caption = Caption {
        schema: "caption/1.1".to_owned(),
        id: WindowId {
            rig: "car-7".parse().unwrap(),
            epoch: Ulid::from_parts(1_795_348_800_000, 42),
            seq,
        },
        revision: 0,
        status: CaptionStatus::Draft,
        is_final: false,
        redrafted: false,
        question: None,
        text: "two people walk past a bench ".repeat(80),
        tokens: 480,
        confidence: 0.5,
        accepted_tokens: None,
        start: OffsetDateTime::UNIX_EPOCH,
        end: OffsetDateTime::UNIX_EPOCH,
        start_running_ns: 0,
        end_running_ns: 0,
        time: OffsetDateTime::UNIX_EPOCH,
        mas: Vec::new(),
        model: "none".to_owned(),
        latency_ms: LatencyMs::default(),
        plan: None,
    };
    Message::caption(&caption, TraceParent::generate()).unwrap()
}

async fn connection(address: SocketAddr) -> Connection {
    let config = ConnectConfig {
        url: format!("nats://{address}"),
        ..ConnectConfig::default()
    };
    Connection::open(&config, AtStart::Fail).await.unwrap()
}

/// The ids of all captions that the server has, asked without the link.
async fn stored(server: SocketAddr) -> Vec<String> {
    let connection = connection(server).await;
    let stream = connection
        .jetstream()
        .get_stream(streams::CAPTIONS)
        .await
        .unwrap();
    let mut ids = Vec::new();
    for sequence in 1..=stream.cached_info().state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        ids.push(message.headers.get("Nats-Msg-Id").unwrap().to_string());
    }
    ids
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(ms(5)).await;
    }
}

/// Publishes through the link, which is cut on the way until the connection has noticed.
async fn publish(link: &Link) {
    let connection = connection(link.address()).await;
    let config = PublisherConfig {
        max_messages: 50,
        ..PublisherConfig::default()
    };
    let publisher = Publisher::start(connection.clone(), StreamsConfig::default(), config);
    let publisher = Arc::new(publisher.unwrap());
    let feeder = Arc::clone(&publisher);
    let feeder = std::thread::spawn(move || {
        (0..CAPTIONS).for_each(|seq| feeder.publish(message(seq)).unwrap());
    });
    until("some are acknowledged", || {
        publisher.counters().acknowledged >= 60
    })
    .await;

    link.set(broken(Outage::Cut), broken(Outage::Cut));
    match link.kind() {
        Kind::Proxy { .. } => until("the loss is noticed", || !connection.is_connected()).await,
        // No connection is closed, but what it sends is lost.
        Kind::Tun { .. } => until("packets are lost", || link.counters().0.dropped_cut >= 2).await,
    }
    assert!(
        publisher.counters().acknowledged < CAPTIONS,
        "the cut came too late"
    );

    link.set(constant(8_000_000, ms(10)), constant(8_000_000, ms(10)));
    tokio::task::spawn_blocking(move || {
        feeder.join().unwrap();
        publisher.flush(Duration::from_secs(60)).unwrap();
        let counters = publisher.counters();
        assert_eq!(
            (counters.published, counters.acknowledged),
            (CAPTIONS, CAPTIONS)
        );
        assert_eq!((counters.dropped, counters.pending), (0, 0));
    })
    .await
    .unwrap();
}

fn a_cut_loses_nothing(mode: Mode) {
    let server = TestServer::start();
    let address = server
        .url()
        .strip_prefix("nats://")
        .unwrap()
        .parse()
        .unwrap();
    let Some(link) = open(address, &constant(8_000_000, ms(10)), mode) else {
        return;
    };
    link.client(|| Runtime::new().unwrap().block_on(publish(&link)))
        .unwrap();
    let found = Runtime::new().unwrap().block_on(stored(address));
    assert_eq!(found.len() as u64, CAPTIONS, "lost or stored twice");
    let expected: HashSet<_> = (0..CAPTIONS)
        .map(|seq| message(seq).id().to_owned())
        .collect();
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), expected);
    let (up, _) = link.counters();
    assert!(
        up.bytes_out > CAPTIONS * 2000,
        "it did not go through the link: {up:?}"
    );
}

#[test]
fn nothing_acknowledged_is_lost_when_the_proxy_is_cut() {
    a_cut_loses_nothing(Mode::Proxy);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_way_between_namespaces_is_cut() {
    a_cut_loses_nothing(Mode::Tun);
}
