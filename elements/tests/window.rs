//! `msaowindow`: which windows come, when, and what they hold.
#![allow(clippy::unwrap_used)]

mod common;

use broker::FeatureWindow;
use common::*;
use gst::prelude::*;
use gst_check::Harness;
use offload::Action;

const CAPS: &str = "video/x-raw,format=I420,width=64,height=48,framerate=10/1";

struct Fixture {
    element: gst::Element,
    harness: Harness,
}

fn window(properties: &[(&str, &str)]) -> Fixture {
    init();
    let element = make_with_model("msaowindow");
    element.set_property("rig", "car-7");
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    let mut harness = Harness::with_element(&element, Some("video_0"), Some("src"));
    harness.set_live(false);
    harness.set_src_caps_str(CAPS);
    Fixture { element, harness }
}

fn decode(buffer: &gst::Buffer) -> FeatureWindow {
    let window = FeatureWindow::decode(&buffer.map_readable().unwrap()).unwrap();
    assert_eq!(buffer.pts().unwrap().nseconds(), window.start_running_ns);
    window
}

/// What each position of a buffer's frame was worth when it was measured.
fn importance(buffer: &gst::Buffer) -> Vec<f32> {
    let measured = gstmsao::meta::MasMeta::of(buffer).unwrap();
    measured.measurement.importance().to_vec()
}

#[test]
fn frames_that_the_gate_flagged_are_counted_and_passed_over() {
    let Fixture { mut harness, .. } = window(&[]);
    let mut camera = Camera::new();
    for ms in (0..400).step_by(100) {
        let mut buffer = camera.buffer(ms, &[5]);
        if ms != 100 {
            let buffer = buffer.get_mut().unwrap();
            buffer.set_flags(gst::BufferFlags::DROPPABLE);
        }
        harness.push(buffer).unwrap();
    }
    harness.push_event(gst::event::Eos::new());
    let window = decode(&harness.pull().unwrap());
    assert_eq!((window.frames_in, window.frames_kept), (4, 1));
}

#[test]
fn windows_are_aligned_by_running_time_and_eos_flushes_the_last() {
    let Fixture {
        element,
        mut harness,
    } = window(&[]);
    let mut camera = Camera::new();
    let opening = camera.buffer(0, &[]);
    let at_first = importance(&opening);
    let stand_out = at_first.iter().filter(|i| **i > 0.1).count();
    let changed = at_first.iter().position(|i| *i == 1.0).unwrap();
    harness.push(opening).unwrap();
    for ms in (100..1000).step_by(100) {
        harness.push(camera.buffer(ms, &[])).unwrap();
    }
    harness.push(camera.buffer(1000, &[changed])).unwrap();
    for ms in (1100..1400).step_by(100) {
        harness.push_event(gap(ms));
    }
    harness.push_event(gst::event::Eos::new());

    let first = decode(&harness.pull().unwrap());
    assert_eq!(
        (first.start_running_ns, first.end_running_ns),
        (0, 1000 * MS)
    );
    assert_eq!((first.frames_in, first.frames_kept), (10, 10));
    assert_eq!(first.id.to_string(), format!("car-7/{}/0", first.id.epoch));
    assert_eq!(
        element.property::<String>("epoch"),
        first.id.epoch.to_string()
    );
    assert_eq!(
        (first.decision, first.prompt.as_str()),
        (Action::Offload, "describe")
    );
    // Nothing was sent before: every position of the frame is worth sending that stands out.
    assert!((17..49).contains(&stand_out), "{stand_out}");
    assert_eq!(first.tokens.len(), stand_out);
    assert_eq!(first.tokens_possible, 49);
    assert_eq!(first.end_utc_ns - first.start_utc_ns, 1_000_000_000);
    assert!(first.closed_utc_ns >= first.start_utc_ns);
    assert!(
        first
            .tokens
            .iter()
            .all(|token| token.feature.len() == 256 && &*token.stream == "video_0")
    );

    let second = decode(&harness.pull().unwrap());
    assert_eq!((second.start_running_ns, second.id.seq), (1000 * MS, 1));
    assert_eq!(
        second.end_running_ns,
        1400 * MS,
        "it ends where the stream does"
    );
    assert_eq!((second.frames_in, second.frames_kept), (4, 1));
    assert_eq!(second.start_utc_ns - first.start_utc_ns, 1_000_000_000);
    // Of what was sent one position is new; the rest did not stand out at first, or fills up by energy.
    assert_eq!(second.tokens.len(), 16);
    let sent: Vec<_> = first
        .tokens
        .iter()
        .map(|token| (token.y, token.x))
        .collect();
    let again: Vec<_> = second
        .tokens
        .iter()
        .filter(|token| token.importance > 0.1)
        .map(|token| (token.y, token.x))
        .filter(|position| sent.contains(position))
        .collect();
    assert_eq!(again, [((changed / 7) as u16, (changed % 7) as u16)]);
    assert!(harness.pull_event().is_ok());
    assert_eq!(stats::<u64>(&element, "frames-in"), 14);
    // What runs, not the `auto` that was asked for.
    assert_eq!(stats::<String>(&element, "provider"), "cpu");
    assert_eq!(stats::<u64>(&element, "tokens-possible"), 98);
}

#[test]
fn windows_without_news_are_counted_but_not_made_and_a_heartbeat_makes_one() {
    let Fixture {
        element,
        mut harness,
    } = window(&[("min-tokens", "4")]);
    let mut camera = Camera::new();
    let opening = camera.buffer(0, &[]);
    let unsent: f32 = importance(&opening).iter().filter(|i| **i <= 0.1).sum();
    harness.push(opening).unwrap();
    // The first window is sent when the second begins.
    harness.push_event(gap(1000));
    decode(&harness.pull().unwrap());
    for ms in (1100..3000).step_by(100) {
        harness.push_event(gap(ms));
    }
    // The gate's heartbeat: nothing new, but kept.
    harness.push(camera.buffer(3500, &[])).unwrap();
    harness.push_event(gst::event::Eos::new());
    let heartbeat = decode(&harness.pull().unwrap());
    assert_eq!(
        (heartbeat.id.seq, heartbeat.start_running_ns),
        (1, 3000 * MS)
    );
    assert_eq!(heartbeat.tokens.len(), 4);
    // All that is new in it is what did not stand out enough to be sent at first.
    let mas = 1.0 - unsent / 49.0;
    assert!((heartbeat.modalities[0].mas - mas).abs() < 1e-6);
    assert_eq!(stats::<u64>(&element, "skipped"), 2);
    assert_eq!(stats::<u64>(&element, "windows"), 2);
}

#[test]
fn a_change_that_was_measured_before_it_was_sent_is_sent_once() {
    let Fixture {
        element,
        mut harness,
    } = window(&[]);
    let mut camera = Camera::new();
    // Measured one after the other, before the first window is made.
    let buffers: Vec<_> = (0..30).map(|i| camera.buffer(i * 100, &[])).collect();
    for buffer in buffers {
        harness.push(buffer).unwrap();
    }
    harness.push_event(gst::event::Eos::new());
    while harness
        .try_pull_event()
        .is_none_or(|event| event.type_() != gst::EventType::Eos)
    {
        std::thread::yield_now();
    }
    assert_eq!(harness.buffers_received(), 1);
    assert_eq!(stats::<u64>(&element, "skipped"), 2);
}

#[test]
fn time_that_jumps_ahead_and_late_frames() {
    let Fixture {
        element,
        mut harness,
    } = window(&[]);
    let mut camera = Camera::new();
    harness.push(camera.buffer(17_300, &[])).unwrap();
    harness.push(camera.buffer(3_600_000, &[1])).unwrap();
    harness.push(camera.buffer(20_000, &[2])).unwrap();
    harness.push_event(gst::event::Eos::new());
    let first = decode(&harness.pull().unwrap());
    assert_eq!(first.start_running_ns, 17_000 * MS);
    let second = decode(&harness.pull().unwrap());
    assert_eq!(
        (second.start_running_ns, second.id.seq),
        (3_600_000 * MS, 1)
    );
    assert_eq!(stats::<u64>(&element, "late"), 1);
    assert_eq!(stats::<u64>(&element, "skipped"), 3_600 - 18);
}

#[test]
fn two_streams_join_and_the_one_most_worth_sending_comes_first() {
    let Fixture {
        element,
        mut harness,
    } = window(&[("duration", "500000000"), ("max-tokens", "20")]);
    let mut other = Harness::with_element(&element, Some("video_1"), None);
    other.set_live(false);
    other.set_src_caps_str(CAPS);
    let (mut left, mut right) = (Camera::new(), Camera::new());
    let known = left.frame(&[]);
    known.mark_sent(0..49);
    harness.push(left.buffer(100, &[4])).unwrap();
    other.push(right.buffer(200, &[])).unwrap();
    // The window waits for both.
    harness.push_event(gst::event::Eos::new());
    assert_eq!(harness.buffers_received(), 0);
    other.push_event(gst::event::Eos::new());
    let window = decode(&harness.pull().unwrap());
    let streams: Vec<_> = window
        .modalities
        .iter()
        .map(|m| m.stream.as_str())
        .collect();
    assert_eq!(streams, ["video_1", "video_0"]);
    assert_eq!((window.frames_kept, window.tokens_possible), (2, 98));
    // They share the budget: one position of the first camera is new.
    let tokens = |stream| {
        let of_stream = window
            .tokens
            .iter()
            .filter(|token| &*token.stream == stream);
        of_stream.count()
    };
    assert_eq!((tokens("video_1"), tokens("video_0")), (19, 1));
}

#[test]
fn a_live_window_closes_on_the_deadline() {
    init();
    let element = make_with_model("msaowindow");
    let mut harness = Harness::with_element(&element, Some("video_0"), Some("src"));
    harness.use_testclock();
    harness.set_upstream_latency(gst::ClockTime::from_mseconds(30));
    harness.set_src_caps_str(CAPS);
    let mut camera = Camera::new();
    harness.push(camera.buffer(0, &[])).unwrap();
    // The stream stalls. The deadline is the window's end and the upstream latency.
    let clock = harness.testclock().unwrap();
    let waiting = clock.wait_for_next_pending_id();
    assert_eq!(waiting.time(), gst::ClockTime::from_mseconds(1030));
    assert_eq!(harness.buffers_received(), 0);
    assert_eq!(
        harness.query_latency(),
        Some(gst::ClockTime::from_mseconds(1030))
    );
    harness.crank_single_clock_wait().unwrap();
    let window = decode(&harness.pull().unwrap());
    assert_eq!((window.start_running_ns, window.frames_in), (0, 1));
    // UTC is the clock's: at 1,030 ms of running time the window was closed.
    let skew = window.closed_utc_ns - window.start_utc_ns - 1_030_000_000;
    assert!(skew.abs() < 20_000_000, "{skew}");
}

#[test]
fn a_live_stream_that_never_comes_does_not_hold_the_other() {
    init();
    let element = make_with_model("msaowindow");
    let mut harness = Harness::with_element(&element, Some("video_0"), Some("src"));
    harness.use_testclock();
    harness.set_src_caps_str(CAPS);
    let mut silent = Harness::with_element(&element, Some("video_1"), None);
    silent.set_src_caps_str(CAPS);
    let mut camera = Camera::new();
    harness.push(camera.buffer(0, &[])).unwrap();
    harness.crank_single_clock_wait().unwrap();
    let window = decode(&harness.pull().unwrap());
    assert_eq!((window.frames_in, window.end_running_ns), (1, 1000 * MS));
}

#[test]
fn frames_of_another_encoder_are_an_error_that_names_both() {
    let Fixture {
        element,
        mut harness,
    } = window(&[]);
    let bus = bus(&element);
    let mut camera = Camera::new();
    let mut mas = (*camera.frame(&[])).clone();
    mas.encoder = mllm::EncoderId {
        id: "elsewhere".into(),
        sha256: "0".into(),
    }
    .into();
    let mut buffer = timed(0);
    gstmsao::meta::MasMeta::put(buffer.get_mut().unwrap(), mas.into());
    harness.push(buffer).unwrap();
    harness.push_event(gst::event::Eos::new());
    let message = bus
        .timed_pop_filtered(gst::ClockTime::from_seconds(20), &[gst::MessageType::Error])
        .unwrap();
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!()
    };
    assert!(
        error.error().to_string().contains("`elsewhere`"),
        "{error:?}"
    );
}

#[test]
fn bad_settings_and_models_are_errors_at_the_start() {
    init();
    let failure = |properties: &[(&str, &str)]| {
        let element = make_with_model("msaowindow");
        for (name, value) in properties {
            element.set_property_from_str(name, value);
        }
        start_failure(&element)
    };
    assert!(failure(&[("rig", "a.b")]).contains("'a.b' is not a valid rig name"));
    assert!(failure(&[("min-tokens", "9"), ("max-tokens", "8")]).contains("max-tokens is 8"));
    assert!(failure(&[("model", "/nowhere")]).contains("/nowhere/config.json"));
    let folder = model_copy();
    std::fs::write(folder.path().join("vision_trunk.onnx"), b"not a network").unwrap();
    let error = failure(&[("model", folder.path().to_str().unwrap())]);
    assert!(
        error.contains("config.json") || error.contains("vision_trunk.onnx"),
        "{error}"
    );
}
