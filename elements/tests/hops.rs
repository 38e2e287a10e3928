//! `msaoaudiomas` and `msaosensormas`: how streams are cut into hops, and what buffers carry.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use broker::Modality;
use common::*;
use gst_check::Harness;
use gstmsao::meta::{Features, MasMeta, Measured};

/// Samples of a hop.
const AUDIO_HOP: usize = 8_000;
const SENSOR_HOP: usize = 50;
const CHANNELS: usize = 7;

const SOUND: &str = "audio/x-raw,format=F32LE,rate=16000,channels=1,layout=interleaved";
const SENSORS: &str =
    "application/x-msao-sensor,channels=7,rate=100,format=F32LE,layout=interleaved";

struct Fixture {
    harness: Harness,
    element: gst::Element,
    rate: u64,
    channels: usize,
}

impl Fixture {
    fn new(element: &str, caps: &str) -> Self {
        init();
        let element = make_with_model(element);
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_src_caps_str(caps);
        let sound = caps.starts_with("audio");
        Self {
            harness,
            element,
            rate: if sound { 16_000 } else { 100 },
            channels: if sound { 1 } else { CHANNELS },
        }
    }

    fn sound() -> Self {
        Self::new("msaoaudiomas", SOUND)
    }

    fn sensors() -> Self {
        Self::new("msaosensormas", SENSORS)
    }

    /// Pushes values that begin at sample `start`; returns what the buffer carries.
    fn push(&mut self, start: u64, values: &[f32]) -> Vec<Arc<Measured>> {
        let mut buffer = self.buffer(start, values);
        buffer
            .get_mut()
            .unwrap()
            .unset_flags(gst::BufferFlags::DISCONT);
        self.push_buffer(buffer)
    }

    fn push_buffer(&mut self, buffer: gst::Buffer) -> Vec<Arc<Measured>> {
        let (pts, size) = (buffer.pts(), buffer.size());
        let out = self.harness.push_and_pull(buffer).unwrap();
        assert_eq!((out.pts(), out.size()), (pts, size));
        MasMeta::all(&out).to_vec()
    }

    fn buffer(&self, start: u64, values: &[f32]) -> gst::Buffer {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let time =
            |samples: u64| gst::ClockTime::from_nseconds(samples * 1_000_000_000 / self.rate);
        let mut buffer = gst::Buffer::from_slice(bytes);
        let inner = buffer.get_mut().unwrap();
        inner.set_pts(time(start));
        inner.set_duration(time((values.len() / self.channels) as u64));
        buffer
    }
}

/// So many samples of a tone.
fn tone(samples: usize, hertz: f32) -> Vec<f32> {
    (0..samples)
        .map(|i| 0.5 * (std::f32::consts::TAU * hertz * i as f32 / 16_000.0).sin())
        .collect()
}

/// So many rows of sensors that shake.
fn rows(count: usize, strength: f32) -> Vec<f32> {
    (0..count * CHANNELS)
        .map(|i| strength * ((i * 37 % 101) as f32 / 50.0 - 1.0))
        .collect()
}

fn frames(carried: &[Arc<Measured>]) -> Vec<u64> {
    carried.iter().map(|measured| measured.frame).collect()
}

#[test]
fn a_hop_ends_where_its_samples_do_whatever_the_buffers() {
    let mut fixture = Fixture::sound();
    let quarter = tone(AUDIO_HOP / 4, 440.0);
    for i in 0..3 {
        assert!(fixture.push(i * 2_000, &quarter).is_empty());
    }
    let first = fixture.push(6_000, &quarter);
    assert_eq!(frames(&first), [0]);
    // No hop ends: the latest again.
    let again = fixture.push(8_000, &quarter);
    assert!(Arc::ptr_eq(&again[0], &first[0]));
    // A quarter of the second hop is there; the buffer ends it and two more.
    let many = fixture.push(10_000, &tone(AUDIO_HOP * 11 / 4, 440.0));
    assert_eq!(frames(&many), [1, 2, 3]);
    assert_eq!(stats::<u64>(&fixture.element, "hops"), 4);
    assert_eq!(stats::<u64>(&fixture.element, "restarts"), 0);
}

#[test]
fn what_a_hop_of_sound_carries() {
    let mut fixture = Fixture::sound();
    let carried = fixture.push(0, &tone(AUDIO_HOP, 440.0));
    let hop = &carried[0];
    assert_eq!((hop.modality, hop.columns), (Modality::Audio, 4));
    assert_eq!(hop.measurement.s.len(), 16);
    assert!(hop.measurement.u.iter().all(|u| *u == 1.0));
    let Features::Tokens(tokens) = &hop.features else {
        panic!("no tokens");
    };
    assert_eq!(tokens.dim(), (16, 256));
    assert!(hop.flags.is_empty(), "{:?}", hop.flags);

    // The same tone again, once it was sent, is nothing new; another is.
    hop.mark_sent(0..16);
    let same = fixture.push(8_000, &tone(AUDIO_HOP, 440.0));
    let other = fixture.push(16_000, &tone(AUDIO_HOP, 3_000.0));
    let new = |hop: &Measured| hop.measurement.u.sum();
    assert!(
        new(&same[0]) < new(&other[0]),
        "{} {}",
        new(&same[0]),
        new(&other[0])
    );
}

#[test]
fn s16_is_the_same_sound() {
    let samples: Vec<f32> = tone(AUDIO_HOP, 440.0)
        .iter()
        .map(|s| (s * 32_768.0).round() / 32_768.0)
        .collect();
    let as_f32 = Fixture::sound().push(0, &samples);
    let caps = SOUND.replace("F32LE", "S16LE");
    let mut fixture = Fixture::new("msaoaudiomas", &caps);
    let bytes: Vec<u8> = (samples.iter())
        .flat_map(|s| ((s * 32_768.0) as i16).to_le_bytes())
        .collect();
    let mut buffer = gst::Buffer::from_slice(bytes);
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
    let as_s16 = fixture.push_buffer(buffer);
    let (Features::Tokens(a), Features::Tokens(b)) = (&as_f32[0].features, &as_s16[0].features)
    else {
        panic!("no tokens");
    };
    assert_eq!(a, b);
}

#[test]
fn silence_and_what_is_not_finite_are_flagged() {
    let mut fixture = Fixture::sound();
    assert_eq!(fixture.push(0, &[0.0; AUDIO_HOP])[0].flags, ["silent"]);
    let mut broken = tone(AUDIO_HOP, 440.0);
    broken[4_000] = f32::NAN;
    let hop = fixture.push(8_000, &broken);
    assert_eq!(hop[0].flags, ["non-finite"]);
    let mas = hop[0].measurement.mas;
    assert!((0.0..=1.0).contains(&mas.mas), "{mas:?}");
}

#[test]
fn a_break_in_the_stream_begins_a_first_hop() {
    let mut fixture = Fixture::sound();
    let half = tone(AUDIO_HOP / 2, 440.0);
    assert!(fixture.push(0, &half).is_empty());
    // A second is missing, which no jitter explains.
    assert!(fixture.push(20_000, &half).is_empty());
    assert_eq!(frames(&fixture.push(24_000, &half)), [0]);
    assert_eq!(stats::<u64>(&fixture.element, "given-up"), 4_000);
    // Time that jumps back, and DISCONT where times go on.
    assert!(fixture.push(0, &half).is_empty());
    let mut buffer = fixture.buffer(4_000, &half);
    buffer
        .get_mut()
        .unwrap()
        .set_flags(gst::BufferFlags::DISCONT);
    assert!(fixture.push_buffer(buffer).is_empty());
    assert_eq!(frames(&fixture.push(8_000, &half)), [1]);
    // A flush.
    assert!(fixture.push(12_000, &half).len() == 1);
    fixture.harness.push_event(gst::event::FlushStart::new());
    fixture.harness.push_event(gst::event::FlushStop::new(true));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    fixture
        .harness
        .push_event(gst::event::Segment::new(&segment));
    assert!(fixture.push(16_000, &half).is_empty());
    assert_eq!(stats::<u64>(&fixture.element, "given-up"), 12_000);
}

#[test]
fn bytes_that_are_no_samples_are_dropped_with_a_warning() {
    let mut fixture = Fixture::sound();
    let bus = bus(&fixture.element);
    let mut buffer = gst::Buffer::from_slice(vec![0u8; 7]);
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
    fixture.harness.push(buffer).unwrap();
    assert_eq!(fixture.harness.buffers_received(), 0);
    let message = bus.pop_filtered(&[gst::MessageType::Warning]).unwrap();
    let gst::MessageView::Warning(warning) = message.view() else {
        unreachable!()
    };
    assert!(
        warning.error().to_string().contains("7 bytes"),
        "{}",
        warning.error()
    );
}

#[test]
fn what_a_hop_of_sensors_carries() {
    let mut fixture = Fixture::sensors();
    assert!(fixture.push(0, &rows(20, 1.0)).is_empty());
    let carried = fixture.push(20, &rows(80, 1.0));
    assert_eq!(frames(&carried), [0, 1]);
    let hop = &carried[0];
    assert_eq!((hop.modality, hop.columns), (Modality::Sensor, 2));
    assert_eq!(hop.measurement.s.len(), 14);
    let frozen: Vec<f32> = (0..SENSOR_HOP * CHANNELS)
        .map(|i| (i % CHANNELS) as f32)
        .collect();
    assert_eq!(fixture.push(100, &frozen)[0].flags, ["frozen"]);
}

#[test]
fn other_channels_than_the_models_are_refused_and_named() {
    init();
    for (caps, word) in [
        (SENSORS.replace("channels=7", "channels=3"), "3 channels"),
        (SENSORS.replace("rate=100", "rate=50"), "50 Hz"),
        (
            format!("{SENSORS},names=(string)\"a,b,c,d,e,f,g\""),
            "a,b,c",
        ),
    ] {
        let element = make_with_model("msaosensormas");
        let bus = bus(&element);
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_src_caps_str(&caps);
        let mut buffer = gst::Buffer::from_slice(vec![0u8; 4 * CHANNELS]);
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
        assert_eq!(
            harness.push(buffer),
            Err(gst::FlowError::NotNegotiated),
            "{caps}"
        );
        let error = error_on(&bus);
        assert!(error.contains(word) && error.contains("accel_x"), "{error}");
    }
}

#[test]
fn a_model_that_does_not_hear_or_feel_is_named() {
    init();
    for (element, modality) in [("msaoaudiomas", "audio"), ("msaosensormas", "sensor")] {
        let folder = model_copy();
        let path = folder.path().join("config.json");
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let keys = config.as_object_mut().unwrap();
        keys.remove("audio_encoder");
        keys.remove("sensor_encoder");
        std::fs::write(&path, config.to_string()).unwrap();
        let element = gst::ElementFactory::make(element)
            .property("model", folder.path().to_str().unwrap())
            .build()
            .unwrap();
        let error = start_failure(&element);
        assert!(
            error.contains(modality) && error.contains("msao-edge"),
            "{error}"
        );
    }
}

#[test]
fn hops_know_where_they_end_and_take_the_beta_that_comes_from_downstream() {
    let mut fixture = Fixture::sound();
    let first = fixture.push(0, &tone(AUDIO_HOP * 2 + 100, 440.0));
    let ends: Vec<_> = first
        .iter()
        .map(|hop| hop.end.unwrap().mseconds())
        .collect();
    assert_eq!(ends, [500, 1_000]);
    assert_eq!(first[0].measurement.mas.beta, 1.0);
    let event = beta_event(1.0, 0.25, 0.5);
    assert!(fixture.harness.push_upstream_event(event.clone()));
    let mas = |hop: &Measured| {
        let m = &hop.measurement;
        (
            m.mas.beta,
            m.mas.mas,
            1.0 - m.mas.beta * m.importance().mean().unwrap(),
        )
    };
    let heard = fixture.push(16_100, &tone(AUDIO_HOP, 440.0));
    let (beta, value, fused) = mas(&heard[0]);
    assert_eq!(beta, 0.25);
    assert!(
        (value - fused).abs() < 1e-6 && value >= 0.75,
        "{value} {fused}"
    );
    let mut fixture = Fixture::sensors();
    assert!(fixture.harness.push_upstream_event(event));
    assert_eq!(mas(&fixture.push(0, &rows(50, 1.0))[0]).0, 0.5);
}
