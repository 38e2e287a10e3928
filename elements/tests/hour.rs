//! An hour of all elements' work as fast as it goes: memory stays what it was.
#![allow(clippy::unwrap_used)]

mod common;

use broker::test_server::TestServer;
use common::*;
use gst::prelude::*;

const FRAMES_A_SECOND: u64 = 25;
/// What memory may grow by, from the first tenth to the end, in KiB. In the short test that is 3 KiB for each frame, in the hour a
/// tenth of a KiB.
const GROWTH: i64 = 8 * 1024;

fn line(seconds: u64, url: &str) -> String {
    let imu = workspace().join("testdata/imu.csv");
    let (frames, tenths) = (seconds * FRAMES_A_SECOND, seconds * 10);
    format!(
        "videotestsrc pattern=ball num-buffers={frames} ! \
         video/x-raw,format=NV12,width=64,height=48,framerate={FRAMES_A_SECOND}/1 ! \
         msaovideomas name=mas ! msaogate min-interval=250000000 ! queue ! window.video_0 \
         audiotestsrc wave=ticks samplesperbuffer=1600 num-buffers={tenths} ! \
         audio/x-raw,format=S16LE,rate=16000,channels=1 ! msaoaudiomas ! msaogate ! queue ! window.audio_0 \
         msaosensorsrc location={} loop=true realtime=false num-buffers={tenths} ! \
         msaosensormas ! msaogate ! queue ! window.sensor_0 \
         msaowindow name=window rig=hour ! msaodraft ! msaooffload ! \
         msaonatssink url={url} flush-timeout=60000000000",
        imu.display()
    )
}

fn pipeline(line: &str) -> gst::Pipeline {
    gst::parse::launch(line).unwrap().downcast().unwrap()
}

/// Memory of this process, in KiB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().split_whitespace().next();
    number.unwrap().parse().unwrap()
}

/// Plays so many seconds, and fails if memory grows from the first tenth to the end.
fn play(seconds: u64) {
    init();
    let server = TestServer::start();
    let captions = pipeline(&format!(
        "msaocaptionsrc name=captions rig=hour url={} ! fakesink sync=false",
        server.url()
    ));
    let rig = pipeline(&line(seconds, &server.url()));
    for element in rig.iterate_elements().into_iter().flatten() {
        if element.has_property("model") {
            element.set_property("model", model());
        }
    }
    captions.set_state(gst::State::Playing).unwrap();
    rig.set_state(gst::State::Playing).unwrap();
    let (mas, bus) = (rig.by_name("mas").unwrap(), rig.bus().unwrap());
    let frames = || stats::<u64>(&mas, "frames");
    // In KiB, after each tenth.
    let mut memory = Vec::new();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = loop {
        let end = bus.timed_pop_filtered(gst::ClockTime::from_mseconds(20), &ends);
        while memory.len() < 9
            && frames() * 10 >= seconds * FRAMES_A_SECOND * (1 + memory.len() as u64)
        {
            memory.push(resident());
        }
        if let Some(end) = end {
            break end;
        }
    };
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    memory.push(resident());
    assert_eq!(frames(), seconds * FRAMES_A_SECOND);
    let window = rig.by_name("window").unwrap();
    let windows = stats::<u64>(&window, "windows");
    assert!(windows >= seconds / 2, "{windows} windows of {seconds} s");
    let shown = stats::<u64>(&captions.by_name("captions").unwrap(), "shown");
    assert!(shown > 0, "no caption was shown");
    println!("{seconds} s: {windows} windows, {shown} captions shown, {memory:?} KiB");
    for pipeline in [rig, captions] {
        pipeline.set_state(gst::State::Null).unwrap();
    }
    assert!(memory[9] - memory[0] < GROWTH, "{memory:?} KiB");
}

#[test]
fn two_minutes_of_all_elements_leave_memory_as_it_was() {
    play(120);
}

#[test]
#[ignore = "an hour of stream: `make hour`"]
fn an_hour_of_all_elements_leaves_memory_as_it_was() {
    play(3600);
}
