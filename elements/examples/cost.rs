//! What the stages of one camera cost, on raw I420 frames from standard input; JSON on standard output.
//!
//! `cost WIDTH HEIGHT FRAMES_A_SECOND EDGE_FOLDER CLOUD_FOLDER < frames.yuv` (`ORT_DYLIB_PATH` names ONNX Runtime)
//!
//! Each frame passes what `msaovideomas` and `msaogate` run, with their defaults; of each second with a kept frame the
//! last one kept is encoded, drafted and verified, and counts as sent. One thread; a stage's time is its median, so
//! that other work on the machine disturbs little.

use std::io::{Read, stdin};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mas::{Measurement, Meter, MeterSettings, gate, luma};
use mllm::{
    Agreement, CaptionModel, Frame, ModalTokens, Options, Probe, ProbeOutput, Provider, Tokens,
    Trunk,
};

/// As `msaovideomas`.
const T0: f32 = 0.0005;
const HEARTBEAT: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Stage {
    name: &'static str,
    times: Vec<Duration>,
}

impl Stage {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = work();
        self.times.push(begun.elapsed());
        result
    }

    fn json(mut self) -> String {
        self.times.sort_unstable();
        let median = self.times.get(self.times.len() / 2).copied();
        let milliseconds = median.unwrap_or_default().as_secs_f64() * 1e3;
        format!(
            r#""{}": {{"times": {}, "ms": {milliseconds:.4}}}"#,
            self.name,
            self.times.len()
        )
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |index: usize| {
        let usage = "usage: cost WIDTH HEIGHT FRAMES_A_SECOND EDGE_FOLDER CLOUD_FOLDER";
        arguments.get(index).context(usage)
    };
    let (width, height): (usize, usize) = (argument(1)?.parse()?, argument(2)?.parse()?);
    let rate: u32 = argument(3)?.parse()?;
    let (edge, cloud) = (Path::new(argument(4)?), Path::new(argument(5)?));
    let options = Options {
        provider: Provider::Cpu,
        threads: 1,
    };
    let mut probe = Probe::load(edge, options)?;
    let mut trunk = Trunk::load(edge, options)?;
    let mut small = CaptionModel::load(edge, options)?;
    let mut full = CaptionModel::load(cloud, options)?;
    let prompt = full.config().default_prompt.clone();
    let margin = full.config().agreement_margin;
    let agreement = margin.map_or(Agreement::Exact, Agreement::Margin);

    let [mut t0, mut t1, mut formulas, mut t2, mut draft, mut verify] =
        ["t0", "probe", "formulas", "trunk", "draft", "verify"].map(|name| Stage {
            name,
            ..Stage::default()
        });
    let mut meter = Meter::new(MeterSettings::default())?;
    let mut gate = gate::Gate::default();
    let mut last: Option<(Duration, Measurement, ProbeOutput)> = None;
    let mut kept: Option<(Measurement, ProbeOutput)> = None;
    let (mut frames, mut frames_kept, mut drafted) = (0u32, 0, 0);
    let mut data = vec![0; width * height * 3 / 2];
    while stdin().lock().read_exact(&mut data).is_ok() {
        let running = Duration::from_secs(1) * frames / rate.max(1);
        frames += 1;
        let look = t0.time(|| -> Result<_> {
            let blocks = luma::Plane::new(&data, width, height, width)?.block_means();
            Ok(meter.look(blocks.view(), 7, 7))
        })?;
        last = match last {
            Some((at, measurement, seen)) if look.score < T0 && running < at + HEARTBEAT => {
                let carried = formulas.time(|| meter.carry(&measurement));
                Some((at, carried, seen))
            }
            _ => {
                let frame = Frame::i420(width as u32, height as u32, &data)?;
                let seen = t1.time(|| probe.run(&frame))?;
                let measurement = formulas.time(|| meter.measure(seen.grid.view()));
                Some((running, measurement, seen))
            }
        };
        if let Some((_, measurement, seen)) = &last
            && gate
                .decide(&gate::Settings::default(), running, measurement.mas.worth())
                .keeps()
        {
            frames_kept += 1;
            kept = Some((measurement.clone(), seen.clone()));
        }
        if frames % rate.max(1) == 0
            && let Some((measurement, seen)) = kept.take()
        {
            let features = t2.time(|| trunk.run(&seen.features))?;
            let tokens = Tokens::from(ModalTokens::all(features).as_received());
            let caption = draft.time(|| small.draft(&tokens, &prompt))?;
            verify.time(|| full.verify(&tokens, &prompt, &caption.token_ids, agreement))?;
            drafted += caption.token_ids.len();
            meter.mark_sent(&measurement, 0..49);
        }
    }
    let windows = draft.times.len();
    let tokens = drafted as f64 / windows.max(1) as f64;
    let stages = [t0, t1, formulas, t2, draft, verify].map(Stage::json);
    println!(
        r#"{{"frames": {frames}, "kept": {frames_kept}, "windows": {windows}, "draft_tokens": {tokens:.2}, {}}}"#,
        stages.join(", ")
    );
    Ok(())
}
