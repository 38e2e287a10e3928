//! No element holds a lock while it calls out: whoever hears of something may ask it, and tell it, anything at once.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::line::*;
use common::*;
use gst::prelude::*;

/// How long what cannot hang may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads all properties of an element, and sets those that may change while it plays to what they are.
fn ask_and_tell(element: &gst::Element) {
    for property in element.list_properties() {
        let value = element.property_value(property.name());
        let playing = gst::PARAM_FLAG_MUTABLE_PLAYING;
        if property
            .flags()
            .contains(playing | gst::glib::ParamFlags::WRITABLE)
        {
            element.set_property_from_value(property.name(), &value);
        }
    }
}

/// Asks and tells whoever posts a message, in the middle of its posting; what the posts were is noted.
fn on_messages(bus: &gst::Bus) -> Arc<Mutex<BTreeSet<String>>> {
    let heard = Arc::new(Mutex::new(BTreeSet::new()));
    let noted = Arc::clone(&heard);
    bus.set_sync_handler(move |_, message| {
        let from = message
            .src()
            .and_then(|src| src.downcast_ref::<gst::Element>());
        if let Some(element) = from.filter(|element| is_ours(element)) {
            ask_and_tell(element);
            let kind = match message.view() {
                gst::MessageView::Element(_) => "element",
                gst::MessageView::Warning(_) => "warning",
                gst::MessageView::Error(_) => "error",
                _ => "other",
            };
            let name = element.factory().unwrap().name();
            noted.lock().unwrap().insert(format!("{name} {kind}"));
        }
        gst::BusSyncReply::Pass
    });
    heard
}

fn is_ours(element: &gst::Element) -> bool {
    let factory = element.factory();
    factory.is_some_and(|factory| factory.name().starts_with("msao"))
}

/// Runs what would hang if a lock were held.
fn in_time(what: &str, work: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let working = std::thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    match finished.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} hangs"),
        _ => working.join().unwrap(),
    }
}

#[test]
fn elements_answer_while_they_push_and_while_they_post() {
    init();
    let line = format!(
        "videotestsrc num-buffers=30 ! video/x-raw,format=I420,width=64,height=48,framerate=10/1 ! \
         msaovideomas model={0} message=true ! msaogate ! window.video_0 \
         audiotestsrc num-buffers=30 samplesperbuffer=4410 ! msaoaudiomas model={0} message=true ! msaogate ! \
         window.audio_0 \
         msaosensorsrc location={1}/testdata/imu.csv realtime=false ! msaosensormas model={0} message=true ! msaogate ! \
         window.sensor_0 \
         msaowindow name=window model={0} ! msaodraft model={0} ! msaooffload ! fakesink",
        model(),
        workspace().display()
    );
    let pipeline = gst::parse::launch(&line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let bus = pipeline.bus().unwrap();
    let heard = on_messages(&bus);
    for element in pipeline
        .children()
        .iter()
        .filter_map(|child| child.downcast_ref())
    {
        let Some(pad) = is_ours(element)
            .then(|| element.static_pad("src"))
            .flatten()
        else {
            continue;
        };
        let element = element.downgrade();
        let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_BOTH;
        pad.add_probe(mask, move |_, _| {
            if let Some(element) = element.upgrade() {
                ask_and_tell(&element);
            }
            gst::PadProbeReturn::Ok
        });
    }
    in_time("a pipeline", move || {
        pipeline.set_state(gst::State::Playing).unwrap();
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = bus
            .timed_pop_filtered(gst::ClockTime::NONE, &kinds)
            .unwrap();
        assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
        pipeline.set_state(gst::State::Null).unwrap();
    });
    let heard = heard.lock().unwrap();
    for name in ["msaovideomas", "msaoaudiomas", "msaosensormas", "msaodraft"] {
        assert!(heard.contains(&format!("{name} element")), "{heard:?}");
    }
}

#[test]
fn elements_answer_while_they_complain() {
    init();
    for (name, caps, complaint) in [
        ("msaovideomas", VIDEO, "warning"),
        ("msaoaudiomas", SOUND, "warning"),
        ("msaosensormas", SENSORS, "warning"),
        ("msaodraft", WINDOWS, "error"),
        ("msaooffload", WINDOWS, "error"),
    ] {
        in_time(name, move || {
            let element = match name {
                "msaooffload" => make(name),
                _ => make_with_model(name),
            };
            let heard = on_messages(&bus(&element));
            let line = Line::new(element, "sink");
            line.begin(caps);
            line.segment(0, 1.0, 0);
            let _ = line.src.push(piece(0, vec![0; 7]));
            let heard = heard.lock().unwrap();
            assert!(heard.contains(&format!("{name} {complaint}")), "{heard:?}");
        });
    }
    in_time("msaosensorsrc", || {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "time,a\n0,1\n0.5,2\n1,x\n").unwrap();
        let element = make("msaosensorsrc");
        element.set_property("location", file.path().to_str().unwrap());
        element.set_property("realtime", false);
        let bus = bus(&element);
        let heard = on_messages(&bus);
        let mut harness = gst_check::Harness::with_element(&element, None, Some("src"));
        harness.play();
        let error = bus.timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Error]);
        assert!(error.is_some());
        assert!(heard.lock().unwrap().contains("msaosensorsrc error"));
    });
}
