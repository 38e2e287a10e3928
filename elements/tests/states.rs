//! All elements in one pipeline, up and down 100 times under the leak tracer, with every warning fatal.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use broker::test_server::TestServer;
use common::*;
use gst::prelude::*;

/// Tells the child where the server is.
const URL: &str = "STATES_TEST_URL";
const TIMES: usize = 100;

/// The tracer and the fatal warnings are for a whole process.
#[test]
fn a_hundred_times_up_and_down_leave_nothing_behind() {
    let server = TestServer::start();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "up_and_down", "--ignored", "--nocapture"])
        .env("GST_TRACERS", "leaks")
        .env("G_DEBUG", "fatal-warnings")
        .env("MSAO_MODEL_DIR", model())
        .env(URL, server.url())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("1 passed"), "{out}");
}

fn line(url: &str) -> String {
    let imu = workspace().join("testdata/imu.csv");
    format!(
        "videotestsrc pattern=ball ! video/x-raw,format=NV12,width=64,height=48,framerate=10/1 ! \
         msaovideomas ! msaogate ! queue ! window.video_0 \
         audiotestsrc samplesperbuffer=1600 ! audio/x-raw,format=S16LE,rate=16000,channels=1 ! \
         msaoaudiomas ! msaogate ! queue ! window.audio_0 \
         msaosensorsrc location={} loop=true realtime=false ! msaosensormas ! msaogate ! queue ! window.sensor_0 \
         msaowindow name=window rig=car ! msaodraft ! msaooffload ! msaonatssink name=sink url={url} \
         msaocaptionsrc rig=car url={url} ! fakesink sync=false",
        imu.display()
    )
}

fn tracer() -> gst::Tracer {
    let tracers = gst::active_tracers();
    let leaks = (tracers.into_iter()).find(|tracer| tracer.type_().name() == "GstLeaksTracer");
    leaks.expect("GST_TRACERS=leaks")
}

/// Counts, by type, what was made since this was last asked, less what is gone.
fn count(alive: &mut BTreeMap<String, i64>) {
    let record = tracer().emit_by_name::<gst::Structure>("activity-get-checkpoint", &[]);
    for (list, by) in [("objects-created-list", 1), ("objects-removed-list", -1)] {
        for object in record.get::<gst::List>(list).unwrap().iter() {
            let object = object.get::<gst::Structure>().unwrap();
            let name = object.get::<String>("type-name").unwrap();
            *alive.entry(name).or_default() += by;
        }
    }
    alive.retain(|_, count| *count != 0);
}

/// Threads and open files of this process.
fn of_process() -> [usize; 2] {
    ["task", "fd"].map(|kind| {
        std::fs::read_dir(format!("/proc/self/{kind}"))
            .unwrap()
            .count()
    })
}

/// Until a window has been published, or an error.
fn play(pipeline: &gst::Pipeline) {
    pipeline.set_state(gst::State::Playing).unwrap();
    let (sink, bus) = (pipeline.by_name("sink").unwrap(), pipeline.bus().unwrap());
    let begun = Instant::now();
    while stats::<u64>(&sink, "windows") == 0 {
        let wait = gst::ClockTime::from_mseconds(5);
        let error = bus.timed_pop_filtered(wait, &[gst::MessageType::Error]);
        assert!(error.is_none(), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(30), "no window came");
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
#[ignore = "a process of its own runs it, under the leak tracer"]
fn up_and_down() {
    init();
    let url = std::env::var(URL).unwrap();
    let build = || {
        let pipeline = gst::parse::launch(&line(&url)).unwrap();
        pipeline.downcast::<gst::Pipeline>().unwrap()
    };
    // What is made once for the process.
    play(&build());
    let process = of_process();
    tracer().emit_by_name::<()>("activity-start-tracking", &[]);
    let pipeline = build();
    for _ in 0..TIMES {
        play(&pipeline);
    }
    let mut alive = BTreeMap::new();
    count(&mut alive);
    assert!(!alive.is_empty());
    // Aggregators are not among what the tracer sees.
    let elements = pipeline.iterate_elements().into_iter();
    let elements: Vec<_> = elements.map(|one| one.unwrap().downgrade()).collect();
    drop(pipeline);
    // A thread lets go of its task after its end.
    let begun = Instant::now();
    while !alive.is_empty() && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
        count(&mut alive);
    }
    assert_eq!(alive, BTreeMap::new());
    assert!(elements.iter().all(|one| one.upgrade().is_none()));
    // Pools keep a few threads for a while; what each turn left would be many.
    for (after, before) in of_process().into_iter().zip(process) {
        assert!(after < before + TIMES / 10, "{after} for {before}");
    }
}
