//! One answer to each window, its last caption or a dead letter, whatever becomes of its workers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{future::pending, sync::mpsc};

use async_nats::jetstream::kv::Store;
use broker::{
    ConnectConfig, Connection, FeatureWindow, StreamsConfig, connect::AtStart, deliver::Deliverer,
    letters, streams, subjects, test_server::TestServer,
};
use cloud_sink::{Config, Fault, Summary, run_with};
use common::{Fake, captions, config, count, id, stored, until, verdict, window};

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

/// The same for one that buries what was delivered to another.
fn once(server: &TestServer, user: &str) -> Config {
    let mut config = worker(server, user);
    config.consumer.max_deliver = 1;
    config
}

async fn seqs(connection: &Connection) -> Vec<u64> {
    let captions = captions(connection).await;
    captions.iter().map(|caption| caption.id.seq).collect()
}

async fn records(connection: &Connection) -> Store {
    let bucket = connection.jetstream().get_key_value("MSAO_DONE");
    bucket.await.unwrap()
}

fn key() -> String {
    let of = id(0);
    format!("{}.{}.{}", of.rig, of.epoch, of.seq)
}

/// Runs a worker that may acknowledge nothing until it has recorded that its caption is stored, and kills it.
async fn caption_and_die(connection: &Connection, config: Config) {
    publish(connection, 0).await;
    let model = |w: &FeatureWindow| Ok(Some(verdict(w)));
    let worker = tokio::spawn(run_with(config, move || Ok(Fake(model)), pending()));
    until("the bucket is made", async || {
        count(connection, "KV_MSAO_DONE").await == 1
    })
    .await;
    let records = records(connection).await;
    until("the caption is stored and recorded", async || {
        records.get(key()).await.unwrap().as_deref() == Some(b"2")
    })
    .await;
    worker.abort();
}

/// What there is of a record when its worker dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// The caption is recorded as stored.
    Late,
    /// It is stored, and not recorded as stored.
    Early,
    /// The record is lost.
    Forgotten,
}

impl Death {
    async fn strike(self, connection: &Connection) {
        let records = records(connection).await;
        match self {
            Self::Late => {}
            Self::Early => {
                let caption = stored(connection, streams::CAPTIONS).await.remove(0);
                records.put(key(), caption.payload).await.unwrap();
            }
            Self::Forgotten => records.purge(key()).await.unwrap(),
        }
    }
}

/// A worker dies after its caption is stored and before its acknowledgement.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_caption_and_acknowledgement_leaves_one_caption() {
    for death in [Death::Late, Death::Early, Death::Forgotten] {
        let server = server(r#""$JS.ACK.>""#);
        let connection = connect(&server).await;
        caption_and_die(&connection, worker(&server, "mute")).await;
        death.strike(&connection).await;
        let summary = finish(&connection, worker(&server, "all"), 1).await;
        assert_eq!((summary.captioned, summary.duplicates), (0, 1), "{death:?}");
        assert_eq!(captions(&connection).await.len(), 1, "{death:?}");
    }
}

/// The same of a window that was delivered as often as it may be: it is captioned, and no dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_captioned_is_not_buried_however_often_it_was_delivered() {
    for death in [Death::Late, Death::Early, Death::Forgotten] {
        let server = server(r#""$JS.ACK.>""#);
        let connection = connect(&server).await;
        caption_and_die(&connection, once(&server, "mute")).await;
        death.strike(&connection).await;
        let summary = finish(&connection, once(&server, "all"), 1).await;
        assert_eq!((summary.captioned, summary.dead), (0, 0), "{death:?}");
        assert_eq!(captions(&connection).await.len(), 1, "{death:?}");
        assert_eq!(count(&connection, streams::DEAD).await, 0, "{death:?}");
    }
}

/// A worker of which the server hears nothing has a window in hand while another one buries it.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_was_buried_in_the_meantime_gets_no_caption_before_it_is_replayed() {
    let server = server(r#""$JS.ACK.>""#);
    let connection = connect(&server).await;
    publish(&connection, 0).await;
    let (taken, is_taken) = mpsc::channel();
    let (let_go, held) = mpsc::channel::<()>();
    let model = move |w: &FeatureWindow| {
        taken.send(w.id.seq).unwrap();
        if w.id.seq == 0 {
            held.recv().unwrap();
        }
        Ok(Some(verdict(w)))
    };
    let mut config = once(&server, "mute");
    config.consumer.in_hand = Some(1);
    let holder = tokio::spawn(run_with(config, move || Ok(Fake(model)), pending()));
    assert_eq!(tokio::task::block_in_place(|| is_taken.recv().unwrap()), 0);
    let summary = finish(&connection, once(&server, "all"), 1).await;
    assert_eq!((summary.captioned, summary.dead), (0, 1));
    // It has one in hand: once it takes the second, it is through with the first.
    publish(&connection, 1).await;
    let_go.send(()).unwrap();
    until("the second is captioned", async || {
        seqs(&connection).await.contains(&1)
    })
    .await;
    holder.abort();
    assert_eq!(seqs(&connection).await, [1]);

    let letter = letters::list(&connection, None).await.unwrap().remove(0);
    let whole = letters::get(&connection, letter.number).await.unwrap();
    letters::replay(&connection, whole).await.unwrap();
    let summary = finish(&connection, worker(&server, "all"), 0).await;
    assert_eq!((summary.captioned, summary.duplicates), (1, 1));
    assert_eq!(seqs(&connection).await, [0, 1]);
    assert_eq!(count(&connection, streams::DEAD).await, 0);
}

/// Runs a worker until it has decided on an answer that it may not store, and kills it.
async fn decide_and_die(
    connection: &Connection,
    config: Config,
    verdict: impl Fn(&FeatureWindow) -> Result<Option<broker::caption::Verdict>, Fault>
    + Clone
    + Send
    + 'static,
) {
    publish(connection, 0).await;
    let worker = tokio::spawn(run_with(config, move || Ok(Fake(verdict)), pending()));
    until("it is decided", async || {
        count(connection, "KV_MSAO_DONE").await == 1
    })
    .await;
    worker.abort();
}

/// Without the model, and however often the window was delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_caption_that_a_dead_worker_had_decided_on_is_stored_by_another() {
    for max_deliver in [1, 5] {
        let server = server(r#""$JS.ACK.>", "msao.v1.captions.*""#);
        let connection = connect(&server).await;
        let config = |user| {
            let mut config = worker(&server, user);
            config.consumer.max_deliver = max_deliver;
            config
        };
        decide_and_die(&connection, config("mute"), |w| Ok(Some(verdict(w)))).await;
        assert_eq!(captions(&connection).await, []);
        let summary = finish(&connection, config("all"), 1).await;
        assert_eq!((summary.captioned, summary.dead), (0, 0));
        let captions = captions(&connection).await;
        assert_eq!(captions.len(), 1);
        assert_eq!(captions[0].text, verdict(&window(0)).text);
        assert_eq!(count(&connection, streams::DEAD).await, 0);
        let record = records(&connection).await.get(key()).await.unwrap();
        assert_eq!(record.as_deref(), Some(&b"2"[..]));
    }
}

/// With its reason, though the other worker could caption the window.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_a_dead_worker_had_decided_on_is_stored_by_another() {
    let server = server(r#""$JS.ACK.>", "msao.v1.dead.*""#);
    let connection = connect(&server).await;
    let hopeless = |_: &FeatureWindow| Err(Fault::Hopeless("another encoder".to_owned()));
    decide_and_die(&connection, worker(&server, "mute"), hopeless).await;
    assert_eq!(count(&connection, streams::DEAD).await, 0);
    let summary = finish(&connection, worker(&server, "all"), 1).await;
    assert_eq!((summary.captioned, summary.dead), (0, 1));
    assert_eq!(captions(&connection).await, []);
    let letter = letters::list(&connection, None).await.unwrap().remove(0);
    assert_eq!(letter.reason, "another encoder");

    // A copy of its message has the same answer; a replay is free to have another.
    let bytes = window(0).encode().unwrap();
    let copy = connection
        .jetstream()
        .publish(subjects::features(&id(0).rig), bytes.into());
    copy.await.unwrap().await.unwrap();
    let summary = finish(&connection, worker(&server, "all"), 1).await;
    assert_eq!((summary.captioned, summary.dead), (0, 0));
    let whole = letters::get(&connection, letter.number).await.unwrap();
    letters::replay(&connection, whole).await.unwrap();
    let summary = finish(&connection, worker(&server, "all"), 0).await;
    assert_eq!((summary.captioned, summary.dead), (1, 0));
    assert_eq!(count(&connection, streams::DEAD).await, 0);
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
    assert_eq!(seqs(&connection).await, [0, 1]);
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
