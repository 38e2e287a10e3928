//! The configurations that the demo gives to its edge and its cloud worker.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use toml::Table;

use super::run::Arguments;
use crate::edge;

/// The rig's name.
pub const RIG: &str = "demo";

/// The edge's configuration, checked.
///
/// # Errors
/// The video is not there.
pub fn edge(arguments: &Arguments, url: &str) -> Result<Table> {
    let table = Table::try_from(json!({
        "rig": RIG,
        "model": absolute(&arguments.edge_model)?,
        "video": [{
            "source": absolute(&arguments.video)?,
            "pace": if arguments.fast { "fast" } else { "realtime" },
        }],
        "nats": { "url": url },
    }))?;
    let config: edge::Config = table.clone().try_into()?;
    config.check()?;
    Ok(table)
}

/// The cloud worker's configuration.
///
/// # Errors
/// The current folder is not known.
pub fn cloud(arguments: &Arguments, url: &str) -> Result<Table> {
    Ok(Table::try_from(json!({
        "model": absolute(&arguments.cloud_model)?,
        "worker": "demo",
        "agreement": arguments.agreement,
        "nats": { "url": url },
    }))?)
}

/// Writes `table` as `NAME.toml` into `folder`.
///
/// # Errors
/// The file cannot be written.
pub fn write(folder: &Path, name: &str, table: &Table) -> Result<PathBuf> {
    let path = folder.join(name).with_extension("toml");
    std::fs::write(&path, toml::to_string(table)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} has no absolute path", path.display()))
}
