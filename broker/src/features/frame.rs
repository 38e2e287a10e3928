//! The framing of an Arrow IPC stream, checked before Arrow decodes it: every length and offset
//! lies within the message, no two arrays share bytes, and only types that the schema uses occur, so
//! that hostile bytes can neither allocate without bound nor reach code that trusts its input.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::{
    FieldNode, Message, MessageHeader, convert::try_fb_to_schema, reader::RecordBatchDecoder,
    root_as_message_with_opts,
};
use arrow_schema::{DataType, Fields, Schema, SchemaRef};
use bytes::Bytes;
use flatbuffers::VerifierOptions;

use super::{END, Error, SCHEMA, SCHEMA_KEY};
use crate::limits;

const CONTINUATION: [u8; 4] = [0xff; 4];
/// Every buffer of an Arrow IPC message begins at a multiple of this.
const ALIGNMENT: i64 = 8;
/// Schemas of more bytes are not kept; ours has some 3,000.
const LONGEST_KEPT: usize = 16 * 1024;

/// The record batch of a stream that holds one schema, one batch and the end mark.
pub(super) fn read(bytes: &Bytes) -> Result<RecordBatch, Error> {
    bounded("the message", bytes.len(), limits::MESSAGE)?;
    let (header, rest) = frame(bytes)?;
    let schema = known_schema(header)?;

    let (header, body_and_rest) = frame(rest)?;
    let message = message(header)?;
    let body_len =
        usize::try_from(message.bodyLength()).map_err(|_| malformed("a negative body length"))?;
    let (body, rest) = body_and_rest
        .split_at_checked(body_len)
        .ok_or_else(|| malformed("the record batch is cut short"))?;
    let batch = batch(&message, schema, bytes.slice_ref(body))?;

    if rest != END {
        return Err(malformed(
            "the end mark is missing, or more follows the first record batch",
        ));
    }
    Ok(batch)
}

/// The schema's message and the record batch's, each with its frame, of a stream that [`read`] takes.
pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    read(&Bytes::copy_from_slice(bytes))?;
    let (_, rest) = frame(bytes)?;
    let (schema, rest) = bytes.split_at(bytes.len() - rest.len());
    let batch = rest.split_at_checked(rest.len().saturating_sub(END.len()));
    batch
        .map(|(batch, _)| (schema, batch))
        .ok_or_else(|| malformed("it is cut short"))
}

/// The length of the frame's header that begins with these bytes; 0 at the end of a stream.
pub(super) fn header_len(start: [u8; 8]) -> Result<usize, Error> {
    let [a, b, c, d, len @ ..] = start;
    if [a, b, c, d] != CONTINUATION {
        return Err(malformed("it is not an Arrow IPC stream"));
    }
    let len = u32::from_le_bytes(len) as usize;
    bounded("a message header", len, limits::ARROW_HEADER)?;
    Ok(len)
}

/// The length of the body that follows this header.
pub(super) fn body_len(header: &[u8]) -> Result<usize, Error> {
    let len = usize::try_from(message(header)?.bodyLength());
    let len = len.map_err(|_| malformed("a negative body length"))?;
    bounded("the message", len, limits::MESSAGE)?;
    Ok(len)
}

pub(super) fn malformed(reason: impl Into<String>) -> Error {
    Error::Malformed(reason.into())
}

fn bounded(what: &'static str, len: usize, max: usize) -> Result<(), Error> {
    limits::check(what, len, max).map_err(|error| malformed(error.to_string()))
}

/// A frame's flatbuffer and what follows it.
fn frame(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let cut = || malformed("it is cut short");
    let (mark, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    if *mark != CONTINUATION {
        return Err(malformed("it is not an Arrow IPC stream"));
    }
    match u32::from_le_bytes(*len) {
        0 => Err(malformed("the stream ends before its record batch")),
        len => {
            bounded("a message header", len as usize, limits::ARROW_HEADER)?;
            rest.split_at_checked(len as usize).ok_or_else(cut)
        }
    }
}

fn message(flatbuffer: &[u8]) -> Result<Message<'_>, Error> {
    // What is pointed at more than once is read as often: the sizes are those of what is read.
    let options = VerifierOptions {
        max_apparent_size: 4 * limits::ARROW_HEADER,
        ..VerifierOptions::default()
    };
    root_as_message_with_opts(&options, flatbuffer)
        .map_err(|_| malformed("a message header is corrupt"))
}

/// The schema in `header`. Windows of a rig have the same one: the last is kept, and read once.
fn known_schema(header: &[u8]) -> Result<SchemaRef, Error> {
    static LAST: Mutex<Option<(Vec<u8>, SchemaRef)>> = Mutex::new(None);
    let lock = || LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((bytes, schema)) = &*lock()
        && bytes == header
    {
        return Ok(Arc::clone(schema));
    }
    let schema = schema(&message(header)?)?;
    if header.len() <= LONGEST_KEPT {
        *lock() = Some((header.to_vec(), Arc::clone(&schema)));
    }
    Ok(schema)
}

fn schema(message: &Message<'_>) -> Result<SchemaRef, Error> {
    let table = message
        .header_as_schema()
        .ok_or_else(|| malformed("it does not begin with a schema"))?;
    if message.bodyLength() != 0 {
        return Err(malformed("its schema has a body"));
    }
    let schema: Schema = try_fb_to_schema(table)?;
    let version = schema
        .metadata()
        .get(SCHEMA_KEY)
        .ok_or_else(|| malformed("its schema has no msao.schema"))?;
    SCHEMA.check(version)?;
    match schema
        .fields()
        .iter()
        .find(|field| !allowed(field.data_type()))
    {
        Some(field) => Err(malformed(format!(
            "column '{}' has an unexpected type",
            field.name()
        ))),
        None => Ok(Arc::new(schema)),
    }
}

/// Types that may occur in any minor version.
fn allowed(data_type: &DataType) -> bool {
    use DataType::*;
    match data_type {
        Boolean | Utf8 | Binary | Timestamp(_, _) => true,
        Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float16 | Float32
        | Float64 => true,
        List(item) => allowed(item.data_type()),
        FixedSizeList(item, len) => *len > 0 && allowed(item.data_type()),
        Struct(fields) => {
            !fields.is_empty() && fields.iter().all(|field| allowed(field.data_type()))
        }
        _ => false,
    }
}

fn batch(message: &Message<'_>, schema: SchemaRef, body: Bytes) -> Result<RecordBatch, Error> {
    if message.header_type() != MessageHeader::RecordBatch {
        return Err(malformed("no record batch follows its schema"));
    }
    let table = message
        .header_as_record_batch()
        .ok_or_else(|| malformed("its record batch is corrupt"))?;
    if table.compression().is_some() {
        return Err(malformed("its record batch is compressed"));
    }
    Layout {
        nodes: table.nodes().into_iter().flatten(),
        buffers: table.buffers().into_iter().flatten(),
        body_len: body.len() as i64,
        taken: 0,
    }
    .check(schema.fields())?;
    if table.length() != 1 {
        return Err(malformed(format!("{} rows, expected one", table.length())));
    }
    let (body, dictionaries, version) = (Buffer::from(body), HashMap::new(), message.version());
    let decoder = RecordBatchDecoder::try_new(&body, table, schema, &dictionaries, &version)?;
    // The body lies where the connection put it: Arrow copies those of its numbers that are not aligned there.
    Ok(decoder.with_require_alignment(false).read_record_batch()?)
}

/// The arrays and buffers that a record batch claims to have, in the order of its columns.
struct Layout<N, B> {
    nodes: N,
    buffers: B,
    body_len: i64,
    /// Where the last buffer ends.
    taken: i64,
}

impl<'a, N, B> Layout<N, B>
where
    N: Iterator<Item = &'a FieldNode>,
    B: Iterator<Item = &'a arrow_ipc::Buffer>,
{
    fn check(&mut self, fields: &Fields) -> Result<(), Error> {
        fields
            .iter()
            .try_for_each(|field| self.array(field.data_type()))?;
        if self.nodes.next().is_some() || self.buffers.next().is_some() {
            return Err(malformed("its record batch holds more than its columns"));
        }
        Ok(())
    }

    fn array(&mut self, data_type: &DataType) -> Result<(), Error> {
        let node = self
            .nodes
            .next()
            .ok_or_else(|| malformed("its record batch lacks an array"))?;
        // A bit is the smallest thing that an array's length can count.
        let countable = 0..=self.body_len.saturating_mul(8);
        if !countable.contains(&node.length()) || !countable.contains(&node.null_count()) {
            return Err(malformed("an array is longer than the message"));
        }
        self.buffer(1)?;
        match data_type {
            // Arrow reads all of an offsets buffer as 32-bit numbers, and trusts that it holds no part of one.
            DataType::Utf8 | DataType::Binary => {
                self.buffer(4)?;
                self.buffer(1)
            }
            DataType::List(item) => {
                self.buffer(4)?;
                self.array(item.data_type())
            }
            DataType::FixedSizeList(item, _) => self.array(item.data_type()),
            DataType::Struct(fields) => fields
                .iter()
                .try_for_each(|field| self.array(field.data_type())),
            _ => self.buffer(1),
        }
    }

    /// The next buffer lies within the message, behind those before it, and holds whole items of `width` bytes.
    fn buffer(&mut self, width: i64) -> Result<(), Error> {
        let buffer = self
            .buffers
            .next()
            .ok_or_else(|| malformed("its record batch lacks a buffer"))?;
        let (offset, len) = (buffer.offset(), buffer.length());
        let outside = || malformed("a buffer lies outside the message");
        if offset < 0 || len < 0 || len % width != 0 {
            return Err(outside());
        }
        if len > 0 && offset % ALIGNMENT != 0 {
            return Err(malformed("a buffer is not aligned"));
        }
        let end = offset.checked_add(len).ok_or_else(outside)?;
        if end > self.body_len {
            return Err(outside());
        }
        // An empty one takes nothing, wherever it is said to be.
        if len > 0 {
            if offset < self.taken {
                return Err(malformed("two of its buffers share bytes"));
            }
            self.taken = end;
        }
        Ok(())
    }
}
