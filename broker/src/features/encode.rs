//! A window to an Arrow IPC stream of one row.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::{
    ArrayRef, BinaryArray, FixedSizeListArray, Float32Array, Int8Array, ListArray, RecordBatch,
    StringArray, StructArray, TimestampNanosecondArray, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_ipc::{
    MetadataVersion,
    writer::{IpcWriteOptions, StreamEncoder, StreamWriter},
};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};

use super::{DraftReport, END, Error, FeatureWindow, ModalityReport, SCHEMA, SCHEMA_KEY, Token};

/// 8 rather than Arrow's usual 64: a window has some 40 small buffers, each padded to this.
const ALIGNMENT: usize = 8;
/// What a window commonly has at most besides its tokens, and a token besides its channels.
const ROOM: usize = 6 * 1024;
const TOKEN_ROOM: usize = 40;
/// Features of more bytes leave no room for others.
const LONGEST_KEPT: usize = 1 << 20;

pub(super) fn encode(window: &FeatureWindow) -> Result<Vec<u8>, Error> {
    let channels = window.tokens.first().map_or(1, |token| token.feature.len());
    let mut last = Encoder::last();
    let mut features = (last.as_mut()).map_or_else(Vec::new, |last| std::mem::take(&mut last.room));
    features.clear();
    for token in &window.tokens {
        features.extend_from_slice(&token.feature);
    }
    let features = ScalarBuffer::from(features);
    let batch = batch(window, channels, features.clone())?;
    let mut encoder = match last.filter(|last| last.channels == channels) {
        Some(last) => last,
        None => Encoder::new(channels, &batch)?,
    };
    let mut bytes = Vec::with_capacity(
        encoder.head.len()
            + ROOM
            + window.tokens.len() * (channels + TOKEN_ROOM)
            + keyframe_len(window),
    );
    bytes.extend_from_slice(&encoder.head);
    for part in encoder.stream.encode(&batch)? {
        bytes.extend_from_slice(&part);
    }
    bytes.extend(END);
    drop(batch);
    encoder.keep(features);
    Ok(bytes)
}

fn keyframe_len(window: &FeatureWindow) -> usize {
    window.keyframe.as_ref().map_or(0, Vec::len)
}

/// Writes record batches of one schema, which the number of channels decides. The last one is kept, as making it takes
/// longer than the rest.
struct Encoder {
    channels: usize,
    /// The schema's message.
    head: Vec<u8>,
    /// Has written the schema.
    stream: StreamEncoder,
    /// Where features are gathered: fresh memory costs more than they do.
    room: Vec<i8>,
}

/// Nobody has it while it is in use: who encodes at the same time makes another.
static LAST: Mutex<Option<Encoder>> = Mutex::new(None);

impl Encoder {
    fn last() -> Option<Self> {
        LAST.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn new(channels: usize, batch: &RecordBatch) -> Result<Self, ArrowError> {
        let schema = batch.schema();
        let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?;
        let writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options.clone())?;
        let mut head = writer.into_inner()?;
        head.truncate(head.len() - END.len());
        let mut stream = StreamEncoder::try_new_with_options(&schema, options)?;
        stream.encode(batch)?;
        Ok(Self {
            channels,
            head,
            stream,
            room: Vec::new(),
        })
    }

    fn keep(mut self, features: ScalarBuffer<i8>) {
        if features.len() <= LONGEST_KEPT {
            self.room = features.into_inner().into_vec().unwrap_or_default();
        }
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }
}

fn batch(
    window: &FeatureWindow,
    channels: usize,
    features: ScalarBuffer<i8>,
) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("rig", text([window.id.rig.as_str()])?),
        ("epoch", text([window.id.epoch.to_string()])?),
        ("seq", Arc::new(UInt64Array::from(vec![window.id.seq]))),
        ("start_utc", time(window.start_utc_ns)),
        ("end_utc", time(window.end_utc_ns)),
        (
            "start_running_ns",
            Arc::new(UInt64Array::from(vec![window.start_running_ns])),
        ),
        (
            "end_running_ns",
            Arc::new(UInt64Array::from(vec![window.end_running_ns])),
        ),
        ("prompt", text([window.prompt.as_str()])?),
        ("decision", text([window.decision.name()])?),
        (
            "plan",
            Arc::new(StringArray::from(vec![window.plan.as_deref()])),
        ),
        ("modalities", list(modalities(&window.modalities)?)?),
        ("draft", draft(window.draft.as_ref())?),
        ("tokens", list(tokens(&window.tokens, channels, features)?)?),
        (
            "tokens_possible",
            Arc::new(UInt32Array::from(vec![window.tokens_possible])),
        ),
        (
            "frames_in",
            Arc::new(UInt32Array::from(vec![window.frames_in])),
        ),
        (
            "frames_kept",
            Arc::new(UInt32Array::from(vec![window.frames_kept])),
        ),
        ("flags", list(text(&window.flags)?)?),
        ("closed_utc", time(window.closed_utc_ns)),
        ("drafted_utc", time(window.drafted_utc_ns)),
        (
            "keyframe",
            Arc::new(BinaryArray::from(vec![window.keyframe.as_deref()])),
        ),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| {
            let nullable = ["draft", "plan", "keyframe"].contains(name);
            Field::new(*name, array.data_type().clone(), nullable)
        })
        .collect();
    let metadata = HashMap::from([(SCHEMA_KEY.to_owned(), SCHEMA.text())]);
    let schema = Schema::new_with_metadata(fields, metadata);
    RecordBatch::try_new(
        Arc::new(schema),
        columns.into_iter().map(|(_, array)| array).collect(),
    )
}

fn modalities(reports: &[ModalityReport]) -> Result<ArrayRef, ArrowError> {
    let share = |measure: fn(&ModalityReport) -> f32| floats(reports.iter().map(measure));
    structs(
        vec![
            ("modality", text(reports.iter().map(|r| r.modality.name()))?),
            ("stream", text(reports.iter().map(|r| &r.stream))?),
            ("rho", share(|r| r.rho)),
            ("gamma", share(|r| r.gamma)),
            ("beta", share(|r| r.beta)),
            ("mas", share(|r| r.mas)),
            ("encoder", text(reports.iter().map(|r| &r.encoder))?),
            (
                "encoder_sha256",
                text(reports.iter().map(|r| &r.encoder_sha256))?,
            ),
        ],
        None,
    )
}

fn draft(draft: Option<&DraftReport>) -> Result<ArrayRef, ArrowError> {
    let absent = DraftReport {
        text: String::new(),
        token_ids: Vec::new(),
        logprobs: Vec::new(),
        confidence: 0.0,
        model: String::new(),
    };
    let nulls = draft.is_none().then(|| NullBuffer::new_null(1));
    let draft = draft.unwrap_or(&absent);
    structs(
        vec![
            ("text", text([draft.text.as_str()])?),
            (
                "token_ids",
                list(Arc::new(UInt32Array::from(draft.token_ids.clone())))?,
            ),
            (
                "logprobs",
                list(Arc::new(Float32Array::from(draft.logprobs.clone())))?,
            ),
            ("confidence", floats([draft.confidence].into_iter())),
            ("model", text([draft.model.as_str()])?),
        ],
        nulls,
    )
}

fn tokens(
    tokens: &[Token],
    channels: usize,
    features: ScalarBuffer<i8>,
) -> Result<ArrayRef, ArrowError> {
    let place = |axis: fn(&Token) -> u16| -> ArrayRef {
        Arc::new(UInt16Array::from(
            tokens.iter().map(axis).collect::<Vec<_>>(),
        ))
    };
    let channels =
        i32::try_from(channels).map_err(|e| ArrowError::InvalidArgumentError(e.to_string()))?;
    let values = Arc::new(Int8Array::new(features, None));
    let item = Arc::new(Field::new("item", DataType::Int8, false));
    let features = FixedSizeListArray::try_new(item, channels, values, None)?;
    structs(
        vec![
            ("modality", text(tokens.iter().map(|t| t.modality.name()))?),
            ("stream", text(tokens.iter().map(|t| &t.stream))?),
            ("t", place(|t| t.t)),
            ("y", place(|t| t.y)),
            ("x", place(|t| t.x)),
            ("importance", floats(tokens.iter().map(|t| t.importance))),
            ("scale", floats(tokens.iter().map(|t| t.scale))),
            ("feature", Arc::new(features)),
        ],
        None,
    )
}

// From vectors, here and above: what Arrow gathers itself is aligned for the widest of instructions, which costs more than
// so few values do.

fn text<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> Result<ArrayRef, ArrowError> {
    let (mut all, mut ends) = (String::new(), vec![0]);
    for value in values {
        all.push_str(value.as_ref());
        let end = i32::try_from(all.len());
        ends.push(end.map_err(|e| ArrowError::InvalidArgumentError(e.to_string()))?);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    let all = Buffer::from_vec(all.into_bytes());
    Ok(Arc::new(StringArray::try_new(offsets, all, None)?))
}

fn floats(values: impl Iterator<Item = f32>) -> ArrayRef {
    Arc::new(Float32Array::from(values.collect::<Vec<_>>()))
}

fn time(nanoseconds: i64) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(vec![nanoseconds]).with_timezone("UTC"))
}

/// One row: the list of all `values`.
fn list(values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let item = Arc::new(Field::new("item", values.data_type().clone(), false));
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    Ok(Arc::new(ListArray::try_new(item, offsets, values, None)?))
}

fn structs(
    columns: Vec<(&str, ArrayRef)>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let fields: Fields = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), false))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Ok(Arc::new(StructArray::try_new(fields, arrays, nulls)?))
}
