//! `msao bench load`: windows from edge to broker to cloud worker, without a model, against JetStream's client alone on
//! the same machine in the same run.

mod cpu;
mod memory;
mod path;
mod raw;
mod report;
mod sample;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use self::memory::Growth;
use self::path::{Load, Passed, Seen};
use self::report::{Delay, Rate};
use self::sample::Size;
use crate::demo::nats::Server;
use crate::{nats_server, output, runtime};

/// Options of `msao bench load`. The model is left out always; of what else a worker does nothing is.
#[derive(Args)]
pub struct Arguments {
    /// Rigs that send at the same time, with commas between the numbers.
    #[arg(long, value_delimiter = ',', default_value = "1,10,100", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rigs: Vec<u16>,
    /// Bytes of a message with a commas between; `demo` for those of `make demo`.
    #[arg(long, value_delimiter = ',', default_value = "65536,demo")]
    sizes: Vec<String>,
    /// Messages not acknowledged yet, of all rigs together; each has one at least.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// Windows that the worker gives its model at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=64))]
    batch: u8,
    /// Windows that the worker has in hand.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_hand: u16,
    /// Windows of the run that memory is watched in; 0 for no such run.
    #[arg(long)]
    windows: Option<u64>,
    /// Seconds of each round of a figure.
    #[arg(long)]
    seconds: Option<f64>,
    /// One short round instead of two: under two minutes.
    #[arg(long)]
    quick: bool,
    /// Where results.json goes.
    #[arg(long, default_value = "target/bench-load")]
    out: PathBuf,
}

/// Windows that are published and not taken up: at 64 KiB far less than the stream holds, so that none is dropped.
const BACKLOG: usize = 512;

/// Runs the benchmark.
///
/// # Errors
/// nats-server is not there or refuses something, or a window was lost.
pub fn run_all(arguments: &Arguments) -> Result<()> {
    let begun = Instant::now();
    let seconds = (arguments.seconds).unwrap_or(if arguments.quick { 1.0 } else { 2.5 });
    let length = Duration::try_from_secs_f64(seconds).context("--seconds")?;
    let rounds = if arguments.quick { 1 } else { 2 };
    ensure!(length > Duration::ZERO, "--seconds is 0; it is above");
    let sizes: Vec<Size> = (arguments.sizes.iter())
        .map(|size| size_of(size))
        .collect::<Result<_>>()?;
    let load = |size, rigs: u16, captions| Load {
        size,
        rigs: rigs.into(),
        captions,
        length,
        windows: u64::MAX,
        rate: None,
        in_flight: arguments.in_flight.into(),
        backlog: BACKLOG,
        batch: arguments.batch.into(),
        in_hand: arguments.in_hand.into(),
    };
    let runtime = runtime()?;
    let (mut rates, mut delays) = (Vec::new(), Vec::new());
    for &size in &sizes {
        for &rigs in &arguments.rigs {
            for captions in [false, true] {
                let load = load(size, rigs, captions);
                tracing::info!("{size:?}, {rigs} rigs, captions {captions} …");
                rates.push(runtime.block_on(rate(&load, rounds))?);
            }
            let Some(full) = rates.last().map(|rate: &Rate| rate.msao) else {
                continue;
            };
            let half = Load {
                rate: Some(full / 2.0),
                length: 2 * length,
                ..load(size, rigs, true)
            };
            let (passed, _) = runtime.block_on(msao(&half, None))?;
            delays.push(Delay::of(&half, &passed)?);
        }
    }
    let windows = arguments
        .windows
        .unwrap_or(if arguments.quick { 30_000 } else { 100_000 });
    let mut growth = None;
    if let (Some(&rigs), true) = (arguments.rigs.first(), windows > 0) {
        let long = Load {
            length: Duration::from_secs(24 * 3600),
            windows,
            ..load(*sizes.last().unwrap_or(&Size::Demo), rigs, true)
        };
        tracing::info!("{windows} windows …");
        let mut held = Vec::new();
        let (_, server) = runtime.block_on(msao(&long, Some(&mut held)))?;
        growth = Growth::of(&held).map(|growth| (growth, server, held));
    }
    let growth_alone = growth
        .as_ref()
        .map(|(growth, server, _)| (*growth, *server));
    let bars = report::bars(&rates, &delays, growth_alone.map(|(growth, _)| growth));
    output::line(format!(
        "in flight {}, in the worker's hand {}, backlog at most {BACKLOG}; took {:.0} s\n",
        arguments.in_flight,
        arguments.in_hand,
        begun.elapsed().as_secs_f64()
    ))?;
    output::line(report::table_of_rates(&rates))?;
    output::line(format!(
        "\nat half of that, with captions\n{}",
        report::table_of_delays(&delays)
    ))?;
    if let Some((growth, server)) = growth_alone {
        output::line(format!("\n{}", report::line_of_memory(&growth, server)))?;
    }
    output::line("\nbars")?;
    for bar in &bars {
        output::line(format!("  {bar}"))?;
    }
    let results = json!({
        "in_flight": arguments.in_flight,
        "batch": arguments.batch,
        "in_hand": arguments.in_hand,
        "backlog": BACKLOG,
        "seconds": seconds,
        "rates": rates,
        "delays": delays,
        "memory": growth.as_ref().map(|(growth, server, held)| json!({
            "growth": growth, "nats_server": server, "held": held,
        })),
        "bars": bars,
    });
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot make {}", arguments.out.display()))?;
    let path = arguments.out.join("results.json");
    std::fs::write(&path, serde_json::to_string_pretty(&results)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    output::line(format!("\nresults: {}", path.display()))?;
    Ok(())
}

fn size_of(text: &str) -> Result<Size> {
    if text == "demo" {
        return Ok(Size::Demo);
    }
    let bytes = text.parse();
    let bytes = bytes.with_context(|| format!("--sizes: '{text}' is neither bytes nor `demo`"))?;
    Ok(Size::Bytes(bytes))
}

/// Both ways in turn, so that what else the machine does falls on both.
async fn rate(load: &Load, rounds: usize) -> Result<Rate> {
    let (mut raw, mut own) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (_folder, server) = broker().await?;
        raw.push(raw::run(load, &server).await?);
        server.stop().await?;
        let (passed, _) = msao(load, None).await?;
        own.push((passed.windows as f64 / passed.seconds, passed.cpu));
    }
    Rate::of(load, &raw, &own)
}

/// Through MSAO on a new broker. Returns also what memory the broker held in the end.
async fn msao(load: &Load, held: Option<&mut Vec<memory::Held>>) -> Result<(Passed, Option<u64>)> {
    let (_folder, server) = broker().await?;
    let seen = Seen::new(load)?;
    let run = path::run(load, &server, seen.clone());
    let passed = match held {
        Some(held) => tokio::select! {
            passed = run => passed?,
            () = memory::watch(&seen, held) => anyhow::bail!("memory is not watched any more"),
        },
        None => run.await?,
    };
    let memory = server.id().and_then(|id| memory::resident(&id.to_string()));
    server.stop().await?;
    Ok((passed, memory))
}

/// A nats-server of its own, with nothing in it.
async fn broker() -> Result<(tempfile::TempDir, Server)> {
    let folder = tempfile::Builder::new().prefix("msao-load-").tempdir()?;
    let server = Server::start(&nats_server::binary(), None, folder.path()).await?;
    Ok((folder, server))
}
