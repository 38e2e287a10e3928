//! What passes the elements that work in place, in which order and at which times: segments, gaps, flushes, other caps,
//! the end.
#![allow(clippy::unwrap_used)]

mod common;

use common::line::*;
use common::*;
use gst::prelude::*;
use gstmsao::meta::MasMeta;

fn empty_window() -> Vec<u8> {
    let mut window = drafted(0, 0.5);
    (window.draft, window.plan) = (None, None);
    window.tokens.clear();
    window.encode().unwrap()
}

#[test]
fn what_works_in_place_passes_all_on_in_order_with_its_times() {
    init();
    let frame = |caps: &str| vec![90; if caps == SMALL { 32 * 16 } else { 64 * 48 }];
    let sound = |caps: &str| vec![1; if caps == STEREO { 6400 } else { 3200 }];
    let rows = |_: &str| vec![0; 10 * 4 * 7];
    let windows = |_: &str| empty_window();
    type Bytes<'a> = &'a dyn Fn(&str) -> Vec<u8>;
    let cases: [(&str, [&str; 2], Bytes<'_>); 5] = [
        ("msaovideomas", [VIDEO, SMALL], &frame),
        ("msaoaudiomas", [SOUND, STEREO], &sound),
        ("msaosensormas", [SENSORS, SENSORS], &rows),
        ("msaogate", [VIDEO, SMALL], &frame),
        ("msaodraft", [WINDOWS, WINDOWS], &windows),
    ];
    for (name, [caps, other], bytes) in cases {
        let element = match name {
            "msaogate" => make(name),
            name => make_with_model(name),
        };
        let line = Line::new(element, "sink");
        line.begin(caps);
        line.segment(5_000, 1.0, 0);
        println!("{name}");
        line.push(5_000, bytes(caps));
        line.push(5_100, bytes(caps));
        line.event(gap(5_200));
        line.segment(10_000, 2.0, 300);
        line.push(10_000, bytes(caps));
        let begun = [
            "stream-start",
            "caps",
            "segment 5000 x1 from 0",
            "buffer 5000+100",
            "buffer 5100+100",
            "gap 5200+100",
            "segment 10000 x2 from 300",
            "buffer 10000+100",
        ];
        assert_eq!(line.log(), begun, "{name}");

        line.flush();
        line.segment(0, 1.0, 0);
        let mut buffer = piece(0, bytes(caps));
        buffer
            .get_mut()
            .unwrap()
            .set_flags(gst::BufferFlags::DISCONT);
        line.src.push(buffer).unwrap();
        let mut flushed = vec![
            "flush-start",
            "flush-stop",
            "segment 0 x1 from 0",
            "buffer 0+100 discont",
        ];
        assert_eq!(line.log(), flushed, "{name}");

        if other != caps {
            line.caps(other);
            flushed = vec!["caps"];
        } else {
            flushed = vec![];
        }
        line.push(100, bytes(other));
        line.event(gst::event::Eos::new());
        flushed.extend(["buffer 100+100", "eos"]);
        assert_eq!(line.log(), flushed, "{name}");
        let late = line.src.push(piece(200, bytes(other)));
        assert_eq!(late, Err(gst::FlowError::Eos), "{name}");
        assert!(line.log().is_empty(), "{name}: after the end");

        // After the end a flush begins anew.
        line.flush();
        line.segment(0, 1.0, 0);
        line.push(0, bytes(other));
        let again = [
            "flush-start",
            "flush-stop",
            "segment 0 x1 from 0",
            "buffer 0+100",
        ];
        assert_eq!(line.log(), again, "{name}");
    }
}

#[test]
fn a_flush_makes_the_next_frame_and_the_next_hop_a_first_one() {
    init();
    let line = Line::new(make_with_model("msaovideomas"), "sink");
    line.begin(VIDEO);
    line.segment(0, 1.0, 0);
    let probed = || {
        let buffers = std::mem::take(&mut *line.buffers.lock().unwrap());
        let measured = buffers.iter().map(|buffer| MasMeta::of(buffer).unwrap());
        measured.map(|one| one.probed).collect::<Vec<_>>()
    };
    for at in [0, 100, 5_000, 5_100] {
        line.push(at, vec![90; 64 * 48]);
    }
    assert_eq!(probed(), [true, false, true, false]);
    line.flush();
    line.segment(5_150, 1.0, 5_150);
    for at in [5_200, 5_300] {
        line.push(at, vec![90; 64 * 48]);
    }
    // In running time it followed, and nothing changed.
    assert_eq!(probed(), [true, false]);

    let line = Line::new(make_with_model("msaoaudiomas"), "sink");
    line.begin(SOUND);
    line.segment(0, 1.0, 0);
    for at in [0, 100, 200, 300] {
        line.push(at, vec![1; 3200]);
    }
    line.flush();
    line.segment(0, 1.0, 0);
    for at in [400, 500, 600, 700, 800] {
        line.push(at, vec![1; 3200]);
    }
    let buffers = line.buffers.lock().unwrap();
    let ends = (buffers.iter()).map(|buffer| MasMeta::of(buffer).map_or(-1, |one| ms(one.end)));
    assert_eq!(
        ends.collect::<Vec<_>>(),
        [-1, -1, -1, -1, -1, -1, -1, -1, 900]
    );
}

#[test]
fn a_gate_that_was_flushed_has_kept_nothing_yet() {
    init();
    let line = Line::new(make("msaogate"), "sink");
    line.begin(VIDEO);
    line.segment(0, 1.0, 0);
    let mut camera = Camera::new();
    let first = camera.buffer(0, &[]);
    MasMeta::of(&first).unwrap().mark_sent(0..49);
    line.src.push(first).unwrap();
    line.src.push(camera.buffer(100, &[])).unwrap();
    line.flush();
    line.segment(0, 1.0, 0);
    line.src.push(camera.buffer(200, &[])).unwrap();
    line.src.push(camera.buffer(300, &[])).unwrap();
    let expected = [
        "stream-start",
        "caps",
        "segment 0 x1 from 0",
        "buffer 0+100",
        "gap 100+100",
        "flush-start",
        "flush-stop",
        "segment 0 x1 from 0",
        "buffer 200+100",
        "gap 300+100",
    ];
    assert_eq!(line.log(), expected);
}

#[test]
fn what_is_marked_as_a_gap_is_measured_and_stays_so() {
    init();
    for (name, caps, bytes) in [
        ("msaovideomas", VIDEO, 64 * 48),
        ("msaoaudiomas", SOUND, 16_000),
        ("msaosensormas", SENSORS, 50 * 28),
    ] {
        let line = Line::new(make_with_model(name), "sink");
        line.begin(caps);
        line.segment(0, 1.0, 0);
        let mut buffer = piece(0, vec![0; bytes]);
        let inner = buffer.get_mut().unwrap();
        inner.set_flags(gst::BufferFlags::GAP | gst::BufferFlags::DROPPABLE);
        line.src.push(buffer).unwrap();
        let out = line.buffers.lock().unwrap().pop().unwrap();
        let flags = gst::BufferFlags::GAP | gst::BufferFlags::DROPPABLE;
        assert!(out.flags().contains(flags), "{name}: {:?}", out.flags());
        assert!(MasMeta::of(&out).is_some(), "{name}: not measured");
    }
}

#[test]
fn the_greatest_times_do_no_harm() {
    init();
    let mut camera = Camera::new();
    for (name, caps, bytes) in [
        ("msaovideomas", VIDEO, 64 * 48),
        ("msaoaudiomas", SOUND, 16_000),
        ("msaosensormas", SENSORS, 50 * 28),
        ("msaogate", VIDEO, 64 * 48),
    ] {
        let element = match name {
            "msaogate" => make(name),
            name => make_with_model(name),
        };
        let line = Line::new(element, "sink");
        line.begin(caps);
        line.segment(0, 1.0, 0);
        // What begins at the greatest time there is, and what follows.
        for at in [u64::MAX - 1, 0] {
            let mut buffer = match name {
                "msaogate" => camera.buffer(0, &[]),
                _ => piece(0, vec![0; bytes]),
            };
            let inner = buffer.get_mut().unwrap();
            inner.set_pts(gst::ClockTime::from_nseconds(at));
            assert!(line.src.push(buffer).is_ok(), "{name}: {at}");
        }
        assert_eq!(line.buffers.lock().unwrap().len(), 2, "{name}");
    }
}

#[test]
fn caps_in_mid_stream_that_cannot_be_read_are_refused_and_named() {
    init();
    let interlaced = format!("{VIDEO},interlace-mode=interleaved");
    let other = SENSORS.replace("channels=7", "channels=3");
    for (name, caps, bytes, wrong, word) in [
        ("msaovideomas", VIDEO, 64 * 48, &*interlaced, "deinterlace"),
        ("msaosensormas", SENSORS, 280, &*other, "3 channels"),
    ] {
        let line = Line::new(make_with_model(name), "sink");
        let bus = bus(&line.element);
        line.begin(caps);
        line.segment(0, 1.0, 0);
        line.push(0, vec![0; bytes]);
        let caps = gst::event::Caps::new(&wrong.parse().unwrap());
        line.src.push_event(caps);
        let refused = line.src.push(piece(100, vec![0; bytes]));
        assert_eq!(refused, Err(gst::FlowError::NotNegotiated), "{name}");
        let error = error_on(&bus);
        assert!(error.contains(word), "{name}: {error}");
        let passed = line.log().iter().filter(|line| *line == "caps").count();
        assert_eq!(passed, 1, "{name}");
    }
}
