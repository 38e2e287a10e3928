//! `msao bench offload`: the same windows through each method, on each link; tables, plots, and what MSAO is to reach.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use link::Mode;
use mllm::{CaptionModel, Options, Provider};
use offload::thresholds;
use serde_json::json;

use super::flops::Flops;
use super::judge::Judge;
use super::links;
use super::measure::{self, Cell};
use super::methods::{METHODS, Method};
use super::pooled::Pooled;
use super::protocol::Record;
use super::run::{Passed, Run, Setting, run};
use super::windows;
use super::{bars, plot, table};
use crate::{output, runtime};

/// Options of `msao bench offload`.
#[derive(Args)]
pub struct Arguments {
    /// Windows: items.jsonl with its files beside it, as `models/msao_models/testset.py` writes them.
    #[arg(long)]
    windows: PathBuf,
    /// Operations of the models, as `bench/flops.py` counts them; without it those in the cloud are not told.
    #[arg(long)]
    flops: Option<PathBuf>,
    /// Folder of the edge model.
    #[arg(long, default_value = "testdata/models/msao-edge")]
    edge_model: PathBuf,
    /// Folder of the full model.
    #[arg(long, default_value = "testdata/models/msao-cloud")]
    cloud_model: PathBuf,
    /// How links are emulated: auto, tun or proxy.
    #[arg(long, default_value = "auto")]
    mode: Mode,
    /// Few windows: under three minutes.
    #[arg(long)]
    quick: bool,
    /// Milliseconds from one window to the next.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pace: u64,
    /// Only these methods, with commas between them.
    #[arg(long, value_delimiter = ',')]
    methods: Vec<String>,
    /// Only these links, with commas between them.
    #[arg(long, value_delimiter = ',')]
    links: Vec<String>,
    /// Seconds on each link, instead of as many as belong to it.
    #[arg(long, hide = true)]
    seconds: Option<f64>,
    /// Where results.json, windows.jsonl and the plots go.
    #[arg(long, default_value = "target/bench-offload")]
    out: PathBuf,
}

/// Runs the benchmark.
///
/// # Errors
/// A file, a model or nats-server is not there, or a process fails.
pub fn run_all(arguments: &Arguments) -> Result<()> {
    let begun = Instant::now();
    let items = windows::items(&arguments.windows)?;
    let flops = arguments.flops.as_deref().map(Flops::read).transpose()?;
    let methods = chosen_methods(&arguments.methods)?;
    let links = chosen_links(arguments)?;
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot make {}", arguments.out.display()))?;
    let setting = Setting {
        windows: &arguments.windows,
        edge_model: &arguments.edge_model,
        cloud_model: &arguments.cloud_model,
        links: &links,
        mode: arguments.mode,
        pace: arguments.pace as f64 / 1e3,
        patience: if arguments.quick { 5.0 } else { 10.0 },
    };
    let runtime = runtime()?;
    let mut runs = Vec::new();
    for method in &methods {
        tracing::info!("{} …", method.name);
        let done = runtime.block_on(run(*method, &setting));
        runs.push(done.with_context(|| format!("method {}", method.name))?);
    }
    let options = Options {
        provider: Provider::Cpu,
        threads: 1,
    };
    let judge = Judge {
        models: (&arguments.edge_model, &arguments.cloud_model),
        folder: arguments.windows.parent().unwrap_or(Path::new("")),
        items: &items,
        options,
    };
    let full = CaptionModel::load(&arguments.cloud_model, options)?;
    let prompts = items.iter().map(|item| full.prompt_length(&item.prompt));
    let prompts: Vec<usize> = prompts.collect::<Result<_, _>>()?;
    let (mut cells, mut pooled) = (Vec::new(), Vec::new());
    for (method, run) in methods.iter().zip(&runs) {
        let flops = flops.as_ref().map(|flops| (flops, prompts.as_slice()));
        cells.extend(figures(*method, run, &setting, &judge, flops)?);
        let records: Vec<Record> = run.passed.iter().flat_map(|p| p.records.clone()).collect();
        pooled.push(Pooled::of(method.name, &records, &items, run.memory));
    }
    let target = thresholds::Settings::default().target_risk;
    let bars = bars::all(&cells, &pooled, target);
    let kind = runs.first().map_or("", |run| run.kind.as_str());
    output::line(format!(
        "link: {kind}\n{} windows a method, one every {} ms, {} questions; took {:.0} s",
        setting
            .links
            .iter()
            .map(|link| setting.count(link))
            .sum::<usize>(),
        arguments.pace,
        pooled.first().map_or(0, |pooled| pooled.right.len()),
        begun.elapsed().as_secs_f64()
    ))?;
    for link in &links {
        let of_link: Vec<&Cell> = cells.iter().filter(|cell| cell.link == link.name).collect();
        output::line(format!("\n{}\n{}", link.name, table::of_link(&of_link)))?;
    }
    output::line(format!("\nall links together\n{}", table::of_all(&pooled)))?;
    output::line("\nbars")?;
    for bar in &bars {
        output::line(format!("  {bar}"))?;
    }
    let results = json!({
        "link": kind,
        "pace_ms": arguments.pace,
        "quick": arguments.quick,
        "methods": methods,
        "target_risk": target,
        "cells": cells,
        "all_links": pooled,
        "bars": bars,
    });
    write(
        &arguments.out.join("results.json"),
        &serde_json::to_string_pretty(&results)?,
    )?;
    let mut lines = String::new();
    for (method, run) in methods.iter().zip(&runs) {
        for (link, passed) in links.iter().zip(&run.passed) {
            for record in &passed.records {
                let line = json!({"method": method.name, "link": link.name, "window": record});
                lines.push_str(&format!("{line}\n"));
            }
        }
    }
    write(&arguments.out.join("windows.jsonl"), &lines)?;
    for (name, svg) in plot::all(&cells, &pooled) {
        write(&arguments.out.join(name).with_extension("svg"), &svg)?;
    }
    output::line(format!("\nresults and plots: {}", arguments.out.display()))?;
    Ok(())
}

/// The figures of a method on each link; `flops` come with the length of each item's prompt.
fn figures(
    method: Method,
    run: &Run,
    setting: &Setting<'_>,
    judge: &Judge<'_>,
    flops: Option<(&Flops, &[usize])>,
) -> Result<Vec<Cell>> {
    let records: Vec<Record> = run.passed.iter().flat_map(|p| p.records.clone()).collect();
    let changed = (method.plans && method.drafts)
        .then(|| judge.changed(method, &records))
        .transpose()?;
    let mut cells = Vec::new();
    for (link, passed) in setting.links.iter().zip(&run.passed) {
        let Passed { records, bytes_up } = passed;
        let of = |(flops, prompts): (&Flops, &[usize])| {
            let of = |record: &Record| flops.of(record, prompts[record.item]);
            records.iter().map(of).collect()
        };
        let context = measure::Context {
            items: judge.items,
            changed: changed.as_ref(),
            bytes_up: *bytes_up,
            outages: &link.outages,
            flops: flops.map(of),
        };
        cells.push(measure::cell((method.name, link.name), records, &context));
    }
    Ok(cells)
}

fn chosen_methods(names: &[String]) -> Result<Vec<Method>> {
    if names.is_empty() {
        return Ok(METHODS.to_vec());
    }
    let all = METHODS.map(|method| method.name).join(", ");
    let named = |name: &String| {
        let method = Method::named(name);
        method.with_context(|| format!("--methods: there is no '{name}': choose of {all}"))
    };
    names.iter().map(named).collect()
}

fn chosen_links(arguments: &Arguments) -> Result<Vec<links::Stretch>> {
    let lengths = if arguments.quick {
        links::QUICK
    } else {
        links::FULL
    };
    let mut all = links::all(&lengths)?;
    if let Some(seconds) = arguments.seconds {
        let length = Duration::try_from_secs_f64(seconds).context("--seconds")?;
        all.iter_mut().for_each(|link| link.length = length);
    }
    let names = all
        .iter()
        .map(|link| link.name)
        .collect::<Vec<_>>()
        .join(", ");
    for name in &arguments.links {
        let there = all.iter().any(|link| link.name == name);
        anyhow::ensure!(there, "--links: there is no '{name}': choose of {names}");
    }
    if !arguments.links.is_empty() {
        all.retain(|link| arguments.links.iter().any(|name| name == link.name));
    }
    Ok(all)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
