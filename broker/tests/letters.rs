//! Dead letters, listed, read and replayed, against a real server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    future::ready,
    sync::{Arc, Mutex, atomic::Ordering},
};

use async_nats::HeaderMap;
use broker::{
    Connection, FeatureWindow, StreamsConfig,
    consumer::{Consumer, ConsumerConfig, Delivery, Outcome},
    deliver::Deliverer,
    headers,
    letters::{self, LetterError},
    streams,
    test_server::TestServer,
};
use common::{connect, header, id, message, stored, until, window};

fn deliverer(connection: &Connection) -> Arc<Deliverer> {
    Arc::new(Deliverer::new(connection.clone(), StreamsConfig::default()))
}

async fn publish(connection: &Connection, seq: u64) {
    let message = message(&window(seq));
    deliverer(connection).deliver(&message).await.unwrap();
}

/// Publishes what no window is, under these headers.
async fn poison(connection: &Connection, subject: &str, pairs: &[(&str, &str)]) {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(*name, *value);
    }
    let (subject, jetstream) = (subject.to_owned(), connection.jetstream());
    let sent = jetstream.publish_with_headers(subject, headers, "no arrow".into());
    sent.await.unwrap().await.unwrap();
}

/// Runs a worker until it has handled or buried `messages`.
async fn work(
    connection: &Connection,
    messages: usize,
    mut verdict: impl FnMut(&Delivery) -> Outcome,
) {
    let streams = StreamsConfig::default();
    let consumer = Consumer::open(deliverer(connection), &streams, ConsumerConfig::default());
    let mut consumer = consumer.await.unwrap();
    let dead = consumer.dead_letters();
    let done = Mutex::new(0);
    let settled = until("all are settled", async || {
        *done.lock().unwrap() + dead.load(Ordering::Relaxed) as usize == messages
    });
    let handle = |delivery: Delivery| {
        let outcome = verdict(&delivery);
        *done.lock().unwrap() += usize::from(outcome == Outcome::Done);
        ready(outcome)
    };
    consumer.run(settled, handle).await;
}

fn faulty(_: &Delivery) -> Outcome {
    Outcome::Dead("another encoder".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_by_rig_and_read() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    assert_eq!(letters::list(&connection, None).await.unwrap(), []);
    let missing = letters::get(&connection, 1).await.unwrap_err();
    assert!(matches!(missing, LetterError::Missing(1)), "{missing}");
    publish(&connection, 7).await;
    poison(&connection, "msao.v1.features.no$rig", &[]).await;
    work(&connection, 2, faulty).await;

    let all = letters::list(&connection, None).await.unwrap();
    let of = all
        .iter()
        .find(|letter| letter.id.contains("car-7"))
        .unwrap();
    assert_eq!((all.len(), of.id.clone()), (2, format!("{}/dead/0", id(7))));
    assert_eq!(
        (of.reason.as_str(), of.deliveries),
        ("another encoder", Some(1))
    );
    assert_eq!(of.origin, "MSAO_FEATURES/1");
    assert_eq!(of.origin_subject, "msao.v1.features.car-7");
    let rig = "car-7".parse().unwrap();
    assert_eq!(
        letters::list(&connection, Some(&rig)).await.unwrap(),
        std::slice::from_ref(of)
    );
    let nameless = "_".parse().unwrap();
    let nameless = letters::list(&connection, Some(&nameless)).await.unwrap();
    assert_eq!(nameless[0].origin_subject, "msao.v1.features.no$rig");

    let whole = letters::get(&connection, of.number).await.unwrap();
    assert_eq!(whole.letter, *of);
    assert_eq!(FeatureWindow::decode(&whole.payload).unwrap(), window(7));
    for number in [0, 3] {
        let missing = letters::get(&connection, number).await.unwrap_err();
        assert!(
            matches!(missing, LetterError::Missing(n) if n == number),
            "{missing}"
        );
    }
}

/// Well within the duplicate window: the message of each replay, and its letter if it dies again, are new to the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_replayed_as_often_as_it_takes() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    publish(&connection, 7).await;
    let sent = stored(&connection, streams::FEATURES).await.remove(0);
    for replays in 0..3 {
        work(&connection, 1, faulty).await;
        let all = letters::list(&connection, None).await.unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].id, format!("{}/dead/{replays}", id(7)));
        let whole = letters::get(&connection, all[0].number).await.unwrap();
        // Twice, as after a removal that failed: it is one message.
        let again = whole.clone();
        letters::replay(&connection, whole).await.unwrap();
        letters::replay(&connection, again).await.unwrap();
        assert_eq!(letters::list(&connection, None).await.unwrap(), []);
    }
    let mut handled = Vec::new();
    work(&connection, 1, |delivery| {
        handled.push(FeatureWindow::decode(&delivery.payload).unwrap());
        Outcome::Done
    })
    .await;
    assert_eq!(handled, [window(7)]);
    let all = stored(&connection, streams::FEATURES).await;
    assert_eq!(all.len(), 4);
    let last = &all[3];
    assert_eq!(
        (&last.subject, &last.payload),
        (&sent.subject, &sent.payload)
    );
    assert_eq!(
        header(&last.headers, headers::MESSAGE_ID),
        format!("{}/features/3", id(7))
    );
    for name in [headers::CONTENT_TYPE, headers::MAS, "ce-type", "ce-time"] {
        assert_eq!(
            header(&last.headers, name),
            header(&sent.headers, name),
            "{name}"
        );
    }
}

/// Such as a window of a later schema, once the workers are newer: it comes back as it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_could_read_is_replayed_too() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    work(&connection, 0, faulty).await;
    let named = format!("{}/features/0", id(3));
    let of_window = [
        (headers::MESSAGE_ID, named.as_str()),
        (headers::CONTENT_TYPE, "application/x-later"),
    ];
    poison(&connection, "msao.v1.features.car-7", &of_window).await;
    poison(&connection, "msao.v1.features.no$rig", &[]).await;
    work(&connection, 2, faulty).await;
    for letter in letters::list(&connection, None).await.unwrap() {
        let whole = letters::get(&connection, letter.number).await.unwrap();
        letters::replay(&connection, whole).await.unwrap();
    }
    assert_eq!(letters::list(&connection, None).await.unwrap(), []);
    let mut back = stored(&connection, streams::FEATURES).await.split_off(2);
    back.sort_by_key(|message| message.subject.to_string());
    assert_eq!(back[0].subject.as_str(), "msao.v1.features.car-7");
    assert_eq!(back[1].subject.as_str(), "msao.v1.features.no$rig");
    assert!(
        back.iter()
            .all(|message| &message.payload[..] == b"no arrow")
    );
    let id = format!("{}/features/1", id(3));
    assert_eq!(header(&back[0].headers, headers::MESSAGE_ID), id);
    assert_eq!(
        header(&back[0].headers, headers::CONTENT_TYPE),
        "application/x-later"
    );
    assert_eq!(header(&back[0].headers, headers::REASON), "");
    let nameless = header(&back[1].headers, headers::MESSAGE_ID);
    assert!(nameless.starts_with("MSAO_DEAD/") && nameless.ends_with("/replay/1"));
    // Dead again, it is another letter.
    work(&connection, 2, faulty).await;
    assert_eq!(letters::list(&connection, None).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_or_not_of_features_is_refused_and_stays() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    work(&connection, 0, faulty).await;
    let named = format!("{}/dead/0", id(1));
    let cut = [
        (headers::MESSAGE_ID, named.as_str()),
        (headers::ORIGIN_SUBJECT, "msao.v1.features.car-7"),
        (headers::CUT_FROM, "2000000"),
    ];
    poison(&connection, "msao.v1.dead.car-7", &cut).await;
    let forged = [(
        headers::ORIGIN_SUBJECT,
        "$JS.API.STREAM.DELETE.MSAO_FEATURES",
    )];
    poison(&connection, "msao.v1.dead.car-7", &forged).await;
    for (number, words) in [
        (1, [named.as_str(), "cut from 2000000 bytes"]),
        (2, ["dead letter 2", "$JS.API.STREAM.DELETE.MSAO_FEATURES"]),
    ] {
        let whole = letters::get(&connection, number).await.unwrap();
        let error = letters::replay(&connection, whole).await.unwrap_err();
        for word in words {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
    assert_eq!(letters::list(&connection, None).await.unwrap().len(), 2);
    let features = connection.jetstream().get_stream(streams::FEATURES);
    assert_eq!(features.await.unwrap().cached_info().state.messages, 0);
}
