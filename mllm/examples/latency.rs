//! How long each stage takes here, on one thread: median and 95th percentile in milliseconds.
//!
//! ```text
//! cargo run --release -p mllm --example latency -- --edge testdata/models/msao-edge \
//!     --cloud testdata/models/msao-cloud [PICTURE ...]
//! ```
//!
//! Preprocessing and probe are timed on a 768 x 576 I420 frame, made from each picture in turn; without pictures, from
//! synthetic ones.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use image::RgbImage;
use image::imageops::{FilterType, resize};
use mllm::config::PreprocessorConfig;
use mllm::frame::{Colour, Format, Plane};
use mllm::preprocess::Preprocessor;
use mllm::{Agreement, CaptionModel, Frame, ModalTokens, Options, Probe, Provider, Tokens, Trunk};

const WIDTH: usize = 768;
const HEIGHT: usize = 576;

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
    /// Times each stage is run
    #[arg(long, default_value_t = 60)]
    runs: usize,
    /// Pictures (JPEG or PNG)
    pictures: Vec<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let options = Options {
        provider: arguments.provider,
        threads: arguments.threads,
    };
    let mut preprocessor = Preprocessor::new(&PreprocessorConfig::load(&arguments.edge)?);
    let mut probe = Probe::load(&arguments.edge, options)?;
    let mut trunk = Trunk::load(&arguments.edge, options)?;
    let mut small = CaptionModel::load(&arguments.edge, options)?;
    let mut full = CaptionModel::load(&arguments.cloud, options)?;
    let prompt = full.config().default_prompt.clone();
    let pictures = pictures(&arguments)?;
    let size = preprocessor.size();
    let mut pixels = vec![0.0; 3 * size.width as usize * size.height as usize];
    println!("provider {}, threads {}", full.provider(), options.threads);

    let stages = [
        "preprocess",
        "T1 (preprocess + probe)",
        "T2 (trunk)",
        "draft",
        "full alone",
        "verify exact",
        "verify margin",
    ];
    let mut times = stages.map(|_| Vec::new());
    let margin = Agreement::Margin(full.config().agreement_margin.unwrap_or(0.3));
    let (mut drafted, mut accepted) = (0, 0);
    for picture in pictures.iter().cycle().take(arguments.runs) {
        let frame = frame(picture)?;
        let mut stage = times.iter_mut();
        let mut time = |start: Instant| {
            if let Some(times) = stage.next() {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        };
        let start = Instant::now();
        preprocessor.run(&frame, &mut pixels)?;
        time(start);
        let start = Instant::now();
        let seen = probe.run(&frame)?;
        time(start);
        let start = Instant::now();
        let features = trunk.run(&seen.features)?;
        time(start);
        let tokens = Tokens::from(ModalTokens::all(features).as_received());
        let start = Instant::now();
        let draft = small.draft(&tokens, &prompt)?;
        time(start);
        let start = Instant::now();
        full.draft(&tokens, &prompt)?;
        time(start);
        let start = Instant::now();
        let verified = full.verify(&tokens, &prompt, &draft.token_ids, Agreement::Exact)?;
        time(start);
        let start = Instant::now();
        full.verify(&tokens, &prompt, &draft.token_ids, margin)?;
        time(start);
        drafted += draft.token_ids.len();
        accepted += verified.accepted;
    }
    let mut medians = Vec::new();
    for (stage, times) in stages.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
        println!(
            "{stage:24} median {:8.2} ms   p95 {:8.2} ms",
            at(0.5),
            at(0.95)
        );
        medians.push(at(0.5));
    }
    println!(
        "verify / full alone, medians: {:.2}",
        medians[5] / medians[4]
    );
    println!(
        "tokens of a draft: {:.1}; accepted under exact: {accepted} of {drafted}",
        drafted as f64 / arguments.runs as f64
    );
    Ok(())
}

/// I420 pictures of 768 x 576, in full range.
fn pictures(arguments: &Arguments) -> Result<Vec<Vec<u8>>> {
    let (width, height) = (WIDTH as u32, HEIGHT as u32);
    let mut pictures = Vec::new();
    for path in &arguments.pictures {
        let picture = image::open(path).with_context(|| format!("reading {}", path.display()))?;
        pictures.push(i420(&resize(
            &picture.into_rgb8(),
            width,
            height,
            FilterType::Triangle,
        )));
    }
    if pictures.is_empty() {
        pictures = (1..=8_u32)
            .map(|seed| {
                i420(&RgbImage::from_fn(width, height, |x, y| {
                    let wave = |k: u32| ((x / k + y * seed / (k + 3)) % 256) as u8;
                    image::Rgb([wave(1), wave(2 + seed), wave(5)])
                }))
            })
            .collect();
    }
    Ok(pictures)
}

fn i420(picture: &RgbImage) -> Vec<u8> {
    let mut data = vec![0; WIDTH * HEIGHT * 3 / 2];
    let (luma, chroma) = data.split_at_mut(WIDTH * HEIGHT);
    let (u, v) = chroma.split_at_mut(WIDTH * HEIGHT / 4);
    for (x, y, pixel) in picture.enumerate_pixels() {
        let [r, g, b] = pixel.0.map(f32::from);
        let (x, y) = (x as usize, y as usize);
        let grey = 0.299 * r + 0.587 * g + 0.114 * b;
        luma[y * WIDTH + x] = grey as u8;
        let half = y / 2 * (WIDTH / 2) + x / 2;
        u[half] = ((b - grey) / 1.772 + 128.0) as u8;
        v[half] = ((r - grey) / 1.402 + 128.0) as u8;
    }
    data
}

fn frame(picture: &[u8]) -> mllm::Result<Frame<'_>> {
    let (luma, chroma) = picture.split_at(WIDTH * HEIGHT);
    let (u, v) = chroma.split_at(chroma.len() / 2);
    let plane = |data, stride| Plane { data, stride };
    let planes = [plane(luma, WIDTH), plane(u, WIDTH / 2), plane(v, WIDTH / 2)];
    let colour = Colour {
        range: mllm::frame::Range::Full,
        ..Colour::default()
    };
    Frame::new(Format::I420, WIDTH as u32, HEIGHT as u32, &planes, colour)
}
