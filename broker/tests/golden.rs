//! Messages as they were once written, in `golden/`: today's reader reads those of older minors, and a reader of the
//! first minor, kept here as it was, reads today's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod old;

use std::path::{Path, PathBuf};

use broker::status::{Decisions, ServerUse, StreamStatus};
use broker::{Caption, CloudStatus, FeatureWindow, Status};
use serde_json::Value;
use time::macros::datetime;

/// With this variable set, files of the newest minor are written anew. Older ones are never.
const WRITE: &str = "MSAO_WRITE_GOLDEN";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The file of today's minor is what is written today.
fn is_golden(name: &str, bytes: &[u8]) {
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path(name), bytes).unwrap();
    }
    assert!(
        golden(name) == bytes,
        "{name} is not what is written: with {WRITE}=1 it is written anew"
    );
}

/// A window of one stream, with two tokens of four channels.
fn window() -> FeatureWindow {
    let mut window = common::window(7);
    window.plan = Some(r#"{"action":"verify"}"#.to_owned());
    window.modalities.truncate(1);
    window.tokens.truncate(2);
    for (token, feature) in window
        .tokens
        .iter_mut()
        .zip([[1, -2, 3, -4], [100, 50, -50, -100]])
    {
        token.feature = feature.to_vec().into();
    }
    window
}

fn edge_status() -> Status {
    Status {
        time: datetime!(2026-11-25 12:00 UTC),
        frames_in: 10,
        frames_kept: 3,
        hops_in: 100,
        streams: vec![
            stream("video_0", "rtsp://camera/1", 10, 3, None),
            stream("video_1", "rtsp://camera/2", 0, 0, Some("it ended")),
        ],
        windows: 2,
        tokens_kept: 20,
        tokens_possible: 98,
        decisions: Decisions {
            keep: 1,
            verify: 1,
            ..Decisions::default()
        },
        ..Status::new(common::rig(), common::id(0).epoch, "CPU")
    }
}

fn stream(
    name: &str,
    source: &str,
    measured: u64,
    kept: u64,
    problem: Option<&str>,
) -> StreamStatus {
    StreamStatus {
        stream: name.into(),
        source: source.into(),
        measured,
        kept,
        problem: problem.map(str::to_owned),
    }
}

fn cloud_status() -> CloudStatus {
    CloudStatus {
        time: datetime!(2026-11-25 12:00 UTC),
        captioned: 1,
        confirmed: 1,
        last_ms: 42.5,
        service_rate: 12.5,
        confirmed_ms: Some(42.5),
        server: Some(ServerUse {
            requests: 3,
            retries: 1,
            failures: 1,
            input_tokens: 1000,
            output_tokens: 10,
            cost: 0.25,
        }),
        ..CloudStatus::new("gpu0", "msao-cloud-v2", "CPU")
    }
}

#[test]
fn what_is_written_today_is_as_the_files_say() {
    is_golden("features-1.1.arrow", &window().encode().unwrap());
    let caption = Caption::draft(&window()).unwrap();
    is_golden("caption-1.1.json", &caption.encode().unwrap());
    let json = |value| serde_json::to_vec(&value).unwrap();
    is_golden(
        "status-edge-1.3.json",
        &json(serde_json::to_value(edge_status()).unwrap()),
    );
    is_golden(
        "status-cloud-1.3.json",
        &json(serde_json::to_value(cloud_status()).unwrap()),
    );
}

#[test]
fn todays_reader_reads_every_minor() {
    let new = FeatureWindow::decode(&golden("features-1.1.arrow")).unwrap();
    assert_eq!(new, window());
    let old = FeatureWindow::decode(&golden("features-1.0.arrow")).unwrap();
    assert_eq!(
        old,
        FeatureWindow {
            plan: None,
            ..window()
        }
    );

    let new = Caption::decode(&golden("caption-1.1.json")).unwrap();
    let old = Caption::decode(&golden("caption-1.0.json")).unwrap();
    assert_eq!(old.schema, "caption/1.0");
    let (plan, schema) = (None, old.schema.clone());
    assert_eq!(
        old,
        Caption {
            plan,
            schema,
            ..new
        }
    );

    let status: Status = serde_json::from_slice(&golden("status-edge-1.0.json")).unwrap();
    assert_eq!(
        (status.windows, status.decisions),
        (2, Decisions::default())
    );
    let status: CloudStatus = serde_json::from_slice(&golden("status-cloud-1.0.json")).unwrap();
    assert_eq!((status.captioned, status.service_rate), (1, 0.0));
    assert_eq!(status.server, None);
}

#[test]
fn a_reader_of_the_first_minor_reads_every_minor() {
    for name in ["features-1.0.arrow", "features-1.1.arrow"] {
        let window = old::Window::read(&golden(name));
        assert_eq!((window.rig.as_str(), window.seq), ("car-7", 7), "{name}");
        assert_eq!(
            window.draft.as_deref(),
            Some("two people walk past a bench")
        );
        let one = [1, -2, 3, -4].map(|value: i8| f32::from(value) * 0.03);
        let two = [100, 50, -50, -100].map(|value: i8| f32::from(value) * 0.03);
        assert_eq!(window.features, [one, two], "{name}");
    }
    for name in ["caption-1.0.json", "caption-1.1.json"] {
        let caption: old::Caption = serde_json::from_slice(&golden(name)).unwrap();
        assert!(caption.schema.starts_with("caption/1."));
        assert_eq!(
            (
                caption.id.ends_with("/7"),
                caption.revision,
                caption.status.as_str()
            ),
            (true, 0, "draft"),
            "{name}"
        );
        assert_eq!(
            (caption.text.as_str(), caption.mas.len()),
            ("two people walk past a bench", 1)
        );
    }
    for name in [
        "status-edge-1.0.json",
        "status-edge-1.1.json",
        "status-edge-1.2.json",
        "status-edge-1.3.json",
    ] {
        let status: old::EdgeStatus = serde_json::from_slice(&golden(name)).unwrap();
        assert_eq!((status.windows, status.pending), (2, 0), "{name}");
    }
    for name in [
        "status-cloud-1.0.json",
        "status-cloud-1.1.json",
        "status-cloud-1.2.json",
        "status-cloud-1.3.json",
    ] {
        let status: old::CloudStatus = serde_json::from_slice(&golden(name)).unwrap();
        assert_eq!((status.captioned, status.queue), (1, 0), "{name}");
    }
}

#[test]
fn schemas_describe_statuses_questions_and_answers() {
    let id = "car-7/01KANRGYR0000000000000001A/7";
    let answer = format!(
        r#"{{"schema":"answer/1.0","id":"{id}","text":"a dog","confidence":0.4,"status":"draft","model":"m"}}"#
    );
    let refusal = r#"{"schema":"answer/1.0","error":"nothing was seen yet"}"#;
    let question = r#"{"schema":"question/1.0","prompt":"what is heard ?"}"#;
    let cases = [
        ("status.edge", golden("status-edge-1.3.json")),
        ("status.edge", golden("status-edge-1.1.json")),
        ("status.edge", golden("status-edge-1.0.json")),
        ("status.cloud", golden("status-cloud-1.3.json")),
        ("status.cloud", golden("status-cloud-1.1.json")),
        ("status.cloud", golden("status-cloud-1.0.json")),
        ("caption", golden("caption-1.1.json")),
        ("caption", golden("caption-1.0.json")),
        ("question", question.into()),
        ("answer", answer.into()),
        ("answer", refusal.into()),
    ];
    for (name, message) in cases {
        let file = format!("{}/schema/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let schema: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let options = jsonschema::options().should_validate_formats(true);
        let validator = options.build(&schema).unwrap();
        let value: Value = serde_json::from_slice(&message).unwrap();
        let fault = validator
            .iter_errors(&value)
            .next()
            .map(|error| error.to_string());
        assert_eq!(fault, None, "{name}: {value}");
        // All that is written is described, and what is required is.
        for field in value.as_object().unwrap().keys() {
            assert!(schema["properties"].get(field).is_some(), "{name}: {field}");
            let mut wrong = value.clone();
            wrong[field] = Value::Null;
            assert!(!validator.is_valid(&wrong), "{name}: {field} may be null");
        }
        for field in schema["required"].as_array().unwrap() {
            let mut lacking = value.clone();
            lacking
                .as_object_mut()
                .unwrap()
                .remove(field.as_str().unwrap());
            assert!(!validator.is_valid(&lacking), "{name} without {field}");
        }
    }
}

/// Lines `OFFSET  BYTES  what` of the example in docs/wire.md.
#[test]
fn the_bytes_in_the_docs_are_those_of_the_file() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/wire.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let (_, rest) = docs.split_once("features-1.1.arrow`").unwrap();
    let block = rest.split("```").nth(1).unwrap();
    let file = golden("features-1.1.arrow");
    let mut lines = 0;
    for line in block.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let mut parts = line.split("  ").filter(|part| !part.is_empty());
        let offset: usize = parts.next().unwrap().trim().parse().unwrap();
        let hex = parts.next().unwrap().split_whitespace();
        let bytes: Vec<u8> = hex
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        assert_eq!(file[offset..offset + bytes.len()], bytes, "{line}");
        lines += 1;
    }
    assert!(lines >= 12, "{lines} lines");
}
