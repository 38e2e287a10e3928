//! Properties that may change while an element plays count from then on; the others refuse, and say so.
#![allow(clippy::unwrap_used)]

mod common;

use broker::FeatureWindow;
use broker::test_server::TestServer;
use common::line::*;
use common::*;
use gst::prelude::*;
use gstmsao::meta::MasMeta;

/// Each element with what it needs to play.
fn elements(server: &TestServer) -> Vec<gst::Element> {
    let recording = workspace().join("testdata/imu.csv");
    let names = gst::Registry::get().features_by_plugin("msao");
    let mut elements = Vec::new();
    for name in names.iter().map(|feature| feature.name()) {
        let element = match &*name {
            "msaogate" | "msaooffload" | "msaonatssink" | "msaocaptionsrc" | "msaosensorsrc" => {
                make(&name)
            }
            _ => make_with_model(&name),
        };
        match &*name {
            "msaonatssink" | "msaocaptionsrc" => element.set_property("url", server.url()),
            "msaosensorsrc" => element.set_property("location", recording.to_str().unwrap()),
            _ => {}
        }
        if name == "msaocaptionsrc" {
            element.set_property("rig", "car-7");
        }
        elements.push(element);
    }
    assert_eq!(elements.len(), 10);
    elements
}

#[test]
fn what_may_not_change_while_playing_says_so_and_refuses_with_a_warning() {
    init();
    let server = TestServer::start();
    for element in elements(&server) {
        let name = element.factory().unwrap().name();
        let bus = bus(&element);
        element.set_state(gst::State::Playing).unwrap();
        let mut refused = 0;
        for property in element.list_properties() {
            let flags = property.flags();
            let ours = property.owner_type() == element.type_();
            if !ours || !flags.contains(gst::glib::ParamFlags::WRITABLE) {
                continue;
            }
            let playing = flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING);
            let ready = flags.contains(gst::PARAM_FLAG_MUTABLE_READY);
            let what = format!("{name}: {}", property.name());
            assert!(playing || ready, "{what} does not say when it may change");
            let before = element.property_value(property.name());
            element.set_property_from_value(property.name(), &other(&before));
            let after = element.property_value(property.name());
            let same = format!("{before:?}") == format!("{after:?}");
            let warning = bus.pop_filtered(&[gst::MessageType::Warning]);
            assert_eq!(same, !playing, "{what}: {before:?} {after:?}");
            assert_eq!(warning.is_some(), !playing, "{what}: {warning:?}");
            if let Some(gst::MessageView::Warning(warning)) = warning.as_ref().map(|w| w.view()) {
                let text = warning.error().to_string();
                let named = format!("`{}` stays as it is", property.name());
                assert!(text.contains(&named) && text.contains("READY"), "{text}");
                refused += 1;
            }
        }
        element.set_state(gst::State::Null).unwrap();
        assert!(refused > 0 || name == "msaogate", "{name}");
    }
}

#[test]
fn each_time_may_be_the_least_and_the_greatest_of_its_range() {
    init();
    let server = TestServer::start();
    for element in elements(&server) {
        for property in element.list_properties() {
            let Some(range) = property.downcast_ref::<gst::glib::ParamSpecUInt64>() else {
                continue;
            };
            let ours = property.owner_type() == element.type_();
            if !ours || !property.flags().contains(gst::glib::ParamFlags::WRITABLE) {
                continue;
            }
            for value in [range.minimum(), range.maximum()] {
                element.set_property(property.name(), value);
                let kept = element.property::<u64>(property.name());
                assert_eq!(kept, value, "{}", property.name());
            }
        }
    }
}

/// Another value of the same type.
fn other(value: &gst::glib::Value) -> gst::glib::Value {
    let type_ = value.type_();
    let (number, string) = (gst::glib::Type::U64, gst::glib::Type::STRING);
    match type_ {
        _ if type_ == number => (value.get::<u64>().unwrap() + 1_000_000).to_value(),
        _ if type_ == string => "other".to_value(),
        _ if type_ == gst::glib::Type::BOOL => (!value.get::<bool>().unwrap()).to_value(),
        _ if type_ == gst::glib::Type::U32 => (value.get::<u32>().unwrap().max(1) + 1).to_value(),
        _ if type_ == gst::glib::Type::F32 => (value.get::<f32>().unwrap() / 2.0 + 0.1).to_value(),
        _ if type_ == gst::glib::Type::F64 => (value.get::<f64>().unwrap() / 2.0 + 0.1).to_value(),
        _ => {
            let class = gst::glib::EnumClass::with_type(type_).unwrap();
            let now = gst::glib::EnumValue::from_value(value).unwrap().1.value();
            let other = class.values().iter().find(|one| one.value() != now);
            other.unwrap().to_value(&class)
        }
    }
}

fn frames(line: &Line, at: u64) -> Vec<bool> {
    for at in [at, at + 100] {
        line.push(at, vec![90; 64 * 48]);
    }
    let buffers = std::mem::take(&mut *line.buffers.lock().unwrap());
    let measured = buffers.iter().map(|buffer| MasMeta::of(buffer).unwrap());
    measured.map(|one| one.probed).collect()
}

#[test]
fn a_meter_of_video_probes_and_posts_as_it_is_told() {
    init();
    let line = Line::new(make_with_model("msaovideomas"), "sink");
    let bus = bus(&line.element);
    line.begin(VIDEO);
    line.segment(0, 1.0, 0);
    assert_eq!(frames(&line, 0), [true, false]);
    line.element.set_property("t0-threshold", 0.0f32);
    assert_eq!(frames(&line, 200), [true, true]);
    line.element.set_property("t0-threshold", 0.5f32);
    line.element.set_property("heartbeat", 200 * MS);
    assert_eq!(frames(&line, 400), [false, true]);
    assert!(bus.pop_filtered(&[gst::MessageType::Element]).is_none());
    line.element.set_property("message", true);
    frames(&line, 600);
    assert!(bus.pop_filtered(&[gst::MessageType::Element]).is_some());
}

#[test]
fn meters_of_hops_post_and_flag_as_they_are_told() {
    init();
    for (name, caps, bytes) in [
        ("msaoaudiomas", SOUND, 16_000),
        ("msaosensormas", SENSORS, 50 * 28),
    ] {
        let element = make_with_model(name);
        let vad = workspace().join(".cache/models/silero_vad.onnx");
        if name == "msaoaudiomas" {
            element.set_property("vad-model", vad.to_str().unwrap());
            element.set_property("vad-threshold", 1.0f32);
        }
        let line = Line::new(element, "sink");
        let bus = bus(&line.element);
        let posted = || bus.pop_filtered(&[gst::MessageType::Element]);
        line.begin(caps);
        line.segment(0, 1.0, 0);
        line.push(0, vec![1; bytes]);
        assert!(posted().is_none(), "{name}");
        line.element.set_property("message", true);
        if name == "msaoaudiomas" {
            line.element.set_property("vad-threshold", 0.0f32);
        }
        line.push(500, vec![1; bytes]);
        let message = posted().unwrap();
        let flags = message.structure().unwrap().get::<String>("flags").unwrap();
        assert_eq!(flags.contains("speech"), name == "msaoaudiomas", "{flags}");
    }
}

#[test]
fn a_gate_opens_as_it_is_told() {
    init();
    let line = Line::new(make("msaogate"), "sink");
    line.begin(VIDEO);
    line.segment(0, 1.0, 0);
    let mut camera = Camera::new();
    let first = camera.buffer(0, &[]);
    MasMeta::of(&first).unwrap().mark_sent(0..49);
    line.src.push(first).unwrap();
    line.log();
    line.src.push(camera.buffer(100, &[])).unwrap();
    line.element.set_property_from_str("mode", "flag");
    line.src.push(camera.buffer(200, &[])).unwrap();
    line.element.set_property_from_str("mode", "drop");
    line.element.set_property("threshold", 0.0f32);
    line.element.set_property("hysteresis", 0.0f32);
    line.src.push(camera.buffer(300, &[])).unwrap();
    let expected = ["gap 100+100", "buffer 200+100 discont", "buffer 300+100"];
    assert_eq!(line.log(), expected);
}

fn windows(line: &Line) -> Vec<FeatureWindow> {
    let buffers = std::mem::take(&mut *line.buffers.lock().unwrap());
    let decode = |buffer: &gst::Buffer| FeatureWindow::decode(&buffer.map_readable().unwrap());
    buffers
        .iter()
        .map(|buffer| decode(buffer).unwrap())
        .collect()
}

#[test]
fn windows_ask_and_hold_what_they_are_told() {
    init();
    let line = Line::new(make_with_model("msaowindow"), "video_0");
    line.begin(VIDEO);
    line.segment(0, 1.0, 0);
    let mut camera = Camera::new();
    line.src.push(camera.buffer(0, &[])).unwrap();
    line.src.push(camera.buffer(1_000, &[3])).unwrap();
    line.await_lines(4);
    line.element.set_property("prompt", "is the road wet");
    line.element.set_property("max-tokens", 3u32);
    line.element.set_property("min-tokens", 1u32);
    line.src.push(camera.buffer(2_000, &[9])).unwrap();
    line.await_lines(1);
    let windows = windows(&line);
    assert_ne!(windows[0].prompt, "is the road wet");
    assert!(windows[0].tokens.len() > 3);
    assert_eq!(windows[1].prompt, "is the road wet");
    assert!(windows[1].tokens.len() <= 3, "{}", windows[1].tokens.len());
}

#[test]
fn a_draft_passes_on_as_many_tokens_as_it_is_told() {
    init();
    let line = Line::new(make_with_model("msaodraft"), "sink");
    line.begin(WINDOWS);
    line.segment(0, 1.0, 0);
    let mut undrafted = drafted(0, 0.5);
    undrafted.draft = None;
    let config = mllm::Config::load(model().as_ref()).unwrap();
    for report in &mut undrafted.modalities {
        report.encoder = config.vision_encoder.id.clone();
        report.encoder_sha256 = config.vision_encoder.sha256.clone();
    }
    line.push(0, undrafted.encode().unwrap());
    line.element.set_property("keep-tokens", 5u32);
    line.push(1_000, undrafted.encode().unwrap());
    let counts: Vec<_> = windows(&line)
        .iter()
        .map(|window| window.tokens.len())
        .collect();
    assert_eq!(counts, [49, 5]);
}

#[test]
fn a_planner_lets_as_many_windows_wait_as_it_is_told() {
    init();
    let line = Line::new(make("msaooffload"), "sink");
    line.begin(WINDOWS);
    line.segment(0, 1.0, 0);
    for seq in 0..3 {
        line.push(seq * 1_000, drafted(seq, 0.3).encode().unwrap());
    }
    assert_eq!(stats::<u64>(&line.element, "waiting"), 3);
    line.element.set_property("defer-windows", 1u32);
    line.push(3_000, drafted(3, 0.3).encode().unwrap());
    assert_eq!(stats::<u64>(&line.element, "waiting"), 1);
    line.log();
    // The one that waits has waited long enough: it goes on by itself.
    line.element.set_property("defer-age", 0u64);
    assert_eq!(line.await_lines(1), ["buffer 3000+100"]);
    assert_eq!(stats::<u64>(&line.element, "waiting"), 0);
}

#[test]
fn a_sink_publishes_what_it_is_told() {
    init();
    let server = TestServer::start();
    let element = make("msaonatssink");
    element.set_property("url", server.url());
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), None);
    harness.set_src_caps_str(WINDOWS);
    let mut pictured = drafted(0, 0.5);
    pictured.tokens.clear();
    pictured.keyframe = Some(vec![0xff, 0xd8, 0xff, 0xd9]);
    element.set_property_from_str("payload", "keyframes");
    harness.push(piece(0, pictured.encode().unwrap())).unwrap();
    element.set_property_from_str("payload", "features");
    let refused = harness.push(piece(1_000, pictured.encode().unwrap()));
    assert_eq!(refused, Err(gst::FlowError::Error));
}

#[test]
fn captions_come_as_often_as_is_told() {
    init();
    let server = TestServer::start();
    let element = make("msaocaptionsrc");
    element.set_property("rig", "car-7");
    element.set_property("url", server.url());
    let mut harness = gst_check::Harness::with_element(&element, None, Some("src"));
    harness.use_testclock();
    harness.play();
    let mut next = || {
        harness.crank_single_clock_wait().unwrap();
        let buffer = harness.pull().unwrap();
        (ms(buffer.pts()), ms(buffer.duration()))
    };
    assert_eq!(next(), (0, 100));
    element.set_property("interval", 250 * MS);
    // The one that is waited for is of the length that counts when it is due.
    let lengths = [next(), next(), next()];
    assert_eq!(lengths[2].0 - lengths[1].0, 250, "{lengths:?}");
    assert_eq!(lengths[2].1, 250);
}
