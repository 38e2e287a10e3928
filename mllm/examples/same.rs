//! Whether another provider gives what the CPU gives: features, drafts, verdicts on drafts, captions.
//!
//! ```text
//! cargo run --release -p mllm --example same -- --provider cuda --edge testdata/models/msao-edge \
//!     --cloud testdata/models/msao-cloud PICTURE ...
//! ```
//!
//! Fails if a token differs.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mllm::{Agreement, CaptionModel, Frame, ModalTokens, Options, Probe, Provider, Tokens, Trunk};

#[derive(Parser)]
struct Arguments {
    /// Folder of the draft model and the vision encoder
    #[arg(long)]
    edge: PathBuf,
    /// Folder of the full model
    #[arg(long)]
    cloud: PathBuf,
    /// cuda or tensorrt
    #[arg(long)]
    provider: Provider,
    /// Pictures (JPEG or PNG)
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
}

/// All models on one provider.
struct Models {
    probe: Probe,
    trunk: Trunk,
    small: CaptionModel,
    full: CaptionModel,
}

impl Models {
    fn load(arguments: &Arguments, provider: Provider) -> Result<Self> {
        let options = Options::from(provider);
        Ok(Self {
            probe: Probe::load(&arguments.edge, options)?,
            trunk: Trunk::load(&arguments.edge, options)?,
            small: CaptionModel::load(&arguments.edge, options)?,
            full: CaptionModel::load(&arguments.cloud, options)?,
        })
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut here = Models::load(&arguments, Provider::Cpu)?;
    let mut there = Models::load(&arguments, arguments.provider)?;
    let prompt = here.full.config().default_prompt.clone();
    let (mut furthest, mut tokens_compared) = (0.0_f32, 0);
    let mut differ = [("drafts", 0), ("captions", 0), ("verdicts", 0)];
    for path in &arguments.pictures {
        let picture = image::open(path).with_context(|| format!("reading {}", path.display()))?;
        let picture = picture.into_rgb8();
        let frame = Frame::rgb(picture.width(), picture.height(), picture.as_raw())?;
        let features = here.trunk.run(&here.probe.run(&frame)?.features)?;
        let others = there.trunk.run(&there.probe.run(&frame)?.features)?;
        for (a, b) in features.iter().zip(&others) {
            furthest = furthest.max((a - b).abs());
        }
        let tokens = Tokens::from(ModalTokens::all(features)).as_received();
        let drafts = [&mut here, &mut there].map(|on| on.small.draft(&tokens, &prompt));
        let [draft, other] = drafts.map(|draft| draft.map(|draft| draft.token_ids));
        let draft = draft?;
        tokens_compared += draft.len();
        differ[0].1 += usize::from(draft != other?);
        let [caption, other] = [&mut here, &mut there].map(|on| on.full.draft(&tokens, &prompt));
        let caption = caption?.token_ids;
        tokens_compared += caption.len();
        differ[1].1 += usize::from(caption != other?.token_ids);
        for agreement in [Agreement::Exact, Agreement::Margin(0.3)] {
            let verdicts = [&mut here, &mut there]
                .map(|on| on.full.verify(&tokens, &prompt, &draft, agreement));
            let [verdict, other] = verdicts.map(|v| v.map(|v| (v.caption.token_ids, v.accepted)));
            differ[2].1 += usize::from(verdict? != other?);
        }
    }
    println!(
        "{} against CPU, {} pictures, {tokens_compared} tokens; furthest feature {furthest:.2e}",
        there.full.provider(),
        arguments.pictures.len()
    );
    for (what, count) in differ {
        println!("{what} that differ: {count}");
    }
    ensure!(differ.iter().all(|(_, count)| *count == 0), "not the same");
    Ok(())
}
