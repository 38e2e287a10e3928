//! An Arrow IPC stream of one row to a window. Columns go by name; unknown ones are ignored.

use std::{any::type_name, fmt::Display, str::FromStr, sync::Arc};

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, FixedSizeListArray, Float32Array, Int8Array,
    ListArray, PrimitiveArray, RecordBatch, StringArray, StructArray,
    types::{TimestampNanosecondType, UInt16Type, UInt32Type, UInt64Type},
};
use arrow_schema::DataType;
use bytes::Bytes;

use super::{DraftReport, Error, FeatureWindow, ModalityReport, Token, frame};
use crate::{
    identity::{WindowId, parse_epoch},
    limits,
};

pub(super) fn decode(bytes: &Bytes) -> Result<FeatureWindow, Error> {
    let batch = frame::read(bytes)?;
    let row = Columns {
        prefix: "",
        parent: &batch,
    };
    let epoch = row.text("epoch")?.value(0);
    let tokens = row.list("tokens", limits::TOKENS)?;
    Ok(FeatureWindow {
        id: WindowId {
            rig: parse("rig", row.text("rig")?.value(0))?,
            epoch: parse_epoch(epoch)
                .ok_or_else(|| Error::Malformed("column 'epoch' is not a ULID".to_owned()))?,
            seq: row.number::<UInt64Type>("seq")?,
        },
        start_utc_ns: row.number::<TimestampNanosecondType>("start_utc")?,
        end_utc_ns: row.number::<TimestampNanosecondType>("end_utc")?,
        start_running_ns: row.number::<UInt64Type>("start_running_ns")?,
        end_running_ns: row.number::<UInt64Type>("end_running_ns")?,
        prompt: row.text("prompt")?.value(0).to_owned(),
        decision: parse("decision", row.text("decision")?.value(0))?,
        plan: row.optional_text("plan")?,
        modalities: modalities(&row.list("modalities", limits::STREAMS)?)?,
        draft: draft(row.array::<StructArray>("draft")?)?,
        tokens: self::tokens(&tokens)?,
        keyframe: row.bytes("keyframe")?,
        tokens_possible: row.number::<UInt32Type>("tokens_possible")?,
        frames_in: row.number::<UInt32Type>("frames_in")?,
        frames_kept: row.number::<UInt32Type>("frames_kept")?,
        flags: strings("flags", &row.list("flags", limits::FLAGS)?)?,
        closed_utc_ns: row.number::<TimestampNanosecondType>("closed_utc")?,
        drafted_utc_ns: row.number::<TimestampNanosecondType>("drafted_utc")?,
    })
}

fn modalities(reports: &ArrayRef) -> Result<Vec<ModalityReport>, Error> {
    let columns = Columns {
        prefix: "modalities.",
        parent: cast::<StructArray>("modalities", reports)?,
    };
    let (modality, stream) = (columns.text("modality")?, columns.text("stream")?);
    let share = |name| columns.array::<Float32Array>(name);
    let (rho, gamma, beta, mas) = (
        share("rho")?,
        share("gamma")?,
        share("beta")?,
        share("mas")?,
    );
    let (encoder, sha256) = (columns.text("encoder")?, columns.text("encoder_sha256")?);
    (0..reports.len())
        .map(|i| {
            Ok(ModalityReport {
                modality: parse("modalities.modality", modality.value(i))?,
                stream: stream.value(i).to_owned(),
                rho: rho.value(i),
                gamma: gamma.value(i),
                beta: beta.value(i),
                mas: mas.value(i),
                encoder: encoder.value(i).to_owned(),
                encoder_sha256: sha256.value(i).to_owned(),
            })
        })
        .collect()
}

fn draft(draft: &StructArray) -> Result<Option<DraftReport>, Error> {
    if draft.is_null(0) {
        return Ok(None);
    }
    let columns = Columns {
        prefix: "draft.",
        parent: draft,
    };
    let token_ids = columns.list("token_ids", limits::DRAFT_TOKENS)?;
    let logprobs = columns.list("logprobs", limits::DRAFT_TOKENS + 1)?;
    Ok(Some(DraftReport {
        text: columns.text("text")?.value(0).to_owned(),
        token_ids: cast::<PrimitiveArray<UInt32Type>>("draft.token_ids", &token_ids)?
            .values()
            .to_vec(),
        logprobs: cast::<Float32Array>("draft.logprobs", &logprobs)?
            .values()
            .to_vec(),
        confidence: columns.array::<Float32Array>("confidence")?.value(0),
        model: columns.text("model")?.value(0).to_owned(),
    }))
}

fn tokens(tokens: &ArrayRef) -> Result<Vec<Token>, Error> {
    let columns = Columns {
        prefix: "tokens.",
        parent: cast::<StructArray>("tokens", tokens)?,
    };
    let (modality, stream) = (columns.text("modality")?, columns.text("stream")?);
    let place = |name| columns.array::<PrimitiveArray<UInt16Type>>(name);
    let (t, y, x) = (place("t")?, place("y")?, place("x")?);
    let importance = columns.array::<Float32Array>("importance")?;
    let scale = columns.array::<Float32Array>("scale")?;
    let features = columns.array::<FixedSizeListArray>("feature")?;
    let channels = features.value_length() as usize;
    let values = cast::<Int8Array>("tokens.feature", features.values())?.values();
    let mut decoded: Vec<Token> = Vec::with_capacity(tokens.len());
    for i in 0..tokens.len() {
        let start = i * channels;
        if values.len() < start + channels {
            let short = "column 'tokens.feature' is short".to_owned();
            return Err(Error::Malformed(short));
        }
        // Tokens of a stream come together.
        let before = decoded.last();
        let modality = match before.filter(|token| token.modality.name() == modality.value(i)) {
            Some(token) => token.modality,
            None => parse("tokens.modality", modality.value(i))?,
        };
        let stream = match before.filter(|token| &*token.stream == stream.value(i)) {
            Some(token) => Arc::clone(&token.stream),
            None => stream.value(i).into(),
        };
        decoded.push(Token {
            modality,
            stream,
            t: t.value(i),
            y: y.value(i),
            x: x.value(i),
            importance: importance.value(i),
            scale: scale.value(i),
            feature: values.slice(start, channels),
        });
    }
    Ok(decoded)
}

fn strings(name: &str, values: &ArrayRef) -> Result<Vec<String>, Error> {
    let values = cast::<StringArray>(name, values)?;
    Ok((0..values.len())
        .map(|i| values.value(i).to_owned())
        .collect())
}

/// Where columns are looked up by name.
trait Parent {
    fn column(&self, name: &str) -> Option<&ArrayRef>;
}

impl Parent for RecordBatch {
    fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.column_by_name(name)
    }
}

impl Parent for StructArray {
    fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.column_by_name(name)
    }
}

/// Columns of a record batch or a struct; every getter checks presence, type and nulls.
struct Columns<'a, P> {
    prefix: &'static str,
    parent: &'a P,
}

impl<'a, P: Parent> Columns<'a, P> {
    fn array<A: Array + 'static>(&self, name: &str) -> Result<&'a A, Error> {
        let wrong = |what| Error::Malformed(format!("column '{}{name}' {what}", self.prefix));
        let column = self.parent.column(name);
        let column = column.ok_or_else(|| wrong("is missing"))?;
        if column.null_count() > 0 && !matches!(column.data_type(), DataType::Struct(_)) {
            return Err(wrong("holds nulls"));
        }
        cast(format_args!("{}{name}", self.prefix), column)
    }

    fn text(&self, name: &str) -> Result<&'a StringArray, Error> {
        self.array(name)
    }

    /// A text that may be null, and in older minors has no column.
    fn optional_text(&self, name: &str) -> Result<Option<String>, Error> {
        let Some(column) = self.parent.column(name) else {
            return Ok(None);
        };
        let values: &StringArray = cast(name, column)?;
        Ok((!values.is_null(0)).then(|| values.value(0).to_owned()))
    }

    /// Bytes that may be null, and in older minors have no column.
    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(column) = self.parent.column(name) else {
            return Ok(None);
        };
        let values: &BinaryArray = cast(name, column)?;
        Ok((!values.is_null(0)).then(|| values.value(0).to_vec()))
    }

    fn number<T: ArrowPrimitiveType>(&self, name: &str) -> Result<T::Native, Error> {
        Ok(self.array::<PrimitiveArray<T>>(name)?.value(0))
    }

    /// The items of the list in the one row, at most `max`.
    fn list(&self, name: &'static str, max: usize) -> Result<ArrayRef, Error> {
        let items = self.array::<ListArray>(name)?.value(0);
        limits::check(name, items.len(), max)
            .map_err(|error| Error::Malformed(format!("column {}{error}", self.prefix)))?;
        if items.null_count() > 0 {
            return Err(Error::Malformed(format!(
                "column '{}{name}' holds null items",
                self.prefix
            )));
        }
        Ok(items)
    }
}

fn cast<A: Array + 'static>(name: impl Display, array: &ArrayRef) -> Result<&A, Error> {
    array.as_any().downcast_ref().ok_or_else(|| {
        let expected = type_name::<A>().rsplit("::").next().unwrap_or_default();
        Error::Malformed(format!(
            "column '{name}' has type {}, expected {expected}",
            array.data_type()
        ))
    })
}

fn parse<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, Error> {
    text.parse()
        .map_err(|error: T::Err| Error::Malformed(format!("column '{name}': {error}")))
}
