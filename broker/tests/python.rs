//! The Python subscriber of `examples/python` against a real server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use broker::{
    Caption, Compression, LatencyMs, Message, StreamsConfig, caption::Verdict, deliver::Deliverer,
    headers::TraceParent, test_server::TestServer,
};

/// Killed when the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_prints_captions_and_reads_features() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let ready = Command::new(root.join("examples/python/setup.sh")).status();
    assert!(ready.unwrap().success());
    let server = TestServer::start();
    let mut child = Command::new(root.join(".cache/python-venv/bin/python"))
        .arg(root.join("examples/python/subscribe.py"))
        .args(["--url", &server.url(), "--rig", "car-7", "--count", "7"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut child = Killed(child);
    assert!(lines.next().unwrap().unwrap().starts_with("listening"));

    let connection = common::connect(&server).await;
    let deliverer = Deliverer::new(connection.clone(), StreamsConfig::default());
    let window = common::window(3);
    let draft = Caption::draft(&window).unwrap();
    let verdict = Verdict {
        confirmed: false,
        text: "three people walk past a bench".to_owned(),
        tokens: 6,
        confidence: 0.7,
        accepted_tokens: Some(0),
        model: "msao-cloud-v1".to_owned(),
    };
    let corrected = Caption::verified(&window, verdict, LatencyMs::default());
    let caption = |caption| Message::caption(caption, TraceParent::generate()).unwrap();
    let next = common::window(4);
    let packed = Compression::Zstd.pack(next.encode().unwrap());
    let messages = [
        caption(&draft),
        common::message(&window),
        caption(&corrected),
        Message::features(&next, packed, TraceParent::generate()),
    ];
    for message in &messages {
        deliverer.deliver(message).await.unwrap();
    }
    let client = connection.client();
    // Again, as after an outage; of another major; and no message at all.
    let again = draft.encode().unwrap();
    let other = String::from_utf8(again.clone())
        .unwrap()
        .replace("caption/1.", "caption/2.");
    for payload in [again, other.into_bytes()] {
        client
            .publish("msao.v1.captions.car-7", payload.into())
            .await
            .unwrap();
    }
    client
        .publish("msao.v1.features.car-7", "no window".into())
        .await
        .unwrap();

    let printed: Vec<String> = lines.map(Result::unwrap).collect();
    let id = &window.id;
    let (low, high, mean) = {
        let all = window.tokens.iter().flat_map(|token| {
            let scale = token.scale;
            token
                .feature
                .iter()
                .map(move |&value| f32::from(value) * scale)
        });
        let all: Vec<f32> = all.collect();
        let fold = |with: fn(f32, f32) -> f32| all.iter().copied().reduce(with).unwrap();
        (
            fold(f32::min),
            fold(f32::max),
            all.iter().copied().map(f64::from).sum::<f64>() / all.len() as f64,
        )
    };
    let (was, now) = (
        "two people walk past a bench",
        "three people walk past a bench",
    );
    // Captions and windows are two subscriptions: each is in order.
    let (captions, rest): (Vec<_>, Vec<_>) = (printed.iter())
        .partition(|line| line.starts_with("draft") || line.starts_with("corrected"));
    assert_eq!(
        captions,
        [
            &format!("draft      {id}  {was}"),
            &format!("corrected  {id}  {now}  (was: {was})"),
        ]
    );
    let (unreadable, features): (Vec<_>, Vec<_>) = rest
        .into_iter()
        .partition(|line| line.starts_with("unreadable"));
    let expected: Vec<String> = [id, &next.id]
        .into_iter()
        .flat_map(|id| {
            [
                format!("features   {id}  4 tokens x 64 channels, verify"),
                "           video/front  MAS 0.8700".to_owned(),
                "           audio/mic  MAS 1.0000".to_owned(),
                format!("           values from {low:.4} to {high:.4}, mean {mean:.4}"),
            ]
        })
        .collect();
    assert_eq!(features, expected.iter().collect::<Vec<_>>());
    assert_eq!(unreadable.len(), 2, "{printed:?}");
    assert!(
        unreadable.iter().any(|line| line.contains("caption/2.1")),
        "{printed:?}"
    );
    assert!(child.0.wait().unwrap().success());
}
