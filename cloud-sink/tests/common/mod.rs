//! A fake model, windows, and what the broker holds.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod https;
pub mod llama;
pub mod scripted;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_nats::jetstream::message::StreamMessage;
use broker::{
    Caption, ConnectConfig, Connection, DraftReport, FeatureWindow, Message, Modality,
    ModalityReport, StreamsConfig, Token, WindowId, caption::Verdict, connect::AtStart,
    deliver::Deliverer, headers::TraceParent, streams, test_server::TestServer,
};
use cloud_sink::{Config, Fault, Verifier};
use offload::Action;
use ulid::Ulid;

/// A verifier that is a function.
pub struct Fake<F>(pub F);

impl<F> Verifier for Fake<F>
where
    F: FnMut(&FeatureWindow) -> Result<Option<Verdict>, Fault> + Send + 'static,
{
    fn model(&self) -> &str {
        "fake-v1"
    }

    fn provider(&self) -> String {
        "none".to_owned()
    }

    fn verify(&mut self, window: &FeatureWindow) -> Result<Option<Verdict>, Fault> {
        (self.0)(window)
    }
}

/// Agrees with drafts of even windows, and corrects odd ones.
pub fn verdict(window: &FeatureWindow) -> Verdict {
    let confirmed = window.draft.is_some() && window.id.seq.is_multiple_of(2);
    Verdict {
        confirmed,
        text: if confirmed {
            "a dog runs"
        } else {
            "a cat sleeps"
        }
        .to_owned(),
        tokens: 3,
        confidence: 0.75,
        accepted_tokens: window.draft.as_ref().map(|_| if confirmed { 3 } else { 1 }),
        model: "fake-v1".to_owned(),
    }
}

pub fn id(seq: u64) -> WindowId {
    WindowId {
        rig: "car-7".parse().unwrap(),
        epoch: Ulid::from_parts(1_795_348_800_000, 42),
        seq,
    }
}

/// A window with one token and a draft.
pub fn window(seq: u64) -> FeatureWindow {
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() as i64;
    FeatureWindow {
        start_utc_ns: now - 1_020_000_000,
        end_utc_ns: now - 20_000_000,
        start_running_ns: seq * 1_000_000_000,
        end_running_ns: (seq + 1) * 1_000_000_000,
        modalities: vec![ModalityReport {
            modality: Modality::Video,
            stream: "front".to_owned(),
            rho: 0.5,
            gamma: 0.5,
            beta: 1.0,
            mas: 0.75,
            encoder: "lite2-v1".to_owned(),
            encoder_sha256: "ab".repeat(32),
        }],
        draft: Some(DraftReport {
            text: "a dog runs".to_owned(),
            token_ids: vec![5, 6, 7],
            logprobs: vec![-0.1; 4],
            confidence: 0.9,
            model: "draft-v1".to_owned(),
        }),
        tokens: vec![Token {
            modality: Modality::Video,
            stream: "front".into(),
            t: 0,
            y: 1,
            x: 2,
            importance: 1.0,
            scale: 0.1,
            feature: vec![1, 2, 3].into(),
        }],
        tokens_possible: 49,
        frames_in: 10,
        frames_kept: 1,
        closed_utc_ns: now - 20_000_000,
        drafted_utc_ns: now - 5_000_000,
        ..FeatureWindow::empty(id(seq))
    }
}

/// A worker of this server, quick to try again.
pub fn config(server: &TestServer) -> Config {
    let mut config = Config::new("unused");
    config.nats.url = server.url();
    config.consumer.ack_wait_s = 0.5;
    config.consumer.backoff_s = vec![0.0];
    config.consumer.max_deliver = 3;
    config
}

pub async fn connect(server: &TestServer) -> Connection {
    let config = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    Connection::open(&config, AtStart::Fail).await.unwrap()
}

pub async fn publish(connection: &Connection, window: &FeatureWindow) -> TraceParent {
    let trace = TraceParent::generate();
    let message = Message::features(window, window.encode().unwrap(), trace);
    let deliverer = Deliverer::new(connection.clone(), StreamsConfig::default());
    deliverer.deliver(&message).await.unwrap();
    trace
}

/// Every message of a stream; none if there is no such stream yet.
pub async fn stored(connection: &Connection, stream: &str) -> Vec<StreamMessage> {
    let Ok(stream) = connection.jetstream().get_stream(stream).await else {
        return Vec::new();
    };
    let state = stream.cached_info().state.clone();
    let mut messages = Vec::new();
    if state.messages == 0 {
        return messages;
    }
    for sequence in state.first_sequence..=state.last_sequence {
        messages.push(stream.get_raw_message(sequence).await.unwrap());
    }
    messages
}

/// The captions, by window: those of one batch are stored in any order.
pub async fn captions(connection: &Connection) -> Vec<Caption> {
    let messages = stored(connection, streams::CAPTIONS).await;
    let captions = messages
        .iter()
        .map(|message| Caption::decode(&message.payload).unwrap());
    let mut captions: Vec<Caption> = captions.collect();
    captions.sort_by(|a, b| a.order().cmp(&b.order()));
    captions
}

pub async fn count(connection: &Connection, stream: &str) -> u64 {
    let stream = connection.jetstream().get_stream(stream).await;
    stream.map_or(0, |stream| stream.cached_info().state.messages)
}

/// Looks again and again until `condition` holds; panics after half a minute.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(30), holds)
            .await
            .is_ok(),
        "not within 30 s: {what}"
    );
}

pub fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Loads ONNX Runtime.
pub fn runtime() {
    let library = std::env::var_os("ORT_DYLIB_PATH").map_or_else(
        || workspace(".cache/onnxruntime/libonnxruntime.so"),
        PathBuf::from,
    );
    assert!(
        library.is_file(),
        "there is no {}: run `make setup`",
        library.display()
    );
    mllm::runtime::init(Some(&library)).unwrap();
}

/// A window with a picture, and nothing else but `draft`.
pub fn seen(seq: u64, jpeg: &[u8], draft: Option<&str>) -> FeatureWindow {
    let report = |text: &str| DraftReport {
        text: text.to_owned(),
        token_ids: vec![1; text.split_whitespace().count()],
        logprobs: vec![-0.1; text.split_whitespace().count()],
        confidence: 0.9,
        model: "draft-v1".to_owned(),
    };
    FeatureWindow {
        draft: draft.map(report),
        decision: if draft.is_some() {
            Action::Verify
        } else {
            Action::Offload
        },
        tokens: vec![],
        keyframe: Some(jpeg.to_vec()),
        ..window(seq)
    }
}

/// A picture of two colours, one above the other.
pub fn jpeg(above: [u8; 3], below: [u8; 3]) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(96, 64, |_, y| {
        image::Rgb(if y < 32 { above } else { below })
    });
    let mut jpeg = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new(&mut jpeg);
    picture.write_with_encoder(encoder).unwrap();
    jpeg
}
