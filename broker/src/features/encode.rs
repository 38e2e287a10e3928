//! A window to an Arrow IPC stream of one row.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::{
    ArrayRef, BinaryArray, FixedSizeListArray, Float32Array, Int8Array, ListArray, RecordBatch,
    StringArray, StructArray, TimestampNanosecondArray, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_ipc::{
    MetadataVersion,
    writer::{
        DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, StreamWriter,
        write_message,
    },
};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};

use super::{DraftReport, END, Error, FeatureWindow, ModalityReport, SCHEMA, SCHEMA_KEY, Token};

/// 8 rather than Arrow's usual 64: a window has some 40 small buffers, each padded to this.
const ALIGNMENT: usize = 8;
/// What a window commonly has at most besides its tokens, and a token besides its channels.
const ROOM: usize = 6 * 1024;
const TOKEN_ROOM: usize = 40;

pub(super) fn encode(window: &FeatureWindow) -> Result<Vec<u8>, Error> {
    let batch = batch(window)?;
    let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?;
    let channels = window.tokens.first().map_or(1, |token| token.feature.len());
    let head = head(channels, &batch, &options)?;
    let mut bytes = Vec::with_capacity(
        head.len() + ROOM + window.tokens.len() * (channels + TOKEN_ROOM) + keyframe_len(window),
    );
    bytes.extend_from_slice(&head);
    let mut dictionaries = DictionaryTracker::new(false);
    let (_, message) = IpcDataGenerator::default().encode(
        &batch,
        &mut dictionaries,
        &options,
        &mut IpcWriteContext::default(),
    )?;
    write_message(&mut bytes, message, &options)?;
    bytes.extend(END);
    Ok(bytes)
}

fn keyframe_len(window: &FeatureWindow) -> usize {
    window.keyframe.as_ref().map_or(0, Vec::len)
}

/// The schema's message, which the number of channels decides; the last one is kept, as making it takes longer than the rest.
fn head(
    channels: usize,
    batch: &RecordBatch,
    options: &IpcWriteOptions,
) -> Result<Arc<[u8]>, ArrowError> {
    static LAST: Mutex<Option<(usize, Arc<[u8]>)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, head)) = &*last
        && *of == channels
    {
        return Ok(Arc::clone(head));
    }
    let writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options.clone())?;
    let mut bytes = writer.into_inner()?;
    bytes.truncate(bytes.len() - END.len());
    let head: Arc<[u8]> = bytes.into();
    *last = Some((channels, Arc::clone(&head)));
    Ok(head)
}

fn batch(window: &FeatureWindow) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("rig", text([window.id.rig.as_str()])),
        ("epoch", text([window.id.epoch.to_string()])),
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
        ("prompt", text([window.prompt.as_str()])),
        ("decision", text([window.decision.name()])),
        (
            "plan",
            Arc::new(StringArray::from(vec![window.plan.as_deref()])),
        ),
        ("modalities", list(modalities(&window.modalities)?)?),
        ("draft", draft(window.draft.as_ref())?),
        ("tokens", list(tokens(&window.tokens)?)?),
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
        ("flags", list(text(window.flags.iter()))?),
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
            ("modality", text(reports.iter().map(|r| r.modality.name()))),
            ("stream", text(reports.iter().map(|r| &r.stream))),
            ("rho", share(|r| r.rho)),
            ("gamma", share(|r| r.gamma)),
            ("beta", share(|r| r.beta)),
            ("mas", share(|r| r.mas)),
            ("encoder", text(reports.iter().map(|r| &r.encoder))),
            (
                "encoder_sha256",
                text(reports.iter().map(|r| &r.encoder_sha256)),
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
            ("text", text([draft.text.as_str()])),
            (
                "token_ids",
                list(Arc::new(UInt32Array::from(draft.token_ids.clone())))?,
            ),
            (
                "logprobs",
                list(Arc::new(Float32Array::from(draft.logprobs.clone())))?,
            ),
            ("confidence", floats([draft.confidence].into_iter())),
            ("model", text([draft.model.as_str()])),
        ],
        nulls,
    )
}

fn tokens(tokens: &[Token]) -> Result<ArrayRef, ArrowError> {
    let place = |axis: fn(&Token) -> u16| -> ArrayRef {
        Arc::new(UInt16Array::from_iter_values(tokens.iter().map(axis)))
    };
    let channels = tokens.first().map_or(1, |token| token.feature.len());
    let channels =
        i32::try_from(channels).map_err(|e| ArrowError::InvalidArgumentError(e.to_string()))?;
    let values: Vec<&[i8]> = tokens.iter().map(|t| t.feature.as_slice()).collect();
    let values = Int8Array::from(values.concat());
    let item = Arc::new(Field::new("item", DataType::Int8, false));
    let features = FixedSizeListArray::try_new(item, channels, Arc::new(values), None)?;
    structs(
        vec![
            ("modality", text(tokens.iter().map(|t| t.modality.name()))),
            ("stream", text(tokens.iter().map(|t| &t.stream))),
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

fn text<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn floats(values: impl Iterator<Item = f32>) -> ArrayRef {
    Arc::new(Float32Array::from_iter_values(values))
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
