//! `msao doctor`: what is installed, which provider runs, is NATS there; a mend for each fault.

use std::path::{Path, PathBuf};
use std::process::Command;

use anstyle::AnsiColor;
use anyhow::{Context, Result, bail};
use clap::Args;
use mllm::hf::{self, ChatModel, Variant};
use mllm::{CaptionModel, Error, Provider, Trunk, runtime::providers};

use crate::nats::Nats;
use crate::{output, runtime};

/// Options of `msao doctor`.
#[derive(Args)]
pub struct Arguments {
    /// Folder of the edge model.
    #[arg(
        long,
        env = "MSAO_MODEL_DIR",
        default_value = "testdata/models/msao-edge"
    )]
    edge_model: PathBuf,
    /// Folder of the full model, ours or one of pictures and text as exported for Hugging Face.
    #[arg(long, default_value = "testdata/models/msao-cloud")]
    cloud_model: PathBuf,
    /// Which files of a full model of pictures and text are opened, as in [chat].
    #[arg(long, default_value_t)]
    variant: Variant,
    /// What is to run the models.
    #[arg(long, default_value_t = Provider::Auto)]
    provider: Provider,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nats: Nats,
}

/// What is checked: a name, and what was found or what is wrong.
type Check = (&'static str, Result<String>);

/// Checks everything and prints a line for each.
///
/// # Errors
/// Something is wrong: the program then exits with 1.
pub fn run(arguments: &Arguments) -> Result<()> {
    let checks = checks(arguments)?;
    let faults = checks.iter().filter(|(_, found)| found.is_err()).count();
    if arguments.json {
        output::line(report(&checks))?;
    }
    for (name, found) in checks.into_iter().filter(|_| !arguments.json) {
        match found {
            Ok(found) => {
                let style = AnsiColor::Green.on_default();
                output::line(format!("{style}ok   {style:#}  {name:<12} {found}"))?;
            }
            Err(error) => {
                let style = AnsiColor::Red.on_default();
                output::line(format!("{style}fault{style:#}  {name:<12} {error:#}"))?;
            }
        }
    }
    if faults > 0 {
        bail!("{faults} of the checks found a fault");
    }
    Ok(())
}

/// The checks as JSON.
fn report(checks: &[Check]) -> serde_json::Value {
    let object = |(name, found): &Check| match found {
        Ok(found) => serde_json::json!({ "name": name, "ok": true, "found": found }),
        Err(error) => {
            serde_json::json!({ "name": name, "ok": false, "fault": format!("{error:#}") })
        }
    };
    let ok = checks.iter().all(|(_, found)| found.is_ok());
    let checks: Vec<_> = checks.iter().map(object).collect();
    serde_json::json!({ "ok": ok, "checks": checks })
}

fn checks(arguments: &Arguments) -> Result<Vec<Check>> {
    let provider = arguments.provider;
    let mut checks = vec![
        ("ONNX Runtime", onnx_runtime()),
        ("edge model", model(&arguments.edge_model, provider)),
        ("full model", full_model(arguments)),
        ("provider", running(&arguments.edge_model, provider)),
    ];
    #[cfg(feature = "edge")]
    checks.push(("GStreamer", gstreamer()));
    checks.push(("nats-server", nats_server()));
    checks.push(("NATS", runtime()?.block_on(nats(&arguments.nats))));
    Ok(checks)
}

fn onnx_runtime() -> Result<String> {
    let runtime = mllm::runtime::init(None)?;
    Ok(format!(
        "{} ({})",
        runtime.library().display(),
        runtime.build_info()
    ))
}

fn model(folder: &Path, provider: Provider) -> Result<String> {
    let model = CaptionModel::load(folder, provider)?;
    let (name, provider) = (&model.config().name, providers());
    Ok(format!("{name} on {provider} ({})", folder.display()))
}

fn full_model(arguments: &Arguments) -> Result<String> {
    let Arguments {
        cloud_model: folder,
        provider,
        variant,
        ..
    } = arguments;
    if !hf::is_known(folder) {
        return model(folder, *provider);
    }
    let model = ChatModel::load(folder, *variant, *provider)?;
    let (kind, runs) = (model.architecture(), model.provider());
    let alone = match model.batches() {
        true => "",
        false => ", windows one by one: its decoder looks at padding",
    };
    Ok(format!(
        "{kind}, {variant} on {runs}{alone} ({})",
        folder.display()
    ))
}

/// What runs a network of the model in `folder`, and why nothing faster does.
fn running(folder: &Path, asked: Provider) -> Result<String> {
    let runs = Trunk::load(folder, asked)?.provider();
    let mut found = runs.to_string();
    for faster in [Provider::TensorRt, Provider::Cuda] {
        let Err(Error::Provider { reason, .. }) = Trunk::load(folder, faster) else {
            continue;
        };
        let reason = reason.lines().next().unwrap_or_default();
        found += &format!("; not {faster}: {reason}");
    }
    Ok(found)
}

/// GStreamer, and the elements that decode and caption a file.
#[cfg(feature = "edge")]
fn gstreamer() -> Result<String> {
    crate::gst_log::init().context("GStreamer does not start: run `make setup`")?;
    gstmsao::plugin_register_static().context("the plugin msao cannot be registered")?;
    let needed = [
        "decodebin",
        "videoconvert",
        "avdec_h264",
        "avdec_mpeg4",
        "avdec_aac",
        "audioconvert",
        "videoconvertscale",
        "videorate",
        "jpegenc",
        "msaovideomas",
        "msaoaudiomas",
        "msaosensorsrc",
        "msaosensormas",
        "msaogate",
        "msaowindow",
        "msaodraft",
        "msaonatssink",
    ];
    let missing: Vec<_> = needed
        .into_iter()
        .filter(|name| gst::ElementFactory::find(name).is_none())
        .collect();
    if !missing.is_empty() {
        bail!(
            "elements are missing: {}; run `make setup`, or install GStreamer's base, good and libav plugins",
            missing.join(", ")
        );
    }
    Ok(gst::version_string().to_string())
}

fn nats_server() -> Result<String> {
    let binary = crate::nats_server::binary();
    let output = Command::new(&binary).arg("--version").output();
    let output = output.with_context(|| {
        format!(
            "cannot run {}: run `make setup` (only the demo needs it)",
            binary.display()
        )
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

async fn nats(nats: &Nats) -> Result<String> {
    let connection = nats.connect().await?;
    Ok(format!(
        "{} answers, messages up to {} KiB",
        connection.url(),
        connection.max_payload() / 1024
    ))
}
