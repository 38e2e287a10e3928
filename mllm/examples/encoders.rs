//! What a batch brings the two halves of the vision encoder here: frames a second, by the frames in a batch.
//!
//! ```text
//! cargo run --release -p mllm --example encoders -- --provider cuda --edge testdata/models/msao-edge
//! ```
//!
//! The networks alone, one after another, without preprocessing; pixels come from the CPU's memory and results go there, as
//! they do in [`mllm::Probe`] and [`mllm::Trunk`]. Also how far the results of a batch are from those of each frame alone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mllm::Provider;
use mllm::config::files;
use mllm::runtime::LIBRARY_VARIABLE;
use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;

/// Values of a frame's pixels, and of the features between the halves.
const PIXELS: [usize; 3] = [3, 224, 224];
const FEATURES: [usize; 3] = [24, 56, 56];
/// Runs before the clock starts: a GPU chooses its kernels in the first.
const WARM: usize = 3;

#[derive(Parser)]
struct Arguments {
    /// Folder of the vision encoder
    #[arg(long)]
    edge: PathBuf,
    /// cpu or cuda
    #[arg(long, default_value_t = Provider::Cpu)]
    provider: Provider,
    /// Threads within an operator on the CPU
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Frames in a batch, with commas between the numbers
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64")]
    batches: Vec<usize>,
    /// How a GPU chooses algorithms: heuristic, as mllm has it, or exhaustive
    #[arg(long, value_enum, default_value_t = Search::Heuristic)]
    search: Search,
    /// Seconds for each number
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Search {
    Heuristic,
    Exhaustive,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let provider = arguments.provider;
    ensure!(
        matches!(provider, Provider::Cpu | Provider::Cuda),
        "`{provider}` is not for this: take cpu or cuda"
    );
    let library = std::env::var(LIBRARY_VARIABLE).context("ORT_DYLIB_PATH is not set")?;
    let environment = ort::init_from(library)?.with_name("encoders").build()?;
    let open = |file: &str| {
        let path = arguments.edge.canonicalize()?.join(file);
        open(&environment, &path, &arguments).with_context(|| path.display().to_string())
    };
    let (mut probe, mut trunk) = (open(files::PROBE)?, open(files::TRUNK)?);
    let most = arguments.batches.iter().copied().max().unwrap_or_default();
    ensure!(most > 0, "a batch has at least one frame");
    let pixels: Vec<f32> = (0..most * size(PIXELS))
        .map(|at| (at % 509) as f32 / 254.0 - 1.0)
        .collect();
    let features = run(&mut probe, "pixel_values", PIXELS, &pixels, "features")?;

    println!(
        "provider {provider}, threads {}, {:?}; ms a batch, frames/s, furthest from each frame alone",
        arguments.threads, arguments.search
    );
    let halves = [
        (
            "T1",
            &mut probe,
            "pixel_values",
            PIXELS,
            &pixels,
            "features",
        ),
        (
            "T2",
            &mut trunk,
            "features",
            FEATURES,
            &features,
            "image_tokens",
        ),
    ];
    for (half, session, input, shape, values, output) in halves {
        let alone = (values.chunks_exact(size(shape)))
            .map(|one| run(session, input, shape, one, output))
            .collect::<Result<Vec<_>>>()?
            .concat();
        for &batch in &arguments.batches {
            let some = &values[..batch * size(shape)];
            let mut together = Vec::new();
            for _ in 0..WARM {
                together = run(session, input, shape, some, output)?;
            }
            let furthest = (together.iter().zip(&alone))
                .map(|(a, b)| (a - b).abs())
                .fold(0.0_f32, f32::max);
            let (begun, mut runs) = (Instant::now(), 0);
            while begun.elapsed() < Duration::from_secs_f64(arguments.seconds) {
                run(session, input, shape, some, output)?;
                runs += 1;
            }
            let each = begun.elapsed().as_secs_f64() / f64::from(runs);
            println!(
                "{half} {batch:4}  {:8.2} ms  {:8.0} frames/s  {furthest:.1e}",
                1e3 * each,
                batch as f64 / each
            );
        }
        // All sizes up to the largest, in turn and out of order.
        let (begun, mut runs, mut frames) = (Instant::now(), 0, 0);
        while begun.elapsed() < Duration::from_secs_f64(2.0 * arguments.seconds) {
            let batch = 1 + runs * 7 % most.min(16);
            run(
                session,
                input,
                shape,
                &values[..batch * size(shape)],
                output,
            )?;
            (runs, frames) = (runs + 1, frames + batch);
        }
        let took = begun.elapsed().as_secs_f64();
        println!(
            "{half} sizes 1 to {} in turn: {:.2} ms a run, {:.0} frames/s",
            most.min(16),
            1e3 * took / runs as f64,
            frames as f64 / took
        );
    }
    Ok(())
}

fn size(shape: [usize; 3]) -> usize {
    shape.iter().product()
}

fn open(environment: &Environment, path: &Path, arguments: &Arguments) -> ort::Result<Session> {
    let mut builder = Session::builder(environment)?.with_intra_threads(arguments.threads)?;
    if arguments.provider == Provider::Cuda {
        // As mllm does.
        let search = match arguments.search {
            Search::Heuristic => ort::ep::cuda::ConvAlgorithmSearch::Heuristic,
            Search::Exhaustive => ort::ep::cuda::ConvAlgorithmSearch::Exhaustive,
        };
        let cuda = ort::ep::CUDA::default().with_tf32(false);
        let cuda = cuda.with_conv_algorithm_search(search);
        builder = builder.with_execution_providers([cuda.build().error_on_failure()])?;
    }
    builder.commit_from_file(path)
}

/// One run over as many frames as `values` has; what it gives is on the CPU.
fn run(
    session: &mut Session,
    input: &str,
    [channels, rows, columns]: [usize; 3],
    values: &[f32],
    output: &str,
) -> Result<Vec<f32>> {
    let batch = values.len() / (channels * rows * columns);
    let tensor = TensorRef::from_array_view(([batch, channels, rows, columns], values))?;
    let outputs = session.run(ort::inputs![input => tensor])?;
    let (_, values) = outputs[output].try_extract_tensor::<f32>()?;
    Ok(values.to_vec())
}
