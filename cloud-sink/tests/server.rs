//! A worker whose model is behind llama.cpp's server, against a real nats-server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{future::pending, path::Path};

use broker::{
    CaptionStatus,
    caption::LAST,
    headers::REASON,
    status::{self, AnyStatus, ServerUse},
    streams,
    test_server::TestServer,
};
use cloud_sink::{Config, Error, ServerModel, Verifier, run};
use common::{
    captions, connect, count, jpeg,
    llama::{KEY, Llama},
    publish, seen, stored, until, window,
};
use futures::StreamExt;

/// A worker of these servers, as its file would say it; the key is in a file of `folder`.
fn config(nats: &TestServer, llama: &Llama, folder: &Path, key: &str) -> Config {
    let place = folder.join("key");
    std::fs::write(&place, format!("{key}\n")).unwrap();
    let text = format!(
        r#"
        [nats]
        url = "{}"
        [consumer]
        backoff_s = [0]
        [server]
        url = "{}"
        model = "tiny"
        api_key = "file:{}"
        max_tokens = 12
        draft = ""
        price = {{ input = 1, output = 2 }}
        "#,
        nats.url(),
        llama.url,
        place.display()
    );
    toml::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyframe_and_a_draft_in_a_confirmed_or_corrected_caption_out() {
    let (nats, llama, folder) = (
        TestServer::start(),
        Llama::start(),
        tempfile::tempdir().unwrap(),
    );
    let connection = connect(&nats).await;
    let mut statuses = Box::pin(status::subscribe(&connection).await.unwrap());
    let config = config(&nats, &llama, folder.path(), KEY);

    // What the model makes of the picture is known only from asking it.
    let (picture, other) = (
        jpeg([200, 30, 30], [30, 30, 200]),
        jpeg([20, 220, 20], [250, 250, 250]),
    );
    let server = config.server.clone().unwrap();
    let texts = tokio::task::spawn_blocking({
        let windows = [seen(0, &picture, None), seen(1, &other, None)];
        move || {
            let mut model = ServerModel::open(&server).unwrap();
            let verdicts = model.verify_all(&windows);
            verdicts
                .into_iter()
                .map(|verdict| verdict.unwrap().unwrap().text)
                .collect::<Vec<_>>()
        }
    });
    let texts = texts.await.unwrap();
    assert_ne!(texts[0], texts[1], "the model does not see the picture");

    publish(
        &connection,
        &seen(0, &picture, Some(&texts[0].to_uppercase())),
    )
    .await;
    publish(&connection, &seen(1, &picture, Some("a whale sings"))).await;
    publish(&connection, &seen(2, &other, None)).await;
    publish(&connection, &window(3)).await;
    let told = async {
        until("all are settled", async || {
            count(&connection, streams::CAPTIONS).await == 3
                && count(&connection, streams::DEAD).await == 1
        })
        .await;
        loop {
            let Ok(AnyStatus::Cloud(status)) = statuses.next().await.unwrap() else {
                panic!("no status")
            };
            if status.server.is_some_and(|server| server.requests == 3) {
                return status;
            }
        }
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = run(config, async { stopped.await.unwrap() });
    let driver = async {
        let told = told.await;
        stop.send(()).unwrap();
        told
    };
    let (summary, told) = tokio::join!(worker, driver);
    let summary = summary.unwrap();
    assert_eq!(
        (summary.confirmed, summary.corrected, summary.dead),
        (1, 2, 1)
    );

    let captions = captions(&connection).await;
    let said: Vec<_> = (captions.iter())
        .map(|c| (c.revision, c.status, c.text.as_str(), c.accepted_tokens))
        .collect();
    let (draft, tokens) = (
        texts[0].to_uppercase(),
        texts[0].split_whitespace().count() as u32,
    );
    assert_eq!(
        said,
        [
            (LAST, CaptionStatus::Confirmed, draft.as_str(), Some(tokens)),
            (LAST, CaptionStatus::Corrected, texts[0].as_str(), Some(0)),
            (LAST, CaptionStatus::Corrected, texts[1].as_str(), None),
        ]
    );
    for caption in &captions {
        assert_eq!(caption.model, "tiny");
        assert!(
            caption.confidence > 0.0 && caption.confidence < 1.0,
            "{caption:?}"
        );
    }
    let letters = stored(&connection, streams::DEAD).await;
    let reason = letters[0].headers.get(REASON).unwrap().as_str();
    assert!(reason.contains("payload = \"keyframes\""), "{reason}");

    assert_eq!(
        (told.model.as_str(), told.provider.as_str()),
        ("tiny", "server")
    );
    let ServerUse {
        retries,
        failures,
        input_tokens,
        output_tokens,
        cost,
        ..
    } = told.server.unwrap();
    assert_eq!((retries, failures), (0, 0));
    // 16 tokens of each picture at least, and an answer of at most 12.
    assert!(
        input_tokens > 3 * 16 && (3..=3 * 12).contains(&output_tokens),
        "{told:?}"
    );
    let expected = (input_tokens + 2 * output_tokens) as f64 / 1e6;
    assert!((cost - expected).abs() < 1e-12, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_server_refuses_is_an_error_at_start_that_names_its_place() {
    let (nats, llama, folder) = (
        TestServer::start(),
        Llama::start(),
        tempfile::tempdir().unwrap(),
    );
    let config = config(&nats, &llama, folder.path(), "sk-wrong-9876543210");
    let error = run(config, pending()).await.unwrap_err();
    assert!(matches!(error, Error::Server(_)));
    let error = format!("{error} {error:?}");
    let place = folder.path().join("key");
    assert!(
        error.contains(&format!("file:{}", place.display())),
        "{error}"
    );
    assert!(
        error.contains(&llama.url) && !error.contains("9876543210"),
        "{error}"
    );
}
