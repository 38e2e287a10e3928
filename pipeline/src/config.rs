//! Reading a TOML file.

use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

/// The configuration in the file at `path`.
///
/// # Errors
/// The file cannot be read, is not TOML, or has a key or value that is not known: the error names the line.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    toml::from_str(&text)
        .with_context(|| format!("{} is not a valid configuration", path.display()))
}
