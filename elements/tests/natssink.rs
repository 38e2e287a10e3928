//! `msaonatssink` against a real nats-server.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use broker::connect::AtStart;
use broker::test_server::{TestServer, reached};
use broker::{Caption, ConnectConfig, Connection, FeatureWindow};
use common::*;
use futures::StreamExt;
use gst::prelude::*;
use gst_check::Harness;
use offload::Action;

fn window(seq: u64, decision: Action) -> FeatureWindow {
    FeatureWindow {
        decision,
        ..said("car-7", seq, &format!("window {seq}"))
    }
}

fn buffer(window: &FeatureWindow) -> gst::Buffer {
    gst::Buffer::from_slice(window.encode().unwrap())
}

fn sink(url: &str) -> gst::Element {
    init();
    gst::ElementFactory::make("msaonatssink")
        .property("url", url)
        .property("flush-timeout", 20_000_000_000u64)
        .build()
        .unwrap()
}

fn harness(element: &gst::Element) -> Harness {
    let mut harness = Harness::with_element(element, Some("sink"), None);
    harness.set_src_caps_str("application/x-msao-window,schema=features/1.1");
    harness
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

#[test]
fn the_draft_and_the_features_are_published_and_stats_tell() {
    let server = TestServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    let (_connection, mut messages) = runtime.block_on(async {
        let connection = Connection::open(&config, AtStart::Fail).await.unwrap();
        let messages = connection.client().subscribe("msao.v1.>").await.unwrap();
        reached(&connection).await;
        (connection, messages)
    });
    let element = sink(&server.url());
    let mut harness = harness(&element);
    let verified = window(0, Action::Verify);
    harness.push(buffer(&verified)).unwrap();
    // Nothing of a skipped window, only the caption of a kept one.
    harness.push(buffer(&window(1, Action::Skip))).unwrap();
    harness.push(buffer(&window(2, Action::Keep))).unwrap();
    harness.push_event(gst::event::Eos::new());
    assert_eq!(stats::<u64>(&element, "windows"), 3);
    assert_eq!(stats::<u64>(&element, "published"), 3);
    assert_eq!(stats::<u64>(&element, "acknowledged"), 3);
    assert_eq!(stats::<u64>(&element, "dropped"), 0);
    assert!(stats::<u64>(&element, "bytes") > 1000);
    assert!(stats::<bool>(&element, "connected"));

    let received: Vec<_> = runtime.block_on(async {
        let three = messages.by_ref().take(3).collect::<Vec<_>>();
        tokio::time::timeout(Duration::from_secs(20), three)
            .await
            .unwrap()
    });
    let of = |subject: &str| {
        let of = received
            .iter()
            .filter(|message| message.subject.as_str() == subject);
        of.map(|message| message.payload.to_vec())
            .collect::<Vec<_>>()
    };
    let features = of("msao.v1.features.car-7");
    assert_eq!(features.len(), 1);
    assert_eq!(FeatureWindow::decode(&features[0]).unwrap(), verified);
    let mut captions: Vec<_> = of("msao.v1.captions.car-7")
        .iter()
        .map(|payload| Caption::decode(payload).unwrap())
        .map(|caption| (caption.id.seq, caption.revision, caption.text))
        .collect();
    captions.sort();
    assert_eq!(
        captions,
        [(0, 0, "window 0".to_owned()), (2, 0, "window 2".to_owned())]
    );
}

#[test]
fn broker_unreachable_at_start_is_an_error_that_says_where_or_it_keeps_trying() {
    let mut server = TestServer::start();
    let url = server.url();
    server.kill();
    let error = start_failure(&sink(&url));
    assert!(error.contains(&url), "{error}");
    // The same for an application that changes states within a runtime of its own.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(async { start_failure(&sink(&url)) });
    assert!(error.contains(&url), "{error}");

    let element = sink(&url);
    element.set_property("retry-connect", true);
    let mut harness = harness(&element);
    harness.push(buffer(&window(0, Action::Verify))).unwrap();
    assert_eq!(stats::<u64>(&element, "pending"), 2);
    assert!(!stats::<bool>(&element, "connected"));
    server.restart();
    harness.push_event(gst::event::Eos::new());
    assert_eq!(stats::<u64>(&element, "acknowledged"), 2);
}

#[test]
fn a_window_larger_than_the_server_takes_is_thinned() {
    let server = TestServer::with_config("max_payload: 16KB");
    let element = sink(&server.url());
    element.set_property_from_str("compression", "none");
    let mut harness = harness(&element);
    let mut large = window(0, Action::Verify);
    large.modalities = vec![broker::ModalityReport {
        modality: broker::Modality::Video,
        stream: "video_0".to_owned(),
        rho: 0.0,
        gamma: 0.0,
        beta: 1.0,
        mas: 0.0,
        encoder: "encoder".to_owned(),
        encoder_sha256: "0".repeat(64),
    }];
    large.tokens_possible = 400;
    large.tokens = (0..400)
        .map(|index| broker::Token {
            modality: broker::Modality::Video,
            stream: "video_0".into(),
            t: 0,
            y: index / 20,
            x: index % 20,
            importance: 0.5,
            scale: 0.01,
            feature: (0..256)
                .map(|i: i32| (i * 89 + i32::from(index) * 57) as i8)
                .collect(),
        })
        .collect();
    harness.push(buffer(&large)).unwrap();
    harness.push_event(gst::event::Eos::new());
    assert_eq!(stats::<u64>(&element, "acknowledged"), 2);
    assert!((8_000..20_000).contains(&stats::<u64>(&element, "bytes")));
}

#[test]
fn wrong_credentials_are_an_error_that_says_so() {
    let server = TestServer::with_config("authorization { user: edge, password: right }");
    let element = sink(&server.url());
    element.set_property("user", "edge");
    element.set_property("password", server.secret("wrong").to_string());
    let error = start_failure(&element);
    assert!(
        error.contains("credentials") && !error.contains("wrong"),
        "{error}"
    );
    element.set_property("password", server.secret("right").to_string());
    element.set_state(gst::State::Ready).unwrap();
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_full_queue_drops_by_policy_and_counts_it() {
    let mut server = TestServer::start();
    let element = sink(&server.url());
    element.set_property("queue-messages", 4u32);
    element.set_property_from_str("on-full", "drop-oldest");
    element.set_property("flush-timeout", 1u64);
    let bus = bus(&element);
    let mut harness = harness(&element);
    server.kill();
    for seq in 0..60 {
        harness.push(buffer(&window(seq, Action::Verify))).unwrap();
    }
    let count = |field| stats::<u64>(&element, field);
    assert!(count("dropped") > 0);
    assert_eq!(count("published"), 120);
    assert_eq!(
        count("published"),
        count("acknowledged") + count("dropped") + count("pending")
    );
    // EOS does not wait longer than it may, and says what is left.
    harness.push_event(gst::event::Eos::new());
    let message = bus.pop_filtered(&[gst::MessageType::Warning]).unwrap();
    let gst::MessageView::Warning(warning) = message.view() else {
        unreachable!()
    };
    assert!(
        warning.error().to_string().contains("not acknowledged"),
        "{warning:?}"
    );
}

#[test]
fn a_thread_that_waits_for_room_is_released_when_the_element_stops() {
    let mut server = TestServer::start();
    server.kill();
    let element = sink(&server.url());
    element.set_property("retry-connect", true);
    element.set_property("queue-messages", 1u32);
    let mut harness = harness(&element);
    std::thread::scope(|scope| {
        let pushing = scope.spawn(move || {
            let flow = harness.push(buffer(&window(0, Action::Verify)));
            (flow, harness)
        });
        // The caption waits in the queue, so the features wait for room.
        wait_until("a full queue", || stats::<u64>(&element, "pending") == 1);
        // A pause interrupts the waiting, and it goes on after that.
        element.set_state(gst::State::Paused).unwrap();
        element.set_state(gst::State::Playing).unwrap();
        assert!(!pushing.is_finished());
        element.set_state(gst::State::Null).unwrap();
        let (flow, _harness) = pushing.join().unwrap();
        assert_eq!(flow, Err(gst::FlowError::Flushing));
    });
}

#[test]
fn what_is_no_window_is_an_error_and_no_panic() {
    let server = TestServer::start();
    let element = sink(&server.url());
    let bus = bus(&element);
    let mut harness = harness(&element);
    let flow = harness.push(gst::Buffer::from_slice(b"garbage".to_vec()));
    assert_eq!(flow, Err(gst::FlowError::Error));
    assert!(error_on(&bus).contains("not a features message"));
}

#[test]
fn a_window_with_a_picture_is_an_error_unless_pictures_may_be_published() {
    let server = TestServer::start();
    for (payload, passes) in [
        (None, false),
        (Some("features"), false),
        (Some("keyframes"), true),
    ] {
        let sink = sink(&server.url());
        if let Some(payload) = payload {
            sink.set_property_from_str("payload", payload);
        }
        let mut harness = harness(&sink);
        let mut pictured = window(0, Action::Verify);
        pictured.keyframe = Some(vec![0xff, 0xd8, 0xff, 0xd9]);
        harness.play();
        let pushed = harness.push(buffer(&pictured));
        assert_eq!(pushed.is_ok(), passes, "{payload:?}");
        let stats: gst::Structure = sink.property("stats");
        assert_eq!(
            stats.get::<u64>("published").unwrap() > 0,
            passes,
            "{payload:?}"
        );
    }
}
