//! The bucket of latest captions, when many come at once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use broker::{
    Caption, Message, StreamsConfig, deliver::Deliverer, headers::TraceParent, latest,
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
