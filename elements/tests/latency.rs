//! What elements answer to the query for latency, live or not.
#![allow(clippy::unwrap_used)]

mod common;

use common::line::*;
use common::*;
use gst::prelude::*;
use gst_check::Harness;

/// Whether it is live, and its least and greatest latency in ms.
fn answer(element: &gst::Element) -> (bool, u64, Option<u64>) {
    let mut query = gst::query::Latency::new();
    assert!(element.static_pad("src").unwrap().query(&mut query));
    let (live, min, max) = query.result();
    (live, min.mseconds(), max.map(|max| max.mseconds()))
}

fn undrafted() -> Vec<u8> {
    let mut window = drafted(0, 0.5);
    window.draft = None;
    let encoder = mllm::Config::load(model().as_ref()).unwrap().vision_encoder;
    for report in &mut window.modalities {
        report.encoder = encoder.id.clone();
        report.encoder_sha256 = encoder.sha256.clone();
    }
    window.encode().unwrap()
}

#[test]
fn what_takes_time_adds_it_and_says_when_it_changes() {
    init();
    for live in [true, false] {
        for (name, caps, bytes) in [
            ("msaovideomas", VIDEO, vec![90; 64 * 48]),
            ("msaoaudiomas", SOUND, vec![1; 16_000]),
            ("msaosensormas", SENSORS, vec![0; 50 * 28]),
            ("msaodraft", WINDOWS, undrafted()),
        ] {
            let element = make_with_model(name);
            let bus = bus(&element);
            let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
            harness.set_live(live);
            harness.set_upstream_latency(gst::ClockTime::from_mseconds(30));
            harness.set_src_caps_str(caps);
            assert_eq!(answer(&element), (live, 30, None), "{name}");
            let begun = std::time::Instant::now();
            harness.push_and_pull(piece(0, bytes)).unwrap();
            let took = begun.elapsed().as_millis() as u64;
            let (still, min, max) = answer(&element);
            let own = min - 30;
            assert_eq!((still, max), (live, None), "{name}");
            assert!(own > 0 && own.is_multiple_of(20), "{name}: {own}");
            // In whole steps.
            assert!(own < took + 21, "{name}: {own} {took}");
            let told = bus.pop_filtered(&[gst::MessageType::Latency]);
            assert!(told.is_some(), "{name}");
        }
    }
}

#[test]
fn what_decides_at_once_adds_nothing() {
    init();
    for (name, caps, bytes) in [
        ("msaogate", VIDEO, vec![90; 64 * 48]),
        ("msaooffload", WINDOWS, drafted(0, 0.5).encode().unwrap()),
    ] {
        let element = make(name);
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_upstream_latency(gst::ClockTime::from_mseconds(30));
        harness.set_src_caps_str(caps);
        harness.push_and_pull(piece(0, bytes)).unwrap();
        assert_eq!(answer(&element), (true, 30, None), "{name}");
    }
}

#[test]
fn a_window_is_as_late_as_it_is_long_and_takes_to_encode() {
    init();
    let element = make_with_model("msaowindow");
    let bus = bus(&element);
    let mut harness = Harness::with_element(&element, Some("video_0"), Some("src"));
    harness.use_testclock();
    harness.set_upstream_latency(gst::ClockTime::from_mseconds(30));
    harness.set_src_caps_str(VIDEO);
    let mut camera = Camera::new();
    assert_eq!(answer(&element), (true, 1_030, None));
    harness.push(camera.buffer(0, &[])).unwrap();
    harness.push(camera.buffer(1_000, &[3])).unwrap();
    harness.pull().unwrap();
    let (live, min, _) = answer(&element);
    assert!(
        live && min > 1_030 && (min - 1_030).is_multiple_of(20),
        "{min}"
    );
    assert!(bus.pop_filtered(&[gst::MessageType::Latency]).is_some());
}

#[test]
fn a_recording_at_its_own_pace_is_as_late_as_its_buffers_are_long_from_the_start() {
    init();
    let recording = workspace().join("testdata/imu.csv");
    for (realtime, rate, expected) in [
        (true, 100u32, (true, 70, None)),
        // A buffer holds at least one sample.
        (true, 5, (true, 200, None)),
        (false, 100, (false, 0, Some(0))),
    ] {
        let element = make("msaosensorsrc");
        element.set_property("location", recording.to_str().unwrap());
        element.set_property("realtime", realtime);
        element.set_property("rate", rate);
        element.set_property("buffer-duration", 70 * MS);
        let mut harness = Harness::with_element(&element, None, Some("src"));
        harness.use_testclock();
        harness.play();
        assert_eq!(answer(&element), expected);
    }
}
