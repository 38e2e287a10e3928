//! Files of a model folder, each with a bound on its length.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::RESTORE;
use crate::{Error, Result};

/// Longest JSON file of sizes and names, in bytes.
pub(crate) const MOST_JSON: u64 = 1 << 20;
/// Longest tokenizer, in bytes: those of large vocabularies have some 10 MB.
const MOST_TOKENIZER: u64 = 64 << 20;

/// The bytes of a tokenizer's file.
pub(crate) fn read_tokenizer(path: &Path) -> Result<Vec<u8>> {
    read(path, MOST_TOKENIZER)
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

/// At most 200 characters of `text`, for an error message about text that others wrote.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(200).collect()
}
