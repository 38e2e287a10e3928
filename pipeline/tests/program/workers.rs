//! `msao cloud` killed with -9 in the middle of its work: another takes it up, and each window has one last caption.

use std::collections::BTreeMap;

use async_nats::jetstream::consumer::PullConsumer;
use broker::caption::LAST;
use broker::{Connection, WindowId};

use crate::common::{finished, media};
use crate::process::Process;
use crate::world::{World, captions, until, windows};

/// How many last captions each window has.
async fn last_words(connection: &Connection) -> BTreeMap<WindowId, u32> {
    let mut words = BTreeMap::new();
    for caption in captions(connection).await {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_middle_of_a_window_loses_none() {
    let world = World::new();
    let video = format!(
        "{{ source = '{}', pace = 'fast' }}",
        media("bikes.mp4").display()
    );
    let edge = format!("video = [{video}]\noffload = {{ enabled = false }}");
    finished(&mut world.edge(&edge));

    let connection = world.connect().await;
    let stored = windows(&connection).await;
    let whole = stored.iter().filter(|window| !window.tokens.is_empty());
    let wanted: BTreeMap<_, _> = whole.map(|window| (window.id.clone(), 1)).collect();
    // More than a worker has in hand.
    assert!(wanted.len() > 4, "{wanted:?}");

    let worker = || {
        let cloud = "consumer = { ack_wait_s = 2 }\nbatch = { max = 2 }";
        Process::start(world.cloud(cloud))
    };
    let victim = worker();
    until("it captions", async || {
        !last_words(&connection).await.is_empty()
    })
    .await;
    drop(victim);
    let (_, in_hand) = left(&connection).await;
    assert!(in_hand > 0, "it was killed when it had nothing to do");
    let _other = worker();
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
