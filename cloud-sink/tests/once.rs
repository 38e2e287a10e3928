//! One last caption for each window, whatever becomes of its workers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::pending;

use broker::{
    ConnectConfig, Connection, FeatureWindow, StreamsConfig, connect::AtStart, deliver::Deliverer,
    streams, subjects, test_server::TestServer,
};
use cloud_sink::{Config, Summary, run_with};
use common::{Fake, captions, config, count, id, until, verdict, window};

/// A server on which `mute` may do all but tell the server what `denied` lists.
fn server(denied: &str) -> TestServer {
    let users = format!(
        "authorization {{ users: [
            {{ user: all, password: p }},
            {{ user: mute, password: p, permissions: {{ publish: {{ deny: [{denied}] }} }} }}
        ] }}"
    );
    TestServer::with_config(&users)
}

/// A worker's configuration as `user`, with the shortest memory that the server can have.
fn worker(server: &TestServer, user: &str) -> Config {
    let mut config = config(server);
    config.nats = nats(server, user);
    config.streams = shortest();
    // Longer than the duplicate window, so that it is over when the window is delivered again.
    config.consumer.ack_wait_s = 1.5;
    config
}

fn nats(server: &TestServer, user: &str) -> ConnectConfig {
    ConnectConfig {
        url: server.url(),
        user: Some(user.to_owned()),
        password: Some(server.secret("p")),
        ..ConnectConfig::default()
    }
}

fn shortest() -> StreamsConfig {
    StreamsConfig {
        duplicate_window_s: Some(1),
        ..StreamsConfig::default()
    }
}

async fn connect(server: &TestServer) -> Connection {
    Connection::open(&nats(server, "all"), AtStart::Fail)
        .await
        .unwrap()
}

async fn publish(connection: &Connection, seq: u64) {
    let window = window(seq);
    let trace = broker::headers::TraceParent::generate();
    let message = broker::Message::features(&window, window.encode().unwrap(), trace);
    let deliverer = Deliverer::new(connection.clone(), shortest());
    deliverer.deliver(&message).await.unwrap();
}

/// A worker that may caption no window before `first`, until nothing is left to do.
async fn finish(connection: &Connection, config: Config, first: u64) -> Summary {
    let done = until("nothing is left", async || {
        let consumer: async_nats::jetstream::consumer::PullConsumer = connection
            .jetstream()
            .get_consumer_from_stream("msao-cloud", streams::FEATURES)
            .await
            .unwrap();
        let info = consumer.cached_info();
        (info.num_pending, info.num_ack_pending) == (0, 0)
    });
    let model = move |w: &FeatureWindow| {
        assert!(w.id.seq >= first, "window {} was judged again", w.id.seq);
        Ok(Some(verdict(w)))
    };
    let worker = run_with(config, move || Ok(Fake(model)), done);
    worker.await.unwrap()
}

/// A worker dies after its caption is stored: before its acknowledgement, and in the second case before the record, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_caption_and_acknowledgement_leaves_one_caption() {
    for (denied, records) in [
        (r#""$JS.ACK.>""#, 1),
        (r#""$JS.ACK.>", "$KV.MSAO_DONE.>""#, 0),
    ] {
        let server = server(denied);
        let connection = connect(&server).await;
        publish(&connection, 0).await;
        let model = |w: &FeatureWindow| Ok(Some(verdict(w)));
        let first = run_with(worker(&server, "mute"), move || Ok(Fake(model)), pending());
        let first = tokio::spawn(first);
        until("the caption is stored", async || {
            count(&connection, streams::CAPTIONS).await == 1
                && count(&connection, "KV_MSAO_DONE").await == records
        })
        .await;
        first.abort();
        let summary = finish(&connection, worker(&server, "all"), 1).await;
        assert_eq!((summary.captioned, summary.duplicates), (0, 1), "{denied}");
        assert_eq!(captions(&connection).await.len(), 1, "{denied}");
    }
}

/// The same of a window that was delivered as often as it may be: it is captioned, and no dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_captioned_is_not_buried_however_often_it_was_delivered() {
    for denied in [r#""$JS.ACK.>""#, r#""$JS.ACK.>", "$KV.MSAO_DONE.>""#] {
        let server = server(denied);
        let connection = connect(&server).await;
        publish(&connection, 0).await;
        let once = |user| {
            let mut config = worker(&server, user);
            config.consumer.max_deliver = 1;
            config
        };
        let model = |w: &FeatureWindow| Ok(Some(verdict(w)));
        let first = tokio::spawn(run_with(once("mute"), move || Ok(Fake(model)), pending()));
        until("the caption is stored", async || {
            count(&connection, streams::CAPTIONS).await == 1
        })
        .await;
        first.abort();
        let summary = finish(&connection, once("all"), 1).await;
        assert_eq!((summary.captioned, summary.dead), (0, 0), "{denied}");
        assert_eq!(count(&connection, streams::DEAD).await, 0, "{denied}");
    }
}

/// Stored twice, as by an edge that was cut off for longer than the duplicate window, and taken up by a worker that never
/// saw the first.
#[tokio::test(flavor = "multi_thread")]
async fn broker_lost_for_longer_than_the_duplicate_window_a_copy_is_passed_over() {
    let mut server = server("");
    let connection = connect(&server).await;
    publish(&connection, 0).await;
    let summary = {
        let done = until("captioned", async || {
            count(&connection, streams::CAPTIONS).await == 1
        });
        let model = |w: &FeatureWindow| Ok(Some(verdict(w)));
        run_with(worker(&server, "all"), move || Ok(Fake(model)), done).await
    };
    assert_eq!(summary.unwrap().captioned, 1);
    // What the broker knows outlives the broker, too.
    tokio::task::block_in_place(|| server.restart());
    connection.connected().await;
    let bytes = window(0).encode().unwrap();
    let copy = connection
        .jetstream()
        .publish(subjects::features(&id(0).rig), bytes.into());
    copy.await.unwrap().await.unwrap();
    publish(&connection, 1).await;
    let summary = finish(&connection, worker(&server, "all"), 1).await;
    assert_eq!((summary.captioned, summary.duplicates), (1, 1));
    let seqs: Vec<u64> = captions(&connection)
        .await
        .iter()
        .map(|c| c.id.seq)
        .collect();
    assert_eq!(seqs, [0, 1]);
}

/// A broker that lost its store, and the bucket with it, gets a new one.
#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_made_again_after_it_was_lost() {
    let server = server("");
    let connection = connect(&server).await;
    publish(&connection, 0).await;
    let driver = async {
        until("the first is recorded", async || {
            count(&connection, "KV_MSAO_DONE").await == 1
        })
        .await;
        let jetstream = connection.jetstream();
        jetstream.delete_stream("KV_MSAO_DONE").await.unwrap();
        // One finds it missing; then it is there.
        for seq in 1..3 {
            publish(&connection, seq).await;
            until("it is captioned", async || {
                count(&connection, streams::CAPTIONS).await == seq + 1
            })
            .await;
        }
        until("the bucket is there", async || {
            count(&connection, "KV_MSAO_DONE").await >= 1
        })
        .await;
    };
    let model = |w: &FeatureWindow| Ok(Some(verdict(w)));
    let worker = run_with(worker(&server, "all"), move || Ok(Fake(model)), driver);
    assert_eq!(worker.await.unwrap().captioned, 3);
}
