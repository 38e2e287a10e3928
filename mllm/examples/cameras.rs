//! How many cameras one machine keeps up with: probes at a pace, and now and then an image's tokens and a draft.
//!
//! ```text
//! cargo run --release -p mllm --example cameras -- --provider cuda --edge testdata/models/msao-edge --cameras 16,32,64 PICTURE ...
//! ```
//!
//! Each camera is a thread that shows a picture of 768 x 576 to the probe when it is due; all share one probe. What is to be
//! drafted goes to the first drafter that is free, each with a trunk and a draft model of its own, which reads all tokens.
//! Latency counts from when the picture was due; a camera that is late leaves nothing out, so that latencies grow where
//! the machine does not keep up.

#[path = "support/usage.rs"]
mod usage;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use image::imageops::{FilterType, resize};
use mllm::{
    Batching, CaptionModel, Frame, ModalTokens, Options, Probe, ProbeOutput, Provider, Tokens,
    Trunk,
};

use usage::{busy, resident};

const WIDTH: u32 = 768;
const HEIGHT: u32 = 576;

#[derive(Parser)]
struct Arguments {
    /// Folder of the draft model and the vision encoder
    #[arg(long)]
    edge: PathBuf,
    /// auto, cpu, cuda or tensorrt
    #[arg(long, default_value_t = Provider::Auto)]
    provider: Provider,
    /// Cameras, with commas between the numbers
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
    cameras: Vec<usize>,
    /// Pictures a second that each camera's probe looks at
    #[arg(long, default_value_t = 5.0)]
    probes: f64,
    /// Of how many of these one is drafted
    #[arg(long, default_value_t = 5)]
    every: usize,
    /// Pictures that the probe looks at together at most
    #[arg(long, default_value_t = 16)]
    most: usize,
    /// Trunks and draft models
    #[arg(long, default_value_t = 4)]
    drafters: usize,
    /// Milliseconds within which 95 % of the drafts are to be there
    #[arg(long, default_value_t = 500.0)]
    within: f64,
    /// Seconds for each number of cameras
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Pictures (JPEG or PNG)
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
}

/// A picture to be drafted, and when it was due.
type Job = (Instant, ProbeOutput);

/// Latencies in milliseconds.
#[derive(Default)]
struct Latencies(Mutex<Vec<f64>>);

impl Latencies {
    fn add(&self, due: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(due.elapsed().as_secs_f64() * 1e3);
    }

    /// How many, their median and 95th percentile.
    fn summary(self) -> (usize, f64, f64) {
        let mut all = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        all.sort_by(f64::total_cmp);
        let last = all.len().saturating_sub(1) as f64;
        let at = |share: f64| all.get((last * share) as usize).copied().unwrap_or(0.0);
        (all.len(), at(0.5), at(0.95))
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.every > 0 && arguments.probes > 0.0,
        "cameras look at something, now and then"
    );
    let options = Options::from(arguments.provider);
    let pictures = (arguments.pictures.iter())
        .map(|path| {
            let picture =
                image::open(path).with_context(|| format!("reading {}", path.display()))?;
            let picture = resize(&picture.into_rgb8(), WIDTH, HEIGHT, FilterType::Triangle);
            Ok(picture.into_raw())
        })
        .collect::<Result<Vec<_>>>()?;
    let mut drafters = (0..arguments.drafters.max(1))
        .map(|_| {
            let trunk = Trunk::load(&arguments.edge, options)?;
            Ok((trunk, CaptionModel::load(&arguments.edge, options)?))
        })
        .collect::<mllm::Result<Vec<_>>>()?;
    println!(
        "provider {}, {} probes a second and camera, one of {} drafted, most {}, {} drafters",
        arguments.provider,
        arguments.probes,
        arguments.every,
        arguments.most,
        drafters.len()
    );
    println!(
        "cameras   probes/s  p50 ms  p95 ms   drafts/s  p50 ms  p95 ms   cores     MiB  keeps up"
    );
    // The first round warms up: kernels are chosen, memory is taken.
    let rounds = arguments.cameras.first().into_iter();
    for (round, &cameras) in rounds.chain(&arguments.cameras).enumerate() {
        let line = watch(&arguments, cameras, &pictures, &mut drafters)?;
        if round > 0 {
            println!("{line}");
        }
    }
    Ok(())
}

/// Runs so many cameras, and says how it went.
fn watch(
    arguments: &Arguments,
    cameras: usize,
    pictures: &[Vec<u8>],
    drafters: &mut [(Trunk, CaptionModel)],
) -> Result<String> {
    let batching = Batching {
        most: arguments.most,
        wait: Duration::ZERO,
    };
    let options = Options::from(arguments.provider);
    let probes = (0..cameras)
        .map(|_| Probe::together(&arguments.edge, options, batching))
        .collect::<mllm::Result<Vec<_>>>()?;
    let (seen, drafted) = (Latencies::default(), Latencies::default());
    let (begun, busy_before) = (Instant::now() + Duration::from_millis(100), busy()?);
    let (jobs, waiting) = channel();
    let waiting = Mutex::new(waiting);
    let took = thread::scope(|scope| -> Result<f64> {
        let (waiting, seen, drafted) = (&waiting, &seen, &drafted);
        let working: Vec<_> = (drafters.iter_mut())
            .map(|drafter| scope.spawn(move || draft(drafter, waiting, drafted)))
            .collect();
        let looking: Vec<_> = (probes.into_iter().enumerate())
            .map(|(camera, probe)| {
                let phase = camera as f64 / (cameras as f64 * arguments.probes);
                let first = begun + Duration::from_secs_f64(phase);
                let jobs = jobs.clone();
                scope.spawn(move || {
                    let shown = pictures.iter().cycle().skip(camera % pictures.len());
                    look(arguments, camera, probe, first, shown, &jobs, seen)
                })
            })
            .collect();
        drop(jobs);
        for thread in looking.into_iter().chain(working) {
            (thread.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(begun.elapsed().as_secs_f64())
    })?;
    let cores = (busy()? - busy_before) / took;
    let (probes, probe_median, probe_late) = seen.summary();
    let (drafts, draft_median, draft_late) = drafted.summary();
    let keeps_up = draft_late <= arguments.within;
    Ok(format!(
        "{cameras:7}  {:9.1} {probe_median:7.1} {probe_late:7.1}  {:9.1} {draft_median:7.1} {draft_late:7.1}  {cores:6.1} {:7.0}  {}",
        probes as f64 / took,
        drafts as f64 / took,
        resident()? as f64 / 1024.0,
        if keeps_up { "yes" } else { "no" }
    ))
}

/// One camera.
fn look<'p>(
    arguments: &Arguments,
    camera: usize,
    mut probe: Probe,
    first: Instant,
    shown: impl Iterator<Item = &'p Vec<u8>>,
    jobs: &Sender<Job>,
    seen: &Latencies,
) -> Result<()> {
    let period = Duration::from_secs_f64(1.0 / arguments.probes);
    let count = (arguments.seconds * arguments.probes) as usize;
    let mut due = first;
    for (index, picture) in (0..count).zip(shown) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let output = probe.run(&Frame::rgb(WIDTH, HEIGHT, picture)?)?;
        seen.add(due);
        // Cameras take turns, so that the drafts of a second do not come all at once.
        if (index + camera).is_multiple_of(arguments.every) {
            jobs.send((due, output))?;
        }
        due += period;
    }
    Ok(())
}

/// One drafter, until all cameras have ended.
fn draft(
    (trunk, small): &mut (Trunk, CaptionModel),
    waiting: &Mutex<Receiver<Job>>,
    drafted: &Latencies,
) -> Result<()> {
    let prompt = small.config().default_prompt.clone();
    loop {
        let job = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok((due, output)) = job else {
            return Ok(());
        };
        let features = trunk.run(&output.features)?;
        let tokens = Tokens::from(ModalTokens::all(features).as_received());
        small.draft(&tokens, &prompt)?;
        drafted.add(due);
    }
}
