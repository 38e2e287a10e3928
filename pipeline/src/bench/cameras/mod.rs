//! `msao bench cameras`: CPU time of a camera's pipeline with and without our elements, so that decoding is seen apart.

mod clips;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use gst::prelude::*;
use serde::Serialize;
use serde_json::json;

use self::clips::Scene;
use crate::output;

/// Options of `msao bench cameras`.
#[derive(Args)]
pub struct Arguments {
    /// Folder of the sample videos.
    #[arg(long, default_value = ".cache/media")]
    media: PathBuf,
    /// Where clips are kept.
    #[arg(long, default_value = ".cache/cameras")]
    work: PathBuf,
    /// The edge model's folder.
    #[arg(
        long,
        env = "MSAO_MODEL_DIR",
        default_value = "testdata/models/msao-edge"
    )]
    model: PathBuf,
    /// Frames of a clip at most.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(30..=18_000))]
    frames: u32,
    /// Times that each pipeline runs; they take turns, and the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Heights of the pictures, with commas between them.
    #[arg(long, value_delimiter = ',', default_value = "720,1080", value_parser = clap::value_parser!(u32).range(90..=2160))]
    heights: Vec<u32>,
    /// Where results.json goes.
    #[arg(long, default_value = "target/bench-cameras")]
    out: PathBuf,
}

/// Frames a second.
const RATE: u32 = 30;
/// How much more CPU time than decoding alone a normal scene may take.
const BAR: f64 = 0.25;

/// The elements as `msao edge` has them.
const EDGE: &str = "T0, T1 as in msao edge";
/// What comes after the decoder.
const WAYS: [(&str, &str); 4] = [
    ("nothing", ""),
    (
        "T0",
        "msaovideomas name=mas t0-threshold=1 heartbeat=18446744073709551614 ! msaogate mark-sent=true !",
    ),
    (
        EDGE,
        "msaovideomas name=mas probe-interval=250000000 ! msaogate min-interval=250000000 mark-sent=true !",
    ),
    (
        "T0, T1 on whatever changes",
        "msaovideomas name=mas ! msaogate mark-sent=true !",
    ),
];

/// One scene, one way.
#[derive(Serialize)]
struct Cost {
    scene: Scene,
    height: u32,
    way: &'static str,
    elements: &'static str,
    /// CPU time of the process, user and system, ms a frame: the median of the rounds.
    ms: f64,
    /// What that is above 1 of the time of decoding alone.
    more: f64,
    /// Share of the frames that the probe ran on.
    probed: f64,
}

/// Runs the benchmark.
///
/// # Errors
/// A sample video, an element or the model is missing.
pub fn run_all(arguments: &Arguments) -> Result<()> {
    crate::gst_log::init()?;
    gstmsao::plugin_register_static()?;
    std::fs::create_dir_all(&arguments.work)
        .with_context(|| format!("cannot make {}", arguments.work.display()))?;
    let before = load();
    let mut costs = Vec::new();
    for &height in &arguments.heights {
        let size = (height * 16 / 9 / 2 * 2, height);
        for scene in Scene::ALL {
            let clip = scene.clip(&arguments.media, &arguments.work, size, arguments.frames)?;
            costs.extend(of_scene(arguments, scene, height, &clip)?);
        }
    }
    output::line(table(&costs))?;
    output::line(format!(
        "load of the machine: {before} before, {} after\n\nbars",
        load()
    ))?;
    for cost in costs
        .iter()
        .filter(|cost| matches!(cost.scene, Scene::Normal) && !cost.elements.is_empty())
    {
        let met = if cost.more <= BAR { "met" } else { "MISSED" };
        output::line(format!(
            "  {met}: {} on a normal scene at {}p takes {:+.1} % of CPU time against decoding alone; at most {:+.0} %",
            cost.way,
            cost.height,
            cost.more * 100.0,
            BAR * 100.0
        ))?;
    }
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot make {}", arguments.out.display()))?;
    let path = arguments.out.join("results.json");
    let results = json!({"frames_a_second": RATE, "rounds": arguments.rounds, "costs": costs});
    std::fs::write(&path, serde_json::to_string_pretty(&results)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    output::line(format!("\nresults: {}", path.display()))?;
    Ok(())
}

/// All ways in turn, so that what else the machine does falls on all.
fn of_scene(arguments: &Arguments, scene: Scene, height: u32, clip: &Path) -> Result<Vec<Cost>> {
    let mut runs = WAYS.map(|_| Vec::new());
    for _ in 0..arguments.rounds {
        for ((_, elements), runs) in WAYS.iter().zip(&mut runs) {
            runs.push(run(clip, elements, &arguments.model)?);
        }
    }
    let mut costs: Vec<Cost> = Vec::new();
    for ((way, elements), mut runs) in WAYS.into_iter().zip(runs) {
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (ms, probed) = runs[runs.len() / 2];
        let alone = costs.first().map_or(ms, |decode| decode.ms);
        let more = ms / alone - 1.0;
        costs.push(Cost {
            scene,
            height,
            way,
            elements,
            ms,
            more,
            probed,
        });
    }
    Ok(costs)
}

/// CPU time in ms a frame, and the share of frames that the probe ran on.
fn run(clip: &Path, elements: &str, model: &Path) -> Result<(f64, f64)> {
    let line = format!(
        "filesrc name=file ! matroskademux ! h264parse ! avdec_h264 name=decoder max-threads=1 ! \
         {elements} fakesink sync=false"
    );
    let pipeline = launch(&line)?;
    let element = |name| pipeline.by_name(name).context("an element of the line");
    element("file")?.set_property("location", text(clip)?);
    let mas = pipeline.by_name("mas");
    if let Some(mas) = &mas {
        mas.set_property("model", text(model)?);
    }
    // Frames are counted as they are decoded: the gate lets few through.
    let frames = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&frames);
    let pad = element("decoder")?.static_pad("src").context("a pad")?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        seen.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    // What it takes to load the model and to show the first frame is left out.
    let paused = pipeline.set_state(gst::State::Paused);
    let paused = paused.and_then(|_| pipeline.state(gst::ClockTime::from_seconds(60)).0);
    if let Err(error) = paused {
        let told = first_error(&pipeline);
        pipeline.set_state(gst::State::Null)?;
        return Err(told.unwrap_or_else(|| error.into()));
    }
    let (begun, shown) = (cpu(), frames.load(Ordering::Relaxed));
    wait_for_end(&pipeline)?;
    let took = cpu() - begun;
    let counted = frames.load(Ordering::Relaxed) - shown;
    ensure!(counted > 0, "{} holds no frames", clip.display());
    let probed = mas.map_or(0, |mas| {
        let stats = mas.property::<gst::Structure>("stats");
        stats.get::<u64>("probed").unwrap_or(0)
    });
    pipeline.set_state(gst::State::Null)?;
    let frames = counted as f64;
    Ok((took.as_secs_f64() * 1e3 / frames, probed as f64 / frames))
}

/// CPU time of this process by now, user and system.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

fn launch(line: &str) -> Result<gst::Pipeline> {
    let pipeline = gst::parse::launch(line)?.downcast::<gst::Pipeline>();
    pipeline.map_err(|_| anyhow!("the line is no pipeline"))
}

/// Plays it to its end.
fn wait_for_end(pipeline: &gst::Pipeline) -> Result<()> {
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().context("a bus")?;
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &kinds);
    message.and_then(error_of).map_or(Ok(()), Err)
}

/// The first error that waits on the bus.
fn first_error(pipeline: &gst::Pipeline) -> Option<anyhow::Error> {
    error_of(pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?)
}

fn error_of(message: gst::Message) -> Option<anyhow::Error> {
    match message.view() {
        gst::MessageView::Error(error) => Some(anyhow!("{}", error.error())),
        _ => None,
    }
}

/// Load of the machine in the last minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

fn table(costs: &[Cost]) -> String {
    let mut table = "| scene | after the decoder | frames probed | CPU a frame | more than decoding | cameras a core |\n\
                     | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for cost in costs {
        let scene = format!("{:?}", cost.scene).to_lowercase();
        table += &format!(
            "| {scene}, {}p{RATE} | {} | {:.0} % | {:.2} ms | {:+.0} % | {:.1} |\n",
            cost.height,
            cost.way,
            cost.probed * 100.0,
            cost.ms,
            cost.more * 100.0,
            1000.0 / f64::from(RATE) / cost.ms,
        );
    }
    table
}
