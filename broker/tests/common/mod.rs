//! Windows and connections for tests.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod hub;

use std::time::Duration;

use async_nats::{HeaderMap, jetstream::message::StreamMessage};
use broker::{
    ConnectConfig, Connection, DraftReport, FeatureWindow, Message, Modality, ModalityReport, Rig,
    Token, WindowId, connect::AtStart, headers::TraceParent, test_server::TestServer,
};
use offload::Action;
use ulid::Ulid;

pub const NOON_NS: i64 = 1_795_348_800_000_000_000;

pub fn rig() -> Rig {
    "car-7".parse().unwrap()
}

pub fn id(seq: u64) -> WindowId {
    WindowId {
        rig: rig(),
        epoch: Ulid::from_parts(1_795_348_800_000, 42),
        seq,
    }
}

/// A window of two streams and four tokens, with a draft.
pub fn window(seq: u64) -> FeatureWindow {
    let report = |modality, stream: &str, mas| ModalityReport {
        modality,
        stream: stream.to_owned(),
        rho: 0.5,
        gamma: 0.75,
        beta: 1.0,
        mas,
        encoder: "efficientnet-lite2-msao-v1".to_owned(),
        encoder_sha256: "ab".repeat(32),
    };
    let token = |modality, stream: &str, x| Token {
        modality,
        stream: stream.into(),
        t: 0,
        y: 6,
        x,
        importance: f32::from(x) / 8.0,
        scale: 0.03,
        feature: (0..64)
            .map(|c| (c as i8).wrapping_mul(x as i8 + 1))
            .collect(),
    };
    FeatureWindow {
        id: id(seq),
        start_utc_ns: NOON_NS,
        end_utc_ns: NOON_NS + 1_000_000_000,
        start_running_ns: seq * 1_000_000_000,
        end_running_ns: (seq + 1) * 1_000_000_000,
        prompt: "describe".to_owned(),
        decision: Action::Verify,
        plan: None,
        modalities: vec![
            report(Modality::Video, "front", 0.87),
            report(Modality::Audio, "mic", 1.0),
        ],
        draft: Some(DraftReport {
            text: "two people walk past a bench".to_owned(),
            token_ids: vec![17, 4, 93, 250, 8, 1001],
            logprobs: vec![-0.1, -0.5, -0.25, -1.0, -0.01, -2.0, -0.125],
            confidence: 0.61,
            model: "msao-edge-v1".to_owned(),
        }),
        tokens: vec![
            token(Modality::Video, "front", 3),
            token(Modality::Video, "front", 0),
            token(Modality::Video, "front", 5),
            token(Modality::Audio, "mic", 1),
        ],
        keyframe: None,
        tokens_possible: 98,
        frames_in: 10,
        frames_kept: 3,
        flags: vec!["frozen".to_owned()],
        closed_utc_ns: NOON_NS + 1_000_000_000,
        drafted_utc_ns: NOON_NS + 1_080_000_000,
    }
}

pub async fn connect(server: &TestServer) -> Connection {
    let config = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    Connection::open(&config, AtStart::Fail).await.unwrap()
}

/// A connection to a server that need not be there yet.
pub async fn connect_later(server: &TestServer) -> Connection {
    let config = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    Connection::open(&config, AtStart::KeepTrying)
        .await
        .unwrap()
}

pub fn message(window: &FeatureWindow) -> Message {
    Message::features(window, window.encode().unwrap(), TraceParent::generate())
}

/// Every message of a stream.
pub async fn stored(connection: &Connection, stream: &str) -> Vec<StreamMessage> {
    let stream = connection.jetstream().get_stream(stream).await.unwrap();
    let state = stream.cached_info().state.clone();
    let mut messages = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        messages.push(stream.get_raw_message(sequence).await.unwrap());
    }
    messages
}

pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map(|value| value.as_str())
        .unwrap_or_default()
}

/// Looks again and again until `condition` holds; panics after half a minute.
pub async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(30), what, condition).await;
}

/// Looks again and again until `condition` holds; panics after `patience`.
pub async fn within(patience: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(patience, holds).await.is_ok(),
        "not within {patience:?}: {what}"
    );
}
