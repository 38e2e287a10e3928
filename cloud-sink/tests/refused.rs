//! What the real model's worker refuses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use broker::{
    Message, StreamsConfig,
    deliver::Deliverer,
    headers::{REASON, TraceParent},
    streams,
    test_server::TestServer,
};
use common::{connect, count, runtime, stored, until, window, workspace};

#[tokio::test(flavor = "multi_thread")]
async fn other_schema_major_and_other_encoder_go_to_the_dead_letters_with_the_reason() {
    runtime();
    let server = TestServer::start();
    let connection = connect(&server).await;
    let deliverer = Deliverer::new(connection.clone(), StreamsConfig::default());
    let windows = [window(0), window(1)];
    let mut major = windows[0].encode().unwrap();
    let name = b"features/1.";
    let at = major.windows(name.len()).position(|part| part == name);
    major[at.unwrap() + name.len() - 2] = b'9';
    let bytes = [major, windows[1].encode().unwrap()];
    for (window, bytes) in windows.iter().zip(bytes) {
        let message = Message::features(window, bytes, TraceParent::generate());
        deliverer.deliver(&message).await.unwrap();
    }
    // Nor does it caption for another rig than the subject's. The stream is there by now.
    let foreign = window(2).encode().unwrap();
    let sent = connection
        .jetstream()
        .publish("msao.v1.features.car-8", foreign.into());
    sent.await.unwrap().await.unwrap();
    let config = cloud_sink::Config {
        model: Some(workspace("testdata/models/msao-cloud")),
        ..common::config(&server)
    };
    let buried = until("both are buried", async || {
        count(&connection, streams::DEAD).await == 3
    });
    let summary = cloud_sink::run(config, buried).await.unwrap();
    assert_eq!((summary.captioned, summary.dead), (0, 3));
    let letters = stored(&connection, streams::DEAD).await;
    for (seq, word) in [(0, "features/9.1"), (1, "lite2-v1")] {
        let id = format!("{}/dead/0", common::id(seq));
        let letter = letters
            .iter()
            .find(|letter| letter.headers.get("Nats-Msg-Id").unwrap().as_str() == id)
            .unwrap();
        let reason = letter.headers.get(REASON).unwrap().as_str();
        assert!(reason.contains(word), "{reason}");
    }
    let letter = letters.iter().find(|l| l.subject.ends_with(".car-8"));
    let reason = letter.unwrap().headers.get(REASON).unwrap().as_str();
    assert!(reason.contains("speaks for 'car-7'"), "{reason}");
}
