//! The configurations that the demo gives to its edge and its cloud worker.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use toml::Table;

use super::run::{Arguments, Scene};
use crate::edge;

/// How the rig of the scene `rig` moves.
pub const MOTION: &str = "testdata/imu.csv";

/// The rig's name.
pub const RIG: &str = "demo";

/// The edge's configuration, checked.
///
/// # Errors
/// The video or the recording is not there, or the model does not hear or feel.
pub fn edge(arguments: &Arguments, url: &str) -> Result<Table> {
    let pace = if arguments.fast { "fast" } else { "realtime" };
    let clip = json!([{ "source": absolute(arguments.video())?, "pace": pace }]);
    let mut rig = json!({
        "rig": RIG,
        "model": absolute(&arguments.edge_model)?,
        "video": clip,
        "nats": { "url": url },
    });
    if arguments.scene == Scene::Rig {
        rig["audio"] = clip;
        // As fast as possible it would not wait for the clip: once is enough then.
        let motion = absolute(Path::new(MOTION))?;
        rig["sensor"] = json!([{ "source": motion, "pace": pace, "loop": !arguments.fast }]);
    }
    let table = Table::try_from(rig)?;
    let config: edge::Config = table.clone().try_into()?;
    config.check()?;
    config.check_model()?;
    Ok(table)
}

/// The cloud worker's configuration.
///
/// # Errors
/// The model does not hear or feel.
pub fn cloud(arguments: &Arguments, url: &str) -> Result<Table> {
    let rig = arguments.scene == Scene::Rig;
    edge::check_senses(&arguments.cloud_model, rig, rig)?;
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
