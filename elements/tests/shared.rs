//! Several `msaovideomas` on one session.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use gst::prelude::*;
use gst_check::Harness;
use gstmsao::meta::MasMeta;

const FRAMES: u64 = 12;
const WAIT: Duration = Duration::from_millis(200);

fn camera(batch: u32) -> (gst::Element, Harness) {
    init();
    let element = make_with_model("msaovideomas");
    element.set_property("provider", gstmsao::ProviderChoice::Cpu);
    element.set_property("t0-threshold", 0.0_f32);
    element.set_property("batch", batch);
    element.set_property("batch-wait", WAIT.as_nanos() as u64);
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps_str("video/x-raw,format=GRAY8,width=96,height=64,framerate=10/1");
    (element, harness)
}

/// A picture of camera `seed` in which something moves.
fn picture(seed: u64, frame: u64) -> gst::Buffer {
    let pixel = |at: u64| (at * (37 + seed) % 101 + at / 96 * frame % 90) as u8;
    let mut buffer = gst::Buffer::from_slice((0..96 * 64).map(pixel).collect::<Vec<_>>());
    let inner = buffer.get_mut().unwrap();
    inner.set_pts(gst::ClockTime::from_mseconds(100 * frame));
    buffer
}

/// The MAS of each frame.
fn measure(harness: &mut Harness, seed: u64) -> Vec<f32> {
    let frames = (0..FRAMES).map(|frame| {
        let out = harness.push_and_pull(picture(seed, frame)).unwrap();
        let mas = MasMeta::of(&out).unwrap();
        assert!(mas.probed);
        mas.mark_sent(0..49);
        mas.measurement.mas.rho
    });
    frames.collect()
}

#[test]
fn cameras_on_one_session_measure_as_each_does_alone() {
    let expected: Vec<_> = (0..3).map(|seed| measure(&mut camera(1).1, seed)).collect();
    let cameras: Vec<_> = (0..3).map(|_| camera(3)).collect();
    for (element, _) in &cameras {
        assert_eq!(stats::<u64>(element, "sharing"), 3);
    }
    let seen: Vec<_> = thread::scope(|scope| {
        let measured: Vec<_> = (0..)
            .zip(cameras)
            .map(|(seed, (_element, mut harness))| scope.spawn(move || measure(&mut harness, seed)))
            .collect();
        measured
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect()
    });
    for (seen, expected) in seen.iter().flatten().zip(expected.iter().flatten()) {
        assert!((seen - expected).abs() < 1e-4, "{seen} for {expected}");
    }
}

#[test]
fn a_camera_that_stops_or_fails_in_the_midst_leaves_the_other_going() {
    let (element, mut going) = camera(8);
    let (_stopping, stopping) = camera(8);
    let (_failing, mut failing) = camera(8);
    let (stop, stopped) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut stopping = stopping;
            stopping.push_and_pull(picture(1, 0)).unwrap();
            stopped.recv().unwrap();
        });
        let mut frames = 0..FRAMES;
        let mut push = |harness: &mut Harness| {
            let begun = Instant::now();
            harness
                .push_and_pull(picture(0, frames.next().unwrap()))
                .unwrap();
            begun.elapsed()
        };
        push(&mut going);
        // Too short for its caps: it never reaches the session.
        let short = gst::Buffer::from_slice(vec![0_u8; 7]);
        failing.push(short).unwrap();
        push(&mut going);
        stop.send(()).unwrap();
        let begun = Instant::now();
        while stats::<u64>(&element, "sharing") > 2 {
            assert!(begun.elapsed() < Duration::from_secs(30));
            thread::yield_now();
        }
        push(&mut going);
        drop(failing);
        while stats::<u64>(&element, "sharing") > 1 {
            thread::yield_now();
        }
        // Alone it waits for nobody.
        let alone: Vec<_> = (0..5).map(|_| push(&mut going)).collect();
        assert!(alone.iter().min().unwrap() < &WAIT, "{alone:?}");
    });
}
