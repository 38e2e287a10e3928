//! Answers and captions test windows with draft and full model, from all of a window's tokens or from some, and verifies
//! the drafts: a line of JSON for each item and each way to choose its tokens.
//!
//! ```text
//! cargo run --release -p mllm --example evaluate -- --edge testdata/models/msao-edge \
//!     --cloud testdata/models/msao-cloud --margins 1.0,0.5 windows/items.jsonl > answers.jsonl
//! ```
//!
//! `models/msao_models/testset.py` writes windows and items. Tokens are quantised as they travel before either model
//! reads them. As in `msaodraft` a first draft from all of a window's tokens gives attention and β; what is kept of the
//! tokens by those is drafted from again, answered by the full model, and verified (`--margins`; 1 is the exact rule). A
//! summary goes to standard error.

mod choose;
mod window;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use mllm::{Agreement, ByModality, Caption, CaptionModel, Modal, Modality, Provider};
use ndarray::Array1;
use rand_pcg::Pcg32;
use serde_json::{Value, json};

use crate::choose::{Choice, Known, choose};
use crate::window::{Encoders, Files, Item};

#[derive(Parser)]
struct Arguments {
    /// Folder of the draft model and the encoders
    #[arg(long)]
    edge: PathBuf,
    /// Folder of the full model
    #[arg(long)]
    cloud: PathBuf,
    /// Shares of a window's tokens that are kept
    #[arg(long, value_delimiter = ',', default_value = "1.0")]
    keep: Vec<f32>,
    /// How those are chosen
    #[arg(long, value_delimiter = ',', default_value = "mas")]
    choose: Vec<Choice>,
    /// Whether MAS shares them among modalities by β (on), or by count of places (off) as the others do
    #[arg(long, value_delimiter = ',', default_value = "on", value_parser = ["on", "off"])]
    beta: Vec<String>,
    /// Factors of agreement to verify with; 1 is the exact rule
    #[arg(long, value_delimiter = ',')]
    margins: Vec<f32>,
    /// auto, cpu, cuda or tensorrt
    #[arg(long, default_value_t = Provider::Auto)]
    provider: Provider,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Windows at a time, each with models of its own [default: one for each core]
    #[arg(long)]
    workers: Option<usize>,
    /// items.jsonl, with the windows' files beside it
    items: PathBuf,
}

/// One way to choose a window's tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Way {
    /// `None` for all tokens.
    choice: Option<Choice>,
    keep: f32,
    beta: bool,
}

impl Way {
    fn name(&self, line: &mut Value) {
        line["choose"] = json!(self.choice.map(|choice| choice.to_string()));
        line["keep"] = json!(self.keep);
        line["beta"] = json!(self.beta);
    }
}

/// What is counted over all items.
#[derive(Debug, Default)]
struct Tally {
    items: usize,
    unlike: usize,
    difference: f32,
    near_ties: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let share = 0.0..=1.0;
    for value in arguments.keep.iter().chain(&arguments.margins) {
        ensure!(
            share.contains(value),
            "--keep and --margins must be 0 to 1, not {value}"
        );
    }
    let path = &arguments.items;
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let windows = windows(&text).with_context(|| format!("reading {}", path.display()))?;
    let ways = ways(&arguments);
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let workers = arguments.workers.unwrap_or_else(cores).max(1);
    let next = AtomicUsize::new(0);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let work = || work(&arguments, &windows, &ways, &next);
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Tally>>| match thread.join() {
            Ok(tally) => tally,
            Err(_) => Err(anyhow!("a worker panicked")),
        };
        threads.into_iter().map(join).collect::<Result<_>>()
    })?;
    let sum = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum::<usize>();
    eprintln!(
        "{} items of {} windows; verified exactly but unlike the full model alone: {}; near ties: {}; \
         logits of one pass and of single steps differ by at most {:.1e}",
        sum(|tally| tally.items),
        windows.len(),
        sum(|tally| tally.unlike),
        sum(|tally| tally.near_ties as usize),
        tallies.iter().map(|t| t.difference).fold(0.0, f32::max),
    );
    Ok(())
}

/// The items of each window, in order.
fn windows(text: &str) -> Result<Vec<(Files, Vec<Item>)>> {
    let mut index: HashMap<Files, usize> = HashMap::new();
    let mut windows: Vec<(Files, Vec<Item>)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let item: Item =
            serde_json::from_str(line).with_context(|| format!("line {}", number + 1))?;
        let place = *index.entry(item.files.clone()).or_insert(windows.len());
        match windows.get_mut(place) {
            Some((_, items)) => items.push(item),
            None => windows.push((item.files.clone(), vec![item])),
        }
    }
    Ok(windows)
}

/// All ways that are asked for: all tokens are the same whatever would choose among them.
fn ways(arguments: &Arguments) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for &keep in &arguments.keep {
        for &choice in &arguments.choose {
            for beta in &arguments.beta {
                let some = keep < 1.0;
                let way = Way {
                    choice: some.then_some(choice),
                    keep,
                    beta: some && choice == Choice::Mas && beta == "on",
                };
                if !ways.contains(&way) {
                    ways.push(way);
                }
            }
        }
    }
    ways
}

/// Takes windows until there are no more.
fn work(
    arguments: &Arguments,
    windows: &[(Files, Vec<Item>)],
    ways: &[Way],
    next: &AtomicUsize,
) -> Result<Tally> {
    let provider = arguments.provider;
    let mut encoders = Encoders::load(&arguments.edge, provider)?;
    let mut small = CaptionModel::load(&arguments.edge, provider)?;
    let mut large = CaptionModel::load(&arguments.cloud, provider)?;
    let folder = arguments.items.parent().unwrap_or(&arguments.items);
    let mut tally = Tally::default();
    while let Some((files, items)) = windows.get(next.fetch_add(1, Ordering::Relaxed)) {
        let window = encoders.window(folder, files)?;
        for item in items {
            let prompt = &item.prompt;
            let begun = Instant::now();
            let (first, saliency) = small.draft_with_saliency(&window.tokens, prompt)?;
            let draft_ms = milliseconds(begun);
            let modal = small.modal(&window.tokens, prompt, &first.token_ids)?;
            let mut known = window.known.clone();
            for modality in Modality::ALL {
                if let (Some(known), Some(saliency)) = (known.get_mut(modality), &saliency) {
                    known.attention = Some(Array1::from_vec(saliency.get(modality).clone()));
                }
            }
            // Ways that keep the same tokens get the same answers.
            let mut lines: Vec<(ByModality<Vec<bool>>, Value)> = Vec::new();
            for way in ways {
                let beta = way.beta.then_some(&modal);
                let keep = kept(way, &known, beta, arguments.seed, &item.id);
                let same = lines.iter().find(|(kept, _)| *kept == keep);
                if let Some(mut line) = same.map(|(_, line)| line.clone()) {
                    way.name(&mut line);
                    println!("{line}");
                    continue;
                }
                let tokens = window.kept(&keep);
                let draft = match way.choice {
                    None => first.clone(),
                    Some(_) => small.draft(&tokens, prompt)?,
                };
                let begun = Instant::now();
                let full = large.draft(&tokens, prompt)?;
                let full_ms = milliseconds(begun);
                let mut verified = Vec::new();
                for &margin in &arguments.margins {
                    let rule = match margin {
                        1.0 => Agreement::Exact,
                        margin => Agreement::Margin(margin),
                    };
                    let outcome = large.verify(&tokens, prompt, &draft.token_ids, rule)?;
                    if margin == 1.0 {
                        tally.unlike += usize::from(outcome.caption.token_ids != full.token_ids);
                    }
                    verified.push(json!({
                        "margin": margin,
                        "text": outcome.caption.text,
                        "accepted": outcome.accepted,
                        "drafted": draft.token_ids.len(),
                        "whole": outcome.whole,
                    }));
                }
                let mut line = about(item, &draft);
                way.name(&mut line);
                line["tokens"] = by_modality(&counts(&keep));
                line["betas"] = by_modality(&modal);
                line["full"] = json!(full.text);
                line["verified"] = json!(verified);
                line["ms"] = json!({"draft": draft_ms, "full": full_ms});
                println!("{line}");
                lines.push((keep, line));
                // What tie_tolerance is chosen by; slow, so not for every item.
                if way.choice.is_none() && tally.items.is_multiple_of(10) {
                    let found = large.difference(&tokens, prompt, &full.token_ids)?;
                    tally.difference = tally.difference.max(found);
                }
            }
            tally.items += 1;
        }
    }
    tally.near_ties = large.near_ties();
    Ok(tally)
}

/// The positions that a way keeps: what is drawn depends on the seed and the item alone.
fn kept(
    way: &Way,
    known: &ByModality<Option<Known>>,
    beta: Option<&Modal>,
    seed: u64,
    id: &str,
) -> ByModality<Vec<bool>> {
    let stream = id.bytes().fold(0_u64, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut random = Pcg32::new(seed, stream);
    // Of all tokens all are the same whatever would choose among them.
    let choice = way.choice.unwrap_or(Choice::Grid);
    choose(choice, known, way.keep, beta, &mut random)
}

fn about(item: &Item, draft: &Caption) -> Value {
    json!({
        "id": item.id,
        "image": item.files.image,
        "prompt": item.prompt,
        "kind": item.kind,
        "right": item.right,
        "about": item.about,
        "draft": draft.text,
        "draft_ids": draft.token_ids,
        "confidence": draft.confidence(),
    })
}

/// How many positions of each modality are kept.
fn counts(keep: &ByModality<Vec<bool>>) -> ByModality<usize> {
    let mut counts = ByModality::default();
    for modality in Modality::ALL {
        *counts.get_mut(modality) = keep.get(modality).iter().filter(|kept| **kept).count();
    }
    counts
}

fn by_modality<T: serde::Serialize>(values: &ByModality<T>) -> Value {
    json!({"video": values.video, "audio": values.audio, "sensor": values.sensor})
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
