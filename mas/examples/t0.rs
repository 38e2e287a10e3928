//! Median time of T0 (block means and change) and of one measurement of a 49 x 96
//! grid. Run with `cargo run --release -p mas --example t0`.

use std::time::{Duration, Instant};

use mas::scene::Scene;
use mas::{Meter, MeterSettings, luma};
use ndarray::Array2;

const WIDTH: usize = 768;
const HEIGHT: usize = 576;
const FRAMES: usize = 500;

fn main() -> Result<(), mas::Error> {
    let mut noise = 1u32;
    let mut noisy = |level: usize| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (level % 200) as u8 + (noise >> 29) as u8
    };
    let mut scene = Scene::new(7, 7);
    let mut t0 = Vec::new();
    for frame in 0..FRAMES {
        let plane: Vec<u8> = (0..WIDTH * HEIGHT).map(|i| noisy(i / 5 + frame)).collect();
        let start = Instant::now();
        let grid = luma::Plane::new(&plane, WIDTH, HEIGHT, WIDTH)?.block_means();
        std::hint::black_box(scene.look(grid.view()));
        t0.push(start.elapsed());
    }

    let mut meter = Meter::new(MeterSettings::default())?;
    let mut measure = Vec::new();
    for _ in 0..FRAMES {
        let grid = Array2::from_shape_simple_fn((49, 96), || f32::from(noisy(7)));
        let start = Instant::now();
        let measurement = meter.measure(grid.view());
        measure.push(start.elapsed());
        meter.mark_sent(&measurement, 0..49);
    }

    println!("T0, {WIDTH} x {HEIGHT}: median {:?}", median(t0));
    println!("measure, 49 x 96: median {:?}", median(measure));
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
