//! Which frames MAS keeps, for many gates at once: raw I420 frames on standard input, JSON on standard output.
//!
//! `gate WIDTH HEIGHT MODEL_FOLDER THRESHOLD,... INTERVAL,... < frames.yuv` (`ORT_DYLIB_PATH` names ONNX Runtime)
//!
//! What runs on a frame is what `msaovideomas` and `msaogate mark-sent=true` run: T0 on each, the probe (T1) if T0 asks
//! or 2 s after it last ran, and the meter. Each pair of threshold and interval (frames) has a meter of its own; the
//! probe's answer for a frame is shared among them, and each is charged with its median time.

use std::io::{Read, stdin};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mas::{Measurement, Meter, MeterSettings, luma};
use mllm::{Frame, Options, Probe, Provider};
use ndarray::Array2;

/// Frames between two runs of the probe at most: 2 s.
const HEARTBEAT: usize = 20;
/// As the element's `t0-threshold`.
const T0: f32 = 0.0005;

struct Run {
    threshold: f32,
    interval: usize,
    meter: Meter,
    last: Option<(usize, Measurement)>,
    kept: Vec<usize>,
    probed: usize,
    spent: Duration,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |index: usize| {
        let usage = "usage: gate WIDTH HEIGHT MODEL_FOLDER THRESHOLD,... INTERVAL,...";
        arguments.get(index).context(usage)
    };
    let (width, height): (usize, usize) = (argument(1)?.parse()?, argument(2)?.parse()?);
    let options = Options {
        provider: Provider::Cpu,
        threads: 1,
    };
    let mut probe = Probe::load(Path::new(argument(3)?), options)?;
    let mut runs = Vec::new();
    for threshold in argument(4)?.split(',') {
        for interval in argument(5)?.split(',') {
            runs.push(Run {
                threshold: threshold.parse()?,
                interval: interval.parse()?,
                meter: Meter::new(MeterSettings::default())?,
                last: None,
                kept: Vec::new(),
                probed: 0,
                spent: Duration::ZERO,
            });
        }
    }
    let mut data = vec![0; width * height * 3 / 2];
    let (mut frames, mut t0, mut t1) = (0, Duration::ZERO, Vec::new());
    while stdin().lock().read_exact(&mut data).is_ok() {
        let begun = Instant::now();
        let blocks = luma::Plane::new(&data, width, height, width)?.block_means();
        t0 += begun.elapsed();
        let mut grid: Option<Array2<f32>> = None;
        for run in &mut runs {
            run.step(frames, &blocks, || {
                if let Some(grid) = &grid {
                    return Ok(grid.clone());
                }
                let begun = Instant::now();
                let seen = probe
                    .run(&Frame::i420(width as u32, height as u32, &data)?)?
                    .grid;
                t1.push(begun.elapsed());
                grid = Some(seen.clone());
                Ok(seen)
            })?;
        }
        frames += 1;
    }
    t1.sort_unstable();
    let probe_time = t1.get(t1.len() / 2).copied().unwrap_or_default();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / frames.max(1) as f64;
    for run in &runs {
        let all = milliseconds(t0 + run.spent + probe_time * run.probed as u32);
        println!(
            r#"{{"threshold": {}, "interval": {}, "kept": {:?}, "probed": {}, "ms": {all:.4}, "t0_ms": {:.4}, "t1_ms": {:.4}}}"#,
            run.threshold,
            run.interval,
            run.kept,
            run.probed,
            milliseconds(t0 + run.spent),
            probe_time.as_secs_f64() * 1e3,
        );
    }
    Ok(())
}

impl Run {
    fn step(
        &mut self,
        frame: usize,
        blocks: &Array2<f32>,
        mut grid: impl FnMut() -> Result<Array2<f32>>,
    ) -> Result<()> {
        let begun = Instant::now();
        let score = self.meter.look(blocks.view(), 7, 7).score;
        self.spent += begun.elapsed();
        let measurement = match &self.last {
            Some((last, measurement)) if score < T0 && frame - last < HEARTBEAT => {
                let begun = Instant::now();
                let carried = self.meter.carry(measurement);
                self.spent += begun.elapsed();
                carried
            }
            _ => {
                let grid = grid()?;
                self.probed += 1;
                let begun = Instant::now();
                let measured = self.meter.measure(grid.view());
                self.spent += begun.elapsed();
                self.last = Some((frame, measured.clone()));
                measured
            }
        };
        let due = self
            .kept
            .last()
            .is_none_or(|last| frame - last >= self.interval);
        if measurement.mas.worth() >= self.threshold && due {
            self.kept.push(frame);
            self.meter.mark_sent(&measurement, 0..49);
        }
        Ok(())
    }
}
