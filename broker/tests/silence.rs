//! A server that falls silent without its connections breaking, as behind a radio link.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use broker::{
    Publisher, PublisherConfig, StreamsConfig,
    test_server::{TestServer, reached},
};
use common::{connect, message, stored, window};
use futures::StreamExt;

/// TCP alone would wait for a quarter of an hour.
const NOTICED: Duration = Duration::from_secs(10);

/// The loss is noticed, all that waited is stored, and streams are set up once for all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_noticed_and_streams_are_set_up_once_after_it() {
    const WAITING: u64 = 50;
    let server = TestServer::start();
    // A client of its own, which is patient, counts what is asked about streams.
    let patient = async_nats::connect(server.url()).await.unwrap();
    let mut asked = patient.subscribe("$JS.API.STREAM.>").await.unwrap();
    patient.flush().await.unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while asked.next().await.is_some() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });

    let connection = connect(&server).await;
    let publish = |seq| message(&window(seq));
    let publisher = Arc::new(
        Publisher::start(
            connection.clone(),
            StreamsConfig::default(),
            PublisherConfig::default(),
        )
        .unwrap(),
    );
    publisher.publish(publish(0)).unwrap();
    flush(&publisher).await;
    reached(&connection).await;
    let once = count.swap(0, Ordering::SeqCst);
    assert!(once > 2, "{once} requests to set up three streams");

    let mut loss = connection.watch_loss();
    server.pause();
    for seq in 1..=WAITING {
        publisher.publish(publish(seq)).unwrap();
    }
    tokio::time::timeout(NOTICED, loss.lost()).await.unwrap();
    server.resume();
    flush(&publisher).await;
    reached(&connection).await;
    let again = count.load(Ordering::SeqCst);
    assert!(again <= once, "{again} requests after, {once} before");
    let stored = stored(&connection, "MSAO_FEATURES").await;
    assert_eq!(stored.len() as u64, WAITING + 1);
}

async fn flush(publisher: &Arc<Publisher>) {
    let publisher = Arc::clone(publisher);
    tokio::task::spawn_blocking(move || publisher.flush(Duration::from_secs(60)))
        .await
        .unwrap()
        .unwrap();
}
