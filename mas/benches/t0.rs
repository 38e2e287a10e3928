//! T0 of a frame beside a plain read of its luma plane, both from memory: `cargo bench -p mas --bench t0`.
//!
//! Frames follow one another through more memory than caches hold, as those of a decoder do at worst. The plain read adds up
//! words of eight bytes. The ratio is of medians, of reads and looks that take turns.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use mas::{Meter, MeterSettings, luma::Plane};

/// Bytes that the frames take up together; no cache is as large.
const MEMORY: usize = 768 << 20;
const SIZES: [(&str, usize, usize); 2] = [("720p", 1280, 720), ("1080p", 1920, 1080)];
/// Times that plain read and T0 take turns.
const TURNS: usize = 1500;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, width, height) in SIZES {
        let memory = frames(width, height);
        let frames: Vec<&[u8]> = memory.chunks_exact(width * height).collect();
        let mut meter = Meter::new(MeterSettings::default()).expect("the default settings");
        let blocks = |frame: &[u8]| {
            let plane = Plane::new(frame, width, height, width);
            plane.expect("a whole plane").block_means()
        };
        let mut t0 = |frame: &[u8]| meter.look(blocks(frame).view(), 7, 7);

        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes((width * height) as u64));
        let mut next = frames.iter().cycle();
        group.bench_function("plain read", |bencher| {
            bencher.iter(|| next.next().map(|frame| read(frame)));
        });
        group.bench_function("block means", |bencher| {
            bencher.iter(|| next.next().map(|frame| blocks(frame)));
        });
        group.bench_function("T0", |bencher| {
            bencher.iter(|| next.next().map(|frame| t0(frame)));
        });
        group.finish();

        // In turns, so that what else the machine does falls on both; of each turn one frame is read, another looked at.
        let far = frames.iter().cycle().skip(frames.len() / 2);
        let pairs = frames.iter().cycle().zip(far).take(TURNS);
        let (reads, looks): (Vec<_>, Vec<_>) = pairs
            .map(|(one, other)| (time(|| read(one)), time(|| t0(other))))
            .unzip();
        let (read, look) = (median(reads), median(looks));
        let ratio = look.as_secs_f64() / read.as_secs_f64();
        println!("{name}: plain read {read:?}, T0 {look:?}: {ratio:.2} times\n");
    }
}

fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    black_box(work());
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Reads every byte, eight at a time.
fn read(plane: &[u8]) -> u64 {
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
