//! Captions on the wire, and the JSON Schema that describes them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;

use broker::{
    Caption, CaptionStatus, LatencyMs, Message, MessageId,
    caption::Verdict,
    features::{ASKED, DEFERRED, REDRAFTED},
    headers::{self, TraceParent},
    limits,
    message::Kind,
};
use offload::Action;
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../schema/caption.schema.json");

fn draft() -> Caption {
    Caption::draft(&common::window(3)).unwrap()
}

fn corrected() -> Caption {
    let verdict = Verdict {
        confirmed: false,
        text: "three people walk past a bench".to_owned(),
        tokens: 6,
        confidence: 0.7,
        accepted_tokens: Some(0),
        model: "msao-cloud-v1".to_owned(),
    };
    let latency = LatencyMs {
        edge: 0.0,
        uplink: Some(12.5),
        queue: Some(0.25),
        cloud: Some(80.0),
    };
    Caption::verified(&common::window(3), verdict, latency)
}

/// A draft that the edge keeps, after it waited or at once.
fn kept(waited: bool) -> Caption {
    let mut window = common::window(3);
    window.decision = Action::Keep;
    window.plan = Some(r#"{"action":"keep"}"#.to_owned());
    if waited {
        window.flags.push(DEFERRED.to_owned());
    }
    Caption::draft(&window).unwrap()
}

/// A second draft.
fn redrafted() -> Caption {
    let mut window = common::window(3);
    window.flags.push(REDRAFTED.to_owned());
    Caption::draft(&window).unwrap()
}

/// The answer to a question.
fn answer() -> Caption {
    let mut window = common::window(3);
    window.flags.push(ASKED.to_owned());
    Caption::draft(&window).unwrap()
}

fn json_of(caption: &Caption) -> Value {
    serde_json::from_slice(&caption.encode().unwrap()).unwrap()
}

#[test]
fn captions_round_trip() {
    for caption in [draft(), redrafted(), answer(), corrected(), kept(false)] {
        assert_eq!(
            Caption::decode(&caption.encode().unwrap()).unwrap(),
            caption
        );
    }
    assert_eq!(
        (draft().status, draft().revision),
        (CaptionStatus::Draft, 0)
    );
    assert_eq!(
        (corrected().status, corrected().revision),
        (CaptionStatus::Corrected, 2)
    );
    let of = |waited| {
        (
            kept(waited).status,
            kept(waited).revision,
            kept(waited).is_final,
        )
    };
    assert_eq!(of(false), (CaptionStatus::Draft, 0, true));
    assert_eq!(of(true), (CaptionStatus::Draft, 2, true));
    assert!(!draft().is_final && json_of(&draft()).get("final").is_none());
    assert_eq!(corrected().latency_ms.edge, 80.0);
    assert_eq!((redrafted().revision, redrafted().redrafted), (1, true));
    assert!(draft().order() < redrafted().order() && redrafted().order() < corrected().order());
}

#[test]
fn schema_describes_captions_exactly() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    for caption in [draft(), redrafted(), answer(), corrected(), kept(false)] {
        let value = json_of(&caption);
        assert!(
            validator.is_valid(&value),
            "{:?}",
            validator.iter_errors(&value).next()
        );
        // Everything that is written is described, and everything always written is required.
        assert!(names(&value).is_subset(&names(&schema["properties"])));
        assert!(
            names(&value["latency_ms"])
                .is_subset(&names(&schema["properties"]["latency_ms"]["properties"]))
        );
        assert_eq!(
            names(&value["mas"][0]),
            names(&schema["properties"]["mas"]["items"]["properties"])
        );
        for required in schema["required"].as_array().unwrap() {
            let mut lacking = value.clone();
            lacking
                .as_object_mut()
                .unwrap()
                .remove(required.as_str().unwrap());
            assert!(
                !validator.is_valid(&lacking)
                    && Caption::decode(lacking.to_string().as_bytes()).is_err()
            );
        }
    }
    let written = [corrected(), kept(false), redrafted(), answer()];
    let all: BTreeSet<_> = written.iter().flat_map(|c| names(&json_of(c))).collect();
    assert_eq!(
        all,
        names(&schema["properties"]),
        "the schema describes a field that is never written"
    );
}

#[test]
fn what_the_schema_refuses_the_reader_refuses() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    let changes = [
        ("/schema", json!("caption/2.0")),
        ("/id", json!("car-7/3")),
        ("/id", json!("car 7/01KANRGYR0000000000000001A/3")),
        ("/revision", json!(-1)),
        ("/status", json!("perhaps")),
        ("/text", json!(7)),
        ("/confidence", json!(1.5)),
        ("/confidence", json!(null)),
        ("/start", json!("noon")),
        ("/mas/0/rho", json!(-0.1)),
        ("/mas/0/modality", json!("smell")),
        ("/latency_ms/edge", json!(-1)),
        ("/latency_ms/cloud", json!("fast")),
    ];
    for (path, value) in changes {
        let mut caption = json_of(&corrected());
        *caption.pointer_mut(path).unwrap() = value;
        assert!(!validator.is_valid(&caption), "the schema takes {caption}");
        assert!(
            Caption::decode(caption.to_string().as_bytes()).is_err(),
            "the reader takes {caption}"
        );
    }
}

#[test]
fn the_schema_has_the_readers_limits() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let caption = json_of(&answer());
    let stream = caption["mas"][0].clone();
    let of_length = |field: &str, length: usize| match field {
        "schema" => json!(format!("caption/1.{:0>1$}", 1, length - 10)),
        "mas" => json!(vec![stream.clone(); length]),
        _ => json!("x".repeat(length)),
    };
    let fields = [
        ("schema", limits::NAME),
        ("text", limits::TEXT),
        ("question", limits::TEXT),
        ("model", limits::SHORT_TEXT),
        ("mas", limits::STREAMS),
    ];
    for (field, most) in fields {
        for (length, fits) in [(most, true), (most + 1, false)] {
            let mut caption = caption.clone();
            caption[field] = of_length(field, length);
            let read = Caption::decode(caption.to_string().as_bytes());
            assert_eq!(validator.is_valid(&caption), fits, "{field} of {length}");
            assert_eq!(read.is_ok(), fits, "{field} of {length}: {read:?}");
        }
    }
}

#[test]
fn newer_minor_is_read_and_its_fields_ignored() {
    let mut newer = json_of(&draft());
    newer["schema"] = json!("caption/1.9");
    newer["mood"] = json!("cheerful");
    let read = Caption::decode(newer.to_string().as_bytes()).unwrap();
    assert_eq!(
        Caption {
            schema: "caption/1.1".to_owned(),
            ..read
        },
        draft()
    );
}

#[test]
fn values_without_meaning_are_not_written() {
    let caption = Caption {
        confidence: f32::NAN,
        ..draft()
    };
    let error = caption.encode().unwrap_err().to_string();
    assert!(
        error.contains("confidence") && error.contains("car-7/"),
        "{error}"
    );
}

#[test]
fn every_message_carries_identity_trace_and_sparsity() {
    let (window, trace) = (common::window(3), TraceParent::generate());
    let features = Message::features(&window, window.encode().unwrap(), trace);
    let caption = Message::caption(&corrected(), trace.child()).unwrap();
    for (message, kind, revision) in [(&features, Kind::Features, 0), (&caption, Kind::Caption, 2)]
    {
        let header = |name: &str| {
            message
                .headers()
                .get(name)
                .map(|value| value.as_str().to_owned())
                .unwrap()
        };
        let id: MessageId = header(headers::MESSAGE_ID).parse().unwrap();
        assert_eq!(
            id,
            MessageId {
                window: window.id.clone(),
                kind,
                revision
            }
        );
        assert_eq!(header("ce-id"), id.to_string());
        assert_eq!(header("ce-type"), format!("msao.v1.{kind}"));
        assert_eq!(header("ce-source"), "/msao/car-7");
        assert_eq!(header("ce-specversion"), "1.0");
        assert!(header("ce-time").ends_with('Z'));
        assert_eq!(
            TraceParent::of(message.headers()).unwrap().trace_id(),
            trace.trace_id()
        );
        assert_eq!(header(headers::MAS), "video/front=0.8700;audio/mic=1.0000");
    }
    assert_eq!(features.subject(), "msao.v1.features.car-7");
    assert_eq!(caption.subject(), "msao.v1.captions.car-7");
}
