//! Figures, tables, and what is to be reached.

use anyhow::Result;
use broker::Rig;
use serde::Serialize;

use super::cpu::Cpu;
use super::memory::Growth;
use super::path::{Load, Passed};
use crate::bench::bars::Verdict;
use crate::bench::table;

const KIB: f64 = 1024.0;
const MIB: f64 = 1048576.0;
/// Share of JetStream's own rate at least, at messages of `BAR_BYTES`.
const SHARE: f64 = 0.7;
const BAR_BYTES: usize = 65_536;
/// Milliseconds from when a window is due until the model has it, at most, of 99 in 100.
const P99_MS: f64 = 20.0;

/// Windows a second, of MSAO and of JetStream alone.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// Bytes of a message, without headers.
    pub bytes: usize,
    /// Rigs.
    pub rigs: usize,
    /// Whether a caption of each window was published.
    pub captions: bool,
    /// JetStream alone, the mean of all rounds.
    pub raw: f64,
    /// MSAO, the mean of all rounds.
    pub msao: f64,
    /// Microseconds of CPU time a window, of JetStream alone, the mean of all rounds.
    pub raw_cpu: Cpu,
    /// The same of MSAO.
    pub msao_cpu: Cpu,
    /// Each round: JetStream alone, MSAO.
    pub rounds: Vec<(f64, f64)>,
}

impl Rate {
    /// The rounds of `load`.
    ///
    /// # Errors
    /// There is no window of its size.
    pub fn of(load: &Load, raw: &[(f64, Cpu)], msao: &[(f64, Cpu)]) -> Result<Self> {
        let (raw, raw_cpu): (Vec<f64>, Vec<Cpu>) = raw.iter().copied().unzip();
        let (msao, msao_cpu): (Vec<f64>, Vec<Cpu>) = msao.iter().copied().unzip();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        Ok(Self {
            bytes: bytes(load)?,
            rigs: load.rigs,
            captions: load.captions,
            raw: mean(&raw),
            msao: mean(&msao),
            raw_cpu: Cpu::mean(&raw_cpu),
            msao_cpu: Cpu::mean(&msao_cpu),
            rounds: raw.into_iter().zip(msao).collect(),
        })
    }

    fn share(&self) -> f64 {
        self.msao / self.raw
    }
}

/// How long windows take at half of the rate.
#[derive(Clone, Debug, Serialize)]
pub struct Delay {
    /// Bytes of a message, without headers.
    pub bytes: usize,
    /// Rigs.
    pub rigs: usize,
    /// Windows a second.
    pub rate: f64,
    /// How many were sent.
    pub windows: u64,
    /// Milliseconds from when a window is due until the model has it: half of the windows.
    pub p50_ms: f64,
    /// Of 99 in 100.
    pub p99_ms: f64,
    /// Of all.
    pub most_ms: f64,
}

impl Delay {
    /// What came of `load`.
    ///
    /// # Errors
    /// There is no window of its size.
    pub fn of(load: &Load, passed: &Passed) -> Result<Self> {
        let ms = |microseconds: u64| microseconds as f64 / 1e3;
        Ok(Self {
            bytes: bytes(load)?,
            rigs: load.rigs,
            rate: load.rate.unwrap_or_default(),
            windows: passed.windows,
            p50_ms: ms(passed.delay.value_at_quantile(0.5)),
            p99_ms: ms(passed.delay.value_at_quantile(0.99)),
            most_ms: ms(passed.delay.max()),
        })
    }
}

fn bytes(load: &Load) -> Result<usize> {
    let rig: Rig = "rig-0".parse()?;
    Ok(load.size.window(rig)?.encode()?.len())
}

fn kib(bytes: usize) -> String {
    format!("{:.1}", bytes as f64 / KIB)
}

fn cells<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Windows a second as lines of text.
pub fn table_of_rates(rates: &[Rate]) -> String {
    let heading = [
        "KiB",
        "rigs",
        "captions",
        "JetStream/s",
        "MiB/s",
        "MSAO/s",
        "MiB/s",
        "share",
        "CPU us a window: JetStream",
        "MSAO",
        "share",
    ];
    let mut rows = vec![cells(heading)];
    for rate in rates {
        let mib = |windows: f64| format!("{:.1}", windows * rate.bytes as f64 / MIB);
        rows.push(vec![
            kib(rate.bytes),
            rate.rigs.to_string(),
            if rate.captions { "yes" } else { "no" }.to_owned(),
            format!("{:.0}", rate.raw),
            mib(rate.raw),
            format!("{:.0}", rate.msao),
            mib(rate.msao),
            format!("{:.0} %", 100.0 * rate.share()),
            format!("{:.0}", rate.raw_cpu.sum()),
            format!("{:.0}", rate.msao_cpu.sum()),
            format!("{:.0} %", 100.0 * rate.raw_cpu.sum() / rate.msao_cpu.sum()),
        ]);
    }
    table::lines(&rows)
}

/// Delays as lines of text.
pub fn table_of_delays(delays: &[Delay]) -> String {
    let mut rows = vec![cells([
        "KiB",
        "rigs",
        "windows/s",
        "p50 ms",
        "p99 ms",
        "most ms",
    ])];
    for delay in delays {
        rows.push(vec![
            kib(delay.bytes),
            delay.rigs.to_string(),
            format!("{:.0}", delay.rate),
            format!("{:.1}", delay.p50_ms),
            format!("{:.1}", delay.p99_ms),
            format!("{:.1}", delay.most_ms),
        ]);
    }
    table::lines(&rows)
}

/// Memory in a line of text.
pub fn line_of_memory(growth: &Growth, server: Option<u64>) -> String {
    let mib = |bytes: f64| bytes / MIB;
    let server = server.map_or_else(String::new, |bytes| {
        format!("; nats-server {:.0} MiB at the end", mib(bytes as f64))
    });
    format!(
        "memory of edge and worker over {} windows: {:.1} MiB at first, {:.1} at last, {:.1} at most{server}",
        growth.windows,
        mib(growth.first),
        mib(growth.last),
        mib(growth.most as f64)
    )
}

/// What is to be reached.
pub fn bars(rates: &[Rate], delays: &[Delay], growth: Option<Growth>) -> Vec<Verdict> {
    let near = |bytes: usize| bytes.abs_diff(BAR_BYTES) < 1024;
    let rigs = |count: usize| {
        if count == 1 {
            "1 rig".to_owned()
        } else {
            format!("{count} rigs")
        }
    };
    let mut verdicts = Vec::new();
    for rate in rates.iter().filter(|rate| near(rate.bytes)) {
        let what = if rate.captions {
            "with captions"
        } else {
            "without captions"
        };
        verdicts.push(Verdict {
            bar: format!(
                "64 KiB, {what}, at least {:.0} % of JetStream alone",
                100.0 * SHARE
            ),
            link: rigs(rate.rigs),
            found: format!("{:.0} %", 100.0 * rate.share()),
            met: Some(rate.share() >= SHARE),
        });
    }
    for delay in delays {
        verdicts.push(Verdict {
            bar: format!(
                "{} KiB, p99 at half load under {P99_MS:.0} ms",
                kib(delay.bytes)
            ),
            link: rigs(delay.rigs),
            found: format!("{:.1} ms", delay.p99_ms),
            met: Some(delay.p99_ms < P99_MS),
        });
    }
    verdicts.push(Verdict {
        bar: "memory is flat".to_owned(),
        link: growth.map_or_else(String::new, |growth| format!("{} windows", growth.windows)),
        found: growth.map_or_else(
            || "not watched".to_owned(),
            |growth| format!("{:+.1} %", 100.0 * (growth.last / growth.first - 1.0)),
        ),
        met: growth.map(|growth| growth.is_flat()),
    });
    verdicts
}
