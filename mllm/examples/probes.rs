//! Whether running the probes of several cameras together pays here: frames a second of all cameras, and the memory of
//! the process, with a session for each camera and with one for all.
//!
//! ```text
//! cargo run --release -p mllm --example probes -- --edge testdata/models/msao-edge --cameras 4 --most 4
//! ```
//!
//! Each camera is a thread that looks at one synthetic picture after another, as fast as it can. One case a process, so
//! that its memory is seen apart.

#[path = "support/usage.rs"]
mod usage;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use mllm::{Batching, Frame, Options, Probe, Provider};

use usage::{busy, resident};

const WIDTH: u32 = 768;
const HEIGHT: u32 = 576;

#[derive(Parser)]
struct Arguments {
    /// Folder of the vision encoder
    #[arg(long)]
    edge: PathBuf,
    /// auto, cpu, cuda or tensorrt
    #[arg(long, default_value_t = Provider::Cpu)]
    provider: Provider,
    /// Cameras
    #[arg(long, default_value_t = 4)]
    cameras: usize,
    /// Frames in a batch at most; 1: a session for each camera
    #[arg(long, default_value_t = 1)]
    most: usize,
    /// Milliseconds that a frame waits for others
    #[arg(long, default_value_t = 0.0)]
    wait: f64,
    /// Threads within an operator of a session
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let options = Options {
        provider: arguments.provider,
        threads: arguments.threads,
    };
    let batching = Batching {
        most: arguments.most,
        wait: Duration::from_secs_f64(arguments.wait / 1e3),
    };
    mllm::runtime::init(None)?;
    let before = resident()?;
    let probes = (0..arguments.cameras)
        .map(|_| Probe::together(&arguments.edge, options, batching))
        .collect::<mllm::Result<Vec<_>>>()?;
    let (begun, busy_before) = (Instant::now(), busy()?);
    let length = Duration::from_secs_f64(arguments.seconds);
    let counts = std::thread::scope(|scope| {
        let cameras: Vec<_> = (probes.into_iter())
            .zip(1_u32..)
            .map(|(mut probe, seed)| {
                scope.spawn(move || -> Result<(u64, u64)> {
                    let picture = picture(seed);
                    let frame = Frame::i420(WIDTH, HEIGHT, &picture)?;
                    let mut frames = 0;
                    while begun.elapsed() < length {
                        probe.run(&frame)?;
                        frames += 1;
                    }
                    Ok((frames, resident()?))
                })
            })
            .collect();
        (cameras.into_iter())
            .map(|camera| {
                camera
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect::<Result<Vec<_>>>()
    })?;
    let (took, worked) = (begun.elapsed().as_secs_f64(), busy()? - busy_before);
    let frames: u64 = counts.iter().map(|(frames, _)| frames).sum();
    let memory = counts
        .iter()
        .map(|(_, memory)| *memory)
        .max()
        .unwrap_or_default();
    println!(
        "{} cameras, most {}, wait {} ms, threads {}: {:.0} frames/s, {:.2} ms of CPU a frame, {:.1} MiB",
        arguments.cameras,
        arguments.most,
        arguments.wait,
        arguments.threads,
        frames as f64 / took,
        1e3 * worked / frames as f64,
        (memory - before) as f64 / 1024.0
    );
    Ok(())
}

fn picture(seed: u32) -> Vec<u8> {
    (0..WIDTH * HEIGHT * 3 / 2)
        .map(|at| (at * seed / (seed + 7) % 251) as u8)
        .collect()
}
