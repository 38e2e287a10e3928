//! Whether a chat model answers on another provider, or in another precision, as in f32 on the CPU, and how fast: tokens,
//! logits, verdicts on drafts, alone and in batches.
//!
//! ```text
//! cargo run --release -p mllm --example chat -- --provider cuda --variant fp16 --model testdata/tiny_hf/qwen2vl PICTURE ...
//! ```
//!
//! Fails if another token is written in f32.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use image::RgbImage;
use mllm::hf::{ChatModel, Turn, Variant};
use mllm::{Agreement, Frame, Options, Provider};

#[derive(Parser)]
struct Arguments {
    /// Folder of the model
    #[arg(long)]
    model: PathBuf,
    /// auto, cpu, cuda or tensorrt
    #[arg(long, default_value_t = Provider::Auto)]
    provider: Provider,
    /// Precision, compared with fp32 on the CPU
    #[arg(long, default_value_t = Variant::Fp32)]
    variant: Variant,
    /// Tokens of an answer at most
    #[arg(long, default_value_t = 10)]
    tokens: usize,
    /// Questions in a batch, with commas between the numbers
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    batches: Vec<usize>,
    /// What is asked of each picture
    #[arg(long, default_value = "what is on the road?")]
    prompt: String,
    /// Pictures (JPEG or PNG)
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (folder, prompt, longest) = (&arguments.model, &arguments.prompt, arguments.tokens);
    let mut here = ChatModel::load(folder, Variant::Fp32, Options::from(Provider::Cpu))?;
    let options = Options::from(arguments.provider);
    let mut there = ChatModel::load(folder, arguments.variant, options)?;
    let pictures = (arguments.pictures.iter())
        .map(|path| {
            let picture = image::open(path);
            Ok(picture
                .with_context(|| format!("reading {}", path.display()))?
                .into_rgb8())
        })
        .collect::<Result<Vec<RgbImage>>>()?;
    let frames = (pictures.iter())
        .map(|picture| Frame::rgb(picture.width(), picture.height(), picture.as_raw()))
        .collect::<mllm::Result<Vec<_>>>()?;

    let (mut furthest, mut range) = (0.0_f32, 0.0_f32);
    let (mut compared, mut tokens_differ, mut answers_differ) = (0, 0, 0);
    let (mut stood, mut drafted) = (0, 0);
    let mut answers = Vec::new();
    let mut own = Vec::new();
    for frame in &frames {
        let images = std::slice::from_ref(frame);
        let expected = here.answer(images, prompt, longest)?.token_ids;
        let found = there.answer(images, prompt, longest)?.token_ids;
        let logits = here.logits(images, prompt, &expected)?;
        let others = there.logits(images, prompt, &expected)?;
        for (a, b) in logits.iter().zip(&others) {
            (furthest, range) = (furthest.max((a - b).abs()), range.max(a.abs()));
        }
        let same = expected.iter().zip(&found).filter(|(a, b)| a == b).count();
        compared += expected.len();
        tokens_differ += expected.len().max(found.len()) - same;
        answers_differ += usize::from(expected != found);
        let verified = there.verify(images, prompt, &expected, longest, Agreement::Exact)?;
        stood += verified.accepted;
        drafted += expected.len();
        answers.push(expected);
        own.push(found);
    }
    println!(
        "{} on {}, {}, against fp32 on the CPU: {} answers, {compared} tokens",
        folder.display(),
        there.provider(),
        arguments.variant,
        frames.len()
    );
    println!("logits differ by at most {furthest:.2e}, of up to {range:.1}");
    println!("tokens that differ: {tokens_differ}; answers that differ: {answers_differ}");
    println!("tokens that stand under exact, drafts being the CPU's answers: {stood} of {drafted}");

    for with_draft in [true, false] {
        let turns: Vec<Turn<'_>> = (frames.iter().zip(&answers))
            .map(|(frame, answer)| Turn {
                images: std::slice::from_ref(frame),
                prompt,
                draft: with_draft.then_some(answer.as_slice()),
            })
            .collect();
        for &batch in &arguments.batches {
            let (start, mut tokens, mut differ) = (Instant::now(), 0, 0);
            for (some, own) in turns.chunks(batch.max(1)).zip(own.chunks(batch.max(1))) {
                let verified = there.verify_all(some, longest, Agreement::Margin(1.0));
                for (verified, own) in verified.into_iter().zip(own) {
                    let found = verified?.caption.token_ids;
                    tokens += found.len();
                    differ += usize::from(found != *own);
                }
            }
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "batch {batch:3}, {}: {:.1} questions/s, {:.0} tokens/s; other answers than alone: {differ}",
                if with_draft { "drafts   " } else { "no drafts" },
                turns.len() as f64 / seconds,
                tokens as f64 / seconds,
            );
        }
    }
    ensure!(
        answers_differ == 0 || arguments.variant != Variant::Fp32,
        "not the same"
    );
    Ok(())
}
