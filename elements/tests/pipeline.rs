//! The whole way on a real video: from a file to captions on a real nats-server.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use broker::FeatureWindow;
use broker::test_server::TestServer;
use common::*;
use gst::prelude::*;
use offload::Action;

/// Ten seconds of street at 25 frames a second.
fn street() -> String {
    format!(
        "filesrc location={} ! decodebin ! videoconvert",
        media("bikes.mp4").display()
    )
}

/// Plays the pipeline to its end: the windows that came to its `sink`.
fn play(pipeline: &gst::Pipeline) -> Vec<FeatureWindow> {
    let sink = pipeline.by_name("sink").unwrap();
    let sink = sink.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut windows = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer_owned().unwrap();
        windows.push(FeatureWindow::decode(&buffer.map_readable().unwrap()).unwrap());
    }
    let bus = pipeline.bus().unwrap();
    assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_none());
    windows
}

#[test]
fn windows_of_a_street_come_with_drafts_and_their_counts_add_up() {
    init();
    let line = format!(
        "{} ! msaovideomas name=mas ! msaogate name=gate max-gap=2000000000 ! \
         msaowindow name=window rig=street ! msaodraft name=draft ! appsink name=sink sync=false",
        street()
    );
    let pipeline = gst::parse::launch(&line)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let element = |name| pipeline.by_name(name).unwrap();
    for name in ["mas", "window", "draft"] {
        element(name).set_property("model", model());
    }
    let windows = play(&pipeline);

    assert!(!windows.is_empty());
    assert_eq!(
        (windows[0].start_running_ns, windows[0].end_running_ns),
        (0, 1000 * MS)
    );
    let mut tokens = 0;
    for (seq, window) in windows.iter().enumerate() {
        assert_eq!(window.id.seq, seq as u64);
        assert_eq!(window.decision, Action::Verify);
        assert!(window.draft.is_some());
        assert!((16..=49).contains(&window.tokens.len()));
        assert!(window.drafted_utc_ns >= window.closed_utc_ns);
        assert!((0.0..=1.0).contains(&window.modalities[0].mas));
        tokens += window.tokens.len() as u64;
    }
    let count = |name, field| stats::<u64>(&element(name), field);
    let frames = count("mas", "frames");
    assert_eq!(frames, 250);
    assert_eq!(count("gate", "in"), frames);
    assert_eq!(count("window", "frames-in"), frames);
    assert_eq!(count("window", "frames-kept"), count("gate", "kept"));
    assert_eq!(count("window", "windows"), windows.len() as u64);
    let skipped = count("window", "skipped");
    assert_eq!(windows.len() as u64 + skipped, 10);
    assert_eq!(count("window", "tokens-kept"), tokens);
    assert_eq!(count("draft", "drafted"), windows.len() as u64);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn picture_sound_and_sensors_become_drafts_and_beta_goes_back_to_what_measures() {
    init();
    let line = format!(
        "videotestsrc num-buffers=60 pattern=ball ! \
         video/x-raw,format=I420,width=160,height=120,framerate=10/1 ! \
         msaovideomas name=video ! msaogate ! queue ! window.video_0 \
         audiotestsrc num-buffers=60 samplesperbuffer=1600 wave=pink-noise ! \
         audio/x-raw,format=F32LE,rate=16000,channels=1 ! \
         msaoaudiomas name=audio ! msaogate ! queue ! window.audio_0 \
         msaosensorsrc location={} realtime=false ! \
         msaosensormas name=sensor ! msaogate ! queue ! window.sensor_0 \
         msaowindow name=window ! msaodraft name=draft beta-interval=2000000000 beta-budget=0 ! \
         appsink name=sink sync=false",
        workspace().join("testdata/imu.csv").display()
    );
    let pipeline = gst::parse::launch(&line)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let element = |name: &str| pipeline.by_name(name).unwrap();
    let meters = ["video", "audio", "sensor"];
    for name in meters.into_iter().chain(["window", "draft"]) {
        element(name).set_property("model", model());
    }
    // What reaches the meters, and what gets past them.
    let count = |name: &str, pad: &str| {
        let events = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&events);
        let pad = element(name).static_pad(pad).unwrap();
        pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
            if let Some(gst::PadProbeData::Event(event)) = &info.data
                && event.structure().is_some_and(|s| s.name() == "msao-beta")
            {
                seen.fetch_add(1, Ordering::SeqCst);
            }
            gst::PadProbeReturn::Ok
        });
        events
    };
    let reached = meters.map(|name| count(name, "src"));
    let past = meters.map(|name| count(name, "sink"));
    let windows = play(&pipeline);

    let refreshes = stats::<u64>(&element("draft"), "beta-refreshes");
    assert!(refreshes >= 1, "{refreshes}");
    for reached in reached {
        assert_eq!(reached.load(Ordering::SeqCst) as u64, refreshes);
    }
    assert!(past.iter().all(|past| past.load(Ordering::SeqCst) == 0));
    let first = &windows[0];
    assert_eq!(first.modalities.len(), 3);
    assert_eq!(first.tokens_possible, 49 + 32 + 28);
    let betas: Vec<f32> = first.modalities.iter().map(|report| report.beta).collect();
    assert!(betas.contains(&1.0), "{betas:?}");
    for window in &windows {
        assert!(window.draft.is_some());
        // A single hop of the sensors has 14 positions.
        assert!((14..=109).contains(&window.tokens.len()));
        for report in &window.modalities {
            assert!((0.1..=1.0).contains(&report.beta), "{report:?}");
            assert!((0.0..=1.0).contains(&report.mas), "{report:?}");
        }
    }
    assert_eq!(stats::<u64>(&element("window"), "late"), 0);
    assert_eq!(stats::<u64>(&element("window"), "unusable"), 0);
    pipeline.set_state(gst::State::Null).unwrap();
}

/// A folder with nothing but the plugin, as built for this test.
fn plugin_folder() -> tempfile::TempDir {
    let deps = std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .to_path_buf();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        deps.join("libgstmsao.so"),
        folder.path().join("libgstmsao.so"),
    )
    .unwrap();
    folder
}

fn gst(tool: &str, plugin: &tempfile::TempDir) -> Command {
    let mut command = Command::new(tool);
    command
        .env("GST_PLUGIN_PATH", plugin.path())
        .env("GST_REGISTRY", plugin.path().join("registry.bin"))
        .env("ORT_DYLIB_PATH", runtime_library())
        .env("MSAO_MODEL_DIR", model());
    command
}

#[test]
fn a_gst_launch_line_publishes_and_ends_by_itself() {
    let server = TestServer::start();
    let plugin = plugin_folder();
    let line = format!(
        "{} ! msaovideomas ! msaogate ! msaowindow rig=street ! msaodraft ! msaonatssink url={}",
        street(),
        server.url()
    );
    let output = gst("gst-launch-1.0", &plugin)
        .arg("-m")
        .args(line.split(' '))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("msao-draft, id=(string)street/"), "{text}");
    assert!(!text.contains("not acknowledged"), "{text}");
}

#[test]
fn a_missing_model_ends_gst_launch_with_an_error_that_names_the_file() {
    let plugin = plugin_folder();
    let output = gst("gst-launch-1.0", &plugin)
        .args("videotestsrc ! msaovideomas model=/nowhere ! fakesink".split(' '))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("/nowhere/config.json"), "{text}");
}

#[test]
fn gst_inspect_shows_every_element() {
    let plugin = plugin_folder();
    for name in [
        "msaovideomas",
        "msaogate",
        "msaowindow",
        "msaodraft",
        "msaonatssink",
    ] {
        let output = gst("gst-inspect-1.0", &plugin).arg(name).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("Long-name"),
            "{name}: {text}"
        );
        assert!(text.contains("stats"), "{name}: {text}");
    }
}
