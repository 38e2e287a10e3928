//! Runs the pipeline, watches its bus, and says each second how the edge is.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use broker::connect::AtStart;
use broker::{Connection, Modality, status};
use clap::Args;
use futures::{FutureExt, StreamExt};
use gst::bus::BusStream;
use gst::prelude::*;
use tokio::sync::mpsc;

use super::ask;
use super::config::{Config, redacted};
use super::launch::{self, Stream};
use super::sources::Sources;
use super::stats::Reader;
use crate::trace::{self, Service};
use crate::{config, metrics, output, runtime, shutdown::StopOn};

const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the last status may take to be sent.
const LAST_WORD: Duration = Duration::from_secs(2);
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
/// The configuration cannot be used, an element fails, or a file has nothing to measure.
pub fn run(arguments: &Arguments) -> Result<()> {
    let config: Config = config::load(&arguments.config)?;
    config
        .check_but_files()
        .with_context(|| arguments.config.display().to_string())?;
    let line = launch::line(&config);
    if arguments.print_pipeline {
        return Ok(output::line(line)?);
    }
    config
        .check_model()
        .with_context(|| arguments.config.display().to_string())?;
    let rig = config.rig.to_string();
    let _tracing = trace::init(
        &config.otlp,
        &Service {
            name: "msao-edge",
            instance: &rig,
        },
    )?;
    mllm::runtime::init(None)?;
    if let Some(settings) = config.tensorrt.clone() {
        mllm::tensorrt::configure(settings)?;
    }
    crate::gst_log::init()?;
    gstmsao::plugin_register_static().context("the plugin msao cannot be registered")?;
    let pipeline = build(&config, &line)?;
    let runtime = runtime()?;
    let sources = Sources::watch(&config, &pipeline)?;
    // Before it starts: what is posted while the stream is made would be missed.
    let mut messages = pipeline.bus().context("the pipeline has no bus")?.stream();
    let done = runtime.block_on(async {
        let metrics = Arc::new(metrics::Edge::default());
        metrics::serve(&config.metrics, Arc::clone(&metrics)).await?;
        start(&config, &pipeline, &sources, &mut messages)?;
        play(
            &config,
            &pipeline,
            &sources,
            messages,
            &metrics,
            &arguments.stop,
        )
        .await
    });
    let stopped = pipeline.set_state(gst::State::Null);
    runtime.shutdown_background();
    let silent = done?;
    stopped.context("the pipeline does not stop")?;
    if !silent.is_empty() {
        bail!(
            "nothing to measure came from {}: is it a file that plays?",
            silent.join(", ")
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
    // Not a microphone's: time would stand still when that is gone.
    pipeline.use_clock(Some(&gst::SystemClock::obtain()));
    end_loops(config, &pipeline)?;
    Ok(pipeline)
}

/// Lets recordings that are replayed again and again end when all other streams have ended.
fn end_loops(config: &Config, pipeline: &gst::Pipeline) -> Result<()> {
    let loops =
        |stream: &Stream| stream.modality == Modality::Sensor && config.sensor[stream.index].again;
    let (endless, others): (Vec<_>, Vec<_>) = launch::streams(config).into_iter().partition(loops);
    let endless = endless
        .iter()
        .map(|stream| pipeline.by_name(&stream.source()));
    let endless: Vec<gst::Element> = endless.flatten().collect();
    if endless.is_empty() {
        return Ok(());
    }
    let window = pipeline
        .by_name(launch::WINDOW)
        .context("the pipeline has no window")?;
    let left = Arc::new(AtomicUsize::new(others.len()));
    for stream in others {
        let pad = window.static_pad(&stream.pad());
        let pad = pad.with_context(|| format!("the window has no pad {}", stream.pad()))?;
        let (left, endless) = (Arc::clone(&left), endless.clone());
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            let ended = info
                .event()
                .is_some_and(|event| event.type_() == gst::EventType::Eos);
            if ended && left.fetch_sub(1, Ordering::Relaxed) == 1 {
                for source in &endless {
                    source.call_async(|source| {
                        source.send_event(gst::event::Eos::new());
                    });
                }
            }
            gst::PadProbeReturn::Ok
        });
    }
    Ok(())
}

/// Starts the pipeline, without the sources that fail. Must be called within a tokio runtime.
fn start(
    config: &Config,
    pipeline: &gst::Pipeline,
    sources: &Sources,
    messages: &mut BusStream,
) -> Result<()> {
    for (stream, problem) in config.unreadable() {
        if !sources.lacks(stream, &format!("{problem:#}")) {
            return Err(problem);
        }
    }
    while pipeline.set_state(gst::State::Playing).is_err() {
        let mut failed = false;
        while let Some(Some(message)) = messages.next().now_or_never() {
            if message.type_() == gst::MessageType::Error {
                let fault = fault(config, &message);
                if !sources.take(&message, || fault.to_string()) {
                    return Err(fault);
                }
                failed = true;
            }
        }
        ensure!(failed, "the pipeline does not start");
    }
    Ok(())
}

/// Plays `pipeline`, which has started, to its end, or until it is told to stop, and gives the files of which nothing
/// was measured though they were played to their end.
async fn play(
    config: &Config,
    pipeline: &gst::Pipeline,
    sources: &Sources,
    mut messages: BusStream,
    metrics: &metrics::Edge,
    stop: &StopOn,
) -> Result<Vec<String>> {
    let mut stop = pin!(stop.wait()?);
    let connection = Connection::open(&config.nats, AtStart::KeepTrying).await?;
    let streams = launch::streams(config);
    let mut reader = Reader::new(config, pipeline.upcast_ref())?;
    tracing::info!(rig = %config.rig, streams = streams.len(), provider = reader.provider(), "captioning");
    let (drafted, windows) = mpsc::channel(1);
    let mut questions = pin!(ask::serve(config, pipeline, connection.clone(), windows));
    let mut drafts = 0_u64;
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let mut draining = false;
    let mut deadline = pin!(tokio::time::sleep(Duration::MAX));
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { bail!("the pipeline's bus closed") };
                match message.view() {
                    _ if sources.take(&message, || problem(config, &message).to_string()) => {}
                    gst::MessageView::Eos(_) => break,
                    gst::MessageView::Error(_) => return Err(problem(config, &message)),
                    gst::MessageView::Warning(warning) if warning.error().matches(gst::ParseError::DelayedLink) => {
                        return Err(problem(config, &message));
                    }
                    gst::MessageView::Warning(warning) => tracing::warn!("{}", warning.error()),
                    gst::MessageView::Element(element) if element.has_name("msao-draft") => {
                        drafts += 1;
                        if let Some(took) = element.structure().and_then(|draft| draft.get("time").ok()) {
                            metrics.drafted(Duration::from_nanos(took));
                        }
                        if drafts.is_multiple_of(config.ask.every) {
                            // Still busy with the prompts of a window before, it passes over this one.
                            let _ = drafted.try_send(());
                        }
                    }
                    gst::MessageView::Latency(_) => {
                        if let Err(error) = pipeline.recalculate_latency() {
                            tracing::warn!("latency: {error}");
                        }
                    }
                    _ => {}
                }
            }
            result = &mut questions => {
                result?;
                bail!("questions are not listened for any more");
            }
            _ = heartbeat.tick() => {
                reader.read(&sources.down());
                metrics.beat(reader.figures(pipeline.current_state() == gst::State::Playing));
                status::publish_edge(&connection, reader.status()).await?;
            }
            () = &mut stop, if !draining => {
                draining = true;
                sources.end();
                deadline.set(tokio::time::sleep(DRAIN));
                pipeline.send_event(gst::event::Eos::new());
            }
            () = &mut deadline, if draining => {
                tracing::error!("the streams did not end within {DRAIN:?}: what was not sent yet is lost");
                break;
            }
        }
    }
    reader.read(&sources.down());
    status::publish_edge(&connection, reader.status()).await?;
    // Without a server it would wait for one.
    let sent = tokio::time::timeout(LAST_WORD, connection.client().flush()).await;
    match sent {
        Ok(sent) => sent.context("the last status was not sent")?,
        Err(_) => tracing::warn!("the last status was not sent: NATS is not there"),
    }
    if draining {
        return Ok(Vec::new());
    }
    let down = sources.down();
    if !down.is_empty() {
        let down = down.iter().map(|(stream, problem)| {
            format!("{} ({problem})", redacted(config.source_of(*stream)))
        });
        bail!(
            "of the rig's streams some were given up: {}",
            down.collect::<Vec<_>>().join("; ")
        );
    }
    let silent = reader.silent();
    Ok(silent.filter_map(|stream| config.file_of(stream)).collect())
}

/// What a message of the bus says is wrong.
fn problem(config: &Config, message: &gst::Message) -> anyhow::Error {
    match message.view() {
        gst::MessageView::Warning(_) => anyhow!(
            "{} lacks a picture or a sound that [[video]] or [[audio]] names",
            source_of(config, message)
        ),
        _ => fault(config, message),
    }
}

/// What the source reads that a message comes from; all sources if it comes from none.
fn source_of(config: &Config, message: &gst::Message) -> String {
    stream_of(config, message).map_or_else(
        || config.sources(),
        |stream| redacted(config.source_of(stream)),
    )
}

/// The stream whose source a message comes from.
fn stream_of(config: &Config, message: &gst::Message) -> Option<Stream> {
    let path = message.src().map(|source| source.path_string().to_string());
    let path = path.unwrap_or_default();
    let within = |stream: &Stream| path.split(['/', ':']).any(|part| part == stream.source());
    launch::streams(config).into_iter().find(within)
}

/// An error message of the bus, naming the element and, where it is a source's, what it reads.
fn fault(config: &Config, message: &gst::Message) -> anyhow::Error {
    let gst::MessageView::Error(error) = message.view() else {
        return anyhow!("the pipeline failed");
    };
    let cause = error.error();
    let source = || source_of(config, message);
    if cause.matches(gst::StreamError::TypeNotFound)
        || cause.matches(gst::StreamError::WrongType)
        || cause.matches(gst::StreamError::Demux)
    {
        return anyhow!(
            "not a video or a sound that can be played: {} ({cause})",
            source()
        );
    }
    if cause.matches(gst::CoreError::MissingPlugin)
        || cause.matches(gst::StreamError::CodecNotFound)
    {
        let lacks = match stream_of(config, message) {
            Some(stream) if stream.modality == Modality::Audio => "sound",
            Some(_) => "picture",
            None => "picture or sound",
        };
        return anyhow!(
            "{} has no {lacks} that can be decoded, or the GStreamer plugin for it is not installed ({cause})",
            source()
        );
    }
    let element = message
        .src()
        .map(|source| source.path_string().to_string())
        .unwrap_or_default();
    let element = element
        .rsplit(['/', ':'])
        .next()
        .unwrap_or_default()
        .to_owned();
    tracing::debug!("{:?}", error.debug());
    anyhow!("{element}: {cause}")
}
