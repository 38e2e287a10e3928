//! Captions a list of pictures with draft and full model and verifies the drafts: one line of JSON for each picture.
//!
//! ```text
//! cargo run --release -p mllm --example evaluate -- --edge testdata/models/msao-edge \
//!     --cloud testdata/models/msao-cloud --margins 1.0,0.5 pictures.txt > captions.jsonl
//! ```
//!
//! A margin of 1 is the exact rule. Image tokens are quantised as they travel before either model reads them. A summary
//! goes to standard error.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mllm::{Agreement, CaptionModel, Frame, ModalTokens, Probe, Provider, Tokens, Trunk};
use rand_core::Rng;
use rand_pcg::Pcg32;
use serde_json::json;

#[derive(Parser)]
struct Arguments {
    /// Folder of the draft model and the vision encoder
    #[arg(long)]
    edge: PathBuf,
    /// Folder of the full model
    #[arg(long)]
    cloud: PathBuf,
    /// Share of image tokens that is kept, drawn at random
    #[arg(long, default_value_t = 1.0)]
    keep: f32,
    /// Factors of agreement to verify with; 1 is the exact rule
    #[arg(long, value_delimiter = ',', default_value = "1.0")]
    margins: Vec<f32>,
    /// Prompt [default: each model's own]
    #[arg(long)]
    prompt: Option<String>,
    /// auto, cpu, cuda or tensorrt
    #[arg(long, default_value_t = Provider::Auto)]
    provider: Provider,
    /// Seed of the choice of tokens
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// File with the path of a picture (JPEG or PNG) on each line
    list: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        (0.0..=1.0).contains(&arguments.keep),
        "--keep must be 0 to 1"
    );
    let provider = arguments.provider;
    let mut probe = Probe::load(&arguments.edge, provider)?;
    let mut trunk = Trunk::load(&arguments.edge, provider)?;
    let mut draft_model = CaptionModel::load(&arguments.edge, provider)?;
    let mut full_model = CaptionModel::load(&arguments.cloud, provider)?;
    let prompt = |model: &CaptionModel| {
        arguments
            .prompt
            .clone()
            .unwrap_or_else(|| model.config().default_prompt.clone())
    };
    let (draft_prompt, full_prompt) = (prompt(&draft_model), prompt(&full_model));
    let mut random = Pcg32::new(arguments.seed, 0);
    let (mut pictures, mut unlike, mut difference) = (0, 0, 0.0_f32);

    let list = fs::read_to_string(&arguments.list)
        .with_context(|| format!("reading {}", arguments.list.display()))?;
    for path in list.lines().filter(|line| !line.trim().is_empty()) {
        let picture = image::open(path)
            .with_context(|| format!("reading {path}"))?
            .into_rgb8();
        let frame = Frame::rgb(picture.width(), picture.height(), &picture)?;
        let (seen, probe_ms) = timed(|| probe.run(&frame))?;
        let (features, trunk_ms) = timed(|| trunk.run(&seen.features))?;
        let keep = choose(&mut random, features.nrows(), arguments.keep);
        let tokens = Tokens::from(ModalTokens::kept(&features, &keep).as_received());

        let (draft, draft_ms) = timed(|| draft_model.draft(&tokens, &draft_prompt))?;
        let (full, full_ms) = timed(|| full_model.draft(&tokens, &full_prompt))?;
        let (exact, exact_ms) =
            timed(|| full_model.verify(&tokens, &full_prompt, &draft.token_ids, Agreement::Exact))?;
        pictures += 1;
        unlike += usize::from(exact.caption.token_ids != full.token_ids);
        if pictures % 10 == 1 {
            let found = full_model.difference(&tokens, &full_prompt, &full.token_ids)?;
            difference = difference.max(found);
        }

        let mut verified = Vec::new();
        for &margin in &arguments.margins {
            let outcome = if margin >= 1.0 {
                exact.clone()
            } else {
                let rule = Agreement::Margin(margin);
                full_model.verify(&tokens, &full_prompt, &draft.token_ids, rule)?
            };
            verified.push(json!({
                "margin": margin,
                "text": outcome.caption.text,
                "accepted": outcome.accepted,
                "drafted": draft.token_ids.len(),
                "whole": outcome.whole,
            }));
        }
        let line = json!({
            "image": path,
            "draft": draft.text,
            "draft_ids": draft.token_ids,
            "confidence": draft.confidence(),
            "full": full.text,
            "verified": verified,
            "ms": {
                "probe": probe_ms, "trunk": trunk_ms, "draft": draft_ms, "full": full_ms,
                "verify_exact": exact_ms,
            },
        });
        println!("{line}");
    }
    eprintln!(
        "{pictures} pictures; verified exactly but unlike the full model alone: {unlike}; near ties: {}; \
         logits of one pass and of single steps differ by at most {difference:.1e} (tie_tolerance is {:.1e})",
        full_model.near_ties(),
        full_model.config().tie_tolerance
    );
    Ok(())
}

/// `share` of `count` positions, drawn at random; at least one.
fn choose(random: &mut Pcg32, count: usize, share: f32) -> Vec<bool> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, random.next_u32() as usize % (last + 1));
    }
    let kept = ((count as f32 * share).round() as usize).clamp(1, count);
    let mut keep = vec![false; count];
    order[..kept]
        .iter()
        .for_each(|&position| keep[position] = true);
    keep
}

fn timed<T>(work: impl FnOnce() -> mllm::Result<T>) -> mllm::Result<(T, f64)> {
    let start = Instant::now();
    let done = work()?;
    Ok((done, start.elapsed().as_secs_f64() * 1e3))
}
