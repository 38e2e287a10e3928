//! Whether another provider, or other networks, give what the CPU gives: features, drafts, verdicts on drafts, captions.
//!
//! ```text
//! cargo run --release -p mllm --example same -- --provider cuda --edge testdata/models/msao-edge \
//!     --cloud testdata/models/msao-cloud PICTURE ...
//! ```
//!
//! With `--other-edge` and `--other-cloud` these models are compared with the others: in f16, say. Fails if a token differs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mllm::{
    Agreement, Caption, CaptionModel, Frame, ModalTokens, Options, Probe, Provider, Tokens, Trunk,
};
use ndarray::Array2;

#[derive(Parser)]
struct Arguments {
    /// Folder of the draft model and the vision encoder
    #[arg(long)]
    edge: PathBuf,
    /// Folder of the full model
    #[arg(long)]
    cloud: PathBuf,
    /// What is compared: cuda or tensorrt, or cpu for other models
    #[arg(long)]
    provider: Provider,
    /// What it is compared with
    #[arg(long, default_value_t = Provider::Cpu)]
    with: Provider,
    /// Folder of the draft model and the vision encoder that are compared; left out: the same
    #[arg(long)]
    other_edge: Option<PathBuf>,
    /// Folder of the full model that is compared; left out: the same
    #[arg(long)]
    other_cloud: Option<PathBuf>,
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
    fn load(edge: &Path, cloud: &Path, provider: Provider) -> Result<Self> {
        let options = Options::from(provider);
        Ok(Self {
            probe: Probe::load(edge, options)?,
            trunk: Trunk::load(edge, options)?,
            small: CaptionModel::load(edge, options)?,
            full: CaptionModel::load(cloud, options)?,
        })
    }

    fn see(&mut self, frame: &Frame<'_>) -> Result<Array2<f32>> {
        Ok(self.trunk.run(&self.probe.run(frame)?.features)?)
    }
}

/// Texts of two models, compared.
#[derive(Default)]
struct Compared {
    texts: usize,
    texts_differ: usize,
    tokens: usize,
    tokens_differ: usize,
    /// Of tokens that follow the same ones: the largest difference of their log-probabilities.
    furthest: f32,
}

impl Compared {
    fn add(&mut self, text: &Caption, other: &Caption) {
        let (ids, others) = (&text.token_ids, &other.token_ids);
        let pairs = || ids.iter().zip(others);
        let same = pairs().filter(|(a, b)| a == b).count();
        let first = pairs().take_while(|(a, b)| a == b).count();
        self.texts += 1;
        self.texts_differ += usize::from(ids != others);
        self.tokens += ids.len();
        self.tokens_differ += ids.len().max(others.len()) - same;
        for (a, b) in (text.logprobs.iter().zip(&other.logprobs)).take(first) {
            self.furthest = self.furthest.max((a - b).abs());
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (edge, cloud) = (&arguments.edge, &arguments.cloud);
    let mut here = Models::load(edge, cloud, arguments.with)?;
    let other_edge = arguments.other_edge.as_ref().unwrap_or(edge);
    let other_cloud = arguments.other_cloud.as_ref().unwrap_or(cloud);
    let mut there = Models::load(other_edge, other_cloud, arguments.provider)?;
    let prompt = here.full.config().default_prompt.clone();
    let (mut furthest, mut range) = (0.0_f32, 0.0_f32);
    let names = [
        "drafts",
        "captions",
        "verdicts, exact",
        "verdicts, margin",
        "drafts of its own features",
        "captions of its own features",
    ];
    let mut compared = names.map(|name| (name, Compared::default()));
    let mut accepted_differ = 0;
    for path in &arguments.pictures {
        let picture = image::open(path).with_context(|| format!("reading {}", path.display()))?;
        let picture = picture.into_rgb8();
        let frame = Frame::rgb(picture.width(), picture.height(), picture.as_raw())?;
        let (features, others) = (here.see(&frame)?, there.see(&frame)?);
        for (a, b) in features.iter().zip(&others) {
            (furthest, range) = (furthest.max((a - b).abs()), range.max(a.abs()));
        }
        let received = |features| Tokens::from(ModalTokens::all(features).as_received());
        let (tokens, own) = (received(features), received(others));
        let draft = here.small.draft(&tokens, &prompt)?;
        let caption = here.full.draft(&tokens, &prompt)?;
        let mut pairs = vec![
            (draft.clone(), there.small.draft(&tokens, &prompt)?),
            (caption.clone(), there.full.draft(&tokens, &prompt)?),
        ];
        for agreement in [Agreement::Exact, Agreement::Margin(0.3)] {
            let judge = |model: &mut CaptionModel| {
                model.verify(&tokens, &prompt, &draft.token_ids, agreement)
            };
            let (verified, other) = (judge(&mut here.full)?, judge(&mut there.full)?);
            accepted_differ += verified.accepted.abs_diff(other.accepted);
            pairs.push((verified.caption, other.caption));
        }
        pairs.push((draft, there.small.draft(&own, &prompt)?));
        pairs.push((caption, there.full.draft(&own, &prompt)?));
        for ((_, compared), (text, other)) in compared.iter_mut().zip(&pairs) {
            compared.add(text, other);
        }
    }
    println!(
        "{} on {} against {} on {}, {} pictures; features differ by at most {furthest:.2e}, of up to {range:.2}",
        other_cloud.display(),
        there.full.provider(),
        cloud.display(),
        here.full.provider(),
        arguments.pictures.len()
    );
    for (what, compared) in &compared {
        println!(
            "{what}: {} of {} differ, {} of {} tokens, log-probabilities by at most {:.1e}",
            compared.texts_differ,
            compared.texts,
            compared.tokens_differ,
            compared.tokens,
            compared.furthest
        );
    }
    println!("drafts' tokens accepted by only one of the two: {accepted_differ}");
    let same = (compared.iter()).all(|(_, compared)| compared.texts_differ == 0);
    ensure!(same && accepted_differ == 0, "not the same");
    Ok(())
}
