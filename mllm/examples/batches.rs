//! Whether verifying windows together pays here: windows and tokens a second, by the windows in a batch.
//!
//! ```text
//! cargo run --release -p mllm --example batches -- --edge testdata/models/msao-edge \
//!     --cloud testdata/models/msao-cloud PICTURE ...
//! ```
//!
//! Every window holds a third of its picture's tokens and the edge's draft. The batches take turns, so that what else the
//! machine does meets all alike.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use mllm::{
    Agreement, CaptionModel, Frame, ModalTokens, Options, Probe, Provider, Tokens, Trunk, Window,
};

#[derive(Parser)]
struct Arguments {
    /// Folder of the draft model and the vision encoder
    #[arg(long)]
    edge: PathBuf,
    /// Folder of the full model
    #[arg(long)]
    cloud: PathBuf,
    /// auto, cpu, cuda or tensorrt
    #[arg(long, default_value_t = Provider::Auto)]
    provider: Provider,
    /// Threads within an operator
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Times that all windows are verified
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Windows in a batch, with commas between the numbers
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
    batches: Vec<usize>,
    /// Pictures (JPEG or PNG)
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let options = Options {
        provider: arguments.provider,
        threads: arguments.threads,
    };
    let mut probe = Probe::load(&arguments.edge, options)?;
    let mut trunk = Trunk::load(&arguments.edge, options)?;
    let mut small = CaptionModel::load(&arguments.edge, options)?;
    let mut full = CaptionModel::load(&arguments.cloud, options)?;
    let prompt = full.config().default_prompt.clone();
    let factor = full.config().agreement_margin.unwrap_or(0.3);
    let mut drafted = Vec::new();
    for path in &arguments.pictures {
        let picture = image::open(path).with_context(|| format!("reading {}", path.display()))?;
        let picture = picture.into_rgb8();
        let frame = Frame::rgb(picture.width(), picture.height(), picture.as_raw())?;
        let features = trunk.run(&probe.run(&frame)?.features)?;
        let third: Vec<bool> = (0..features.nrows()).map(|row| row % 3 == 1).collect();
        let tokens = Tokens::from(ModalTokens::kept(&features, &third)).as_received();
        let draft = small.draft(&tokens, &prompt)?.token_ids;
        drafted.push((tokens, draft));
    }
    println!(
        "provider {}, threads {}, {} windows",
        full.provider(),
        options.threads,
        drafted.len()
    );
    for agreement in [Agreement::Margin(factor), Agreement::Exact] {
        for with_draft in [true, false] {
            let windows: Vec<Window<'_>> = (drafted.iter())
                .map(|(tokens, draft)| Window {
                    tokens,
                    prompt: &prompt,
                    draft: with_draft.then_some(draft.as_slice()),
                })
                .collect();
            let mut times = vec![(Duration::ZERO, 0); arguments.batches.len()];
            for _ in 0..arguments.rounds {
                for ((time, tokens), &batch) in times.iter_mut().zip(&arguments.batches) {
                    let start = Instant::now();
                    for some in windows.chunks(batch.max(1)) {
                        for verified in full.verify_all(some, agreement) {
                            *tokens += verified?.caption.token_ids.len();
                        }
                    }
                    *time += start.elapsed();
                }
            }
            let what = if with_draft { "drafts" } else { "no drafts" };
            print!("{agreement:?}, {what}:");
            for ((time, tokens), batch) in times.iter().zip(&arguments.batches) {
                let windows = (windows.len() * arguments.rounds) as f64;
                let seconds = time.as_secs_f64();
                let (windows, tokens) = (windows / seconds, *tokens as f64 / seconds);
                print!("  {batch}: {windows:.1} windows/s {tokens:.0} tokens/s");
            }
            println!();
        }
    }
    Ok(())
}
