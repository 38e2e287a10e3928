//! What an edge says when the server refuses its messages. In a program of its own, as it reads the program's log.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    io,
    sync::{Arc, Mutex},
};

use broker::{
    Caption, Message, Publisher, PublisherConfig, StreamsConfig, done::Done, headers::TraceParent,
    streams, test_server::TestServer,
};
use common::{
    hub::{config, free_port, open},
    message, until, window,
};

/// The log so far.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The lines that hold all of `words`.
    fn lines(&self, words: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let holds = |line: &&str| words.iter().all(|word| line.contains(word));
        text.lines().filter(holds).map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_an_error_once_and_what_is_refused_is_kept() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let hub = TestServer::with_whole_config(&config("hub.conf", free_port()));
    let cloud = open(&hub, "cloud").await;
    let streams = StreamsConfig::default();
    streams::set_up(&cloud, &streams).await.unwrap();
    Done::open(cloud, &streams).await.unwrap();

    let rig = open(&hub, "street").await;
    let publisher = Publisher::start(rig, streams, PublisherConfig::default()).unwrap();
    publisher.publish(message(&window(0))).unwrap();
    let draft = Caption::draft(&window(0)).unwrap();
    let draft = Message::caption(&draft, TraceParent::generate()).unwrap();
    publisher.publish(draft).unwrap();
    // By then both were sent twice, and each time the server's silence waited out.
    until("both are tried a third time", async || {
        publisher.counters().retried >= 4
    })
    .await;
    for subject in ["msao.v1.features.car-7", "msao.v1.captions.car-7"] {
        let refused = log.lines(&["ERROR", subject]);
        assert_eq!(refused.len(), 1, "{refused:?}");
        for part in ["permissions violation", "check the user's permissions"] {
            assert!(refused[0].to_lowercase().contains(part), "{refused:?}");
        }
    }
    let counters = publisher.counters();
    assert_eq!((counters.pending, counters.dropped), (2, 0));
}
