//! What the element does when its probe is slow.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_check::Harness;

use super::VideoMas;
use crate::lock;

const CAPS: &str = "video/x-raw,format=GRAY8,width=64,height=48,framerate=10/1";

struct Fixture {
    harness: Harness,
    element: VideoMas,
    bus: gst::Bus,
    frames: u64,
}

impl Fixture {
    fn new(live: bool) -> Self {
        static INIT: Once = Once::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        INIT.call_once(|| {
            gst::init().unwrap();
            crate::plugin_register_static().unwrap();
            let library = root.join(".cache/onnxruntime/libonnxruntime.so");
            let library = std::env::var_os("ORT_DYLIB_PATH").map_or(library, Into::into);
            mllm::runtime::init(Some(&library)).unwrap();
        });
        let element = gst::ElementFactory::make("msaovideomas")
            .property("model", root.join("testdata/models/msao-edge").to_str())
            .property("t0-threshold", 0.0f32)
            .build()
            .unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_live(live);
        harness.set_upstream_latency(gst::ClockTime::from_mseconds(30));
        harness.set_src_caps_str(CAPS);
        Self {
            harness,
            element: element.downcast().unwrap(),
            bus,
            frames: 0,
        }
    }

    /// From now on the probe takes at least so long.
    fn slow(&self, ms: u64) {
        let mut state = lock(&self.element.imp().state);
        state.as_mut().unwrap().slow = Duration::from_millis(ms);
    }

    /// Pushes the next frame, 100 ms after the one before.
    fn frame(&mut self) {
        let mut buffer = gst::Buffer::from_slice(vec![90; 64 * 48]);
        let inner = buffer.get_mut().unwrap();
        inner.set_pts(gst::ClockTime::from_mseconds(100) * self.frames);
        inner.set_duration(gst::ClockTime::from_mseconds(100));
        self.frames += 1;
        self.harness.push_and_pull(buffer).unwrap();
    }

    /// Whether it asked to be asked for its latency since the last call.
    fn asks(&self) -> bool {
        self.bus
            .pop_filtered(&[gst::MessageType::Latency])
            .is_some()
    }

    /// What it answers: whether it is live, and the least and the greatest latency in ms.
    fn latency(&self) -> (bool, u64, Option<u64>) {
        let mut query = gst::query::Latency::new();
        assert!(self.element.static_pad("src").unwrap().query(&mut query));
        let (live, min, max) = query.result();
        (live, min.mseconds(), max.map(|max| max.mseconds()))
    }
}

#[test]
fn latency_follows_the_probe_and_the_pipeline_hears_of_it() {
    for live in [true, false] {
        let mut fixture = Fixture::new(live);
        assert_eq!(fixture.latency(), (live, 30, None));
        fixture.frame();
        assert!(fixture.asks());
        let (_, fast, _) = fixture.latency();
        assert!(fast > 30 && (fast - 30).is_multiple_of(20), "{fast}");
        fixture.slow(400 + fast);
        fixture.frame();
        assert!(fixture.asks());
        let (still, slow, most) = fixture.latency();
        assert!(still == live && slow >= 30 + 400 + fast, "{slow}");
        assert_eq!(most, None);
        fixture.slow(0);
        for _ in 0..64 {
            fixture.frame();
        }
        assert!(fixture.asks());
        let (_, again, _) = fixture.latency();
        assert!(again < 30 + 400, "{again}");
    }
}

fn count(fixture: &Fixture, field: &str) -> u64 {
    let stats = fixture.element.property::<gst::Structure>("stats");
    let value = stats.value(field).unwrap();
    value
        .get::<u64>()
        .unwrap_or_else(|_| value.get::<u32>().unwrap().into())
}

/// Whether the next frame is probed.
fn probes(fixture: &mut Fixture) -> bool {
    let before = count(fixture, "probed");
    fixture.frame();
    count(fixture, "probed") > before
}

#[test]
fn over_its_budget_it_probes_less_step_by_step_and_recovers_step_by_step() {
    let mut fixture = Fixture::new(false);
    fixture
        .element
        .set_property("heartbeat", 3_600_000_000_000u64);
    fixture.element.set_property("budget", 80_000_000u64);
    // On every frame it is over the budget, on one of two as well, on one of four it is not.
    fixture.slow(200);
    let mut steps = vec![0];
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while steps.last() < Some(&2) {
        assert!(std::time::Instant::now() < deadline, "{steps:?}");
        fixture.frame();
        steps.push(count(&fixture, "step"));
    }
    assert!(count(&fixture, "over-budget") > 0);
    let probed: Vec<bool> = (0..8).map(|_| probes(&mut fixture)).collect();
    assert_eq!(
        probed.iter().filter(|probed| **probed).count(),
        2,
        "{probed:?}"
    );
    fixture.slow(0);
    while steps.last() > Some(&0) {
        assert!(std::time::Instant::now() < deadline, "{steps:?}");
        fixture.frame();
        steps.push(count(&fixture, "step"));
    }
    steps.dedup();
    assert_eq!(steps, [0, 1, 2, 1, 0]);
    assert!(probes(&mut fixture) && probes(&mut fixture));
}

#[test]
fn what_downstream_gets_too_late_is_not_probed_until_it_has_caught_up() {
    let mut fixture = Fixture::new(false);
    fixture.element.set_property("heartbeat", 600_000_000u64);
    assert!(probes(&mut fixture) && probes(&mut fixture));
    let late = |time, jitter| {
        let time = gst::ClockTime::from_mseconds(time);
        gst::event::Qos::builder(gst::QOSType::Underflow, 1.5, jitter)
            .timestamp(time)
            .build()
    };
    // The frame at 100 ms came 150 ms too late: the next in time is the one at 500 ms.
    fixture
        .harness
        .push_upstream_event(late(100, 150_000_000i64));
    let probed: Vec<bool> = (0..4).map(|_| probes(&mut fixture)).collect();
    assert_eq!(probed, [false, false, false, true]);
    assert_eq!(count(&fixture, "late"), 3);
    // However late it is, the heartbeat is kept: at 1,100 ms.
    fixture
        .harness
        .push_upstream_event(late(500, 5_000_000_000i64));
    let probed: Vec<bool> = (0..7).map(|_| probes(&mut fixture)).collect();
    assert_eq!(probed, [false, false, false, false, false, true, false]);
    // What was late is forgotten with a flush, and by word that all is in time.
    fixture.harness.push_upstream_event(late(1_200, -1));
    assert!(probes(&mut fixture));
}

#[test]
fn live_frames_that_have_piled_up_are_not_probed() {
    let mut fixture = Fixture::new(true);
    fixture.harness.use_testclock();
    let time = |ms| gst::ClockTime::from_mseconds(ms);
    fixture.harness.set_time(time(30)).unwrap();
    assert!(probes(&mut fixture));
    // In time, a frame comes after the latency of upstream, its own, and two frames' length at most.
    let (_, latency, _) = fixture.latency();
    fixture.harness.set_time(time(100 + latency + 200)).unwrap();
    assert!(probes(&mut fixture));
    let (_, latency, _) = fixture.latency();
    fixture.harness.set_time(time(200 + latency + 201)).unwrap();
    assert!(!probes(&mut fixture));
    assert_eq!(count(&fixture, "late"), 1);
    let mut still = Fixture::new(false);
    still.harness.use_testclock();
    still.harness.set_time(time(60_000)).unwrap();
    assert!(probes(&mut still) && probes(&mut still));
}

#[test]
fn a_live_pipeline_with_a_slow_probe_does_not_fall_behind() {
    drop(Fixture::new(true));
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models/msao-edge");
    let line = format!(
        "videotestsrc is-live=true num-buffers=80 ! video/x-raw,format=GRAY8,width=64,height=48,framerate=20/1 ! \
         queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! \
         msaovideomas name=mas model={} t0-threshold=0 heartbeat=3600000000000 ! fakesink name=sink sync=false",
        model.display()
    );
    let pipeline = gst::parse::launch(&line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let element = pipeline
        .by_name("mas")
        .unwrap()
        .downcast::<VideoMas>()
        .unwrap();
    pipeline.set_state(gst::State::Paused).unwrap();
    lock(&element.imp().state).as_mut().unwrap().slow = Duration::from_millis(200);
    let sink = pipeline.by_name("sink").unwrap();
    let behind = std::sync::Arc::new(std::sync::Mutex::new(gst::ClockTime::ZERO));
    let (noted, clocked) = (std::sync::Arc::clone(&behind), sink.downgrade());
    let pad = sink.static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let now = clocked
            .upgrade()
            .and_then(|sink| sink.current_running_time());
        if let Some((now, pts)) = now.zip(info.buffer().and_then(|buffer| buffer.pts())) {
            *lock(&noted) = now.saturating_sub(pts);
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let bus = pipeline.bus().unwrap();
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
    assert_eq!(end.unwrap().type_(), gst::MessageType::Eos);
    let stats = element.property::<gst::Structure>("stats");
    pipeline.set_state(gst::State::Null).unwrap();
    let count = |field| stats.get::<u64>(field).unwrap();
    assert!(count("late") > 0 && count("probed") > 3, "{stats}");
    // Were each frame probed, the last would be 12 s behind.
    assert!(
        *lock(&behind) < gst::ClockTime::from_seconds(4),
        "{}",
        *lock(&behind)
    );
}
