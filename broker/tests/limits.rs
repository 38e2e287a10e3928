//! Messages that claim or hold more than [`broker::limits`] allow: refused by name, and before memory is taken for them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, builder::ListBuilder, builder::StringBuilder};
use arrow_ipc::{
    Endianness, FieldBuilder, MessageBuilder, MessageHeader, MetadataVersion, SchemaBuilder, Type,
    Utf8Builder,
    reader::StreamReader,
    root_as_message,
    writer::{IpcWriteOptions, StreamWriter},
};
use broker::{
    Caption, FeatureWindow, ask,
    limits::{self, JSON, SHORT_TEXT, STREAMS, TEXT},
    status::AnyStatus,
};
use flatbuffers::FlatBufferBuilder;
use serde_json::{Value, json};

fn refused(bytes: &[u8], word: &str) {
    let error = FeatureWindow::decode(bytes).unwrap_err().to_string();
    assert!(error.contains(word) && error.len() < 300, "{word}: {error}");
}

/// `header` as the first part of an Arrow stream.
fn framed(header: &[u8]) -> Vec<u8> {
    let len = u32::try_from(header.len()).unwrap();
    [&[0xff; 4], &len.to_le_bytes()[..], header].concat()
}

#[test]
fn a_long_message_and_a_long_header_are_refused_by_their_length() {
    refused(
        &vec![0; limits::MESSAGE + 1],
        "the message has length 67108865, at most 67108864",
    );
    refused(
        &framed(&vec![0; limits::ARROW_HEADER + 1]),
        "a message header has length 65537, at most 65536",
    );
}

/// A schema of a name of 30,000 bytes that 5,000 columns share has 50 KB, and takes 150 MB once it is read.
#[test]
fn a_schema_whose_columns_share_a_long_name_is_refused() {
    let mut builder = FlatBufferBuilder::new();
    let name = builder.create_string(&"n".repeat(30_000));
    let text = Utf8Builder::new(&mut builder).finish();
    let children = builder.create_vector::<flatbuffers::ForwardsUOffset<arrow_ipc::Field>>(&[]);
    let mut field = FieldBuilder::new(&mut builder);
    field.add_name(name);
    field.add_type_type(Type::Utf8);
    field.add_type_(text.as_union_value());
    field.add_children(children);
    let field = field.finish();
    let fields = builder.create_vector(&[field; 5_000]);
    let mut schema = SchemaBuilder::new(&mut builder);
    schema.add_endianness(Endianness::Little);
    schema.add_fields(fields);
    let schema = schema.finish();
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::Schema);
    message.add_header(schema.as_union_value());
    let message = message.finish();
    builder.finish(message, None);
    let header = builder.finished_data();
    assert!(header.len() < limits::ARROW_HEADER && root_as_message(header).is_ok());
    refused(&framed(header), "a message header is corrupt");
}

/// The message with the place (offset, length) of buffer `to` changed to `place`.
fn moved(bytes: &[u8], to: usize, place: impl Fn(&[(i64, i64)]) -> (i64, i64)) -> Vec<u8> {
    let schema_end = 8 + u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let header = &bytes[schema_end + 8..];
    let message = root_as_message(header).unwrap();
    let buffers = message.header_as_record_batch().unwrap().buffers().unwrap();
    let places: Vec<(i64, i64)> = buffers.iter().map(|b| (b.offset(), b.length())).collect();
    let (offset, len) = place(&places);
    let at = buffers.bytes().as_ptr() as usize - bytes.as_ptr() as usize + 16 * to;
    let mut moved = bytes.to_vec();
    moved[at..at + 8].copy_from_slice(&offset.to_le_bytes());
    moved[at + 8..at + 16].copy_from_slice(&len.to_le_bytes());
    moved
}

/// Each column's buffer could be all of the message: columns would take so many times its length.
#[test]
fn columns_that_share_bytes_or_are_not_aligned_are_refused() {
    let bytes = common::window(3).encode().unwrap();
    // Of the second column: validity, offsets, text.
    let same = |places: &[(i64, i64)]| (places[1].0, places[4].1);
    refused(&moved(&bytes, 4, same), "two of its buffers share bytes");
    let all = |_: &[(i64, i64)]| (0, 1 << 60);
    refused(&moved(&bytes, 4, all), "lies outside the message");
    // Into the padding of the text before it.
    let odd = |places: &[(i64, i64)]| (places[7].0 - 4, places[7].1);
    refused(&moved(&bytes, 7, odd), "align");
}

#[test]
fn a_list_is_counted_before_it_is_read() {
    let bytes = common::window(3).encode().unwrap();
    let mut reader = StreamReader::try_new(&bytes[..], None).unwrap();
    let batch = reader.next().unwrap().unwrap();
    let schema = batch.schema();
    let at = schema.index_of("flags").unwrap();
    let arrow_schema::DataType::List(item) = schema.field(at).data_type() else {
        panic!("flags is a list")
    };
    let mut flags = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(item));
    flags.append_value(vec![Some("f"); limits::FLAGS + 1]);
    let mut columns = batch.columns().to_vec();
    columns[at] = Arc::new(flags.finish()) as ArrayRef;
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    writer.write(&batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    refused(&bytes, "column flags has length 33, at most 32");
}

/// `message` with `field` as `value`.
fn with(message: &Value, field: &str, value: Value) -> Vec<u8> {
    let mut message = message.clone();
    message[field] = value;
    serde_json::to_vec(&message).unwrap()
}

fn long(len: usize) -> Value {
    "x".repeat(len).into()
}

#[test]
fn captions_are_bounded() {
    let draft = Caption::draft(&common::window(3)).unwrap();
    let draft: Value = serde_json::from_slice(&draft.encode().unwrap()).unwrap();
    let stream = draft["mas"][0].clone();
    for (field, value, word) in [
        ("x", long(JSON), "the message has length"),
        ("schema", long(65), "schema 'xxx"),
        ("text", long(TEXT + 1), "text has length 16385"),
        ("question", long(TEXT + 1), "question has length 16385"),
        ("plan", json!({ "x": long(TEXT) }), "plan has length 16392"),
        ("model", long(SHORT_TEXT + 1), "model has length 257"),
        (
            "mas",
            vec![stream.clone(); STREAMS + 1].into(),
            "mas has length 65",
        ),
    ] {
        let error = Caption::decode(&with(&draft, field, value)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(word) && error.len() < 300, "{word}: {error}");
    }
    // All texts at their longest still fit.
    let mut longest = draft.clone();
    for (field, len) in [("text", TEXT), ("question", TEXT), ("model", SHORT_TEXT)] {
        longest[field] = "\u{1}".repeat(len).into();
    }
    longest["plan"] = long(TEXT - 2);
    let mut named = stream;
    named["stream"] = long(limits::NAME);
    longest["mas"] = vec![named; STREAMS].into();
    let longest = serde_json::to_vec(&longest).unwrap();
    let caption = Caption::decode(&longest).unwrap();
    assert_eq!(
        Caption::decode(&caption.encode().unwrap()).unwrap(),
        caption
    );
}

#[test]
fn statuses_are_bounded() {
    let cloud = serde_json::to_value(broker::CloudStatus::new("gpu0", "m", "CPU")).unwrap();
    let rig = "car-7".parse().unwrap();
    let edge = serde_json::to_value(broker::Status::new(rig, ulid::Ulid::from(7), "CPU")).unwrap();
    for (status, field, value, word) in [
        (&cloud, "x", long(JSON), "the message has length"),
        (&cloud, "worker", long(65), "not a valid worker name"),
        (
            &cloud,
            "model",
            long(SHORT_TEXT + 1),
            "model has length 257",
        ),
        (
            &cloud,
            "provider",
            long(SHORT_TEXT + 1),
            "provider has length 257",
        ),
        (&cloud, "service_rate", json!(-1.0), "service_rate is -1"),
        (
            &cloud,
            "server",
            json!({ "cost": -0.5 }),
            "server.cost is -0.5",
        ),
        (&edge, "x", long(JSON), "the message has length"),
        (
            &edge,
            "provider",
            long(SHORT_TEXT + 1),
            "provider has length 257",
        ),
    ] {
        let subject = match status == &edge {
            true => "msao.v1.status.edge.car-7",
            false => "msao.v1.status.cloud.gpu0",
        };
        AnyStatus::decode(subject, &serde_json::to_vec(status).unwrap()).unwrap();
        let error = AnyStatus::decode(subject, &with(status, field, value)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(word) && error.len() < 300, "{word}: {error}");
    }
}

#[test]
fn questions_and_answers_are_bounded() {
    let question = json!({"schema": "question/1.0", "prompt": "?"});
    for (field, len, word) in [
        ("x", JSON, "the message has length"),
        (
            "prompt",
            limits::QUESTION + 1,
            "1 to 4096 bytes, this one has 4097",
        ),
    ] {
        let error = ask::read_question(&with(&question, field, long(len))).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(word) && error.len() < 300, "{word}: {error}");
    }
    let id = common::window(3).id.to_string();
    let answer = json!({
        "schema": "answer/1.0", "id": id, "text": "a", "confidence": 0.5, "status": "final", "model": "m"
    });
    ask::read_answer(&serde_json::to_vec(&answer).unwrap())
        .unwrap()
        .unwrap();
    for (field, value, word) in [
        ("x", long(JSON), "the message has length"),
        ("text", long(TEXT + 1), "text has length 16385"),
        ("model", long(SHORT_TEXT + 1), "model has length 257"),
        ("confidence", json!(1.5), "confidence is 1.5"),
    ] {
        let error = ask::read_answer(&with(&answer, field, value)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(word) && error.len() < 300, "{word}: {error}");
    }
}

#[test]
fn the_page_tells_the_limits() {
    let page = include_str!("../../docs/wire.md");
    let limits = page.split("## Limits").nth(1).unwrap();
    let limits = limits.split("\n## ").next().unwrap();
    let kib = |bytes: usize| format!("{} KiB", bytes >> 10);
    let mib = |bytes: usize| format!("{} MiB", bytes >> 20);
    let thousands = |n: usize| match n {
        0..1000 => n.to_string(),
        _ => format!("{},{:03}", n / 1000, n % 1000),
    };
    for (row, value) in [
        ("a message of features", mib(limits::MESSAGE)),
        ("a JSON message", kib(JSON)),
        ("the header of the schema", kib(limits::ARROW_HEADER)),
        ("streams of a window", thousands(STREAMS)),
        ("tokens of a window", thousands(limits::TOKENS)),
        ("tokens of a window", thousands(limits::CHANNELS)),
        ("draft tokens", thousands(limits::DRAFT_TOKENS)),
        ("flags of a window", thousands(limits::FLAGS)),
        ("a keyframe", mib(limits::KEYFRAME)),
        ("a keyframe", thousands(limits::KEYFRAME_SIDE as usize)),
        ("prompt, draft, text", kib(TEXT)),
        ("a question", kib(limits::QUESTION)),
        ("the name of a model", format!("{SHORT_TEXT} bytes")),
        ("the name of a rig", format!("{} bytes", limits::NAME)),
    ] {
        let row = format!("| {row}");
        let line = limits.lines().find(|line| line.starts_with(&row)).unwrap();
        assert!(line.contains(&value), "{value}: {line}");
    }
}
