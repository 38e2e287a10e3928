//! `msaogate`: what it keeps, what it puts in place of the rest, in which order.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use gst::prelude::*;
use gst_check::Harness;
use gstmsao::meta::MasMeta;

fn gate(properties: &[(&str, &str)]) -> (Harness, gst::Element) {
    init();
    let element = make("msaogate");
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps_str("video/x-raw");
    (harness, element)
}

fn counts<const N: usize>(element: &gst::Element, fields: [&str; N]) -> [u64; N] {
    fields.map(|field| stats(element, field))
}

/// A frame that is worth sending, and one that is not.
fn frames(camera: &mut Camera, ms: u64, worthy: bool) -> gst::Buffer {
    let buffer = camera.buffer(ms, if worthy { &[3, 4, 5, 6] } else { &[] });
    if ms == 0 {
        MasMeta::of(&buffer).unwrap().mark_sent(0..49);
    }
    buffer
}

#[test]
fn keeps_what_is_worth_it_and_puts_gaps_for_the_rest_in_order() {
    let (mut harness, element) = gate(&[("max-gap", "1000000000")]);
    let log = record(&element.static_pad("src").unwrap());
    let mut camera = Camera::new();
    let worthy = |ms| (300..500).contains(&ms);
    for ms in (0..1600).step_by(100) {
        harness.push(frames(&mut camera, ms, worthy(ms))).unwrap();
    }
    harness.push_event(gst::event::Eos::new());
    let expected: Vec<String> = (0..1600)
        .step_by(100)
        .map(|ms| match ms {
            // The first, the two worth it, and a heartbeat 1 s after the last kept.
            0 | 300 | 400 | 1400 => format!("buffer {ms}"),
            _ => format!("gap {ms}+100"),
        })
        .chain(["eos".to_owned()])
        .collect();
    assert_eq!(*log.lock().unwrap(), expected);
    let count = |field| stats::<u64>(&element, field);
    assert_eq!([count("in"), count("kept"), count("open")], [16, 4, 2]);
    assert_eq!(
        [count("heartbeat"), count("shut"), count("too-soon")],
        [2, 12, 0]
    );
}

#[test]
fn min_interval_thins_and_mark_sent_makes_a_change_one_event() {
    let (mut harness, element) = gate(&[("min-interval", "250000000")]);
    let mut camera = Camera::new();
    for ms in (0..600).step_by(100) {
        harness.push(frames(&mut camera, ms, true)).unwrap();
    }
    // At 0 all was marked as sent; what follows looks the same.
    assert_eq!(stats::<u64>(&element, "kept"), 1);
    for ms in (600..1200).step_by(100) {
        harness.push(frames(&mut camera, ms, false)).unwrap();
    }
    assert_eq!(stats::<u64>(&element, "open"), 2);
    assert_eq!(stats::<u64>(&element, "too-soon"), 4);

    let (mut harness, element) = gate(&[("mark-sent", "true")]);
    let mut camera = Camera::new();
    for ms in (0..600).step_by(100) {
        harness
            .push(camera.buffer(ms, if ms < 300 { &[] } else { &[1, 2] }))
            .unwrap();
    }
    assert_eq!(harness.buffers_received(), 2);
    assert_eq!(stats::<u64>(&element, "shut"), 4);
}

#[test]
fn a_thin_stream_goes_on_while_the_gate_is_shut() {
    let (mut harness, element) = gate(&[
        ("mode", "thin"),
        ("thin-interval", "400000000"),
        ("max-gap", "0"),
    ]);
    let log = record(&element.static_pad("src").unwrap());
    let mut camera = Camera::new();
    for ms in (0..1200).step_by(100) {
        harness.push(frames(&mut camera, ms, ms == 500)).unwrap();
    }
    let expected: Vec<String> = (0..1200)
        .step_by(100)
        .map(|ms| match ms {
            // 400 ms after the first and after the one worth sending at 500.
            0 | 400 | 500 | 900 => format!("buffer {ms}"),
            _ => format!("gap {ms}+100"),
        })
        .collect();
    assert_eq!(*log.lock().unwrap(), expected);
    assert_eq!(
        counts(&element, ["thinned", "open", "kept", "dropped", "flagged"]),
        [2, 1, 4, 8, 0]
    );
}

#[test]
fn flagged_buffers_go_on_with_a_mark_and_without_gaps() {
    let (mut harness, element) = gate(&[("mode", "flag"), ("max-gap", "0")]);
    let log = record(&element.static_pad("src").unwrap());
    let mut camera = Camera::new();
    for ms in (0..500).step_by(100) {
        let mut buffer = frames(&mut camera, ms, ms == 200);
        if ms == 200 {
            // Whoever set it upstream meant something else.
            let buffer = buffer.get_mut().unwrap();
            buffer.set_flags(gst::BufferFlags::DROPPABLE);
        }
        // Somebody else holds it, too, and must not see the mark.
        let held = buffer.clone();
        let before = held.flags();
        harness.push(buffer).unwrap();
        assert_eq!(held.flags(), before);
    }
    let passed: Vec<(u64, bool)> = (0..500)
        .step_by(100)
        .map(|_| {
            let buffer = harness.pull().unwrap();
            assert!(MasMeta::of(&buffer).is_some() && buffer.size() == 4);
            let droppable = buffer.flags().contains(gst::BufferFlags::DROPPABLE);
            (buffer.pts().unwrap().mseconds(), droppable)
        })
        .collect();
    let expected = [
        (0, false),
        (100, true),
        (200, false),
        (300, true),
        (400, true),
    ];
    assert_eq!(passed, expected);
    assert!(
        log.lock()
            .unwrap()
            .iter()
            .all(|line| line.starts_with("buffer"))
    );
    assert_eq!(
        counts(&element, ["in", "kept", "dropped", "flagged", "shut"]),
        [5, 2, 0, 3, 3]
    );
}

#[test]
fn a_budget_bounds_what_goes_on_but_not_heartbeats() {
    let (mut harness, element) = gate(&[("budget", "1"), ("max-gap", "2000000000")]);
    let mut camera = Camera::new();
    for ms in (0..10_000).step_by(100) {
        harness.push(frames(&mut camera, ms, ms > 0)).unwrap();
    }
    // The first, and one a second: about each second one can be afforded.
    let kept = stats::<u64>(&element, "kept");
    assert!((9..=12).contains(&kept), "{kept}");
    assert_eq!(stats::<u64>(&element, "over-budget"), 100 - kept);

    // Little is left of a tiny budget, yet the stream is not silent.
    element.set_property("budget", 0.001f64);
    let before = stats::<u64>(&element, "heartbeat");
    for ms in (10_000..20_000).step_by(100) {
        harness.push(frames(&mut camera, ms, ms > 0)).unwrap();
    }
    assert!(stats::<u64>(&element, "heartbeat") >= before + 4);
}

#[test]
fn what_is_set_while_playing_counts_from_the_next_buffer() {
    let (mut harness, element) = gate(&[("max-gap", "0")]);
    let log = record(&element.static_pad("src").unwrap());
    let mut camera = Camera::new();
    let mut push = |ms, (name, value): (&str, &str)| {
        element.set_property_from_str(name, value);
        harness.push(frames(&mut camera, ms, false)).unwrap();
    };
    push(0, ("mode", "drop"));
    push(100, ("mode", "drop"));
    push(200, ("mode", "flag"));
    push(300, ("mode", "thin"));
    push(400, ("thin-interval", "400000000"));
    push(500, ("max-gap", "100000000"));
    push(600, ("max-gap", "0"));
    push(700, ("threshold", "0"));
    push(800, ("min-interval", "200000000"));
    let expected = [
        "buffer 0",
        "gap 100+100",
        "buffer 200",
        "gap 300+100",
        "buffer 400",
        "buffer 500",
        "gap 600+100",
        "buffer 700",
        "gap 800+100",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
    let fields = [
        "heartbeat",
        "thinned",
        "open",
        "flagged",
        "shut",
        "too-soon",
    ];
    assert_eq!(counts(&element, fields), [2, 1, 1, 1, 4, 1]);
}

#[test]
fn the_best_of_the_hops_in_a_buffer_decides() {
    let (mut harness, _element) = gate(&[("max-gap", "0"), ("mark-sent", "true")]);
    let mut camera = Camera::new();
    harness.push(camera.buffer(0, &[])).unwrap();
    let hops = vec![camera.frame(&[3, 4, 5, 6]), camera.frame(&[])];
    let mut buffer = timed(100);
    MasMeta::put_all(buffer.get_mut().unwrap(), hops);
    harness.push(buffer).unwrap();
    assert_eq!(harness.buffers_received(), 2);
}

#[test]
fn a_buffer_without_mas_or_time_goes_on() {
    let (mut harness, element) = gate(&[]);
    harness.push(timed(0)).unwrap();
    harness.push(gst::Buffer::new()).unwrap();
    assert_eq!(harness.buffers_received(), 2);
    assert_eq!(stats::<u64>(&element, "unmeasured"), 2);
}

#[test]
fn settings_that_contradict_each_other_are_an_error_that_names_one() {
    init();
    let element = make("msaogate");
    element.set_property("threshold", 0.1f32);
    element.set_property("hysteresis", 0.2f32);
    let error = start_failure(&element);
    assert!(error.contains("hysteresis is 0.2"), "{error}");
}

#[test]
fn the_meta_survives_copies() {
    init();
    let mut camera = Camera::new();
    let buffer = camera.buffer(700, &[]);
    let copy = buffer.copy_deep().unwrap();
    assert_eq!(MasMeta::of(&copy).unwrap().frame, 0);
    let mut region = buffer
        .copy_region(gst::BufferCopyFlags::all(), 0..2)
        .unwrap();
    assert_eq!(MasMeta::of(&region).unwrap().measurement.s.len(), 49);
    MasMeta::put(region.get_mut().unwrap(), camera.frame(&[]));
    assert_eq!(MasMeta::of(&region).unwrap().frame, 1);
    assert_eq!(region.iter_meta::<MasMeta>().count(), 1);

    // The hops that end in one buffer, in order of time.
    let hops = vec![camera.frame(&[]), camera.frame(&[])];
    MasMeta::put_all(region.get_mut().unwrap(), hops);
    let copy = region.copy_deep().unwrap();
    let numbers: Vec<u64> = MasMeta::all(&copy).iter().map(|hop| hop.frame).collect();
    assert_eq!(numbers, [2, 3]);
    assert_eq!(MasMeta::of(&copy).unwrap().frame, 3);
    let mut bare = timed(800);
    MasMeta::put_all(bare.get_mut().unwrap(), Vec::new());
    assert!(bare.meta::<MasMeta>().is_none() && MasMeta::all(&bare).is_empty());
}

#[test]
fn after_a_flush_the_first_buffer_goes_on_as_the_first_of_all_did_and_counts_go_on() {
    let (mut harness, element) = gate(&[("min-interval", "10000000000")]);
    let mut camera = Camera::new();
    harness.push(frames(&mut camera, 0, true)).unwrap();
    harness.push(frames(&mut camera, 100, false)).unwrap();
    harness.push_event(gst::event::FlushStart::new());
    harness.push_event(gst::event::FlushStop::new(true));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    harness.push_event(gst::event::Segment::new(&segment));
    harness.push(frames(&mut camera, 100, false)).unwrap();
    harness.push(frames(&mut camera, 200, false)).unwrap();
    assert_eq!(counts(&element, ["in", "kept", "too-soon"]), [4, 2, 2]);
}
