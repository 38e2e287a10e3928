//! Reading a TOML file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

/// Longest configuration, in bytes.
const MOST_BYTES: u64 = 256 * 1024;
/// Longest line of an error, in characters: TOML's show the line of the file.
const MOST_SHOWN: usize = 200;

/// The configuration in the file at `path`.
///
/// # Errors
/// The file cannot be read, is longer than 256 KiB, is not TOML, or has a key or value that is not known: the error names
/// the line.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = bytes(path)?;
    parse(&bytes).with_context(|| format!("{} is not a valid configuration", path.display()))
}

/// The text of the configuration at `path`.
///
/// # Errors
/// The file cannot be read, is longer than 256 KiB, or is not UTF-8.
pub fn text(path: &Path) -> Result<String> {
    let bytes = bytes(path)?;
    let text = utf8(&bytes).with_context(|| path.display().to_string())?;
    Ok(text.to_owned())
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read the configuration {}", path.display()))?;
    Ok(bytes)
}

/// The configuration in the bytes of a file.
///
/// # Errors
/// As for [`load`].
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let text = utf8(bytes)?;
    toml::from_str(text).map_err(|error| anyhow::anyhow!(shortened(&error.to_string())))
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    ensure!(
        bytes.len() as u64 <= MOST_BYTES,
        "it is longer than {MOST_BYTES} bytes: is this a configuration?"
    );
    std::str::from_utf8(bytes).context("it is not UTF-8: save it as UTF-8")
}

/// `text` with long lines cut.
pub fn shortened(text: &str) -> String {
    let line = |line: &str| match line.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    };
    let lines: Vec<String> = text.trim_end().lines().map(line).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[allow(dead_code)]
        rig: String,
    }

    fn fault(text: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let error = load::<Config>(file.path()).unwrap_err();
        assert!(
            format!("{error}").contains(&file.path().display().to_string()),
            "{error}"
        );
        format!("{error:#}")
    }

    #[test]
    fn a_file_that_never_ends_is_not_read_whole() {
        let error = format!("{:#}", load::<Config>(Path::new("/dev/zero")).unwrap_err());
        assert!(error.contains("longer than 262144 bytes"), "{error}");
    }

    #[test]
    fn a_mistake_in_a_long_line_has_a_short_error_with_its_place() {
        let error = fault(format!("rig = 'a'\nrog = '{}'", "x".repeat(100_000)).as_bytes());
        assert!(error.contains("line 2") && error.contains("rog"), "{error}");
        assert!(error.len() < 2000, "{} bytes", error.len());
        let error = fault(&[b'#', 0xff]);
        assert!(error.contains("not UTF-8"), "{error}");
        // Deep nesting is an error, not a full stack.
        let error = fault(format!("rig = {}", "[".repeat(100_000)).as_bytes());
        assert!(error.len() < 2000, "{} bytes", error.len());
    }
}
