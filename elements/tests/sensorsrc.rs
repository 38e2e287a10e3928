//! `msaosensorsrc`: recordings as buffers, their values, times and pace; rows from a real
//! nats-server; and what it says of bad input.
#![allow(clippy::unwrap_used)]

mod common;

use broker::connect::AtStart;
use broker::test_server::TestServer;
use broker::{ConnectConfig, Connection};
use common::*;
use gst::prelude::*;
use gst_check::Harness;

fn csv(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// 10 rows, 10 ms apart: `a` counts from 0, `b` counts down from 0 by 2.
fn ramp() -> tempfile::NamedTempFile {
    let rows = (0..10).map(|i| format!("{},{i},{}\n", 5.0 + f64::from(i) / 100.0, -2 * i));
    csv(&("time,a,b\n".to_owned() + &rows.collect::<String>()))
}

fn source(properties: &[(&str, &str)]) -> gst::Element {
    init();
    let element = make("msaosensorsrc");
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    element
}

fn replay(file: &tempfile::NamedTempFile, properties: &[(&str, &str)]) -> gst::Element {
    let element = source(properties);
    element.set_property("location", file.path().to_str());
    element
}

fn harness(element: &gst::Element) -> Harness {
    Harness::with_element(element, None, Some("src"))
}

/// A buffer's PTS and duration in µs, and its values.
fn content(buffer: &gst::Buffer) -> (u64, u64, Vec<f32>) {
    let map = buffer.map_readable().unwrap();
    let (values, rest) = map.as_chunks::<4>();
    assert!(rest.is_empty());
    (
        buffer.pts().unwrap().useconds(),
        buffer.duration().unwrap().useconds(),
        values.iter().map(|b| f32::from_le_bytes(*b)).collect(),
    )
}

#[test]
fn a_recording_comes_as_buffers_with_exact_values_and_times() {
    let file = ramp();
    let element = replay(
        &file,
        &[("realtime", "false"), ("buffer-duration", "40000000")],
    );
    let mut harness = harness(&element);
    harness.play();
    let first = harness.pull().unwrap();
    let values = vec![0.0, 0.0, 1.0, -2.0, 2.0, -4.0, 3.0, -6.0];
    assert_eq!(content(&first), (0, 40_000, values));
    assert!(first.flags().contains(gst::BufferFlags::DISCONT));
    let second = harness.pull().unwrap();
    assert_eq!(content(&second).0, 40_000);
    assert!(!second.flags().contains(gst::BufferFlags::DISCONT));
    let last = harness.pull().unwrap();
    let values = vec![8.0, -16.0, 9.0, -18.0];
    assert_eq!(content(&last), (80_000, 20_000, values));
    let caps = element.static_pad("src").unwrap().current_caps().unwrap();
    let expected = "application/x-msao-sensor, channels=(int)2, rate=(int)100, \
                    format=(string)F32LE, layout=(string)interleaved, names=(string)\"a,b\"";
    assert_eq!(caps, expected.parse::<gst::Caps>().unwrap());
    assert_eq!(stats::<u64>(&element, "samples"), 10);
    // Waits for each: EOS comes a moment after the last buffer.
    let mut events = std::iter::from_fn(|| harness.pull_event().ok());
    assert!(events.any(|event| event.type_() == gst::EventType::Eos));
}

#[test]
fn rate_and_channels_are_converted() {
    let file = ramp();
    let properties = [("realtime", "false"), ("rate", "300"), ("channels", "b")];
    let mut harness = harness(&replay(&file, &properties));
    harness.play();
    let (pts, duration, values) = content(&harness.pull().unwrap());
    assert_eq!((pts, duration, values.len()), (0, 93_333, 28));
    for (index, value) in values.iter().enumerate() {
        let expected = -2.0 * index as f32 / 3.0;
        assert!((value - expected).abs() < 1e-4, "{index}: {value}");
    }
}

#[test]
fn a_loop_goes_on_in_time_and_splits_passes_anywhere() {
    let file = ramp();
    let properties = [("realtime", "false"), ("loop", "true"), ("channels", "a")];
    let element = replay(&file, &properties);
    element.set_property("buffer-duration", 70 * MS);
    let mut harness = harness(&element);
    harness.play();
    for buffer in 0..10u64 {
        let (pts, duration, values) = content(&harness.pull().unwrap());
        assert_eq!((pts, duration), (buffer * 70_000, 70_000));
        let expected: Vec<f32> = (0..7).map(|i| ((buffer * 7 + i) % 10) as f32).collect();
        assert_eq!(values, expected);
    }
}

#[test]
fn in_real_time_a_buffer_comes_when_its_last_sample_was_measured() {
    let file = ramp();
    let element = replay(&file, &[("loop", "true")]);
    let mut harness = harness(&element);
    harness.use_testclock();
    harness.play();
    let clock = harness.testclock().unwrap();
    for buffer in 1..4u64 {
        let waiting = clock.wait_for_next_pending_id();
        assert_eq!(waiting.time().mseconds(), buffer * 100);
        assert_eq!(u64::from(harness.buffers_received()), buffer - 1);
        harness.crank_single_clock_wait().unwrap();
        assert_eq!(content(&harness.pull().unwrap()).0, (buffer - 1) * 100_000);
    }
    assert_eq!(
        harness.query_latency(),
        Some(gst::ClockTime::from_mseconds(100))
    );
}

#[test]
fn bad_recordings_and_settings_are_errors_at_the_start() {
    let fails = |text: &str| start_failure(&replay(&csv(text), &[]));
    assert!(fails("").contains("the file is empty"));
    assert!(fails("time,a\n").contains("there is no row after the header"));
    assert!(fails("seconds,a\n0,1\n").contains("line 1: the first column is `seconds`"));
    assert!(fails("time,a\n0,x\n").contains("line 2: `x` in column `a`"));
    let error = start_failure(&source(&[("location", "/nowhere.csv")]));
    assert!(error.contains("/nowhere.csv"), "{error}");
    let error = start_failure(&source(&[("location", "/tmp")]));
    assert!(error.contains("/tmp: "), "{error}");
    let error = start_failure(&source(&[]));
    assert!(error.contains("either `location`"), "{error}");
    let error = start_failure(&source(&[("location", "a"), ("subject", "b")]));
    assert!(error.contains("either `location`"), "{error}");
    let error = start_failure(&source(&[("subject", "b")]));
    assert!(error.contains("`channels=a,b,...`"), "{error}");
    let error = start_failure(&source(&[("subject", "b"), ("channels", "a,,b")]));
    assert!(error.contains("channels: `` cannot name"), "{error}");
    let error = start_failure(&replay(&ramp(), &[("channels", "a,c")]));
    assert!(
        error.contains("no channel `c`: the file has a,b"),
        "{error}"
    );
}

#[test]
fn a_bad_line_in_mid_recording_is_an_error_that_names_it() {
    let file = csv("time,a\n0,1\n0.01,2\n0.02,two\n");
    let element = replay(
        &file,
        &[("realtime", "false"), ("buffer-duration", "10000000")],
    );
    let bus = bus(&element);
    let mut harness = harness(&element);
    harness.play();
    for value in [1.0, 2.0] {
        assert_eq!(content(&harness.pull().unwrap()).2, [value]);
    }
    let message = bus
        .timed_pop_filtered(gst::ClockTime::from_seconds(20), &[gst::MessageType::Error])
        .unwrap();
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!()
    };
    let text = error.error().to_string();
    assert!(text.contains("line 4: `two` in column `a`"), "{text}");
}

#[test]
fn rows_from_a_subject_follow_each_other_on_the_pipelines_time() {
    let server = TestServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    let open = Connection::open(&config, AtStart::Fail);
    let connection = runtime.block_on(open).unwrap();
    let element = source(&[("subject", "car.*"), ("channels", "a, b")]);
    element.set_property("url", server.url());
    element.set_property("buffer-duration", 20 * MS);
    let bus = bus(&element);
    let mut harness = harness(&element);
    harness.use_testclock();
    harness.set_time(gst::ClockTime::from_seconds(3)).unwrap();
    harness.play();
    let publish = |payload: Vec<u8>| {
        runtime.block_on(async {
            let client = connection.client();
            client.publish("car.imu", payload.into()).await.unwrap();
            client.flush().await.unwrap();
        });
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let await_messages = |what: &str, come: &dyn Fn() -> bool| {
        while !come() {
            assert!(std::time::Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    };
    // What is published before the server has the subscription is lost. What cannot be used is counted, and no more.
    let unusable = || stats::<u64>(&element, "unusable");
    await_messages("any message", &|| {
        publish(b"{\"values\": [1]}".to_vec());
        unusable() > 0
    });
    // The element's time for a message is when it came: each must have come before the next.
    let mut sent = 0u64;
    let mut send = |payload: Vec<u8>| {
        sent += 1;
        publish(payload);
        await_messages("a row", &|| {
            let stats = element.property::<gst::Structure>("stats");
            let count = |name| stats.get::<u64>(name).unwrap();
            count("messages") - count("unusable") >= sent
        });
    };
    let json =
        |time: f64, a: f64| format!(r#"{{"time": {time}, "values": [{a}, 1]}}"#).into_bytes();
    send(json(70.0, 0.0));
    send(json(70.02, 4.0));
    let raw = [6.0f32, f32::NAN].map(f32::to_le_bytes).concat();
    harness
        .set_time(gst::ClockTime::from_mseconds(3040))
        .unwrap();
    send(raw);
    let start = element.base_time().unwrap().useconds();
    let (pts, duration, values) = content(&harness.pull().unwrap());
    assert_eq!((pts + start, duration), (3_000_000, 20_000));
    assert_eq!(values, [0.0, 1.0, 2.0, 1.0]);
    let (pts, _, values) = content(&harness.pull().unwrap());
    assert_eq!(
        (pts + start, &values[..3]),
        (3_020_000, &[4.0, 1.0, 5.0][..])
    );
    assert!(values[3].is_nan());
    // After a pause of more than 1 s nothing joins what comes with what was: the sample
    // at 3,040 ms comes by itself.
    harness
        .set_time(gst::ClockTime::from_mseconds(5000))
        .unwrap();
    send(json(99.0, 7.0));
    send(json(99.01, 8.0));
    let (pts, duration, _) = content(&harness.pull().unwrap());
    assert_eq!((pts + start, duration), (3_040_000, 10_000));
    let anew = harness.pull().unwrap();
    assert!(anew.flags().contains(gst::BufferFlags::DISCONT));
    let (pts, _, values) = content(&anew);
    assert_eq!((pts + start, values), (5_000_000, vec![7.0, 1.0, 8.0, 1.0]));

    assert_eq!(stats::<u64>(&element, "dropped"), 0);
    assert!(stats::<bool>(&element, "connected"));
    let message = bus.pop_filtered(&[gst::MessageType::Warning]).unwrap();
    let gst::MessageView::Warning(warning) = message.view() else {
        unreachable!()
    };
    let text = warning.error().to_string();
    assert!(
        text.contains("`car.imu`: 1 values for 2 channels"),
        "{text}"
    );
    assert_eq!(
        harness.query_latency(),
        Some(gst::ClockTime::from_mseconds(40))
    );
    // It waits for rows, and stops all the same.
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn without_a_server_it_is_an_error_that_says_where() {
    let mut server = TestServer::start();
    let url = server.url();
    server.kill();
    let element = source(&[("subject", "a"), ("channels", "x"), ("url", &url)]);
    let error = start_failure(&element);
    assert!(error.contains(&url), "{error}");
}
