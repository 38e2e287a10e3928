//! Runs the pipeline, watches its bus, and says each second how the edge is.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use broker::connect::AtStart;
use broker::{Connection, Status, status};
use clap::Args;
use futures::StreamExt;
use gst::prelude::*;

use super::config::Config;
use super::{launch, stats::Reader};
use crate::{config, output, runtime, shutdown::StopOn};

const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the end of the stream may take once the edge is told to stop.
const DRAIN: Duration = Duration::from_secs(8);

/// Options of `msao edge`.
#[derive(Args)]
pub struct Arguments {
    /// TOML file of the rig; configs/edge.toml is one to start from.
    #[arg(long)]
    config: PathBuf,
    /// Print the pipeline as a line for gst-launch-1.0, and stop.
    #[arg(long)]
    print_pipeline: bool,
    #[command(flatten)]
    stop: StopOn,
}

/// Runs an edge until its streams end or it is stopped.
///
/// # Errors
/// The configuration cannot be used, an element fails, or a video has no frames.
pub fn run(arguments: &Arguments) -> Result<()> {
    let config: Config = config::load(&arguments.config)?;
    config
        .check()
        .with_context(|| arguments.config.display().to_string())?;
    let line = launch::line(&config);
    if arguments.print_pipeline {
        return Ok(output::line(line)?);
    }
    mllm::runtime::init(None)?;
    gst::init()?;
    gstmsao::plugin_register_static().context("the plugin msao cannot be registered")?;
    let pipeline = build(&config, &line)?;
    let runtime = runtime()?;
    let done = start(&config, &pipeline)
        .and_then(|()| runtime.block_on(play(&config, &pipeline, &arguments.stop)));
    let stopped = pipeline.set_state(gst::State::Null);
    runtime.shutdown_background();
    let frames = done?.frames_in;
    stopped.context("the pipeline does not stop")?;
    if frames == 0 {
        let sources: Vec<_> = config
            .video
            .iter()
            .map(|video| video.source.as_str())
            .collect();
        bail!(
            "no video frame came from {}: is it a video that plays?",
            sources.join(", ")
        );
    }
    Ok(())
}

fn build(config: &Config, line: &str) -> Result<gst::Pipeline> {
    let pipeline = gst::parse::launch(line)
        .with_context(|| format!("GStreamer cannot build the pipeline: {line}"))?;
    let pipeline = pipeline
        .downcast::<gst::Pipeline>()
        .map_err(|_| anyhow!("the line is no pipeline: {line}"))?;
    let sink = pipeline
        .by_name(launch::SINK)
        .context("the pipeline has no sink")?;
    for (property, secret) in [
        ("password", &config.nats.password),
        ("token", &config.nats.token),
    ] {
        if let Some(secret) = secret {
            sink.set_property(property, secret.expose());
        }
    }
    Ok(pipeline)
}

fn start(config: &Config, pipeline: &gst::Pipeline) -> Result<()> {
    if pipeline.set_state(gst::State::Playing).is_ok() {
        return Ok(());
    }
    let error = pipeline
        .bus()
        .and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    Err(error.map_or_else(
        || anyhow!("the pipeline does not start"),
        |message| fault(config, &message),
    ))
}

/// Plays `pipeline`, which has started, to its end, or until it is told to stop, and gives the last status.
async fn play(config: &Config, pipeline: &gst::Pipeline, stop: &StopOn) -> Result<Status> {
    let mut stop = pin!(stop.wait()?);
    let mut messages = pipeline.bus().context("the pipeline has no bus")?.stream();
    let connection = Connection::open(&config.nats, AtStart::KeepTrying).await?;
    let mut reader = Reader::new(
        pipeline.upcast_ref(),
        config.video.len(),
        config.rig.clone(),
    )?;
    tracing::info!(rig = %config.rig, cameras = config.video.len(), provider = reader.read().provider, "captioning");
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let mut draining = false;
    let mut deadline = pin!(tokio::time::sleep(Duration::MAX));
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { bail!("the pipeline's bus closed") };
                match message.view() {
                    gst::MessageView::Eos(_) => break,
                    gst::MessageView::Error(_) => return Err(fault(config, &message)),
                    gst::MessageView::Warning(warning) => tracing::warn!("{}", warning.error()),
                    gst::MessageView::Latency(_) => {
                        if let Err(error) = pipeline.recalculate_latency() {
                            tracing::warn!("latency: {error}");
                        }
                    }
                    _ => {}
                }
            }
            _ = heartbeat.tick() => status::publish_edge(&connection, reader.read()).await?,
            () = &mut stop, if !draining => {
                draining = true;
                deadline.set(tokio::time::sleep(DRAIN));
                pipeline.send_event(gst::event::Eos::new());
            }
            () = &mut deadline, if draining => {
                tracing::error!("the streams did not end within {DRAIN:?}: what was not sent yet is lost");
                break;
            }
        }
    }
    let last = reader.read().clone();
    status::publish_edge(&connection, &last).await?;
    connection
        .client()
        .flush()
        .await
        .context("the last status was not sent")?;
    Ok(last)
}

/// An error message of the bus, naming the element and, where it is a source's, what it reads.
fn fault(config: &Config, message: &gst::Message) -> anyhow::Error {
    let gst::MessageView::Error(error) = message.view() else {
        return anyhow!("the pipeline failed");
    };
    let cause = error.error();
    let sources = || {
        config
            .video
            .iter()
            .map(|video| video.source.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if cause.matches(gst::StreamError::TypeNotFound)
        || cause.matches(gst::StreamError::WrongType)
        || cause.matches(gst::StreamError::Demux)
    {
        return anyhow!("not a video that can be played: {} ({cause})", sources());
    }
    if cause.matches(gst::CoreError::MissingPlugin)
        || cause.matches(gst::StreamError::CodecNotFound)
    {
        return anyhow!(
            "{}: {cause}: install the GStreamer plugin that decodes it",
            sources()
        );
    }
    let element = message
        .src()
        .map(|source| source.path_string().to_string())
        .unwrap_or_default();
    let element = element.rsplit('/').next().unwrap_or_default().to_owned();
    tracing::debug!("{:?}", error.debug());
    anyhow!("{element}: {cause}")
}
