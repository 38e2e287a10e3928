//! What a model says of its encoders.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{MOST_NAME, files};
use crate::{Error, Result};

/// Most sensor channels.
const MOST_CHANNELS: usize = 256;
/// Highest rate of sensors, in Hz.
const MOST_RATE: u32 = 100_000;

/// An encoder of hops, half seconds of sound or of sensor samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HopEncoder {
    /// Its identity. The hash is that of its one ONNX file.
    #[serde(flatten)]
    pub encoder: EncoderId,
    /// Token positions of a hop.
    pub tokens: usize,
    /// Columns of those positions, row by row: quarters of time, or halves.
    pub columns: usize,
    /// Most hops of a window that the model reads.
    pub hops: usize,
    /// Names of the sensor channels, in order; none for sound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Sensor samples a second; none for sound, which has [`SAMPLE_RATE`](crate::log_mel::SAMPLE_RATE).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
}

impl HopEncoder {
    pub(super) fn problem(&self) -> Option<String> {
        let sizes = [
            ("tokens", self.tokens),
            ("columns", self.columns),
            ("hops", self.hops),
        ];
        if let Some((key, size)) = sizes.iter().find(|(_, size)| !(1..=1 << 12).contains(size)) {
            return Some(format!("{key} is {size}, expected 1 to {}", 1 << 12));
        }
        if self.channels.len() > MOST_CHANNELS {
            return Some(format!(
                "channels has {} names, expected at most {MOST_CHANNELS}",
                self.channels.len()
            ));
        }
        if let Some(name) = self.channels.iter().find(|name| name.len() > MOST_NAME) {
            return Some(format!(
                "channels has a name of {} bytes, expected at most {MOST_NAME}",
                name.len()
            ));
        }
        if let Some(rate) = self.rate.filter(|rate| !(1..=MOST_RATE).contains(rate)) {
            return Some(format!("rate is {rate}, expected 1 to {MOST_RATE}"));
        }
        if let Some(problem) = self.encoder.problem() {
            return Some(problem);
        }
        if !self.tokens.is_multiple_of(self.columns) {
            return Some(format!(
                "tokens is {}, no multiple of columns, {}",
                self.tokens, self.columns
            ));
        }
        None
    }
}

/// Names an encoder: features and image tokens may be mixed only within one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EncoderId {
    /// Name and version.
    pub id: String,
    /// SHA-256, in lowercase hex, of the bytes of its files: for vision `vision_probe.onnx` followed by
    /// `vision_trunk.onnx`.
    pub sha256: String,
}

impl EncoderId {
    pub(super) fn problem(&self) -> Option<String> {
        let texts = [("id", &self.id), ("sha256", &self.sha256)];
        let (key, text) = texts.iter().find(|(_, text)| text.len() > MOST_NAME)?;
        Some(format!(
            "{key} has {} bytes, expected at most {MOST_NAME}",
            text.len()
        ))
    }

    /// Hashes the encoder's `names` in `folder` and compares with what its `config.json` says under `key`.
    ///
    /// # Errors
    /// [`Error::File`] if one is missing or they are not the ones that `config.json` names.
    pub(crate) fn check(&self, folder: &Path, key: &str, names: &[&str]) -> Result<()> {
        let mut hash = Sha256::new();
        for name in names {
            let path = folder.join(name);
            let unread = |error| Error::broken(&path, format!("cannot be read: {error}"));
            let mut file = File::open(&path).map_err(unread)?;
            io::copy(&mut file, &mut Hashed(&mut hash)).map_err(unread)?;
        }
        let found: String = (hash.finalize().iter())
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if found == self.sha256 {
            return Ok(());
        }
        let problem = format!(
            "{key}.sha256 is {}, but {} hash to {found}",
            self.sha256,
            names.join(" and ")
        );
        Err(Error::broken(&folder.join(files::CONFIG), problem))
    }
}

/// What a hash is made of, as it is read.
struct Hashed<'a>(&'a mut Sha256);

impl io::Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_encoder_is_the_one_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(files::PROBE), "a").unwrap();
        fs::write(folder.path().join(files::TRUNK), "bc").unwrap();
        let mut id = EncoderId {
            id: "e".into(),
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".into(),
        };
        let names = [files::PROBE, files::TRUNK];
        let check = |id: &EncoderId| id.check(folder.path(), "vision_encoder", &names);
        check(&id).unwrap();
        id.sha256 = "00".into();
        let error = check(&id).unwrap_err().to_string();
        assert!(
            error.contains("ba7816bf") && error.contains("config.json"),
            "{error}"
        );
        fs::remove_file(folder.path().join(files::TRUNK)).unwrap();
        let error = check(&id).unwrap_err().to_string();
        assert!(error.contains(files::TRUNK), "{error}");
    }
}
