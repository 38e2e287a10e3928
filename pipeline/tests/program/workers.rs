//! `msao cloud` killed with -9 in the middle of its work: another takes it up, and each window has one last caption.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use broker::caption::LAST;
use broker::connect::AtStart;
use broker::test_server::TestServer;
use broker::{Caption, ConnectConfig, Connection, FeatureWindow, WindowId};

use crate::common::{Killed, media, models, msao, texts};

fn worker(folder: &Path, config: &Path) -> Killed {
    let mut worker = msao(folder);
    worker.args(["cloud", "--config"]).arg(config);
    Killed(worker.stdout(Stdio::null()).spawn().unwrap())
}

pub async fn connect(server: &TestServer) -> Connection {
    let config = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    Connection::open(&config, AtStart::Fail).await.unwrap()
}

pub async fn payloads(connection: &Connection, stream: &str) -> Vec<Vec<u8>> {
    let stream = connection.jetstream().get_stream(stream).await.unwrap();
    let state = stream.cached_info().state.clone();
    let mut payloads = Vec::new();
    for sequence in 1..=state.last_sequence {
        payloads.push(
            stream
                .get_raw_message(sequence)
                .await
                .unwrap()
                .payload
                .to_vec(),
        );
    }
    payloads
}

/// How many last captions each window has.
async fn last_words(connection: &Connection) -> BTreeMap<WindowId, u32> {
    let mut words = BTreeMap::new();
    for payload in payloads(connection, "MSAO_CAPTIONS").await {
        let caption = Caption::decode(&payload).unwrap();
        if caption.revision == LAST {
            *words.entry(caption.id).or_default() += 1;
        }
    }
    words
}

/// Windows that wait in the broker, and that are with a worker.
async fn left(connection: &Connection) -> (u64, usize) {
    let consumer = connection.jetstream();
    let consumer = consumer.get_consumer_from_stream("msao-cloud", "MSAO_FEATURES");
    let consumer: PullConsumer = consumer.await.unwrap();
    let info = consumer.cached_info();
    (info.num_pending, info.num_ack_pending)
}

pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_middle_of_a_window_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let (model, full) = models();
    let (edge, cloud) = (
        folder.path().join("edge.toml"),
        folder.path().join("cloud.toml"),
    );
    let text = format!(
        "rig = 'car'
        model = '{}'
        video = [{{ source = '{}', pace = 'fast' }}]
        offload = {{ enabled = false }}
        nats = {{ url = '{}' }}",
        model.display(),
        media("bikes.mp4").display(),
        server.url()
    );
    std::fs::write(&edge, text).unwrap();
    let text = format!(
        "model = '{}'
        consumer = {{ ack_wait_s = 2 }}
        batch = {{ max = 2 }}
        nats = {{ url = '{}' }}",
        full.display(),
        server.url()
    );
    std::fs::write(&cloud, text).unwrap();
    let output = msao(folder.path())
        .args(["edge", "--config"])
        .arg(&edge)
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");

    let connection = connect(&server).await;
    let mut wanted = BTreeMap::new();
    for payload in payloads(&connection, "MSAO_FEATURES").await {
        let window = FeatureWindow::decode(&payload).unwrap();
        if !window.tokens.is_empty() {
            wanted.insert(window.id, 1);
        }
    }
    // More than a worker has in hand.
    assert!(wanted.len() > 4, "{wanted:?}");

    let victim = worker(folder.path(), &cloud);
    until("it captions", async || {
        !last_words(&connection).await.is_empty()
    })
    .await;
    drop(victim);
    let (_, in_hand) = left(&connection).await;
    assert!(in_hand > 0, "it was killed when it had nothing to do");
    let _other = worker(folder.path(), &cloud);
    until("nothing is left", async || {
        left(&connection).await == (0, 0)
    })
    .await;
    assert_eq!(last_words(&connection).await, wanted);
    let dead = connection
        .jetstream()
        .get_stream("MSAO_DEAD")
        .await
        .unwrap();
    assert_eq!(dead.cached_info().state.messages, 0);
}
