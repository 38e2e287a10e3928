//! Files of a model folder, each with a bound on its length.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use tokenizers::Tokenizer;

use crate::error::RESTORE;
use crate::{Error, Result};

/// Longest JSON file of sizes and names, in bytes.
pub(crate) const MOST_JSON: u64 = 1 << 20;
/// Longest tokenizer, in bytes: those of large vocabularies have some 10 MB.
const MOST_TOKENIZER: u64 = 64 << 20;

/// The tokenizer in a file. It neither pads nor truncates, whatever the file says: what is read is never cut in silence.
pub(crate) fn tokenizer(path: &Path) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::from_bytes(read(path, MOST_TOKENIZER)?)
        .map_err(|error| Error::broken(path, format!("is not a tokenizer: {error}")))?;
    let whole = tokenizer.with_padding(None).with_truncation(None);
    whole.map_err(|error| Error::broken(path, error.to_string()))?;
    Ok(tokenizer)
}

/// The bytes of a file that has at most so many.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(|error| Error::broken(path, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > most {
        return Err(Error::broken(path, format!("has more than {most} bytes")));
    }
    Ok(bytes)
}

pub(crate) fn parse_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let error = excerpt(&error.to_string());
        Error::file(path, format!("is not as expected: {error}"), RESTORE)
    })
}

/// The same, of what `problem` finds nothing wrong with.
pub(crate) fn parse_checked<T: DeserializeOwned, P: Into<String>>(
    path: &Path,
    bytes: &[u8],
    problem: impl FnOnce(&T) -> Option<P>,
) -> Result<T> {
    let value = parse_json(path, bytes)?;
    match problem(&value) {
        Some(problem) => Err(Error::broken(path, problem)),
        None => Ok(value),
    }
}

/// At most 200 characters of `text`, for an error message about text that others wrote.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(200).collect()
}
