//! `msaovideomas`: when it runs what, and what it says of a frame.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoFormat;
use gstmsao::meta::{Features, MasMeta, Measured};

const WIDTH: u32 = 96;
const HEIGHT: u32 = 64;

struct Fixture {
    harness: Harness,
    element: gst::Element,
}

fn videomas(format: VideoFormat) -> Fixture {
    init();
    let element = make_with_model("msaovideomas");
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps(caps(format, WIDTH, HEIGHT));
    Fixture { harness, element }
}

fn caps(format: VideoFormat, width: u32, height: u32) -> gst::Caps {
    let info = gst_video::VideoInfo::builder(format, width, height).fps((10, 1));
    info.build().unwrap().to_caps().unwrap()
}

/// A textured picture with a white square of 16 x 16 pixels at (`x`, 16).
fn picture(format: VideoFormat, width: u32, height: u32, x: usize, ms: u64) -> gst::Buffer {
    let info = gst_video::VideoInfo::builder(format, width, height)
        .build()
        .unwrap();
    let mut bytes: Vec<u8> = (0..info.size())
        .map(|i| (i * 37 % 101) as u8 + 60)
        .collect();
    let pixel = info.comp_pstride(0) as usize;
    let stride = info.stride()[0] as usize;
    for y in 16..32 {
        bytes[y * stride + x * pixel..y * stride + (x + 16) * pixel].fill(255);
    }
    buffer(bytes, ms)
}

fn buffer(bytes: Vec<u8>, ms: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(bytes);
    let inner = buffer.get_mut().unwrap();
    inner.set_pts(gst::ClockTime::from_mseconds(ms));
    inner.set_duration(gst::ClockTime::from_mseconds(100));
    buffer
}

impl Fixture {
    fn push(&mut self, buffer: gst::Buffer) -> std::sync::Arc<Measured> {
        let pts = buffer.pts();
        let out = self.harness.push_and_pull(buffer).unwrap();
        assert_eq!(out.pts(), pts);
        MasMeta::of(&out).unwrap()
    }

    fn picture(&mut self, x: usize, ms: u64) -> std::sync::Arc<Measured> {
        self.push(picture(VideoFormat::I420, WIDTH, HEIGHT, x, ms))
    }
}

fn features(frame: &Measured) -> &std::sync::Arc<ndarray::Array3<f32>> {
    match &frame.features {
        Features::Frame(features) => features,
        Features::Tokens(tokens) => panic!("a frame of tokens: {tokens:?}"),
    }
}

#[test]
fn within_its_interval_the_probe_runs_on_news_alone() {
    let mut fixture = videomas(VideoFormat::I420);
    fixture
        .element
        .set_property("probe-interval", 1_000_000_000u64);
    let mut probed = |x, ms| {
        let frame = fixture.picture(x, ms);
        assert!(frame.t0 > 0.0, "{x} at {ms}");
        if frame.probed {
            frame.mark_sent(0..49);
        }
        frame.probed
    };
    assert!(probed(16, 0));
    // All was new in the first frame.
    assert!(!probed(64, 100));
    assert!(!probed(64, 900));
    assert!(probed(64, 1000));
    // It goes back to where it was seen to go from; then to where nothing was seen.
    assert!(!probed(16, 1100));
    assert!(probed(40, 1200));
}

#[test]
fn the_probe_runs_on_the_first_frame_on_change_and_on_the_heartbeat() {
    let mut fixture = videomas(VideoFormat::I420);
    let first = fixture.picture(16, 0);
    assert_eq!((first.frame, first.t0, first.probed), (0, 1.0, true));
    assert_eq!((first.measurement.s.len(), first.columns), (49, 7));
    assert_eq!(features(&first).dim(), (24, 56, 56));
    assert!(first.measurement.u.iter().all(|u| *u == 1.0));
    assert_eq!(first.encoder.sha256.len(), 64);

    let still = fixture.picture(16, 100);
    assert_eq!((still.frame, still.t0, still.probed), (1, 0.0, false));
    assert!(std::sync::Arc::ptr_eq(features(&still), features(&first)));

    // What is marked as sent is no longer new, also in frames that the probe does not see.
    first.mark_sent(0..49);
    assert_eq!(still.now().mas.mas, 1.0);
    let later = fixture.picture(16, 200);
    assert_eq!((later.probed, later.measurement.mas.mas), (false, 1.0));

    let moved = fixture.picture(64, 300);
    assert!(moved.probed && moved.t0 > 0.0);
    // The square in its old place and in its new one: 8 of 96 blocks.
    assert!((moved.t0 - 8.0 / 96.0).abs() < 0.001, "{}", moved.t0);

    // 2 s after the last run.
    assert!(!fixture.picture(64, 2200).probed);
    assert!(fixture.picture(64, 2300).probed);
    // Time that jumps back asks for a look, too.
    assert!(fixture.picture(64, 0).probed);
    assert_eq!(stats::<u64>(&fixture.element, "frames"), 7);
    assert_eq!(stats::<u64>(&fixture.element, "probed"), 4);
    assert!(stats::<u64>(&fixture.element, "t1-time") > 0);
}

#[test]
fn every_format_is_measured_and_sees_change() {
    for format in [
        VideoFormat::I420,
        VideoFormat::Nv12,
        VideoFormat::Gray8,
        VideoFormat::Rgb,
        VideoFormat::Bgr,
        VideoFormat::Rgba,
        VideoFormat::Rgbx,
    ] {
        let mut fixture = videomas(format);
        fixture.push(picture(format, WIDTH, HEIGHT, 16, 0));
        let still = fixture.push(picture(format, WIDTH, HEIGHT, 16, 100));
        assert_eq!((still.t0, still.probed), (0.0, false), "{format}");
        let moved = fixture.push(picture(format, WIDTH, HEIGHT, 64, 200));
        assert!(
            (moved.t0 - 8.0 / 96.0).abs() < 0.001,
            "{format}: {}",
            moved.t0
        );
    }
}

#[test]
fn black_and_frozen_pictures_are_flagged() {
    let mut fixture = videomas(VideoFormat::Gray8);
    let black = |ms| buffer(vec![16; (WIDTH * HEIGHT) as usize], ms);
    for ms in [0, 2000, 4900] {
        assert_eq!(fixture.push(black(ms)).flags, ["black"]);
    }
    let frozen = fixture.push(black(5000));
    assert_eq!(frozen.flags, ["black", "frozen"]);
    assert!((0.0..=1.0).contains(&frozen.measurement.mas.mas));
    let picture = fixture.push(picture(VideoFormat::Gray8, WIDTH, HEIGHT, 16, 5100));
    assert!(picture.flags.is_empty());
}

#[test]
fn a_frame_with_too_few_bytes_is_dropped_with_a_warning() {
    let mut fixture = videomas(VideoFormat::I420);
    let bus = bus(&fixture.element);
    fixture.harness.push(buffer(vec![0; 99], 0)).unwrap();
    assert_eq!(fixture.harness.buffers_received(), 0);
    let message = bus.pop_filtered(&[gst::MessageType::Warning]).unwrap();
    let gst::MessageView::Warning(warning) = message.view() else {
        unreachable!()
    };
    let text = warning.error().to_string();
    assert!(
        text.contains("99 bytes") && text.contains("96x64"),
        "{text}"
    );
    assert!(fixture.picture(16, 100).probed);
    assert_eq!(stats::<u64>(&fixture.element, "unreadable"), 1);
}

#[test]
fn another_size_in_mid_stream_is_a_first_frame_for_t0() {
    let mut fixture = videomas(VideoFormat::I420);
    fixture.picture(16, 0);
    fixture
        .harness
        .set_src_caps(caps(VideoFormat::I420, 130, 50));
    let mas = fixture.push(picture(VideoFormat::I420, 130, 50, 16, 100));
    assert_eq!((mas.t0, mas.probed), (1.0, true));
}

#[test]
fn a_message_for_each_frame_on_request() {
    let mut fixture = videomas(VideoFormat::I420);
    let bus = bus(&fixture.element);
    fixture.picture(16, 0);
    assert!(bus.pop_filtered(&[gst::MessageType::Element]).is_none());
    fixture.element.set_property("message", true);
    let mas = fixture.picture(16, 100);
    let message = bus.pop_filtered(&[gst::MessageType::Element]).unwrap();
    let structure = message.structure().unwrap();
    assert_eq!(structure.name(), "msao-mas");
    assert_eq!(structure.get::<u64>("frame").unwrap(), 1);
    assert_eq!(
        structure.get::<f32>("mas").unwrap(),
        mas.measurement.mas.mas
    );
    assert_eq!(
        structure.get::<Option<gst::ClockTime>>("pts").unwrap(),
        Some(gst::ClockTime::from_mseconds(100))
    );
}

#[test]
fn a_model_that_does_not_load_is_an_error_that_names_the_file() {
    init();
    let failure = |model: Option<&str>| {
        let element = make("msaovideomas");
        element.set_property("model", model);
        start_failure(&element)
    };
    assert!(failure(None).contains("MSAO_MODEL_DIR"));
    assert!(failure(Some("/nowhere")).contains("/nowhere/config.json"));
    let folder = model_copy();
    let path = folder.path().to_str();
    std::fs::write(folder.path().join("vision_probe.onnx"), b"not a network").unwrap();
    let error = failure(path);
    assert!(error.contains("vision_probe.onnx"), "{error}");
    std::fs::remove_file(folder.path().join("vision_probe.onnx")).unwrap();
    let error = failure(path);
    assert!(error.contains("vision_probe.onnx"), "{error}");
}

#[test]
fn other_caps_are_not_negotiated() {
    init();
    let element = make_with_model("msaovideomas");
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps_str("video/x-raw,format=P010_10LE,width=64,height=48,framerate=10/1");
    assert_eq!(harness.push(timed(0)), Err(gst::FlowError::NotNegotiated));
}

#[test]
fn mas_is_fused_with_the_beta_that_comes_from_downstream() {
    let mut fixture = videomas(VideoFormat::I420);
    assert_eq!(fixture.picture(16, 0).measurement.mas.beta, 1.0);
    assert!(
        fixture
            .harness
            .push_upstream_event(beta_event(0.25, 1.0, 1.0))
    );
    let measurement = &fixture.picture(16, 100).measurement;
    assert_eq!(measurement.mas.beta, 0.25);
    let worth = measurement.importance().mean().unwrap();
    assert!((measurement.mas.mas - (1.0 - 0.25 * worth)).abs() < 1e-6);
}

#[test]
fn what_stands_for_no_time_is_refused() {
    init();
    let element = gst::parse::launch(&format!("msaovideomas heartbeat={}", u64::MAX)).unwrap();
    assert_eq!(element.property::<u64>("heartbeat"), 2_000_000_000);
}

#[test]
fn the_first_frame_after_a_flush_is_probed_and_what_was_sent_stays_sent() {
    let mut fixture = videomas(VideoFormat::I420);
    fixture.picture(16, 0).mark_sent(0..49);
    assert!(!fixture.picture(16, 100).probed);
    let harness = &mut fixture.harness;
    harness.push_event(gst::event::FlushStart::new());
    harness.push_event(gst::event::FlushStop::new(true));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    harness.push_event(gst::event::Segment::new(&segment));
    let after = fixture.picture(16, 200);
    assert_eq!((after.probed, after.frame), (true, 2));
    assert_eq!(after.measurement.mas.mas, 1.0);
}

/// Times in ms of the frames that a gate keeps behind the element, and how many of 90 were probed and too soon.
fn kept(heed: bool, gate: &str) -> (Vec<u64>, u64, u64) {
    kept_of("ball", heed, gate)
}

fn kept_of(pattern: &str, heed: bool, gate: &str) -> (Vec<u64>, u64, u64) {
    init();
    let line = format!(
        "videotestsrc num-buffers=90 pattern={pattern} ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! \
         msaovideomas name=mas heed-gate={heed} ! msaogate {gate} mark-sent=true ! appsink name=sink sync=false"
    );
    let pipeline = gst::parse::launch(&line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let mas = pipeline.by_name("mas").unwrap();
    mas.set_property("model", model());
    let sink = pipeline.by_name("sink").unwrap();
    let sink = sink.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut times = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        times.push(sample.buffer().unwrap().pts().unwrap().mseconds());
    }
    let counts = (stats(&mas, "probed"), stats(&mas, "too-soon"));
    pipeline.set_state(gst::State::Null).unwrap();
    (times, counts.0, counts.1)
}

#[test]
fn frames_that_a_gate_drops_in_any_case_are_not_probed_and_those_it_keeps_are_the_same() {
    let (all, probed, too_soon) = kept(false, "min-interval=250000000");
    assert_eq!(too_soon, 0);
    assert!(all.len() >= 11 && probed > 80, "{all:?} of {probed}");
    let (heeded, probed, too_soon) = kept(true, "min-interval=250000000");
    assert_eq!(heeded, all);
    assert_eq!(probed, all.len() as u64);
    assert!(too_soon > 60, "{too_soon}");
    // A gate that takes frames as they come, or only marks them, shuts nothing out.
    for gate in ["", "mode=flag min-interval=250000000"] {
        let (_, probed, too_soon) = kept(true, gate);
        assert!(probed > 80 && too_soon == 0, "{gate}: {probed} {too_soon}");
    }
}

#[test]
fn of_frames_that_a_gate_drops_in_any_case_every_other_one_is_not_even_looked_at() {
    let gate = "min-interval=250000000 max-gap=0";
    // Nothing changes, so that only those count that are not looked at: after the first, which is kept, those at 33, 100,
    // 167 and 233 ms.
    let (times, _, too_soon) = kept_of("solid-color", true, gate);
    assert_eq!((times, too_soon), (vec![0], 4));
    let (times, _, too_soon) = kept_of("solid-color", false, gate);
    assert_eq!((times, too_soon), (vec![0], 0));
}
