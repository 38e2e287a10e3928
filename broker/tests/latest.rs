//! The bucket of latest captions, when many come at once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use broker::{
    Caption, Message, StreamsConfig, deliver::Deliverer, headers::TraceParent, latest, streams,
    test_server::TestServer,
};
use futures::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn captions_of_a_rig_that_come_together_go_into_few_writes_and_the_newest_stays() {
    let server = TestServer::start();
    let connection = common::connect(&server).await;
    let deliverer = Deliverer::new(connection.clone(), StreamsConfig::default());
    let all = (0..200).map(|seq| {
        let caption = Caption::draft(&common::window(seq)).unwrap();
        let message = Message::caption(&caption, TraceParent::generate()).unwrap();
        let deliverer = &deliverer;
        async move { deliverer.deliver(&message).await.unwrap() }
    });
    join_all(all).await;
    let jetstream = connection.jetstream();
    let bucket = jetstream.get_key_value("MSAO_LATEST").await.unwrap();
    let newest = latest::get(&bucket, &common::rig()).await.unwrap().unwrap();
    assert_eq!(newest.id.seq, 199);
    // Every write has a sequence of its own in the bucket's stream.
    let entry = bucket.entry("car-7").await.unwrap().unwrap();
    assert!(entry.revision <= 25, "{} writes", entry.revision);
}

/// More rigs than the bucket has room for: captions are stored all the same, and nothing waits behind them.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_room_holds_up_nobody() {
    let server = TestServer::start();
    let connection = common::connect(&server).await;
    let bucket = streams::set_up(&connection, &StreamsConfig::default())
        .await
        .unwrap();
    let jetstream = connection.jetstream();
    let stream = jetstream.get_stream("KV_MSAO_LATEST").await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.max_bytes = 8192;
    jetstream.update_stream(&config).await.unwrap();
    let mut rigs = (0..100).map(|rig| format!("rig-{rig}"));
    let mut full = false;
    while let (false, Some(rig)) = (full, rigs.next()) {
        full = bucket.put(rig, vec![b'x'; 512].into()).await.is_err();
    }
    assert!(full);

    let deliverer = Deliverer::new(connection.clone(), StreamsConfig::default());
    let deliver = async |seq| {
        let caption = Caption::draft(&common::window(seq)).unwrap();
        let message = Message::caption(&caption, TraceParent::generate()).unwrap();
        let delivered = deliverer.deliver(&message);
        let delivered = tokio::time::timeout(Duration::from_secs(30), delivered).await;
        delivered.expect("the caption is held up").unwrap();
        latest::get(&bucket, &common::rig()).await.unwrap()
    };
    assert_eq!((deliver(0).await, deliver(1).await), (None, None));
    let stored = common::stored(&connection, streams::CAPTIONS).await;
    assert_eq!(stored.len(), 2);
    // As the error says.
    for rig in 0..4 {
        bucket.purge(format!("rig-{rig}")).await.unwrap();
    }
    assert_eq!(deliver(2).await.unwrap().id.seq, 2);
}
