//! Evidence of T0 for each frame: reads raw grey frames on stdin.
//! `scene WIDTH HEIGHT THRESHOLD...`: prints for each threshold the frames that it keeps.
use mas::{luma, scene::Scene};
use std::io::Read;
use std::time::{Duration, Instant};

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (w, h): (usize, usize) = (a[1].parse().unwrap(), a[2].parse().unwrap());
    let thresholds: Vec<f32> = a[3..].iter().map(|v| v.parse().unwrap()).collect();
    let mut scenes: Vec<Scene> = thresholds.iter().map(|_| Scene::new(7, 7)).collect();
    let mut kept: Vec<Vec<usize>> = vec![Vec::new(); scenes.len()];
    let mut data = vec![0u8; w * h];
    let mut input = std::io::stdin().lock();
    let (mut spent, mut n) = (Duration::ZERO, 0);
    let debug = std::env::var("DEBUG").is_ok();
    while input.read_exact(&mut data).is_ok() {
        let start = Instant::now();
        let grid = luma::Plane::new(&data, w, h, w).unwrap().block_means();
        for ((scene, t), kept) in scenes.iter_mut().zip(&thresholds).zip(&mut kept) {
            let look = scene.look(grid.view());
            let worth: f32 = look.evidence.iter().map(|e| e * e).sum::<f32>() / 49.0;
            if debug && *t == thresholds[0] {
                eprintln!(
                    "{n} worth {worth:.4} score {:.3} off {:.2} gain {:.3} shift {:.2?}",
                    look.score, look.offset, look.gain, look.shift
                );
            }
            if worth >= *t {
                kept.push(n);
                scene.mark_sent(&look, 0..49);
            }
        }
        spent += start.elapsed();
        n += 1;
    }
    for (t, kept) in thresholds.iter().zip(kept) {
        println!(
            "{t} {}",
            kept.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(",")
        );
    }
    eprintln!(
        "{:?} a frame and threshold",
        spent / (n as u32 * scenes.len() as u32).max(1)
    );
}
