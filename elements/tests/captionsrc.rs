//! `msaocaptionsrc` against a real nats-server.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use broker::caption::Verdict;
use broker::connect::AtStart;
use broker::deliver::Deliverer;
use broker::headers::TraceParent;
use broker::test_server::TestServer;
use broker::{
    Caption, ConnectConfig, Connection, FeatureWindow, LatencyMs, Message, StreamsConfig,
};
use common::*;
use gst::prelude::*;
use gst_check::Harness;
use tokio::runtime::Runtime;

fn correction(window: &FeatureWindow, text: &str) -> Caption {
    let verdict = Verdict {
        text: text.to_owned(),
        tokens: 2,
        confidence: 0.9,
        accepted_tokens: Some(0),
        confirmed: false,
        model: "full".to_owned(),
    };
    Caption::verified(window, verdict, LatencyMs::default())
}

struct Cloud {
    runtime: Runtime,
    deliverer: Deliverer,
}

impl Cloud {
    fn new(server: &TestServer) -> Self {
        let runtime = Runtime::new().unwrap();
        let config = ConnectConfig {
            url: server.url(),
            ..ConnectConfig::default()
        };
        let connection = runtime.block_on(Connection::open(&config, AtStart::Fail));
        let deliverer = Deliverer::new(connection.unwrap(), StreamsConfig::default());
        Self { runtime, deliverer }
    }

    fn publish(&self, caption: &Caption) {
        let message = Message::caption(caption, TraceParent::generate()).unwrap();
        let delivered = self.deliverer.deliver(&message);
        self.runtime.block_on(delivered).unwrap();
    }
}

fn source(url: &str) -> gst::Element {
    init();
    gst::ElementFactory::make("msaocaptionsrc")
        .property("url", url)
        .property("rig", "street")
        .build()
        .unwrap()
}

/// The next buffer, once the clock says that it is due.
fn next(harness: &mut Harness) -> (u64, u64, bool, String) {
    harness.crank_single_clock_wait().unwrap();
    pull(harness)
}

/// The buffer's time and length in ms, whether it is a gap, and its text.
fn pull(harness: &mut Harness) -> (u64, u64, bool, String) {
    let buffer = harness.pull().unwrap();
    let text = buffer.map_readable().unwrap();
    (
        buffer.pts().unwrap().mseconds(),
        buffer.duration().unwrap().mseconds(),
        buffer.flags().contains(gst::BufferFlags::GAP),
        String::from_utf8(text.to_vec()).unwrap(),
    )
}

fn stat(element: &gst::Element, name: &str) -> u64 {
    let stats = element.property::<gst::Structure>("stats");
    stats.get(name).unwrap()
}

fn until(element: &gst::Element, name: &str, count: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while stat(element, name) < count {
        assert!(Instant::now() < deadline, "{name} is not {count}");
        std::thread::yield_now();
    }
}

#[test]
fn a_correction_takes_the_place_of_its_draft() {
    let server = TestServer::start();
    let cloud = Cloud::new(&server);
    // What was said before is not shown.
    cloud.publish(&Caption::draft(&said("street", 0, "long ago")).unwrap());
    let element = source(&server.url());
    let mut harness = Harness::with_element(&element, None, Some("src"));
    harness.use_testclock();
    harness.play();
    let gap = |ms| (ms, 100, true, String::new());
    let says = |ms, text: &str| (ms, 100, false, text.to_owned());
    assert_eq!(next(&mut harness), gap(0));

    let dog = said("street", 1, "a dog");
    cloud.publish(&Caption::draft(&said("car-7", 1, "another rig's")).unwrap());
    cloud.publish(&Caption::draft(&dog).unwrap());
    until(&element, "shown", 1);
    assert_eq!(next(&mut harness), says(100, "a dog …"));
    assert_eq!(next(&mut harness), says(200, "a dog …"));
    cloud.publish(&correction(&dog, "a brown dog"));
    until(&element, "replaced", 1);
    assert_eq!(next(&mut harness), says(300, "a brown dog"));

    // Both lines from now on.
    element.set_property("lines", 2u32);
    element.set_property("marks", false);
    cloud.publish(&Caption::draft(&said("street", 2, "a cat")).unwrap());
    until(&element, "shown", 3);
    assert_eq!(next(&mut harness), says(400, "a brown dog\na cat"));
    element.set_property("hold", 0u64);
    assert_eq!(next(&mut harness), gap(500));

    let mut events = Vec::new();
    while let Some(event) = harness.try_pull_event() {
        events.push(event.type_());
    }
    use gst::EventType::{Caps, Segment, StreamStart};
    assert_eq!(events, [StreamStart, Caps, Segment]);
    let caps = harness.sinkpad().unwrap().current_caps().unwrap();
    assert_eq!(caps.to_string(), "text/x-raw, format=(string)utf8");
}

#[test]
fn times_that_the_clock_jumped_over_are_left_out() {
    let server = TestServer::start();
    let element = source(&server.url());
    let mut harness = Harness::with_element(&element, None, Some("src"));
    harness.use_testclock();
    harness.play();
    assert_eq!(next(&mut harness).0, 0);
    let clock = harness.testclock().unwrap();
    clock.wait_for_next_pending_id();
    clock.set_time(gst::ClockTime::from_mseconds(1050));
    // It was due at 100.
    assert_eq!(next(&mut harness).0, 100);
    assert_eq!(next(&mut harness).0, 1050);
    assert_eq!(next(&mut harness).0, 1150);
}

#[test]
fn it_shows_captions_after_a_server_that_comes_late() {
    let mut server = TestServer::start();
    server.kill();
    let element = source(&server.url());
    element.set_property("retry-connect", true);
    let mut harness = Harness::with_element(&element, None, Some("src"));
    harness.use_systemclock();
    harness.play();
    let buffer = harness.pull().unwrap();
    assert!(buffer.flags().contains(gst::BufferFlags::GAP));
    server.restart();
    let cloud = Cloud::new(&server);
    let deadline = Instant::now() + Duration::from_secs(20);
    // What comes before the reader has its place is not shown.
    for seq in 0.. {
        cloud.publish(&Caption::draft(&said("street", seq, "a dog")).unwrap());
        if stat(&element, "shown") > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "nothing is shown");
    }
}

#[test]
fn without_a_rig_or_a_server_it_says_so() {
    init();
    let server = TestServer::start();
    for (rig, url, word) in [
        (None, server.url(), "say whose captions"),
        (Some("no rig"), server.url(), "rig"),
        (
            Some("street"),
            "nats://127.0.0.1:1".to_owned(),
            "nats-server",
        ),
    ] {
        let element = gst::ElementFactory::make("msaocaptionsrc")
            .property("url", &url)
            .property("rig", rig)
            .build()
            .unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        assert!(element.set_state(gst::State::Paused).is_err());
        let message = bus.pop_filtered(&[gst::MessageType::Error]).unwrap();
        let gst::MessageView::Error(error) = message.view() else {
            unreachable!()
        };
        let text = error.error().to_string();
        assert!(text.contains(word), "{text}");
        element.set_state(gst::State::Null).unwrap();
    }
}
