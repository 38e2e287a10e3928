//! A worker with a fake model against a real nats-server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::HashSet,
    future::{pending, ready},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use broker::{
    CaptionStatus, FeatureWindow, StreamsConfig,
    caption::{LAST, Verdict},
    headers::{REASON, TraceParent},
    latest,
    status::{self, AnyStatus},
    streams, subjects,
    test_server::TestServer,
};
use cloud_sink::{Error, Fault, Summary, Verifier, run, run_with};
use common::{Fake, captions, config, connect, count, id, publish, stored, until, verdict, window};
use futures::StreamExt;
use offload::Action;

#[tokio::test(flavor = "multi_thread")]
async fn windows_become_the_last_revision_of_their_captions() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let trace = publish(&connection, &window(0)).await;
    publish(&connection, &window(1)).await;
    publish(
        &connection,
        &FeatureWindow {
            draft: None,
            decision: Action::Offload,
            ..window(2)
        },
    )
    .await;
    publish(
        &connection,
        &FeatureWindow {
            tokens: vec![],
            ..window(3)
        },
    )
    .await;

    let model = |w: &FeatureWindow| Ok((!w.tokens.is_empty()).then(|| verdict(w)));
    let done = until("three captions, nothing left", async || {
        count(&connection, streams::CAPTIONS).await == 3
            && broker::consumer::backlog(&connection, "msao-cloud").await == Some(0)
    });
    let summary = run_with(config(&server), move || Ok(Fake(model)), done)
        .await
        .unwrap();
    assert_eq!(
        summary,
        Summary {
            captioned: 3,
            confirmed: 1,
            corrected: 2,
            duplicates: 0,
            dead: 0
        }
    );

    let captions = captions(&connection).await;
    let told: Vec<_> = captions
        .iter()
        .map(|c| (c.id.seq, c.revision, c.status, c.accepted_tokens))
        .collect();
    assert_eq!(
        told,
        [
            (0, LAST, CaptionStatus::Confirmed, Some(3)),
            (1, LAST, CaptionStatus::Corrected, Some(1)),
            (2, LAST, CaptionStatus::Corrected, None)
        ]
    );
    let first = &captions[0];
    assert_eq!(
        (first.text.as_str(), first.model.as_str(), first.tokens),
        ("a dog runs", "fake-v1", 3)
    );
    assert_eq!(first.latency_ms.edge, 15.0);
    assert!(first.latency_ms.uplink.unwrap() >= 5.0 && first.latency_ms.queue.is_some());
    assert!(first.latency_ms.cloud.unwrap() > 0.0);
    let stored = stored(&connection, streams::CAPTIONS).await;
    let traces = stored
        .iter()
        .map(|message| TraceParent::of(&message.headers).unwrap());
    let own: Vec<TraceParent> = traces
        .filter(|own| own.trace_id() == trace.trace_id())
        .collect();
    assert!(own.len() == 1 && own[0] != trace);
    let bucket = streams::set_up(&connection, &StreamsConfig::default())
        .await
        .unwrap();
    let latest = latest::get(&bucket, &id(0).rig).await.unwrap().unwrap();
    assert_eq!((latest.id.seq, latest.revision), (2, LAST));
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_message_is_buried_with_the_reason_and_the_worker_goes_on() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    streams::set_up(&connection, &StreamsConfig::default())
        .await
        .unwrap();
    let subject = subjects::features(&id(0).rig);
    connection
        .jetstream()
        .publish(subject, "no arrow".into())
        .await
        .unwrap()
        .await
        .unwrap();
    for seq in 0..3 {
        publish(&connection, &window(seq)).await;
    }
    let model = |window: &FeatureWindow| match window.id.seq {
        0 => Err(Fault::Hopeless("encoded by another encoder".to_owned())),
        1 => Err(Fault::Passing("out of memory".to_owned())),
        _ => Ok(Some(verdict(window))),
    };
    let done = until("all settled", async || {
        count(&connection, streams::DEAD).await == 3
            && count(&connection, streams::CAPTIONS).await == 1
    });
    let summary = run_with(config(&server), move || Ok(Fake(model)), done)
        .await
        .unwrap();
    assert_eq!((summary.captioned, summary.dead), (1, 3));
    let letters = stored(&connection, streams::DEAD).await;
    let reasons: Vec<&str> = letters
        .iter()
        .map(|letter| letter.headers.get(REASON).unwrap().as_str())
        .collect();
    for reason in [
        "not a features message",
        "encoded by another encoder",
        "failed 3 times, last: out of memory",
    ] {
        assert!(
            reasons.iter().any(|found| found.contains(reason)),
            "{reasons:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_delivered_twice_gives_one_caption() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    publish(&connection, &window(0)).await;
    // Under no message id: as an edge would send it again after the duplicate window.
    let subject = subjects::features(&id(0).rig);
    let bytes = window(0).encode().unwrap();
    connection
        .jetstream()
        .publish(subject, bytes.into())
        .await
        .unwrap()
        .await
        .unwrap();
    publish(&connection, &window(1)).await;
    let done = until("both windows captioned", async || {
        count(&connection, streams::CAPTIONS).await >= 2
    });
    let model = |w: &FeatureWindow| Ok(Some(verdict(w)));
    let summary = run_with(config(&server), move || Ok(Fake(model)), done)
        .await
        .unwrap();
    assert_eq!((summary.captioned, summary.duplicates), (2, 1));
    let seqs: Vec<u64> = captions(&connection)
        .await
        .iter()
        .map(|caption| caption.id.seq)
        .collect();
    assert_eq!(seqs, [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_killed_and_restarted_every_window_is_captioned_once() {
    const WINDOWS: u64 = 90;
    let mut server = TestServer::start();
    let connection = connect(&server).await;
    let (config, seen) = (config(&server), connect(&server).await);
    let model = |w: &FeatureWindow| Ok(Some(verdict(w)));
    let done = until("all captioned", async || {
        count(&seen, streams::CAPTIONS).await >= WINDOWS
    });
    let worker = run_with(config, move || Ok(Fake(model)), done);
    let driver = async {
        for third in 0..3 {
            for seq in third * 30..(third + 1) * 30 {
                publish(&connection, &window(seq)).await;
            }
            let half = third * 30 + 15;
            until("half are captioned", async || {
                count(&connection, streams::CAPTIONS).await >= half
            })
            .await;
            tokio::task::block_in_place(|| server.restart());
        }
    };
    let (summary, ()) = tokio::join!(worker, driver);
    assert_eq!((summary.unwrap().captioned, WINDOWS), (WINDOWS, WINDOWS));
    let captions = captions(&connection).await;
    assert_eq!(captions.len() as u64, WINDOWS);
    let seqs: HashSet<u64> = captions.iter().map(|caption| caption.id.seq).collect();
    assert_eq!(seqs, (0..WINDOWS).collect());
}

/// On one async thread: while the model works, the worker says each second how it is; stopped, it
/// finishes the window in hand.
#[tokio::test]
async fn the_model_blocks_nothing_and_its_window_is_finished() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let mut statuses = Box::pin(status::subscribe(&connection).await.unwrap());
    for seq in 0..2 {
        publish(&connection, &window(seq)).await;
    }
    let (taken, was_taken) = tokio::sync::oneshot::channel();
    let (release, released) = mpsc::channel::<()>();
    let mut taken = Some(taken);
    let model = move |window: &FeatureWindow| {
        taken
            .take()
            .expect("a second window was taken")
            .send(())
            .unwrap();
        released.recv().unwrap();
        Ok(Some(verdict(window)))
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut config = config(&server);
    config.batch.max = 1;
    let worker = run_with(config, move || Ok(Fake(model)), async {
        stopped.await.unwrap()
    });
    let driver = async {
        was_taken.await.unwrap();
        for _ in 0..3 {
            let Ok(AnyStatus::Cloud(status)) = statuses.next().await.unwrap() else {
                panic!("no status")
            };
            assert_eq!(
                (status.worker.as_str(), status.model.as_str()),
                ("cloud", "fake-v1")
            );
        }
        stop.send(()).unwrap();
        tokio::task::yield_now().await;
        release.send(()).unwrap();
    };
    let (summary, ()) = tokio::join!(worker, driver);
    assert_eq!(summary.unwrap().captioned, 1);
    assert_eq!(captions(&connection).await.len(), 1);
    assert_eq!(
        broker::consumer::backlog(&connection, "msao-cloud").await,
        Some(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_panics_ends_the_worker_with_an_error() {
    let server = TestServer::start();
    publish(&connect(&server).await, &window(0)).await;
    let model = |_: &FeatureWindow| panic!("as a broken model would");
    let error = run_with(config(&server), move || Ok(Fake(model)), pending())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Thread { .. }), "{error}");
    assert!(error.to_string().contains("fake-v1"), "{error}");
}

/// A fault of all windows: the one in hand is given back, unless it was delivered for the last time.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_stops_the_worker_buries_only_what_was_delivered_for_the_last_time() {
    for (max_deliver, buried) in [(2, 0), (1, 1)] {
        let server = TestServer::start();
        let connection = connect(&server).await;
        publish(&connection, &window(0)).await;
        let mut config = config(&server);
        config.consumer.max_deliver = max_deliver;
        let model = |_: &FeatureWindow| Err(Fault::Stopping("the key is refused".to_owned()));
        let error = run_with(config, move || Ok(Fake(model)), pending())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Server(_)), "{error}");
        assert_eq!(count(&connection, streams::DEAD).await, buried);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_at_the_start_is_named() {
    let mut server = TestServer::start();
    let mut config = config(&server);
    config.model = Some("/no/such/model".into());
    // As a task of its own, as programs run it.
    let failed = tokio::spawn(run(config.clone(), pending())).await.unwrap();
    let error = failed.unwrap_err().to_string();
    assert!(error.contains("/no/such/model"), "{error}");
    config.consumer.durable = "not a name.".to_owned();
    let model = |w: &FeatureWindow| Ok(Some(verdict(w)));
    let error = run_with(config.clone(), move || Ok(Fake(model)), pending())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("not a name."), "{error}");
    config.consumer.durable = "msao-cloud".to_owned();
    server.kill();
    let error = run(config, pending()).await.unwrap_err().to_string();
    assert!(
        error.contains(&server.url()) && error.contains("nats-server"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_while_the_model_loads_is_quick() {
    let server = TestServer::start();
    let (release, released) = mpsc::channel::<()>();
    let load = move || {
        let _ = released.recv();
        Ok(Fake(|w: &FeatureWindow| Ok(Some(verdict(w)))))
    };
    let stopped = tokio::time::timeout(
        Duration::from_secs(10),
        run_with(config(&server), load, ready(())),
    );
    assert_eq!(stopped.await.unwrap().unwrap(), Summary::default());
    drop(release);
}

/// Work of at least 20 ms a window, and much idle time: the rate is of the work.
#[tokio::test(flavor = "multi_thread")]
async fn the_heartbeat_tells_queue_rate_and_times() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let mut statuses = Box::pin(status::subscribe(&connection).await.unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (release, released) = mpsc::channel::<()>();
    let model = move |window: &FeatureWindow| {
        std::thread::sleep(Duration::from_millis(20));
        if window.id.seq == 4 {
            released.recv().unwrap();
        }
        Ok(Some(verdict(window)))
    };
    let worker = run_with(config(&server), move || Ok(Fake(model)), async {
        stopped.await.unwrap()
    });
    let driver = async {
        let mut next = async || match statuses.next().await.unwrap() {
            Ok(AnyStatus::Cloud(status)) => status,
            other => panic!("no status of a worker: {other:?}"),
        };
        let first = next().await;
        assert_eq!((first.queue, first.service_rate), (0, 0.0));
        assert_eq!((first.confirmed_ms, first.corrected_ms), (None, None));
        for seq in 0..4 {
            publish(&connection, &window(seq)).await;
        }
        let served = loop {
            let status = next().await;
            if status.captioned == 4 && status.service_rate > 0.0 {
                break status;
            }
        };
        assert!(
            (5.0..=50.0).contains(&served.service_rate),
            "{}",
            served.service_rate
        );
        assert!(served.confirmed_ms.unwrap() >= 20.0 && served.corrected_ms.unwrap() >= 20.0);
        assert_eq!(served.captioned_ms, None);
        // One is with the model and does not end; the others wait.
        for seq in 4..7 {
            publish(&connection, &window(seq)).await;
        }
        while next().await.queue != 2 {}
        stop.send(()).unwrap();
        release.send(()).unwrap();
    };
    let (summary, ()) = tokio::join!(worker, driver);
    assert_eq!(summary.unwrap().captioned, 7);
}

/// What waits while the model works is judged together, and each window gets its own verdict.
#[tokio::test(flavor = "multi_thread")]
async fn windows_that_wait_are_judged_together() {
    struct Together(mpsc::Receiver<()>, Arc<Mutex<Vec<Vec<u64>>>>);

    impl Verifier for Together {
        fn model(&self) -> &str {
            "fake-v1"
        }

        fn provider(&self) -> String {
            "none".to_owned()
        }

        fn verify(&mut self, _: &FeatureWindow) -> Result<Option<Verdict>, Fault> {
            panic!("one by one")
        }

        fn verify_all(&mut self, windows: &[FeatureWindow]) -> Vec<Result<Option<Verdict>, Fault>> {
            let seqs = windows.iter().map(|window| window.id.seq).collect();
            self.1.lock().unwrap().push(seqs);
            self.0.recv().unwrap();
            let answer = |window: &FeatureWindow| match window.id.seq {
                3 => Err(Fault::Hopeless("the fourth".to_owned())),
                _ => Ok(Some(verdict(window))),
            };
            windows.iter().map(answer).collect()
        }
    }

    let server = TestServer::start();
    let connection = connect(&server).await;
    publish(&connection, &window(0)).await;
    let batches = Arc::new(Mutex::new(Vec::new()));
    let (release, released) = mpsc::channel::<()>();
    let model = Together(released, Arc::clone(&batches));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut config = config(&server);
    config.batch.max = 3;
    config.consumer.ack_wait_s = 30.0;
    let worker = run_with(config, move || Ok(model), async { stopped.await.unwrap() });
    let driver = async {
        until("the first is with the model", async || {
            batches.lock().unwrap().len() == 1
        })
        .await;
        for seq in 1..6 {
            publish(&connection, &window(seq)).await;
        }
        until("all are in hand", async || {
            broker::consumer::backlog(&connection, "msao-cloud").await == Some(0)
        })
        .await;
        (0..6).for_each(|_| release.send(()).unwrap());
        until("all settled", async || {
            count(&connection, streams::CAPTIONS).await == 5
                && count(&connection, streams::DEAD).await == 1
        })
        .await;
        stop.send(()).unwrap();
    };
    let (summary, ()) = tokio::join!(worker, driver);
    let summary = summary.unwrap();
    assert_eq!((summary.captioned, summary.confirmed), (5, 3));
    let batches = batches.lock().unwrap();
    let all: Vec<u64> = batches.iter().flatten().copied().collect();
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    assert!(batches[0] == [0] && batches.len() <= 4, "{batches:?}");
    assert!(batches.iter().all(|batch| batch.len() <= 3), "{batches:?}");
}
