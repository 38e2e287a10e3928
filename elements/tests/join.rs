//! `msaowindow` with several streams: how picture, sound and sensors join, and what happens
//! when one of them stalls.
#![allow(clippy::unwrap_used)]

mod common;

use broker::{FeatureWindow, Modality};
use common::*;
use gst::prelude::*;
use gst_check::{Harness, TestClock};
use mas::select::{Want, share};

const VIDEO: &str = "video/x-raw,format=I420,width=64,height=48,framerate=10/1";
const SOUND: &str = "audio/x-raw,format=F32LE,rate=16000,channels=1,layout=interleaved";
const SENSORS: &str =
    "application/x-msao-sensor,channels=7,rate=100,format=F32LE,layout=interleaved";

struct Rig {
    element: gst::Element,
    /// The first also pulls the windows.
    pads: Vec<Harness>,
}

impl Rig {
    fn new(pads: &[&str], live: bool, clock: bool, properties: &[(&str, &str)]) -> Self {
        init();
        let element = make_with_model("msaowindow");
        for (name, value) in properties {
            element.set_property_from_str(name, value);
        }
        let mut made = Vec::new();
        for (index, name) in pads.iter().enumerate() {
            let src = (index == 0).then_some("src");
            let mut harness = Harness::with_element(&element, Some(name), src);
            if index == 0 && clock {
                harness.use_testclock();
            }
            harness.set_live(live);
            harness.set_src_caps_str(match name.split('_').next().unwrap() {
                "video" => VIDEO,
                "audio" => SOUND,
                _ => SENSORS,
            });
            made.push(harness);
        }
        Self {
            element,
            pads: made,
        }
    }

    fn push(&mut self, pad: usize, buffer: gst::Buffer) {
        self.pads[pad].push(buffer).unwrap();
    }

    fn eos(&mut self) {
        for pad in &mut self.pads {
            pad.push_event(gst::event::Eos::new());
        }
    }

    fn pull(&mut self) -> FeatureWindow {
        let buffer = self.pads[0].pull().unwrap();
        FeatureWindow::decode(&buffer.map_readable().unwrap()).unwrap()
    }

    fn clock(&self) -> TestClock {
        self.pads[0].testclock().unwrap()
    }

    fn stat(&self, field: &str) -> u64 {
        stats(&self.element, field)
    }
}

/// Lets the next thing happen that the element waits for; returns the clock's time in ms.
fn tick(clock: &TestClock) -> u64 {
    let waiting = clock.wait_for_next_pending_id();
    if waiting.time() > clock.time() {
        clock.set_time(waiting.time());
    }
    clock.process_next_clock_id();
    clock.time().mseconds()
}

/// The hops that a window has tokens of, by stream.
fn places(window: &FeatureWindow, stream: &str) -> Vec<u16> {
    let of_stream = window
        .tokens
        .iter()
        .filter(|token| &*token.stream == stream);
    let mut places: Vec<u16> = of_stream.map(|token| token.t).collect();
    places.dedup();
    places
}

fn count(window: &FeatureWindow, stream: &str) -> usize {
    let of_stream = window
        .tokens
        .iter()
        .filter(|token| &*token.stream == stream);
    of_stream.count()
}

#[test]
fn picture_sound_and_sensors_join_by_running_time() {
    let mut rig = Rig::new(&["video_0", "audio_0", "sensor_0"], false, false, &[]);
    let mut camera = Camera::new();
    let (mut sound, mut sensors) = (Hops::new(Modality::Audio), Hops::new(Modality::Sensor));
    let (mut heard, mut felt) = (Vec::new(), Vec::new());
    for ms in (0..2_000).step_by(100) {
        rig.push(0, camera.buffer(ms, &[]));
        if ms % 500 == 400 {
            heard = vec![sound.hop(ms + 100)];
            felt = vec![sensors.hop(ms + 100)];
        }
        // What ends in no buffer is repeated: it must not be taken twice.
        rig.push(1, carrying(ms, ms + 100, &heard));
        rig.push(2, carrying(ms, ms + 100, &felt));
    }
    rig.eos();
    let first = rig.pull();
    assert_eq!(
        (first.start_running_ns, first.end_running_ns),
        (0, 1_000 * MS)
    );
    assert_eq!((first.frames_in, first.frames_kept), (10, 10));
    assert_eq!(first.tokens_possible, 49 + 32 + 28);
    let mut streams: Vec<_> = (first.modalities.iter())
        .map(|report| (report.modality.to_string(), report.stream.as_str()))
        .collect();
    streams.sort();
    assert_eq!(
        streams,
        [
            ("audio".to_owned(), "audio_0"),
            ("sensor".to_owned(), "sensor_0"),
            ("video".to_owned(), "video_0")
        ]
    );
    for report in &first.modalities {
        assert_eq!(report.beta, 1.0);
        for value in [report.rho, report.gamma, report.mas] {
            assert!((0.0..=1.0).contains(&value), "{report:?}");
        }
    }
    assert_eq!(places(&first, "video_0"), [0]);
    assert_eq!(places(&first, "audio_0"), [0, 1]);
    assert_eq!(places(&first, "sensor_0"), [0, 1]);
    let mut positions: Vec<_> = (first.tokens.iter())
        .map(|t| (t.stream.clone(), t.t, t.y, t.x))
        .collect();
    positions.sort();
    positions.dedup();
    assert_eq!(positions.len(), first.tokens.len());
    let fits = |t: &broker::Token| match t.modality {
        Modality::Video => t.y < 7 && t.x < 7,
        Modality::Audio => t.y < 4 && t.x < 4,
        Modality::Sensor => t.y < 7 && t.x < 2,
    };
    assert!(first.tokens.iter().all(fits));
    // What the models ask of tokens is met.
    let second = rig.pull();
    assert_eq!((second.id.seq, second.start_running_ns), (1, 1_000 * MS));
    assert_eq!(rig.stat("hops"), 8);
    assert_eq!((rig.stat("late"), rig.stat("unusable")), (0, 0));
    assert_eq!(rig.stat("windows") + rig.stat("skipped"), 2);
}

#[test]
fn windows_without_a_picture_are_made_and_a_hop_belongs_to_the_window_in_which_it_ends() {
    let mut rig = Rig::new(&["audio_0"], false, false, &[]);
    let mut sound = Hops::new(Modality::Audio);
    let hops: Vec<_> = [500, 1_000, 1_500].map(|end| sound.hop(end)).into();
    rig.push(0, carrying(0, 500, &hops[..1]));
    rig.push(0, carrying(500, 900, &hops[..1]));
    // It begins in the first window and ends in the second, as the hop in it ends with the first.
    rig.push(0, carrying(900, 1_100, &hops[1..2]));
    rig.push(0, carrying(1_100, 1_500, &hops[2..]));
    rig.eos();
    let first = rig.pull();
    assert_eq!(places(&first, "audio_0"), [0, 1]);
    assert_eq!((first.frames_in, first.tokens_possible), (0, 32));
    let second = rig.pull();
    assert_eq!(second.start_running_ns, 1_000 * MS);
    assert_eq!(places(&second, "audio_0"), [0]);

    // A millisecond later, and the hop is of the next window.
    let mut rig = Rig::new(&["audio_0"], false, false, &[]);
    let mut sound = Hops::new(Modality::Audio);
    let hops: Vec<_> = [501, 1_001, 1_501, 2_001].map(|end| sound.hop(end)).into();
    rig.push(0, carrying(1, 501, &[]));
    rig.push(0, carrying(501, 502, &hops[..1]));
    // One long buffer, with hops of three windows.
    rig.push(0, carrying(502, 2_100, &hops[1..]));
    rig.eos();
    let windows: Vec<FeatureWindow> = (0..3).map(|_| rig.pull()).collect();
    let starts: Vec<u64> = windows.iter().map(|w| w.start_running_ns / MS).collect();
    assert_eq!(starts, [0, 1_000, 2_000]);
    let all: Vec<_> = windows.iter().map(|w| places(w, "audio_0")).collect();
    assert_eq!(all, [vec![1], vec![0, 1], vec![0]]);
    assert_eq!((rig.stat("hops"), rig.stat("late")), (4, 0));
}

#[test]
fn a_hop_whose_buffer_the_gate_dropped_counts_as_of_the_buffer_that_repeats_it() {
    let mut rig = Rig::new(&["audio_0"], false, false, &[]);
    let mut sound = Hops::new(Modality::Audio);
    let hop = sound.hop(1_000);
    rig.push(0, carrying(500, 600, &[sound.hop(500)]));
    rig.pads[0].push_event(gap(900));
    rig.push(0, carrying(1_200, 1_300, std::slice::from_ref(&hop)));
    rig.push(0, carrying(1_300, 1_400, &[hop]));
    rig.eos();
    assert_eq!(rig.pull().start_running_ns, 0);
    let second = rig.pull();
    assert_eq!(second.start_running_ns, 1_000 * MS);
    assert_eq!(places(&second, "audio_0"), [0]);
    assert_eq!(rig.stat("hops"), 2);
}

#[test]
fn buffers_of_another_modality_or_without_hops_for_long_are_unusable() {
    let mut rig = Rig::new(&["audio_0"], false, false, &[]);
    let mut sensors = Hops::new(Modality::Sensor);
    rig.push(0, carrying(0, 100, &[sensors.hop(100)]));
    for ms in (100..800).step_by(100) {
        rig.push(0, carrying(ms, ms + 100, &[]));
    }
    rig.eos();
    while rig.pads[0]
        .try_pull_event()
        .is_none_or(|event| event.type_() != gst::EventType::Eos)
    {
        std::thread::yield_now();
    }
    // Until half a second has come, no hop need have ended.
    assert_eq!(rig.stat("unusable"), 1 + 2);
    assert_eq!(rig.stat("windows"), 0);
}

#[test]
fn a_live_stream_that_stalls_makes_the_others_neither_late_nor_wait() {
    let properties = [("stall-timeout", "1500000000")];
    let mut rig = Rig::new(&["video_0", "video_1"], true, true, &properties);
    let clock = rig.clock();
    let (mut left, mut right) = (Camera::new(), Camera::new());
    for ms in (0..1_000).step_by(100) {
        rig.push(0, left.buffer(ms, &[]));
    }
    // The other never came: the window closes on its deadline, with all that came.
    assert_eq!(tick(&clock), 1_000);
    let first = rig.pull();
    assert_eq!((first.frames_in, rig.stat("late")), (10, 0));
    for ms in (1_000..2_000).step_by(100) {
        rig.push(0, left.buffer(ms, &[ms as usize / 100]));
    }
    rig.push(0, left.buffer(2_000, &[3]));
    // Nobody waits for it once it has stalled, not even until the deadline.
    assert_eq!(tick(&clock), 1_500);
    let second = rig.pull();
    assert_eq!(
        (second.start_running_ns, second.frames_in),
        (1_000 * MS, 10)
    );
    assert_eq!(rig.stat("stalls"), 1);
    // It comes back: what is late is counted, and then it takes part again.
    rig.push(1, right.buffer(1_900, &[]));
    rig.push(1, right.buffer(2_100, &[5]));
    rig.push(0, left.buffer(3_000, &[4]));
    rig.push(1, right.buffer(3_000, &[6]));
    let third = rig.pull();
    assert_eq!((third.start_running_ns, third.frames_in), (2_000 * MS, 2));
    assert!(count(&third, "video_1") > 0);
    assert_eq!((rig.stat("late"), rig.stat("stalls")), (1, 1));
}

#[test]
fn a_file_that_stalls_does_not_hold_the_others_either() {
    let mut rig = Rig::new(&["video_0", "video_1"], false, true, &[]);
    let clock = rig.clock();
    let (mut left, mut right) = (Camera::new(), Camera::new());
    rig.push(0, left.buffer(0, &[]));
    rig.push(0, left.buffer(500, &[]));
    assert_eq!(tick(&clock), 2_000);
    rig.push(0, left.buffer(1_000, &[3]));
    assert_eq!(tick(&clock), 2_000);
    let first = rig.pull();
    assert_eq!((first.start_running_ns, first.frames_in), (0, 2));
    assert_eq!(rig.stat("stalls"), 1);
    rig.push(1, right.buffer(700, &[]));
    rig.push(1, right.buffer(1_000, &[]));
    rig.eos();
    let second = rig.pull();
    assert_eq!((second.start_running_ns, second.frames_in), (1_000 * MS, 2));
    assert!(count(&second, "video_1") > 0);
    assert_eq!(rig.stat("late"), 1);
}

#[test]
fn without_a_stall_timeout_a_file_is_waited_for() {
    let properties = [("stall-timeout", "0")];
    let mut rig = Rig::new(&["video_0", "video_1"], false, true, &properties);
    let clock = rig.clock();
    let (mut left, mut right) = (Camera::new(), Camera::new());
    rig.push(0, left.buffer(0, &[]));
    rig.push(0, left.buffer(1_000, &[]));
    clock.set_time(gst::ClockTime::from_seconds(3_600));
    rig.push(1, right.buffer(0, &[]));
    rig.push(1, right.buffer(1_000, &[]));
    let first = rig.pull();
    assert_eq!((first.start_running_ns, first.frames_in), (0, 2));
    assert_eq!((rig.stat("late"), rig.stat("stalls")), (0, 0));
}

#[test]
fn streams_share_the_budget_by_beta_which_goes_on_upstream() {
    let pads = ["video_0", "audio_0", "sensor_0"];
    let properties = [("max-tokens", "24"), ("min-tokens", "8")];
    let mut rig = Rig::new(&pads, false, false, &properties);
    let event = beta_event(0.25, 1.0, 0.5);
    assert!(rig.pads[0].push_upstream_event(event));
    for pad in &mut rig.pads {
        let mut events = std::iter::from_fn(|| pad.try_pull_upstream_event());
        let passed =
            events.find(|event| event.structure().is_some_and(|s| s.name() == "msao-beta"));
        let structure = passed.expect("the event").structure().unwrap().to_owned();
        assert_eq!(structure.get::<f32>("audio").unwrap(), 1.0);
    }
    let frame = Camera::new().frame(&[]);
    let mut picture = timed(0);
    gstmsao::meta::MasMeta::put(picture.get_mut().unwrap(), frame.clone());
    let heard = Hops::new(Modality::Audio).hop(500);
    let felt = Hops::new(Modality::Sensor).hop(500);
    rig.push(0, picture);
    rig.push(1, carrying(0, 500, std::slice::from_ref(&heard)));
    rig.push(2, carrying(0, 500, std::slice::from_ref(&felt)));
    let available = |measured: &gstmsao::meta::Measured| {
        let importance = measured.measurement.importance();
        importance.iter().filter(|i| **i > 0.1).count()
    };
    let wants = [(&frame, 0.25), (&heard, 1.0), (&felt, 0.5)].map(|(measured, beta)| Want {
        available: available(measured),
        beta,
    });
    let worth = frame.measurement.importance().mean().unwrap();
    rig.eos();
    let window = rig.pull();
    let counts = pads.map(|pad| count(&window, pad));
    assert_eq!(counts.to_vec(), share(24, &wants));
    assert_eq!(counts.iter().sum::<usize>(), 24);
    let video = (window.modalities.iter())
        .find(|report| report.modality == Modality::Video)
        .unwrap();
    assert_eq!(video.beta, 0.25);
    assert!((video.mas - (1.0 - 0.25 * worth)).abs() < 1e-6);
}

#[test]
fn while_a_window_is_on_its_way_no_stream_stalls() {
    let mut rig = Rig::new(&["video_0", "video_1"], true, true, &[]);
    let clock = rig.clock();
    // What is downstream takes three seconds over the first window.
    let busy = clock.clone();
    let src = rig.element.static_pad("src").unwrap();
    src.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        busy.set_time(gst::ClockTime::from_seconds(4));
        gst::PadProbeReturn::Remove
    });
    let mut camera = Camera::new();
    rig.push(0, camera.buffer(0, &[]));
    assert_eq!(tick(&clock), 1_000);
    assert_eq!(rig.pull().start_running_ns, 0);
    rig.push(0, camera.buffer(1_000, &[2]));
    // Four seconds have passed, of which it could be heard for one.
    assert_eq!(tick(&clock), 4_000);
    assert_eq!(rig.pull().start_running_ns, 1_000 * MS);
    assert_eq!(rig.stat("stalls"), 0);
}

#[test]
fn while_a_window_is_on_its_way_what_comes_of_the_next_is_taken() {
    let mut rig = Rig::new(&["video_0", "video_1"], true, true, &[]);
    let clock = rig.clock();
    let (entered, on_its_way) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let src = rig.element.static_pad("src").unwrap();
    src.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        entered.send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
        gst::PadProbeReturn::Remove
    });
    let mut camera = Camera::new();
    rig.push(0, camera.buffer(0, &[]));
    assert_eq!(tick(&clock), 1_000);
    on_its_way.recv().unwrap();
    // More than a pad's queue holds: a camera that waited here would lose frames.
    for ms in (1_000..1_800).step_by(100) {
        rig.push(0, camera.buffer(ms, &[ms as usize / 100]));
    }
    go.send(()).unwrap();
    assert_eq!(rig.pull().frames_in, 1);
    assert_eq!(tick(&clock), 2_000);
    let second = rig.pull();
    assert_eq!((second.start_running_ns, second.frames_in), (1_000 * MS, 8));
    assert_eq!(rig.stat("late"), 0);
}

#[test]
fn at_another_pace_hops_end_and_the_last_window_does_where_they_are_heard() {
    let mut rig = Rig::new(&["audio_0"], false, false, &[]);
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_rate(2.0);
    rig.pads[0].push_event(gst::event::Segment::new(&segment));
    let mut sound = Hops::new(Modality::Audio);
    let hops: Vec<_> = [500, 1_000, 1_500, 2_000, 2_500]
        .map(|end| sound.hop(end))
        .into();
    rig.push(0, carrying(0, 1_000, &hops[..2]));
    rig.push(0, carrying(1_000, 2_000, &hops[2..4]));
    rig.push(0, carrying(2_000, 3_000, &hops[4..]));
    rig.eos();
    let first = rig.pull();
    // Of two seconds of sound in a second the latest hops.
    assert_eq!(places(&first, "audio_0"), [0, 1]);
    let second = rig.pull();
    let ends = second.end_running_ns / MS;
    assert_eq!((second.start_running_ns / MS, ends), (1_000, 1_500));
    assert_eq!(places(&second, "audio_0"), [0]);
}

#[test]
fn while_it_is_paused_no_window_passes() {
    let mut rig = Rig::new(&["video_0"], true, true, &[]);
    let clock = rig.clock();
    let mut camera = Camera::new();
    rig.push(0, camera.buffer(0, &[]));
    assert_eq!(tick(&clock), 1_000);
    assert_eq!(rig.pull().start_running_ns, 0);
    // The clock goes on, and running time does not: as a pipeline does, it is set back when it plays again.
    rig.element.set_state(gst::State::Paused).unwrap();
    while tick(&clock) < 10_000 {}
    let paused = clock.time() - gst::ClockTime::SECOND;
    rig.element.set_base_time(paused);
    rig.element.set_state(gst::State::Playing).unwrap();
    rig.push(0, camera.buffer(1_000, &[2]));
    while clock.time() < paused + 2 * gst::ClockTime::SECOND {
        tick(&clock);
    }
    assert_eq!((rig.stat("late"), rig.stat("skipped")), (0, 0));
    let second = rig.pull();
    assert_eq!((second.start_running_ns, second.frames_in), (1_000 * MS, 1));
}

#[test]
fn after_a_flush_it_begins_anew() {
    let mut rig = Rig::new(&["video_0"], false, false, &[]);
    let mut camera = Camera::new();
    rig.push(0, camera.buffer(5_000, &[]));
    rig.push(0, camera.buffer(5_100, &[]));
    let pad = &mut rig.pads[0];
    pad.push_event(gst::event::FlushStart::new());
    pad.push_event(gst::event::FlushStop::new(true));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    pad.push_event(gst::event::Segment::new(&segment));
    rig.push(0, camera.buffer(300, &[]));
    rig.eos();
    let window = rig.pull();
    assert_eq!((window.start_running_ns, window.frames_in), (0, 1));
    assert_eq!(rig.stat("late"), 0);
}

#[test]
fn a_pad_that_is_released_is_not_waited_for() {
    let mut rig = Rig::new(&["video_0"], false, false, &[]);
    let other = rig.element.request_pad_simple("audio_%u").unwrap();
    assert_eq!(other.name(), "audio_0");
    let mut camera = Camera::new();
    rig.push(0, camera.buffer(0, &[]));
    rig.element.release_request_pad(&other);
    rig.push(0, camera.buffer(1_000, &[4]));
    let window = rig.pull();
    assert_eq!((window.start_running_ns, window.frames_in), (0, 1));
}

#[test]
fn the_greatest_times_do_no_harm() {
    let most = (u64::MAX - 1).to_string();
    let properties = [("stall-timeout", most.as_str())];
    let mut rig = Rig::new(&["audio_0", "video_0"], false, true, &properties);
    let at = |ns: u64, measured: &[std::sync::Arc<gstmsao::meta::Measured>]| {
        let mut buffer = carrying(0, 100, measured);
        let inner = buffer.get_mut().unwrap();
        inner.set_pts(gst::ClockTime::from_nseconds(ns));
        buffer
    };
    let mut camera = Camera::new();
    let mut sound = Hops::new(Modality::Audio);
    rig.push(0, at(u64::MAX - 9, &[sound.hop(500)]));
    rig.push(1, at(u64::MAX - 5, &[camera.frame(&[])]));
    rig.eos();
    let window = rig.pull();
    assert!(window.start_running_ns > u64::MAX - 1_000 * MS);
    assert!(count(&window, "video_0") > 0);
}
