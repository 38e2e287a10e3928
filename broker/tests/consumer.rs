//! The durable consumer and the readers against a real server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::HashSet,
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::consumer::PullConsumer;
use broker::{
    Connection, FeatureWindow, StreamsConfig,
    consumer::{Consumer, ConsumerConfig, Delivery, Outcome, backlog},
    deliver::Deliverer,
    headers, streams,
    test_server::TestServer,
};
use common::{connect, header, message, stored, until, window};
use tokio::sync::oneshot;

fn deliverer(connection: &Connection) -> Arc<Deliverer> {
    Arc::new(Deliverer::new(connection.clone(), StreamsConfig::default()))
}

fn config() -> ConsumerConfig {
    ConsumerConfig {
        max_deliver: 3,
        backoff: vec![Duration::from_millis(1)],
        ack_wait: Duration::from_millis(500),
        ..ConsumerConfig::default()
    }
}

async fn consumer(connection: &Connection, config: ConsumerConfig) -> Consumer {
    Consumer::open(deliverer(connection), &StreamsConfig::default(), config)
        .await
        .unwrap()
}

async fn publish(connection: &Connection, seqs: std::ops::Range<u64>) {
    let deliverer = deliverer(connection);
    for seq in seqs {
        deliverer.deliver(&message(&window(seq))).await.unwrap();
    }
}

async fn poison(connection: &Connection, payload: &'static str) {
    let subject = "msao.v1.features.car-7";
    connection
        .jetstream()
        .publish(subject, payload.into())
        .await
        .unwrap()
        .await
        .unwrap();
}

/// Handles what decodes, fails on the rest.
fn decode(delivery: &Delivery) -> Result<FeatureWindow, Outcome> {
    FeatureWindow::decode(&delivery.payload).map_err(|error| Outcome::Retry(error.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_message_goes_to_the_dead_letters_and_the_consumer_goes_on() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let mut consumer = consumer(&connection, config()).await;
    publish(&connection, 0..1).await;
    poison(&connection, "no arrow").await;
    publish(&connection, 1..2).await;

    let (attempts, dead) = (AtomicU64::new(0), consumer.dead_letters());
    let done = Mutex::new(Vec::new());
    let all_settled = until("all settled", async || {
        dead.load(Ordering::Relaxed) == 1 && done.lock().unwrap().len() == 2
    });
    consumer
        .run(all_settled, |delivery| {
            ready(match decode(&delivery) {
                Ok(window) => {
                    done.lock().unwrap().push(window.id.seq);
                    Outcome::Done
                }
                Err(outcome) => {
                    attempts.fetch_add(1, Ordering::Relaxed);
                    outcome
                }
            })
        })
        .await;

    assert_eq!(*done.lock().unwrap(), [0, 1]);
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
    let dead = stored(&connection, streams::DEAD).await;
    assert_eq!(dead.len(), 1);
    let letter = &dead[0];
    assert_eq!(
        (letter.subject.as_str(), &letter.payload[..]),
        ("msao.v1.dead.car-7", &b"no arrow"[..])
    );
    let reason = header(&letter.headers, headers::REASON);
    assert!(
        reason.contains("failed 3 times") && reason.contains("not a features message"),
        "{reason}"
    );
    assert_eq!(header(&letter.headers, headers::ORIGIN), "MSAO_FEATURES/2");
    assert_eq!(
        header(&letter.headers, headers::ORIGIN_SUBJECT),
        "msao.v1.features.car-7"
    );
    assert_eq!(header(&letter.headers, headers::DELIVERIES), "3");
    assert_eq!(backlog(&connection, "msao-cloud").await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hopeless_message_is_not_tried_again() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let mut consumer = consumer(&connection, config()).await;
    publish(&connection, 7..8).await;
    let dead = consumer.dead_letters();
    let deliveries = AtomicU64::new(0);
    consumer
        .run(
            until("dead", async || dead.load(Ordering::Relaxed) == 1),
            |_| {
                deliveries.fetch_add(1, Ordering::Relaxed);
                ready(Outcome::Dead(
                    "other encoder\r\nNats-Msg-Id: forged".to_owned(),
                ))
            },
        )
        .await;
    assert_eq!(deliveries.load(Ordering::Relaxed), 1);
    let letter = &stored(&connection, streams::DEAD).await[0];
    assert_eq!(
        header(&letter.headers, headers::REASON),
        "other encoder  Nats-Msg-Id: forged"
    );
    let id = format!("{}/dead/0", common::id(7));
    assert_eq!(header(&letter.headers, headers::MESSAGE_ID), id);
    assert_eq!(FeatureWindow::decode(&letter.payload).unwrap(), window(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_cut_to_what_the_server_takes() {
    let server = TestServer::with_config("max_payload: 8KB");
    let connection = connect(&server).await;
    let mut consumer = consumer(&connection, config()).await;
    let payload = vec![b'x'; 8 * 1024 - 10];
    let published = connection
        .jetstream()
        .publish("msao.v1.features.no$rig", payload.into())
        .await;
    published.unwrap().await.unwrap();
    let dead = consumer.dead_letters();
    consumer
        .run(
            until("dead", async || dead.load(Ordering::Relaxed) == 1),
            |_| ready(Outcome::Dead("y".repeat(5_000))),
        )
        .await;
    let letter = &stored(&connection, streams::DEAD).await[0];
    assert_eq!(letter.subject.as_str(), "msao.v1.dead._");
    assert_eq!(header(&letter.headers, headers::CUT_FROM), "8182");
    assert!(letter.payload.len() > 6_000);
}

/// Messages that wait, and that are with a worker.
async fn left(connection: &Connection) -> (u64, usize) {
    let jetstream = connection.jetstream();
    let consumer: PullConsumer = jetstream
        .get_consumer_from_stream("msao-cloud", streams::FEATURES)
        .await
        .unwrap();
    let info = consumer.cached_info();
    (info.num_pending, info.num_ack_pending)
}

#[tokio::test(flavor = "multi_thread")]
async fn work_longer_than_ack_wait_is_not_delivered_twice() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let mut consumer = consumer(&connection, config()).await;
    publish(&connection, 0..1).await;
    let deliveries = Arc::new(Mutex::new(Vec::new()));
    let (done, finished) = oneshot::channel();
    let mut done = Some(done);
    consumer
        .run(async { finished.await.unwrap() }, |delivery| {
            deliveries.lock().unwrap().push(delivery.delivered);
            let done = done.take();
            async {
                // The work: four times as long as the server would wait.
                tokio::time::sleep(Duration::from_secs(2)).await;
                done.unwrap().send(()).unwrap();
                Outcome::Done
            }
        })
        .await;
    assert_eq!(*deliveries.lock().unwrap(), [1]);
    until("0 are left", async || left(&connection).await == (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_finishes_the_message_in_hand_and_takes_no_other() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let mut consumer = consumer(&connection, config()).await;
    publish(&connection, 0..3).await;
    let (taken, was_taken) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let (release, released) = oneshot::channel::<()>();
    let mut once = Some((taken, released));
    let running = tokio::spawn(async move {
        let handle = |_| {
            let (taken, released) = once.take().expect("a second message was taken");
            async {
                taken.send(()).unwrap();
                released.await.unwrap();
                Outcome::Done
            }
        };
        consumer.run(async { stopped.await.unwrap() }, handle).await;
    });
    was_taken.await.unwrap();
    stop.send(()).unwrap();
    release.send(()).unwrap();
    running.await.unwrap();
    until("2 are left", async || left(&connection).await == (2, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_does_not_wait_for_a_server_that_is_gone() {
    let mut server = TestServer::start();
    let connection = connect(&server).await;
    let mut consumer = consumer(&connection, config()).await;
    server.kill();
    until("loss is seen", async || !connection.is_connected()).await;
    let stopped = tokio::time::timeout(
        Duration::from_secs(20),
        consumer.run(ready(()), |_| pending()),
    );
    stopped.await.unwrap();
}

/// A message that kills its worker each time must not do so for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_workers_goes_to_the_dead_letters() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    publish(&connection, 0..1).await;
    for expected in 1..=3 {
        let mut consumer = consumer(&connection, config()).await;
        let (taken, was_taken) = oneshot::channel();
        let mut taken = Some(taken);
        let worker = tokio::spawn(async move {
            let handle = |delivery: Delivery| {
                taken.take().unwrap().send(delivery.delivered).unwrap();
                pending()
            };
            consumer.run(pending(), handle).await;
        });
        assert_eq!(was_taken.await.unwrap(), expected);
        worker.abort();
    }
    let mut consumer = consumer(&connection, config()).await;
    let dead = consumer.dead_letters();
    consumer
        .run(
            until("dead", async || dead.load(Ordering::Relaxed) == 1),
            |_| -> std::future::Ready<Outcome> { panic!("it was handled once more") },
        )
        .await;
    let letter = &stored(&connection, streams::DEAD).await[0];
    assert!(header(&letter.headers, headers::REASON).contains("no verdict after 3 deliveries"));
}

/// Killed and restarted while windows flow: all that was acknowledged is handled.
#[tokio::test(flavor = "multi_thread")]
async fn broker_killed_and_restarted_everything_acknowledged_is_handled() {
    const WINDOWS: u64 = 120;
    let mut server = TestServer::start();
    let connection = connect(&server).await;
    let mut consumer = consumer(&connection, config()).await;
    let handled = Mutex::new(HashSet::new());
    let count = || handled.lock().unwrap().len() as u64;
    let worker = consumer.run(
        until("all handled", async || count() == WINDOWS),
        |delivery| {
            handled
                .lock()
                .unwrap()
                .insert(decode(&delivery).unwrap().id.seq);
            ready(Outcome::Done)
        },
    );
    let driver = async {
        for third in 0..3 {
            publish(&connection, third * 40..(third + 1) * 40).await;
            until("half of them are handled", async || {
                count() >= third * 40 + 20
            })
            .await;
            tokio::task::block_in_place(|| server.restart());
        }
    };
    tokio::join!(worker, driver);
    assert_eq!(*handled.lock().unwrap(), (0..WINDOWS).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_are_handled_at_a_time_and_no_more() {
    const AT_ONCE: usize = 4;
    const WINDOWS: u64 = 32;
    let server = TestServer::start();
    let connection = connect(&server).await;
    publish(&connection, 0..WINDOWS).await;
    let mut consumer = consumer(
        &connection,
        ConsumerConfig {
            at_once: AT_ONCE,
            ..config()
        },
    )
    .await;
    let (in_hand, done) = (Mutex::new(0), AtomicU64::new(0));
    // Each waits until as many are in hand as may be, so that fewer would never end.
    let full = tokio::sync::Barrier::new(AT_ONCE);
    let pending = Mutex::new(Vec::new());
    let all = until("all are done", async || {
        done.load(Ordering::Relaxed) == WINDOWS
    });
    consumer
        .run(all, |delivery| {
            let (in_hand, done, full) = (&in_hand, &done, &full);
            pending.lock().unwrap().push(delivery.pending);
            async move {
                *in_hand.lock().unwrap() += 1;
                assert!(*in_hand.lock().unwrap() <= AT_ONCE);
                full.wait().await;
                *in_hand.lock().unwrap() -= 1;
                done.fetch_add(1, Ordering::Relaxed);
                Outcome::Done
            }
        })
        .await;
    let behind: Vec<u64> = (0..WINDOWS).rev().collect();
    assert_eq!(*pending.lock().unwrap(), behind);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_it_stops_is_given_back_at_once() {
    what_comes_while_it_stops(Duration::from_secs(600)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_it_stops_is_not_delivered_to_it_again() {
    what_comes_while_it_stops(Duration::from_millis(600)).await;
}

async fn what_comes_while_it_stops(ack_wait: Duration) {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let mut first = consumer(
        &connection,
        ConsumerConfig {
            at_once: 4,
            ack_wait,
            ..config()
        },
    )
    .await;
    // One is in hand, and a request for three more is with the server, when it is stopped.
    publish(&connection, 0..1).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let (taken, was_taken) = oneshot::channel::<()>();
    let (go_on, on) = oneshot::channel::<()>();
    let (mut taken, mut on) = (Some(taken), Some(on));
    let run = first.run(async { stopped.await.unwrap() }, |_| {
        taken.take().expect("one is handled").send(()).unwrap();
        let on = on.take().expect("one is handled");
        async move {
            on.await.unwrap();
            Outcome::Done
        }
    });
    let driver = async {
        was_taken.await.unwrap();
        stop.send(()).unwrap();
        tokio::task::yield_now().await;
        publish(&connection, 1..3).await;
        go_on.send(()).unwrap();
    };
    tokio::join!(run, driver);

    let mut second = consumer(
        &connection,
        ConsumerConfig {
            ack_wait,
            ..config()
        },
    )
    .await;
    let seqs = Mutex::new(HashSet::new());
    let both = until("both come to the next worker", async || {
        *seqs.lock().unwrap() == HashSet::from([1, 2])
    });
    second
        .run(both, |delivery| {
            // The one who stopped had each once, whatever it had still asked for: more would bring it to the dead letters.
            assert!(delivery.delivered <= 2, "{} times", delivery.delivered);
            let window = decode(&delivery).unwrap();
            seqs.lock().unwrap().insert(window.id.seq);
            ready(Outcome::Done)
        })
        .await;
}
