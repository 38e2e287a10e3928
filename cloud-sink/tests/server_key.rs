//! A worker whose model's server refuses its key in the middle of its work, against a real nats-server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::pending;

use broker::{streams, test_server::TestServer};
use cloud_sink::{Config, Error, run};
use common::{
    connect, count, jpeg, publish,
    scripted::{Scripted, completion, models, say},
    seen, until,
};

const WINDOWS: u64 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_stops_and_no_window_is_lost() {
    let (nats, folder) = (TestServer::start(), tempfile::tempdir().unwrap());
    let connection = connect(&nats).await;
    // It takes one key until a window shows a whale, and from then on another.
    let server = Scripted::start(models("tiny"), |question| {
        match question.contains("a whale") && !question.contains("Bearer new") {
            true => say(401, ""),
            false => completion("OK"),
        }
    });
    let key = folder.path().join("key");
    std::fs::write(&key, "old").unwrap();
    let text = format!(
        r#"
        [nats]
        url = "{}"
        [consumer]
        backoff_s = [0]
        max_deliver = 2
        [server]
        url = "{}"
        model = "tiny"
        api_key = "file:{}"
        concurrency = 2
        "#,
        nats.url(),
        server.url,
        key.display()
    );
    let config: Config = toml::from_str(&text).unwrap();
    let picture = jpeg([200, 30, 30], [30, 30, 200]);
    for seq in 0..WINDOWS {
        let draft = if seq == 2 { "a whale" } else { "a dog" };
        publish(&connection, &seen(seq, &picture, Some(draft))).await;
    }
    let error = run(config.clone(), pending()).await.unwrap_err();
    assert!(matches!(error, Error::Server(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("file:{}", key.display()))
    );

    // As long as the key is refused, a worker that is started anew takes no window.
    server.list(say(401, ""));
    for _ in 0..3 {
        run(config.clone(), pending()).await.unwrap_err();
    }
    server.list(models("tiny"));
    std::fs::write(&key, "new").unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = run(config, async { stopped.await.unwrap() });
    let all = async {
        until("all are captioned", async || {
            count(&connection, streams::CAPTIONS).await == WINDOWS
        })
        .await;
        stop.send(()).unwrap();
    };
    let (summary, ()) = tokio::join!(worker, all);
    assert_eq!(summary.unwrap().dead, 0);
    assert_eq!(count(&connection, streams::DEAD).await, 0);
}
