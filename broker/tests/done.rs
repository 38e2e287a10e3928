//! The records of windows, against a real server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use async_nats::jetstream::stream::DiscardPolicy;
use broker::{
    Caption, Message, StreamsConfig,
    deliver::Deliverer,
    done::{Decision, Done, Record},
    headers::TraceParent,
    test_server::TestServer,
};
use common::{connect, id, stored, window};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use time::OffsetDateTime;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_outlives_whoever_made_it() {
    let mut server = TestServer::start();
    let streams = StreamsConfig::default();
    let first = Done::open(connect(&server).await, &streams).await.unwrap();
    assert_eq!(first.get(&id(3)).await.unwrap(), None);
    let caption = Box::new(Caption::draft(&window(3)).unwrap());
    let records = [
        Record::Captioning(caption),
        Record::Captioned(2),
        Record::Burying {
            replays: 7,
            reason: "another encoder: lite 2".to_owned(),
        },
        Record::Buried { replays: 7 },
    ];
    for (record, seq) in records.iter().zip(3..) {
        first.insert(&id(seq), record).await.unwrap();
    }
    drop(first);
    tokio::task::block_in_place(|| server.restart());
    let connection = connect(&server).await;
    let second = Done::open(connection.clone(), &streams).await.unwrap();
    for (record, seq) in records.into_iter().zip(3..) {
        assert_eq!(second.get(&id(seq)).await.unwrap(), Some(record));
    }
    assert_eq!(second.get(&id(2)).await.unwrap(), None);
    let bucket = connection
        .jetstream()
        .get_stream("KV_MSAO_DONE")
        .await
        .unwrap();
    let config = &bucket.cached_info().config;
    assert_eq!(
        (config.max_bytes, config.discard),
        (32 << 20, DiscardPolicy::Old)
    );
    assert_eq!(config.max_age, Duration::from_secs(7 * 24 * 3600));
}

/// Whoever comes first decides; only a burial gives way, to a message that was replayed since.
#[tokio::test(flavor = "multi_thread")]
async fn one_answer_is_decided_on() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let streams = StreamsConfig::default();
    let done = Done::open(connection.clone(), &streams).await.unwrap();
    let draft = |seq| Record::Captioning(Box::new(Caption::draft(&window(seq)).unwrap()));
    let burying = |replays| Record::Burying {
        replays,
        reason: "why".to_owned(),
    };
    // At once: one of them.
    let (caption, letter) = (draft(0), burying(0));
    let id = id(0);
    let (first, second) = tokio::join!(done.decide(&id, 0, &caption), done.decide(&id, 0, &letter));
    let made = |decision: &Decision| matches!(decision, Decision::Made(_));
    assert!(made(&first) != made(&second), "{first:?}, {second:?}");
    let record = done.get(&id).await.unwrap().unwrap();
    for decision in [first, second] {
        assert!(match decision {
            Decision::Made(_) => true,
            Decision::Found(found, _) => found == record,
        });
    }

    // The server stored it, and its answer was lost.
    let again = done.decide(&id, 0, &record).await;
    assert!(made(&again), "{again:?}");

    let id = common::id(1);
    let Decision::Made(buried) = done.decide(&id, 1, &burying(1)).await else {
        panic!("nothing was there before");
    };
    for replays in [0, 1] {
        let found = done.decide(&id, replays, &draft(1)).await;
        assert_eq!(found, Decision::Found(burying(1), buried));
    }
    assert!(made(&done.decide(&id, 2, &draft(1)).await));
    // Too late to say that it is buried, or to bury it again.
    let late = Record::Buried { replays: 1 };
    done.replace(&id, buried, &late).await.unwrap();
    assert_eq!(done.get(&id).await.unwrap(), Some(draft(1)));
    assert!(!made(&done.decide(&id, 3, &burying(3)).await));

    // What was removed, or is written by nobody, is no record.
    let bucket = connection.jetstream().get_key_value("MSAO_DONE");
    let bucket = bucket.await.unwrap();
    let key = |seq| format!("{}.{}.{seq}", id.rig, id.epoch);
    bucket.delete(key(1)).await.unwrap();
    bucket.put(key(2), "what".into()).await.unwrap();
    for seq in [1, 2] {
        let id = common::id(seq);
        assert_eq!(done.get(&id).await.unwrap(), None);
        assert!(made(&done.decide(&id, 0, &draft(seq)).await));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn captions_are_searched_by_window_revision_and_time() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let streams = StreamsConfig::default();
    let done = Done::open(connection.clone(), &streams).await.unwrap();
    let begun = OffsetDateTime::now_utc();
    assert!(!done.search(&id(0), 0, begun).await.unwrap());
    let deliverer = Deliverer::new(connection.clone(), streams);
    // More than are read at a time.
    for seq in 0..300 {
        let draft = Caption::draft(&window(seq)).unwrap();
        let message = Message::caption(&draft, TraceParent::generate()).unwrap();
        deliverer.deliver(&message).await.unwrap();
    }
    assert!(done.search(&id(0), 0, begun).await.unwrap());
    assert!(done.search(&id(299), 0, begun).await.unwrap());
    assert!(!done.search(&id(300), 0, begun).await.unwrap());
    assert!(!done.search(&id(299), 2, begun).await.unwrap());
    let last = stored(&connection, "MSAO_CAPTIONS")
        .await
        .pop()
        .unwrap()
        .time;
    assert!(
        !done
            .search(&id(299), 0, last + Duration::from_secs(61))
            .await
            .unwrap()
    );
}

// On one thread no answer is read before the test awaits.
#[tokio::test]
async fn many_ask_at_a_time_and_one_who_is_stopped_holds_up_nobody() {
    let server = TestServer::start();
    let streams = StreamsConfig::default();
    let done = Done::open(connect(&server).await, &streams).await.unwrap();
    for seq in (0..600).step_by(3) {
        done.insert(&id(seq), &Record::Captioned(2)).await.unwrap();
    }
    // More than go into one request; the first asks for all, and is stopped before its answer.
    let ids: Vec<_> = (0..600).map(id).collect();
    let (all, others): (Vec<_>, Vec<_>) = ids.iter().partition(|id| id.seq % 2 == 0);
    let mut stopped: FuturesUnordered<_> = others.iter().map(|id| done.get(id)).collect();
    assert!(stopped.next().now_or_never().is_none());
    let all = all
        .iter()
        .map(|id| async { (id.seq, done.get(id).await.unwrap().is_some()) });
    let mut answers: FuturesUnordered<_> = all.collect();
    assert!(answers.next().now_or_never().is_none());
    drop(stopped);
    let mut answered = 0;
    while let Some((seq, found)) = answers.next().await {
        assert_eq!(found, seq % 3 == 0, "{seq}");
        answered += 1;
    }
    assert_eq!(answered, 300);
}
