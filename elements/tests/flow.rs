//! What passes the elements that gather, plan, send and bring, in which order and at which times: segments, gaps, flushes,
//! seeks, the end.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::test_server::TestServer;
use common::line::*;
use common::*;
use gst::prelude::*;

#[test]
fn windows_are_of_running_time_whatever_the_segment() {
    init();
    let line = Line::new(make_with_model("msaowindow"), "video_0");
    line.begin(VIDEO);
    // At twice the pace 2 s of the stream are a window of 1 s.
    line.segment(60_000, 2.0, 0);
    let mut camera = Camera::new();
    for at in (60_000..64_000).step_by(500) {
        let changed = if at < 62_000 { &[][..] } else { &[3, 4] };
        line.src.push(camera.buffer(at, changed)).unwrap();
    }
    line.src.push(camera.buffer(64_100, &[20, 21])).unwrap();
    let expected = [
        "stream-start",
        "caps",
        "segment 0 x1 from 0",
        "buffer 0+1000",
        "buffer 1000+1000",
    ];
    assert_eq!(line.await_lines(5), expected);

    // What was of the open window is gone with the flush; after it time begins anew.
    line.flush();
    line.segment(3_000, 1.0, 0);
    line.src.push(camera.buffer(3_200, &[30])).unwrap();
    line.event(gst::event::Eos::new());
    let expected = [
        "flush-start",
        "flush-stop",
        "segment 0 x1 from 0",
        "buffer 0+300",
        "eos",
    ];
    assert_eq!(line.await_lines(5), expected);
    let late = line.src.push(camera.buffer(3_300, &[30]));
    assert_eq!(late, Err(gst::FlowError::Eos));
    assert!(line.log().is_empty());
}

#[test]
fn frames_before_a_segment_and_gaps_are_no_windows() {
    init();
    let line = Line::new(make_with_model("msaowindow"), "video_0");
    line.begin(VIDEO);
    line.segment(1_000, 1.0, 0);
    let mut camera = Camera::new();
    // Out of the segment, so it has no running time.
    line.src.push(camera.buffer(500, &[])).unwrap();
    line.src.push(camera.buffer(1_000, &[])).unwrap();
    for at in (1_100..4_000).step_by(100) {
        line.event(gap(at));
    }
    line.src.push(camera.buffer(4_000, &[5])).unwrap();
    line.event(gst::event::Eos::new());
    let log = line.await_lines(6);
    assert_eq!(log[3..], ["buffer 0+1000", "buffer 3000+100", "eos"]);
    let count = |field| stats::<u64>(&line.element, field);
    assert_eq!((count("windows"), count("skipped")), (2, 2));
}

#[test]
fn windows_pass_the_planner_in_order_and_what_waits_comes_before_the_end() {
    init();
    let line = Line::new(make("msaooffload"), "sink");
    line.begin(WINDOWS);
    line.segment(0, 1.0, 0);
    let window = |seq| drafted(seq, 0.3).encode().unwrap();
    line.push(0, window(0));
    line.push(1_000, window(1));
    line.event(gap(2_000));
    // No cloud: each waits, with its draft published.
    let begun = [
        "stream-start",
        "caps",
        "segment 0 x1 from 0",
        "msao-feedback-wanted",
        "buffer 0+100",
        "buffer 1000+100",
        "gap 2000+100",
    ];
    assert_eq!(line.log(), begun);
    line.event(gst::event::Eos::new());
    assert_eq!(line.log(), ["buffer 0+100", "buffer 1000+100", "eos"]);
    let late = line.src.push(piece(3_000, window(2)));
    assert_eq!(late, Err(gst::FlowError::Eos));
    assert!(line.log().is_empty());
}

#[test]
fn a_recording_begins_with_what_describes_it_and_ends_once() {
    init();
    let element = make("msaosensorsrc");
    let recording = workspace().join("testdata/imu.csv");
    element.set_property("location", recording.to_str().unwrap());
    element.set_property("realtime", false);
    let log = Log::default();
    let (heard, came) = (Arc::clone(&log), Arc::clone(&log));
    let sink = gst::Pad::builder(gst::PadDirection::Sink)
        .event_function(move |_, _, event| {
            heard.lock().unwrap().push(say(&event));
            true
        })
        .chain_function(move |_, _, buffer| {
            came.lock()
                .unwrap()
                .push(format!("buffer {}", ms(buffer.pts())));
            Ok(gst::FlowSuccess::Ok)
        })
        .build();
    element.static_pad("src").unwrap().link(&sink).unwrap();
    sink.set_active(true).unwrap();
    element.set_state(gst::State::Playing).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while log.lock().unwrap().last().is_none_or(|last| last != "eos") {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    element.set_state(gst::State::Null).unwrap();
    let log = log.lock().unwrap();
    let head = ["stream-start", "caps", "segment 0 x1 from 0"];
    assert_eq!(log[..3], head);
    let buffers = (0..log.len() as u64 - 4).map(|i| format!("buffer {}", i * 100));
    assert_eq!(log[3..log.len() - 1], buffers.collect::<Vec<_>>());
}

#[test]
fn a_planner_asks_once_and_drops_what_waits_on_a_flush() {
    init();
    let line = Line::new(make("msaooffload"), "sink");
    line.begin(WINDOWS);
    line.segment(0, 1.0, 0);
    line.push(0, drafted(0, 0.3).encode().unwrap());
    line.log();
    line.flush();
    line.segment(5_000, 2.0, 300);
    line.push(5_000, drafted(1, 0.3).encode().unwrap());
    line.event(gst::event::Eos::new());
    let expected = [
        "flush-start",
        "flush-stop",
        "segment 5000 x2 from 300",
        "buffer 5000+100",
        "buffer 5000+100",
        "eos",
    ];
    assert_eq!(line.log(), expected);
    assert_eq!(stats::<u64>(&line.element, "dropped"), 1);
}

/// A pad that pushes into a sink, and the sink.
fn into_sink(element: &gst::Element, caps: &str) -> gst::Pad {
    let src = gst::Pad::builder(gst::PadDirection::Src).build();
    src.link(&element.static_pad("sink").unwrap()).unwrap();
    src.set_active(true).unwrap();
    element.set_state(gst::State::Playing).unwrap();
    assert!(src.push_event(gst::event::StreamStart::new("stream")));
    assert!(src.push_event(gst::event::Caps::new(&caps.parse().unwrap())));
    src
}

fn segment(start: u64) -> gst::Event {
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(gst::ClockTime::from_mseconds(start));
    gst::event::Segment::new(&segment)
}

#[test]
fn a_sink_publishes_across_segments_gaps_and_flushes_and_holds_nothing_after_the_end() {
    init();
    let server = TestServer::start();
    let element = make("msaonatssink");
    element.set_property("url", server.url());
    // Without a pipeline nobody would let it play on after a flush.
    element.set_property("async", false);
    let src = into_sink(&element, WINDOWS);
    let window = |seq| piece(seq * 1_000, drafted(seq, 0.3).encode().unwrap());
    assert!(src.push_event(segment(0)));
    src.push(window(1)).unwrap();
    assert!(src.push_event(gap(2_000)));
    assert!(src.push_event(segment(3_000)));
    src.push(window(3)).unwrap();
    assert!(src.push_event(gst::event::FlushStart::new()));
    assert_eq!(src.push(window(4)), Err(gst::FlowError::Flushing));
    assert!(src.push_event(gst::event::FlushStop::new(true)));
    assert!(src.push_event(segment(0)));
    src.push(window(5)).unwrap();
    assert!(src.push_event(gst::event::Eos::new()));
    // Each window is its draft and its features.
    let count = |field| stats::<u64>(&element, field);
    assert_eq!((count("windows"), count("published")), (3, 6));
    assert_eq!((count("acknowledged"), count("pending")), (6, 0));
    assert_eq!(src.push(window(6)), Err(gst::FlowError::Eos));
    assert_eq!(count("windows"), 3);
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn captions_begin_with_what_describes_them() {
    init();
    let server = TestServer::start();
    let pipeline = gst::Pipeline::new();
    let element = make("msaocaptionsrc");
    element.set_property("rig", "car-7");
    element.set_property("url", server.url());
    element.set_property("interval", 20 * MS);
    let sink = make("fakesink");
    sink.set_property("num-buffers", 4);
    pipeline.add_many([&element, &sink]).unwrap();
    element.link(&sink).unwrap();
    let log = Log::default();
    let heard = Arc::clone(&log);
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    let pad = sink.static_pad("sink").unwrap();
    pad.add_probe(mask, move |_, info| {
        heard.lock().unwrap().push(match &info.data {
            Some(gst::PadProbeData::Event(event)) => say(event),
            _ => "buffer".to_owned(),
        });
        gst::PadProbeReturn::Ok
    });
    // It has no end of its own, and passes on the one that it is sent.
    pipeline.set_state(gst::State::Playing).unwrap();
    until(|| log.lock().unwrap().len() >= 5);
    assert!(pipeline.send_event(gst::event::Eos::new()));
    until(|| log.lock().unwrap().last().is_some_and(|last| last == "eos"));
    pipeline.set_state(gst::State::Null).unwrap();
    let log = log.lock().unwrap();
    assert_eq!(log[..3], ["stream-start", "caps", "segment 0 x1 from 0"]);
    assert!(log[3..log.len() - 1].iter().all(|line| line == "buffer"));
}

fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Windows of a test picture, what came out of it, and the pipeline, which is paused.
fn windows_of_a_test_picture() -> (gst::Pipeline, Log) {
    init();
    let line = format!(
        "videotestsrc pattern=ball ! video/x-raw,format=GRAY8,width=64,height=48,framerate=10/1 ! \
         msaovideomas model={0} ! msaogate ! msaowindow model={0} ! msaodraft model={0} ! msaooffload defer-windows=4096 ! \
         fakesink name=sink",
        model()
    );
    let pipeline = gst::parse::launch(&line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let log = Log::default();
    let heard = Arc::clone(&log);
    let mask = gst::PadProbeType::BUFFER
        | gst::PadProbeType::EVENT_DOWNSTREAM
        | gst::PadProbeType::EVENT_FLUSH;
    let pad = pipeline
        .by_name("sink")
        .unwrap()
        .static_pad("sink")
        .unwrap();
    pad.add_probe(mask, move |_, info| {
        let line = match &info.data {
            Some(gst::PadProbeData::Event(event)) => say(event),
            Some(gst::PadProbeData::Buffer(buffer)) => format!("buffer {}", ms(buffer.pts())),
            _ => return gst::PadProbeReturn::Ok,
        };
        heard.lock().unwrap().push(line);
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Paused).unwrap();
    until(|| {
        log.lock()
            .unwrap()
            .iter()
            .any(|line| line.starts_with("buffer"))
    });
    (pipeline, log)
}

fn play_to_the_end(pipeline: &gst::Pipeline) {
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
    assert_eq!(end.unwrap().type_(), gst::MessageType::Eos);
}

#[test]
fn after_a_flushing_seek_windows_begin_anew() {
    let (pipeline, log) = windows_of_a_test_picture();
    log.lock().unwrap().clear();
    let (start, stop) = (
        gst::ClockTime::from_seconds(10),
        gst::ClockTime::from_seconds(13),
    );
    let (set, flags) = (gst::SeekType::Set, gst::SeekFlags::FLUSH);
    pipeline.seek(1.0, flags, set, start, set, stop).unwrap();
    play_to_the_end(&pipeline);
    pipeline.set_state(gst::State::Null).unwrap();
    let log = log.lock().unwrap();
    // Of the planner nobody is told of the cloud, so each window comes at once as its draft, and at the end again.
    let expected = ["flush-start", "flush-stop", "segment 0 x1 from 0"];
    assert_eq!(log[..3], expected, "{log:?}");
    let windows = ["buffer 0", "buffer 1000", "buffer 2000"];
    assert_eq!(log[3..6], windows, "{log:?}");
    assert_eq!(log.last().unwrap(), "eos");
}

#[test]
fn after_a_seek_that_does_not_flush_time_goes_on() {
    let (pipeline, log) = windows_of_a_test_picture();
    let (start, stop) = (
        gst::ClockTime::from_seconds(50),
        gst::ClockTime::from_seconds(53),
    );
    let set = gst::SeekType::Set;
    let from = log.lock().unwrap().len();
    // In PAUSED it would wait for a source that waits for its sink.
    pipeline.set_state(gst::State::Playing).unwrap();
    let (changed, state, _) = pipeline.state(gst::ClockTime::from_seconds(60));
    assert!(changed.is_ok() && state == gst::State::Playing);
    let flags = gst::SeekFlags::empty();
    pipeline.seek(1.0, flags, set, start, set, stop).unwrap();
    play_to_the_end(&pipeline);
    pipeline.set_state(gst::State::Null).unwrap();
    let log = log.lock().unwrap();
    assert!(
        !log[from..].iter().any(|line| line.contains("flush")),
        "{log:?}"
    );
    let windows = log.iter().filter_map(|line| line.strip_prefix("buffer "));
    let mut starts: Vec<u64> = windows.map(|start| start.parse().unwrap()).collect();
    starts.dedup();
    // The end brings those that waited again.
    starts.truncate(starts.len().div_ceil(2));
    let expected: Vec<u64> = (0..starts.len() as u64).map(|i| i * 1_000).collect();
    assert_eq!(starts, expected);
    assert!(starts.len() >= 4, "{log:?}");
}
