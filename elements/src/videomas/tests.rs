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
