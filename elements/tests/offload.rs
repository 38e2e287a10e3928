//! `msaooffload`: what it decides on exact times, and what becomes of windows that wait.
#![allow(clippy::unwrap_used)]

mod common;

use broker::{FeatureWindow, Token};
use common::*;
use gst::prelude::*;
use gst_check::Harness;
use offload::Action;
use offload::planner::{Decision, Payload};

struct Bench {
    harness: Harness,
    element: gst::Element,
}

/// The element with these properties, at time 0 of a test clock.
fn bench(properties: &[(&str, &str)]) -> Bench {
    init();
    let element = make("msaooffload");
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.use_testclock();
    harness.set_time(gst::ClockTime::ZERO).unwrap();
    harness.set_src_caps_str("application/x-msao-window,schema=features/1.1");
    Bench { harness, element }
}

impl Bench {
    fn at(&mut self, ms: u64) {
        let time = gst::ClockTime::from_mseconds(ms);
        self.harness.set_time(time).unwrap();
    }

    fn push(&mut self, window: &FeatureWindow) {
        let mut buffer = gst::Buffer::from_slice(window.encode().unwrap());
        let inner = buffer.get_mut().unwrap();
        inner.set_pts(gst::ClockTime::from_seconds(window.id.seq));
        inner.set_duration(gst::ClockTime::SECOND);
        self.harness.push(buffer).unwrap();
    }

    /// The next window that goes on.
    fn pull(&mut self) -> FeatureWindow {
        let buffer = self.harness.pull().unwrap();
        let window = FeatureWindow::decode(&buffer.map_readable().unwrap()).unwrap();
        let pts = gst::ClockTime::from_seconds(window.id.seq);
        assert_eq!(buffer.pts(), Some(pts));
        assert_eq!(buffer.duration(), Some(gst::ClockTime::SECOND));
        window
    }

    fn hear(&mut self, what: &str, more: impl FnOnce(&mut gst::StructureRef)) {
        let mut structure = gst::Structure::builder("msao-feedback")
            .field("what", what)
            .build();
        more(&mut structure);
        let event = gst::event::CustomUpstream::new(structure);
        assert!(self.harness.push_upstream_event(event));
    }

    fn heartbeat(&mut self) {
        self.hear("cloud", |event| {
            event.set("worker", "a");
            event.set("queue", 0u32);
            event.set("rate", 20.0);
        });
    }

    /// Contact, and a cloud that serves 20 windows a second.
    fn reach(&mut self) {
        self.hear("connected", |_| {});
        self.heartbeat();
    }

    fn count(&self, field: &str) -> u64 {
        stats(&self.element, field)
    }
}

fn plan(window: &FeatureWindow) -> Decision {
    serde_json::from_str(window.plan.as_ref().unwrap()).unwrap()
}

#[test]
fn with_a_cloud_a_window_is_verified_and_carries_what_that_rests_on() {
    let mut bench = bench(&[]);
    bench.reach();
    bench.push(&drafted(0, 0.3));
    let out = bench.pull();
    assert_eq!(out.decision, Action::Verify);
    let plan = plan(&out);
    assert_eq!(plan.action, Action::Verify);
    assert_eq!(plan.inputs.window.tokens, 49);
    assert!(plan.inputs.link.contact && plan.inputs.cloud.available);
    assert!(plan.to_string().contains("window 0: verify with 49 tokens"));
    // Nothing else was changed.
    let before = FeatureWindow {
        plan: out.plan.clone(),
        ..drafted(0, 0.3)
    };
    assert_eq!(out, before);
    assert_eq!((bench.count("windows"), bench.count("verify")), (1, 1));
}

#[test]
fn whoever_hears_of_the_cloud_is_asked_to_say_so() {
    let mut bench = bench(&[]);
    let mut names = Vec::new();
    while let Some(event) = bench.harness.try_pull_event() {
        names.extend(event.structure().map(|s| s.name().to_string()));
    }
    assert!(
        names.contains(&"msao-feedback-wanted".to_owned()),
        "{names:?}"
    );
}

#[test]
fn a_slow_link_gets_the_tokens_that_matter_most_of_those_it_has_time_for() {
    let mut bench = bench(&[("bandwidth", "20000"), ("min-tokens", "8")]);
    bench.reach();
    bench.push(&drafted(0, 0.3));
    let out = bench.pull();
    let Payload::Features { tokens } = plan(&out).payload else {
        panic!("{}", plan(&out));
    };
    assert_eq!(out.tokens.len(), tokens as usize);
    assert!((8..49).contains(&tokens), "{tokens}");
    let rank = |t: &Token| t.importance;
    let mean = out.tokens.iter().map(rank).sum::<f32>() / out.tokens.len() as f32;
    assert!(mean > 0.5, "{mean}");
    let mut slower = self::bench(&[("bandwidth", "100"), ("min-tokens", "8")]);
    slower.reach();
    slower.push(&drafted(0, 0.3));
    assert_eq!(slower.pull().tokens.len(), 8);
    let mut most = self::bench(&[("max-tokens", "12")]);
    most.reach();
    most.push(&drafted(0, 0.3));
    assert_eq!(most.pull().tokens.len(), 12);
}

#[test]
fn a_sure_draft_is_kept_and_an_empty_window_skipped() {
    let mut bench = bench(&[("target-risk", "0.5"), ("audit", "0.000001")]);
    bench.reach();
    bench.push(&drafted(0, 0.95));
    let out = bench.pull();
    assert_eq!((out.decision, out.tokens.len()), (Action::Keep, 0));
    assert!(out.flags.is_empty() && out.draft.is_some());
    bench.push(&FeatureWindow {
        tokens: vec![],
        draft: None,
        ..drafted(1, 0.0)
    });
    assert!(bench.harness.try_pull().is_none());
    assert_eq!((bench.count("keep"), bench.count("skip")), (1, 1));
}

#[test]
fn cloud_gone_windows_wait_and_go_one_at_a_time_when_it_is_back() {
    let mut bench = bench(&[]);
    for seq in 0..2 {
        bench.push(&drafted(seq, 0.3));
        let out = bench.pull();
        // Its draft is published at once.
        assert_eq!((out.decision, out.tokens.len()), (Action::Defer, 0));
        assert_eq!(plan(&out).action, Action::Defer);
        assert!(out.flags.is_empty());
    }
    assert_eq!((bench.count("defer"), bench.count("waiting")), (2, 2));
    bench.at(2500);
    bench.reach();
    let first = bench.pull();
    assert_eq!(first.id.seq, 0);
    assert_eq!((first.decision, first.tokens.len()), (Action::Verify, 49));
    assert_eq!(first.flags, ["deferred"]);
    assert_eq!(plan(&first).action, Action::Verify);
    // The second waits until the first has arrived.
    let id = format!("{}/features/0", first.id);
    bench.hear("sent", |event| {
        event.set("id", &id);
        event.set("bytes", 20_000u64);
    });
    bench.heartbeat();
    assert_eq!(bench.count("waiting"), 1);
    bench.hear("stored", |event| event.set("id", &id));
    assert_eq!(bench.pull().id.seq, 1);
    assert_eq!((bench.count("verify"), bench.count("waiting")), (2, 0));
}

#[test]
fn cloud_gone_too_long_drafts_are_kept_and_what_has_none_is_dropped() {
    let mut bench = bench(&[("defer-age", "10000000000")]);
    bench.push(&drafted(0, 0.3));
    bench.push(&FeatureWindow {
        draft: None,
        ..drafted(1, 0.3)
    });
    bench.at(9_999);
    bench.push(&drafted(2, 0.3));
    for seq in 0..3 {
        assert_eq!(bench.pull().id.seq, seq);
    }
    assert_eq!(bench.count("waiting"), 3);
    bench.at(10_000);
    bench.push(&drafted(3, 0.3));
    let late = (0..2)
        .map(|_| bench.pull())
        .find(|w| w.id.seq == 0)
        .unwrap();
    assert_eq!((late.decision, late.plan), (Action::Keep, None));
    assert_eq!(late.flags, ["deferred"]);
    let count = |field| bench.count(field);
    assert_eq!((count("stale"), count("keep"), count("dropped")), (1, 1, 1));
    assert_eq!((count("waiting"), count("windows")), (2, 4));
}

#[test]
fn of_more_windows_than_may_wait_the_oldest_waits_no_longer() {
    let mut bench = bench(&[("defer-windows", "1")]);
    bench.push(&drafted(0, 0.3));
    assert_eq!(bench.pull().decision, Action::Defer);
    bench.push(&drafted(1, 0.3));
    assert_eq!(bench.pull().decision, Action::Defer);
    let first = bench.pull();
    assert_eq!((first.id.seq, first.decision), (0, Action::Keep));
    assert_eq!(bench.count("waiting"), 1);
    // At the end nothing waits any longer, if the cloud has not been heard of for as long as it may be silent.
    bench.at(3000);
    bench.harness.push_event(gst::event::Eos::new());
    let last = bench.pull();
    assert_eq!((last.id.seq, last.decision), (1, Action::Keep));
    assert_eq!((bench.count("stale"), bench.count("waiting")), (2, 0));
}

#[test]
fn a_window_without_a_draft_is_captioned_in_the_cloud() {
    let mut bench = bench(&[]);
    bench.reach();
    bench.push(&FeatureWindow {
        draft: None,
        decision: Action::Offload,
        ..drafted(0, 0.0)
    });
    let out = bench.pull();
    assert_eq!((out.decision, out.tokens.len()), (Action::Offload, 49));
    assert_eq!(plan(&out).action, Action::Offload);
}

#[test]
fn answers_move_the_thresholds_by_exact_times() {
    let mut bench = bench(&[]);
    bench.reach();
    bench.push(&drafted(0, 0.3));
    bench.push(&drafted(1, 0.3));
    let limit = |bench: &Bench| bench.count("latency-limit") / 1_000_000;
    let answer = |bench: &mut Bench, epoch: ulid::Ulid, seq: u64| {
        let id = format!("car-7/{epoch}/{seq}");
        bench.hear("answer", |event| {
            event.set("id", &id);
            event.set("confirmed", true);
            event.set("work", 60.0);
            event.set("text", format!("window {seq}"));
        });
    };
    bench.at(1000);
    answer(&mut bench, EPOCH, 0);
    assert_eq!(limit(&bench), 1000, "just in time");
    bench.at(1001);
    answer(&mut bench, ulid::Ulid(8), 1);
    assert_eq!(limit(&bench), 1000, "of another epoch");
    answer(&mut bench, EPOCH, 1);
    assert_eq!(limit(&bench), 952, "late: less by 0.05 * 0.95");
}

#[test]
fn contact_ends_by_event_and_the_cloud_by_silence() {
    let mut bench = bench(&[]);
    bench.reach();
    let next = |bench: &mut Bench, at, seq| {
        bench.at(at);
        bench.push(&drafted(seq, 0.3));
        bench.pull().decision
    };
    assert_eq!(next(&mut bench, 2_999, 0), Action::Verify);
    assert_eq!(next(&mut bench, 3_000, 1), Action::Defer);
    bench.heartbeat();
    assert_eq!(bench.pull().id.seq, 1);
    bench.hear("disconnected", |_| {});
    assert_eq!(next(&mut bench, 3_001, 2), Action::Defer);
    assert!(!stats::<bool>(&bench.element, "contact"));
    assert!(stats::<bool>(&bench.element, "cloud"));
}

#[test]
fn what_makes_no_sense_is_an_error_and_no_panic() {
    init();
    let element = make("msaooffload");
    element.set_property("audit", 0.0);
    let error = start_failure(&element);
    assert!(error.contains("audit is 0"), "{error}");
    let mut bench = bench(&[]);
    let bus = bus(&bench.element);
    let structure = gst::Structure::new_empty("msao-feedback");
    let event = gst::event::CustomUpstream::new(structure);
    assert!(!bench.harness.push_upstream_event(event));
    let flow = bench
        .harness
        .push(gst::Buffer::from_slice(b"garbage".to_vec()));
    assert_eq!(flow, Err(gst::FlowError::Error));
    assert!(error_on(&bus).contains("not a features message"));
}

#[test]
fn the_end_waits_for_the_first_heartbeat_of_the_cloud() {
    let mut bench = bench(&[]);
    bench.push(&drafted(0, 0.3));
    assert_eq!(bench.pull().decision, Action::Defer);
    let sink = bench.element.static_pad("sink").unwrap();
    std::thread::scope(|scope| {
        let end = scope.spawn(|| sink.send_event(gst::event::Eos::new()));
        bench.hear("connected", |_| {});
        bench.heartbeat();
        assert!(end.join().unwrap());
    });
    assert_eq!(bench.pull().decision, Action::Verify);
    assert_eq!((bench.count("waiting"), bench.count("stale")), (0, 0));
}

/// A window whose draft says this.
fn saying(seq: u64, text: &str, confidence: f32) -> FeatureWindow {
    let mut window = drafted(seq, confidence);
    window.draft.as_mut().unwrap().text = text.to_owned();
    window
}

#[test]
fn a_correction_falls_on_open_drafts_of_the_same_scene_and_on_those_to_come() {
    let mut bench = bench(&[]);
    bench.reach();
    for seq in 0..3 {
        bench.push(&saying(seq, if seq == 1 { "sand" } else { "snow" }, 0.3));
        assert_eq!(bench.pull().decision, Action::Verify);
    }
    bench.hear("answer", |event| {
        event.set("id", format!("car-7/{EPOCH}/0"));
        event.set("confirmed", false);
        event.set("work", 10.0);
        event.set("text", "a house");
    });
    let text = |window: &FeatureWindow| window.draft.as_ref().unwrap().text.clone();
    let caption = |window: &FeatureWindow| {
        let caption = broker::Caption::draft(window).unwrap();
        (caption.revision, caption.redrafted, caption.text)
    };
    let again = bench.pull();
    assert_eq!((again.id.seq, again.decision), (2, Action::Defer));
    assert!(again.tokens.is_empty() && again.plan.is_none());
    assert_eq!(caption(&again), (1, true, "a house".to_owned()));
    assert_eq!(bench.count("redrafted"), 1);

    // What is sent to be verified is the model's own draft; the amended one is published after it.
    bench.push(&saying(3, "snow", 0.3));
    let sent = bench.pull();
    assert_eq!(
        (sent.decision, text(&sent)),
        (Action::Verify, "snow".to_owned())
    );
    assert_eq!(caption(&sent), (0, false, "snow".to_owned()));
    let again = bench.pull();
    assert_eq!(again.id.seq, 3);
    assert_eq!(caption(&again), (1, true, "a house".to_owned()));

    // Nothing stays of a window that waited but its last word.
    bench.hear("disconnected", |_| {});
    bench.push(&saying(4, "snow", 0.3));
    assert_eq!((bench.pull().id.seq, caption(&bench.pull()).0), (4, 1));
    bench.at(3000);
    bench.harness.push_event(gst::event::Eos::new());
    let kept = bench.pull();
    assert_eq!((kept.id.seq, kept.decision), (4, Action::Keep));
    assert_eq!(caption(&kept), (2, true, "a house".to_owned()));
}

#[test]
fn scenes_can_be_told_apart_always() {
    let mut bench = bench(&[("same-scene", "1.5")]);
    bench.reach();
    for seq in 0..2 {
        bench.push(&saying(seq, "snow", 0.3));
        bench.pull();
    }
    bench.hear("answer", |event| {
        event.set("id", format!("car-7/{EPOCH}/0"));
        event.set("confirmed", false);
        event.set("work", 60.0);
        event.set("text", "a house");
    });
    bench.push(&saying(2, "snow", 0.3));
    assert_eq!(bench.pull().id.seq, 2);
    assert_eq!(bench.count("redrafted"), 0);
    assert!(bench.harness.try_pull().is_none());
}

#[test]
fn a_flush_clears_what_waits_and_the_second_drafts_that_are_due() {
    let mut bench = bench(&[]);
    bench.reach();
    for (seq, text) in [(0, "snow"), (1, "snow"), (2, "sea"), (3, "sea")] {
        bench.push(&saying(seq, text, 0.3));
        assert_eq!(bench.pull().id.seq, seq);
    }
    bench.hear("disconnected", |_| {});
    bench.push(&saying(4, "sand", 0.3));
    assert_eq!(bench.pull().decision, Action::Defer);
    let correct = |bench: &mut Bench, seq: u64| {
        bench.hear("answer", |event| {
            event.set("id", format!("car-7/{EPOCH}/{seq}"));
            event.set("confirmed", false);
            event.set("work", 10.0);
            event.set("text", "a house");
        });
    };
    // While the stream lock is held, as in a flush, the second draft of 1 is due and cannot go.
    let sink = bench.element.static_pad("sink").unwrap();
    {
        let _streaming = sink.stream_lock();
        correct(&mut bench, 0);
        bench.harness.push_event(gst::event::FlushStart::new());
        bench.harness.push_event(gst::event::FlushStop::new(true));
    }
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    (bench.harness).push_event(gst::event::Segment::new(&segment));
    assert_eq!((bench.count("waiting"), bench.count("dropped")), (0, 1));
    // What the cloud says of windows from before the flush brings no second draft, either; of those since it does.
    bench.reach();
    for seq in 5..7 {
        bench.push(&saying(seq, "grass", 0.3));
        assert_eq!(bench.pull().id.seq, seq);
    }
    correct(&mut bench, 2);
    correct(&mut bench, 5);
    let again = bench.pull();
    assert_eq!(
        (again.id.seq, again.flags),
        (6, vec!["redrafted".to_owned()])
    );
    assert_eq!(bench.count("redrafted"), 1);
    assert!(bench.harness.try_pull().is_none());
}
