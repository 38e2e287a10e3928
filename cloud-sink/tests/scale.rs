//! Several workers on one queue: what more of them give, what the loss of one costs, and in which order captions come.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::{BTreeMap, HashMap},
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use broker::{
    Caption, Connection, FeatureWindow, Message, Rig, StreamsConfig, WindowId,
    caption::{LAST, Verdict},
    captions::{self, From},
    deliver::Deliverer,
    headers::TraceParent,
    latest, streams,
    test_server::TestServer,
};
use cloud_sink::{Config, Fault, run_with};
use common::{Fake, config, connect, count, until, verdict, window};
use futures::future::join_all;

type Answer = Result<Option<Verdict>, Fault>;

fn of(rig: &str, seq: u64) -> FeatureWindow {
    let plain = window(seq);
    let id = WindowId {
        rig: rig.parse().unwrap(),
        ..plain.id.clone()
    };
    FeatureWindow { id, ..plain }
}

fn draft(window: &FeatureWindow) -> Message {
    Message::caption(&Caption::draft(window).unwrap(), TraceParent::generate()).unwrap()
}

fn features(window: &FeatureWindow) -> Message {
    let bytes = window.encode().unwrap();
    Message::features(window, bytes, TraceParent::generate())
}

/// Publishes all of them, many at a time.
async fn publish(connection: &Connection, messages: impl IntoIterator<Item = Message>) {
    let deliverer = Deliverer::new(connection.clone(), StreamsConfig::default());
    let deliver = async |message: Message| deliverer.deliver(&message).await.unwrap();
    join_all(messages.into_iter().map(deliver)).await;
}

/// A worker called `name`, each window of which takes as long as `model` does.
async fn work(
    server: &TestServer,
    name: String,
    change: impl FnOnce(&mut Config),
    model: impl FnMut(&FeatureWindow) -> Answer + Send + 'static,
    stop: impl Future<Output = ()>,
) -> u64 {
    let mut config = config(server);
    config.worker = name;
    config.consumer.ack_wait_s = 5.0;
    change(&mut config);
    let worker = run_with(config, move || Ok(Fake(model)), stop);
    worker.await.unwrap().captioned
}

async fn captioned(connection: &Connection, captions: u64) {
    until("all are captioned", async || {
        count(connection, streams::CAPTIONS).await == captions
    })
    .await;
}

/// How long `workers` take for 100 windows of 20 ms each: the model waits rather than computes, so cores do not matter.
async fn time_of(workers: usize) -> Duration {
    const WINDOWS: u64 = 100;
    let server = TestServer::start();
    let connection = connect(&server).await;
    publish(&connection, (0..WINDOWS).map(|seq| features(&window(seq)))).await;
    let begun = Instant::now();
    let each = (0..workers).map(|i| {
        let model = |w: &FeatureWindow| {
            std::thread::sleep(Duration::from_millis(20));
            Ok(Some(verdict(w)))
        };
        let done = captioned(&connection, WINDOWS);
        work(&server, format!("w{i}"), |_| {}, model, async {
            done.await;
        })
    });
    // The time is of the work: a worker takes up to a second to stop.
    let (took, counts) = tokio::join!(
        async {
            captioned(&connection, WINDOWS).await;
            begun.elapsed()
        },
        join_all(each)
    );
    assert_eq!(counts.iter().sum::<u64>(), WINDOWS);
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_a_worker_raises_throughput() {
    let (one, two) = (time_of(1).await, time_of(2).await);
    println!("100 windows of 20 ms: {one:?} with one worker, {two:?} with two");
    assert!(
        two.as_secs_f64() < 0.7 * one.as_secs_f64(),
        "{one:?}, {two:?}"
    );
}

/// Three workers, four rigs; one worker is gone without a word while it has windows in hand.
#[tokio::test(flavor = "multi_thread")]
async fn killing_a_worker_loses_nothing() {
    const RIGS: [&str; 4] = ["a", "b", "c", "d"];
    const WINDOWS: u64 = 30;
    let server = Arc::new(TestServer::start());
    let connection = connect(&server).await;
    let taken = Arc::new(AtomicBool::new(false));
    let victim = {
        let (server, taken) = (Arc::clone(&server), Arc::clone(&taken));
        // Held for ever by a sender that is never used.
        let (never, held) = mpsc::channel::<()>();
        let model = move |_: &FeatureWindow| {
            taken.store(true, Ordering::Relaxed);
            let _ = held.recv();
            Err(Fault::Passing("killed".to_owned()))
        };
        let run = async move {
            let short = |config: &mut Config| config.consumer.ack_wait_s = 1.0;
            work(&server, "victim".to_owned(), short, model, pending()).await;
        };
        (tokio::spawn(run), never)
    };
    let all = RIGS
        .iter()
        .flat_map(|rig| (0..WINDOWS).map(|seq| features(&of(rig, seq))));
    publish(&connection, all).await;
    until("it has windows", async || taken.load(Ordering::Relaxed)).await;
    victim.0.abort();
    let total = WINDOWS * RIGS.len() as u64;
    let others = (0..2).map(|i| {
        let model = |w: &FeatureWindow| Ok(Some(verdict(w)));
        let short = |config: &mut Config| config.consumer.ack_wait_s = 1.0;
        work(
            &server,
            format!("w{i}"),
            short,
            model,
            captioned(&connection, total),
        )
    });
    assert_eq!(join_all(others).await.iter().sum::<u64>(), total);
    let mut ids: Vec<String> = (common::captions(&connection).await.iter())
        .map(|caption| caption.id.to_string())
        .collect();
    ids.dedup();
    assert_eq!(ids.len() as u64, total);
    assert_eq!(count(&connection, streams::DEAD).await, 0);
    drop(victim.1);
}

/// Whoever reads gets the revisions of a window in order, though some drafts are stored after the last word.
#[tokio::test(flavor = "multi_thread")]
async fn revisions_of_a_window_are_read_in_order() {
    const RIGS: [&str; 3] = ["a", "b", "c"];
    const WINDOWS: u64 = 40;
    let server = TestServer::start();
    let connection = connect(&server).await;
    let late = |window: &FeatureWindow| window.id.seq.is_multiple_of(5);
    let windows: Vec<FeatureWindow> = (0..WINDOWS)
        .flat_map(|seq| RIGS.map(|rig| of(rig, seq)))
        .collect();
    let edge = async {
        for window in &windows {
            if !late(window) {
                publish(&connection, [draft(window)]).await;
            }
            publish(&connection, [features(window)]).await;
        }
    };
    let drafts = windows.iter().filter(|w| !late(w)).count() as u64;
    let done = || captioned(&connection, windows.len() as u64 + drafts);
    let workers = (0..3).map(|i| {
        let model = move |w: &FeatureWindow| {
            std::thread::sleep(Duration::from_millis((w.id.seq * 7 + i) % 5));
            Ok(Some(verdict(w)))
        };
        work(&server, format!("w{i}"), |_| {}, model, done())
    });
    let (counts, ()) = tokio::join!(join_all(workers), edge);
    assert_eq!(counts.iter().sum::<u64>(), windows.len() as u64);
    publish(&connection, windows.iter().filter(|w| late(w)).map(draft)).await;
    let marker = of("z", 0);
    publish(&connection, [draft(&marker)]).await;

    let streams = StreamsConfig::default();
    let reader = captions::subscribe(&connection, &streams, None, From::Beginning);
    let mut reader = reader.await.unwrap();
    let mut read: HashMap<WindowId, Vec<u32>> = HashMap::new();
    loop {
        let caption = reader.next().await.unwrap();
        if caption.id == marker.id {
            break;
        }
        read.entry(caption.id).or_default().push(caption.revision);
    }
    for window in &windows {
        let revisions = if late(window) {
            vec![LAST]
        } else {
            vec![0, LAST]
        };
        assert_eq!(read[&window.id], revisions, "{}", window.id);
    }
    // The latest of each rig is its last window, whatever order the captions were stored in.
    let bucket = streams::set_up(&connection, &streams).await.unwrap();
    let mut newest = BTreeMap::new();
    for rig in RIGS {
        let rig: Rig = rig.parse().unwrap();
        let latest = latest::get(&bucket, &rig).await.unwrap().unwrap();
        newest.insert(rig, (latest.id.seq, latest.revision));
    }
    assert!(
        newest.values().all(|newest| *newest == (WINDOWS - 1, LAST)),
        "{newest:?}"
    );
}

/// One worker has the first window of a rig for long; the next one's caption does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn windows_of_a_rig_are_captioned_in_any_order() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    publish(&connection, [features(&window(0))]).await;
    publish(&connection, [features(&window(1))]).await;
    let stored = Arc::new(AtomicU64::new(0));
    let workers = (0..2).map(|i| {
        let stored = Arc::clone(&stored);
        let model = move |w: &FeatureWindow| {
            let begun = Instant::now();
            while w.id.seq == 0 && stored.load(Ordering::Relaxed) == 0 {
                assert!(
                    begun.elapsed() < Duration::from_secs(30),
                    "the second waits for the first"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(Some(verdict(w)))
        };
        let single = |config: &mut Config| config.batch.max = 1;
        work(
            &server,
            format!("w{i}"),
            single,
            model,
            captioned(&connection, 2),
        )
    });
    let watch = until("the second is captioned", async || {
        stored.store(
            count(&connection, streams::CAPTIONS).await,
            Ordering::Relaxed,
        );
        stored.load(Ordering::Relaxed) > 0
    });
    let (counts, ()) = tokio::join!(join_all(workers), watch);
    assert_eq!(counts, [1, 1]);
    let captions = common::stored(&connection, streams::CAPTIONS).await;
    let seqs: Vec<u64> = (captions.iter())
        .map(|message| Caption::decode(&message.payload).unwrap().id.seq)
        .collect();
    assert_eq!(seqs, [1, 0]);
}
