//! The publisher against a real server that is killed under it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use broker::{
    Caption, CaptionStatus, ConnectConfig, Connection, LatencyMs, Message, Observer, OnFull,
    Publisher, PublisherConfig, Rig, StreamsConfig,
    caption::Verdict,
    connect::AtStart,
    headers::{self, TraceParent},
    latest,
    publisher::{Counters, PublishError},
    streams,
    test_server::TestServer,
};
use common::{connect, connect_later, header, message, stored, until, window};

const LONG: Duration = Duration::from_secs(60);

async fn flush(publisher: &Arc<Publisher>) {
    let publisher = Arc::clone(publisher);
    tokio::task::spawn_blocking(move || publisher.flush(LONG))
        .await
        .unwrap()
        .unwrap();
}

fn ids(messages: &[async_nats::jetstream::message::StreamMessage]) -> Vec<String> {
    messages
        .iter()
        .map(|m| header(&m.headers, headers::MESSAGE_ID).to_owned())
        .collect()
}

/// Three times the server is killed with messages in flight; every message is stored exactly once.
#[tokio::test(flavor = "multi_thread")]
async fn broker_killed_and_restarted_everything_is_stored_exactly_once() {
    const WINDOWS: u64 = 600;
    let mut server = TestServer::start();
    let config = PublisherConfig {
        max_messages: 50,
        in_flight: 16,
        ..PublisherConfig::default()
    };
    let connection = connect_later(&server).await;
    let publisher =
        Arc::new(Publisher::start(connection, StreamsConfig::default(), config).unwrap());

    let feeder = {
        let publisher = Arc::clone(&publisher);
        // A plain thread, as GStreamer's are; it blocks whenever the queue is full.
        std::thread::spawn(move || {
            (0..WINDOWS).for_each(|seq| publisher.publish(message(&window(seq))).unwrap())
        })
    };
    for reached in [50, 200, 400] {
        until("messages are acknowledged", async || {
            publisher.counters().acknowledged >= reached
        })
        .await;
        server.restart();
    }
    tokio::task::spawn_blocking(move || feeder.join().unwrap())
        .await
        .unwrap();
    flush(&publisher).await;

    let counters = publisher.counters();
    assert_eq!(
        (counters.published, counters.acknowledged),
        (WINDOWS, WINDOWS)
    );
    assert_eq!((counters.dropped, counters.pending), (0, 0));
    assert!(counters.bytes_sent > WINDOWS * 1000);
    let messages = stored(&connect(&server).await, streams::FEATURES).await;
    let expected: HashSet<String> = (0..WINDOWS)
        .map(|seq| message(&window(seq)).id().to_owned())
        .collect();
    let found = ids(&messages);
    assert_eq!(found.len() as u64, WINDOWS, "stored twice");
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_stored_in_the_order_of_publishing() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let config = PublisherConfig::default();
    let publisher = Publisher::start(connection.clone(), StreamsConfig::default(), config).unwrap();
    let publisher = Arc::new(publisher);
    for seq in 0..500 {
        publisher.publish(message(&window(seq))).unwrap();
    }
    flush(&publisher).await;
    let found = ids(&stored(&connection, streams::FEATURES).await);
    for (seq, found) in (0..500).zip(found) {
        assert_eq!(found, message(&window(seq)).id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_message_published_twice_is_stored_once() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let publisher = Publisher::start(
        connection.clone(),
        StreamsConfig::default(),
        PublisherConfig::default(),
    )
    .unwrap();
    let publisher = Arc::new(publisher);
    for _ in 0..2 {
        publisher.publish(message(&window(0))).unwrap();
        flush(&publisher).await;
    }
    assert_eq!(stored(&connection, streams::FEATURES).await.len(), 1);
}

/// With no server yet, messages wait, and what does not fit goes by the policy.
async fn five_into_a_queue_of_three(on_full: OnFull) -> (Vec<String>, Counters) {
    let mut server = TestServer::start();
    server.kill();
    let config = PublisherConfig {
        max_messages: 3,
        on_full,
        ..PublisherConfig::default()
    };
    let publisher = Publisher::start(
        connect_later(&server).await,
        StreamsConfig::default(),
        config,
    )
    .unwrap();
    let publisher = Arc::new(publisher);
    for seq in 0..5 {
        publisher.publish(message(&window(seq))).unwrap();
    }
    let before = publisher.counters();
    assert_eq!(
        (before.published, before.dropped, before.pending),
        (5, 2, 3)
    );
    assert!(publisher.flush(Duration::ZERO).is_err());
    server.restart();
    flush(&publisher).await;
    (
        ids(&stored(&connect(&server).await, streams::FEATURES).await),
        publisher.counters(),
    )
}

fn expected(seqs: [u64; 3]) -> HashSet<String> {
    seqs.map(|seq| message(&window(seq)).id().to_owned()).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_unreachable_at_start_drop_oldest_keeps_the_newest() {
    let (ids, counters) = five_into_a_queue_of_three(OnFull::DropOldest).await;
    assert_eq!(ids.into_iter().collect::<HashSet<_>>(), expected([2, 3, 4]));
    assert_eq!((counters.acknowledged, counters.dropped), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_unreachable_at_start_drop_newest_keeps_the_oldest() {
    let (ids, counters) = five_into_a_queue_of_three(OnFull::DropNewest).await;
    assert_eq!(ids.into_iter().collect::<HashSet<_>>(), expected([0, 1, 2]));
    assert_eq!((counters.acknowledged, counters.dropped), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_bounded_block_waits_for_room_and_can_be_cancelled() {
    let mut server = TestServer::start();
    server.kill();
    let config = PublisherConfig {
        max_messages: 1,
        on_full: OnFull::Block,
        ..PublisherConfig::default()
    };
    let publisher = Publisher::start(
        connect_later(&server).await,
        StreamsConfig::default(),
        config,
    )
    .unwrap();
    let publisher = Arc::new(publisher);
    publisher.publish(message(&window(0))).unwrap();
    let publish = |seq| {
        let publisher = Arc::clone(&publisher);
        tokio::task::spawn_blocking(move || publisher.publish(message(&window(seq))))
    };

    let cancelled = publish(1);
    publisher.set_cancelled(true);
    assert_eq!(cancelled.await.unwrap(), Err(PublishError::Cancelled));
    publisher.set_cancelled(false);

    let waiting = publish(2);
    server.restart();
    waiting.await.unwrap().unwrap();
    flush(&publisher).await;
    let counters = publisher.counters();
    assert_eq!(
        (counters.published, counters.acknowledged, counters.dropped),
        (2, 2, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_and_memory_bounded_in_bytes_too() {
    let mut server = TestServer::start();
    server.kill();
    let one = message(&window(0)).wire_len();
    let config = PublisherConfig {
        max_bytes: 2 * one + 10,
        on_full: OnFull::DropOldest,
        ..PublisherConfig::default()
    };
    let publisher = Publisher::start(
        connect_later(&server).await,
        StreamsConfig::default(),
        config,
    )
    .unwrap();
    for seq in 0..4 {
        publisher.publish(message(&window(seq))).unwrap();
    }
    assert_eq!(
        (publisher.counters().pending, publisher.counters().dropped),
        (2, 2)
    );
    let mut large = window(9);
    large.prompt = "x".repeat(16_000);
    let error = publisher.publish(message(&large)).unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { .. }), "{error}");
    assert_eq!(publisher.counters().published, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_the_server_takes_is_dropped_and_counted() {
    let server = TestServer::with_config("max_payload: 8KB");
    let connection = connect(&server).await;
    let publisher = Publisher::start(
        connection.clone(),
        StreamsConfig::default(),
        PublisherConfig::default(),
    )
    .unwrap();
    let publisher = Arc::new(publisher);
    let mut large = window(0);
    large.prompt = "x".repeat(9_000);
    publisher.publish(message(&large)).unwrap();
    publisher.publish(message(&window(1))).unwrap();
    flush(&publisher).await;
    assert_eq!(
        (
            publisher.counters().dropped,
            publisher.counters().acknowledged
        ),
        (1, 1)
    );
    assert_eq!(
        ids(&stored(&connection, streams::FEATURES).await),
        [message(&window(1)).id()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_its_stream_takes_is_dropped_and_counted() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let (streams, config) = (StreamsConfig::default(), PublisherConfig::default());
    streams::set_up(&connection, &streams).await.unwrap();
    let jetstream = connection.jetstream();
    let stream = jetstream.get_stream(streams::FEATURES).await.unwrap();
    let mut bounds = stream.cached_info().config.clone();
    bounds.max_message_size = 8192;
    jetstream.update_stream(&bounds).await.unwrap();
    let publisher = Publisher::start(connection.clone(), streams, config).unwrap();
    let publisher = Arc::new(publisher);
    let mut large = window(0);
    large.prompt = "x".repeat(9_000);
    publisher.publish(message(&large)).unwrap();
    publisher.publish(message(&window(1))).unwrap();
    flush(&publisher).await;
    let counters = publisher.counters();
    assert_eq!((counters.dropped, counters.acknowledged), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_lost_with_the_servers_store_are_made_again() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let publisher = Publisher::start(
        connection.clone(),
        StreamsConfig::default(),
        PublisherConfig::default(),
    )
    .unwrap();
    let publisher = Arc::new(publisher);
    publisher.publish(message(&window(0))).unwrap();
    flush(&publisher).await;
    connection
        .jetstream()
        .delete_stream(streams::FEATURES)
        .await
        .unwrap();
    publisher.publish(message(&window(1))).unwrap();
    flush(&publisher).await;
    assert_eq!(
        ids(&stored(&connection, streams::FEATURES).await),
        [message(&window(1)).id()]
    );
}

fn caption(seq: u64, revision: u32) -> Caption {
    let window = window(seq);
    if revision == 0 {
        return Caption::draft(&window).unwrap();
    }
    let verdict = Verdict {
        confirmed: true,
        text: "two people walk past a bench".to_owned(),
        tokens: 6,
        confidence: 0.8,
        accepted_tokens: Some(6),
        model: "msao-cloud-v1".to_owned(),
    };
    Caption::verified(&window, verdict, LatencyMs::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_caption_only_moves_forward() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let publisher = Publisher::start(
        connection.clone(),
        StreamsConfig::default(),
        PublisherConfig::default(),
    )
    .unwrap();
    let publisher = Arc::new(publisher);
    let bucket = streams::set_up(&connection, &StreamsConfig::default())
        .await
        .unwrap();
    let rig: Rig = common::rig();
    assert!(latest::get(&bucket, &rig).await.unwrap().is_none());
    let steps = [
        ((1, 0), (1, 0)),
        ((1, 2), (1, 2)),
        ((0, 2), (1, 2)),
        ((2, 0), (2, 0)),
        ((1, 0), (2, 0)),
    ];
    for ((seq, revision), expected) in steps {
        let message = Message::caption(&caption(seq, revision), TraceParent::generate()).unwrap();
        publisher.publish(message).unwrap();
        flush(&publisher).await;
        let latest = latest::get(&bucket, &rig).await.unwrap().unwrap();
        assert_eq!((latest.id.seq, latest.revision), expected);
    }
    // Written at once from one side, the newest wins.
    for seq in 3..40 {
        publisher
            .publish(Message::caption(&caption(seq, 0), TraceParent::generate()).unwrap())
            .unwrap();
    }
    flush(&publisher).await;
    let latest = latest::get(&bucket, &rig).await.unwrap().unwrap();
    assert_eq!((latest.id.seq, latest.status), (39, CaptionStatus::Draft));
}

/// What an edge needs, as documented: with it, its own windows are stored, and another rig's are not.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_confined_to_its_rig_can_publish_for_no_other() {
    let server = TestServer::with_config(
        r#"accounts { MSAO { jetstream: enabled, users: [
            { user: cloud, password: right },
            { user: car-7, password: right, permissions: {
                publish: [
                    "msao.v1.features.car-7", "msao.v1.captions.car-7", "msao.v1.status.edge.car-7",
                    "$KV.MSAO_LATEST.car-7", "$JS.API.DIRECT.GET.KV_MSAO_LATEST.$KV.MSAO_LATEST.car-7",
                    "$JS.API.STREAM.INFO.*",
                ],
                subscribe: "_INBOX.car-7.>",
            } },
        ] } }"#,
    );
    let open = async |user: &str| {
        let config = ConnectConfig {
            url: server.url(),
            user: Some(user.to_owned()),
            password: Some(server.secret("right")),
            ..ConnectConfig::default()
        };
        Connection::open(&config, AtStart::Fail).await.unwrap()
    };
    let cloud = open("cloud").await;
    streams::set_up(&cloud, &StreamsConfig::default())
        .await
        .unwrap();

    let publisher = Publisher::start(
        open("car-7").await,
        StreamsConfig::default(),
        PublisherConfig::default(),
    );
    let publisher = Arc::new(publisher.unwrap());
    let mut other = window(1);
    other.id.rig = "car-8".parse().unwrap();
    publisher.publish(message(&other)).unwrap();
    publisher.publish(message(&window(0))).unwrap();
    let draft = Message::caption(&caption(0, 0), TraceParent::generate()).unwrap();
    publisher.publish(draft).unwrap();
    until("its own messages are acknowledged", async || {
        publisher.counters().acknowledged == 2
    })
    .await;
    until("the other is tried again", async || {
        publisher.counters().retried > 0
    })
    .await;
    assert_eq!(publisher.counters().pending, 1);
    assert_eq!(
        ids(&stored(&cloud, streams::FEATURES).await),
        [message(&window(0)).id()]
    );
}

/// What an observer heard, a line each.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn sent(&self, id: &str, bytes: usize) {
        let line = format!("sent {id} {bytes}");
        self.0.lock().unwrap().push(line);
    }

    fn stored(&self, id: &str) {
        self.0.lock().unwrap().push(format!("stored {id}"));
    }

    fn lost(&self, id: &str) {
        self.0.lock().unwrap().push(format!("lost {id}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_hears_of_each_message_from_the_link_to_its_store() {
    let mut server = TestServer::start();
    let heard = Arc::new(Heard::default());
    let publisher = Publisher::start_observed(
        connect(&server).await,
        StreamsConfig::default(),
        PublisherConfig::default(),
        heard.clone(),
    );
    let publisher = Arc::new(publisher.unwrap());
    let first = message(&window(0));
    let (id, bytes) = (first.id().to_owned(), first.wire_len());
    publisher.publish(first).unwrap();
    flush(&publisher).await;
    let lines = [format!("sent {id} {bytes}"), format!("stored {id}")];
    assert_eq!(*heard.0.lock().unwrap(), lines);

    // Nothing is on the link while there is none.
    server.kill();
    publisher.publish(message(&window(1))).unwrap();
    server.restart();
    flush(&publisher).await;
    let lines = heard.0.lock().unwrap().split_off(2);
    let of = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!(of("stored"), 1, "{lines:?}");
    assert_eq!(of("sent"), of("lost") + 1, "{lines:?}");
    assert!(lines.last().unwrap().starts_with("stored"), "{lines:?}");
}
