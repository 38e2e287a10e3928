//! T0 of a frame beside a plain read of its luma plane, both from memory: `cargo bench -p mas --bench t0`.
//!
//! Frames follow one another through more memory than caches hold, as those of a decoder do at worst. The plain read adds up
//! words of eight bytes. Ratios are of the medians of one run.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use mas::{Meter, MeterSettings, luma::Plane};

/// Bytes that the frames take up together; no cache is as large.
const MEMORY: usize = 768 << 20;
const SIZES: [(&str, usize, usize); 2] = [("720p", 1280, 720), ("1080p", 1920, 1080)];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, width, height) in SIZES {
        let frames = frames(width, height);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes((width * height) as u64));
        let mut medians = Vec::new();
        let mut meter = Meter::new(MeterSettings::default()).expect("the default settings");
        let blocks = |frame: &[u8]| {
            let plane = Plane::new(frame, width, height, width);
            plane.expect("a whole plane").block_means()
        };
        let mut time = |what: &str, work: &mut dyn FnMut(&[u8])| {
            let times = RefCell::new(Vec::new());
            let mut next = (0..frames.len() / (width * height)).cycle();
            group.bench_function(what, |bencher| {
                bencher.iter_custom(|turns| {
                    let mut whole = Duration::ZERO;
                    for frame in next.by_ref().take(turns as usize) {
                        let begun = Instant::now();
                        work(&frames[frame * width * height..][..width * height]);
                        let took = begun.elapsed();
                        times.borrow_mut().push(took);
                        whole += took;
                    }
                    whole
                });
            });
            let mut times = times.into_inner();
            times.sort_unstable();
            medians.extend(times.get(times.len() / 2).copied());
        };
        time("plain read", &mut |frame| {
            black_box(sum(black_box(frame)));
        });
        time("block means", &mut |frame| {
            black_box(blocks(frame));
        });
        time("T0", &mut |frame| {
            black_box(meter.look(blocks(frame).view(), 7, 7));
        });
        group.finish();
        if let [read, means, t0] = medians[..] {
            let ratio = |time: Duration| time.as_secs_f64() / read.as_secs_f64();
            println!(
                "{name}: plain read {read:?}; block means {means:?}, {:.2} times; T0 {t0:?}, {:.2} times\n",
                ratio(means),
                ratio(t0)
            );
        }
    }
}

/// Reads every byte, eight at a time.
fn sum(plane: &[u8]) -> u64 {
    let words = plane.as_chunks().0.iter().copied().map(u64::from_le_bytes);
    words.fold(0, u64::wrapping_add)
}

/// Frames of a textured scene with a sensor's noise, and a bright square that crosses it.
fn frames(width: usize, height: usize) -> Vec<u8> {
    let bytes = width * height;
    let still: Vec<u8> = (0..bytes)
        .map(|i| (40 + (i % width / 23 * 37 + i / width / 17 * 61) % 160) as u8)
        .collect();
    let mut random = 1u64;
    let mut all = still.repeat(MEMORY / bytes + 1);
    for (number, frame) in all.chunks_exact_mut(bytes).enumerate() {
        for eight in frame.as_chunks_mut::<8>().0 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let noise = random & 0x0707_0707_0707_0707;
            *eight = (u64::from_le_bytes(*eight) + noise).to_le_bytes();
        }
        for row in frame.chunks_exact_mut(width).skip(height / 3).take(64) {
            row[number * 6 % (width - 64)..][..64].fill(220);
        }
    }
    all
}
