//! The records of captioned windows, against a real server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use async_nats::jetstream::stream::DiscardPolicy;
use broker::{
    Caption, Message, StreamsConfig, deliver::Deliverer, done::Done, headers::TraceParent,
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
    assert!(!first.contains(&id(3), 2).await.unwrap());
    first.insert(&id(3), 2).await.unwrap();
    drop(first);
    tokio::task::block_in_place(|| server.restart());
    let connection = connect(&server).await;
    let second = Done::open(connection.clone(), &streams).await.unwrap();
    assert!(second.contains(&id(3), 2).await.unwrap() && second.contains(&id(3), 0).await.unwrap());
    assert!(
        !second.contains(&id(3), 3).await.unwrap() && !second.contains(&id(4), 2).await.unwrap()
    );
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
        done.insert(&id(seq), 2).await.unwrap();
    }
    // More than go into one request; the first asks for all, and is stopped before its answer.
    let ids: Vec<_> = (0..600).map(id).collect();
    let (all, others): (Vec<_>, Vec<_>) = ids.iter().partition(|id| id.seq % 2 == 0);
    let mut stopped: FuturesUnordered<_> = others.iter().map(|id| done.contains(id, 2)).collect();
    assert!(stopped.next().now_or_never().is_none());
    let all = all
        .iter()
        .map(|id| async { (id.seq, done.contains(id, 2).await.unwrap()) });
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
