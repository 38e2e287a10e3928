//! The configurations that the demo gives to its edge and its cloud worker.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use toml::{Table, Value};

use super::run::{Arguments, Scene};
use crate::{config, edge};

/// How the rig of the scene `rig` moves.
pub const MOTION: &str = "testdata/imu.csv";

/// The rig of the scene `rig4`.
pub const FOUR: &str = "configs/rig4.toml";

/// The edge's configuration, also as a table, checked.
///
/// # Errors
/// A video or the recording is not there, or the model does not hear or feel.
pub fn edge(arguments: &Arguments, url: &str) -> Result<(edge::Config, Table)> {
    let table = match arguments.scene {
        Scene::Rig4 => four(arguments, url)?,
        Scene::Street | Scene::Rig => one(arguments, url)?,
    };
    let config: edge::Config = table.clone().try_into()?;
    config.check().map_err(|error| match arguments.scene {
        Scene::Rig4 => anyhow::Error::new(error)
            .context(format!("{FOUR}: run `make setup`, which makes its clips")),
        Scene::Street | Scene::Rig => error.into(),
    })?;
    config.check_model()?;
    Ok((config, table))
}

/// The rig of one camera.
fn one(arguments: &Arguments, url: &str) -> Result<Table> {
    let pace = pace(arguments);
    let clip = json!([{ "source": absolute(arguments.video())?, "pace": pace }]);
    let mut rig = json!({
        "rig": "demo",
        "model": absolute(&arguments.edge_model)?,
        "video": clip,
        "preview": {},
        "nats": { "url": url },
    });
    if arguments.scene == Scene::Rig {
        rig["audio"] = clip;
        // As fast as possible it would not wait for the clip: once is enough then.
        let motion = absolute(Path::new(MOTION))?;
        rig["sensor"] = json!([{ "source": motion, "pace": pace, "loop": !arguments.fast }]);
    }
    Ok(Table::try_from(rig)?)
}

/// The rig of four cameras, from its file.
fn four(arguments: &Arguments, url: &str) -> Result<Table> {
    ensure!(
        arguments.video.is_none(),
        "the scene rig4 has its videos from {FOUR}: leave out --video, or run a copy of that file with msao edge"
    );
    let mut rig: Table = config::load(Path::new(FOUR))?;
    let model = absolute(&arguments.edge_model)?;
    rig.insert("preview".into(), Value::Table(Table::new()));
    rig.insert("model".into(), model.into());
    rig.insert(
        "nats".into(),
        Table::try_from(json!({ "url": url }))?.into(),
    );
    for kind in ["video", "audio", "sensor"] {
        let streams = rig.get_mut(kind).and_then(Value::as_array_mut);
        for stream in streams
            .into_iter()
            .flatten()
            .filter_map(Value::as_table_mut)
        {
            stream.insert("pace".into(), pace(arguments).into());
            // As fast as possible it would not wait for the clips: once is enough then.
            if arguments.fast {
                stream.remove("loop");
            }
        }
    }
    Ok(rig)
}

fn pace(arguments: &Arguments) -> &'static str {
    if arguments.fast { "fast" } else { "realtime" }
}

/// The cloud worker's configuration.
///
/// # Errors
/// The model does not hear or feel.
pub fn cloud(arguments: &Arguments, url: &str) -> Result<Table> {
    let rig = arguments.scene != Scene::Street;
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

/// As a configuration names it.
pub(crate) fn absolute(path: &Path) -> Result<String> {
    let whole = std::path::absolute(path);
    let whole = whole.with_context(|| format!("{} has no absolute path", path.display()))?;
    let text = whole.to_str().with_context(|| {
        format!(
            "{} is not UTF-8, which a configuration is: rename it",
            whole.display()
        )
    })?;
    Ok(text.to_owned())
}
