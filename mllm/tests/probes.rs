//! Probes of several cameras on one session see what each sees on a session of its own.

#![allow(clippy::unwrap_used)]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use mllm::{Batching, Error, Probe, ProbeOutput, Provider};

use common::{frame, model, pictures};

/// Sums of a convolution may be added up in another order.
const TOLERANCE: f32 = 1e-4;
const PATIENCE: Duration = Duration::from_secs(60);

fn difference(one: &ProbeOutput, other: &ProbeOutput) -> f32 {
    let grids = one.grid.iter().zip(&other.grid);
    let features = one.features.iter().zip(&other.features);
    grids
        .chain(features)
        .map(|(one, other)| (one - other).abs())
        .fold(0.0, f32::max)
}

#[test]
fn frames_looked_at_together_are_seen_as_alone() {
    let folder = model("msao-edge");
    let pictures = pictures("vtest.avi", 24, 5);
    let mut alone = Probe::load(&folder, Provider::Cpu).unwrap();
    let expected: Vec<_> = (pictures.iter())
        .map(|picture| alone.run(&frame(picture)).unwrap())
        .collect();
    for cameras in [2, 4, 8] {
        // All come, so nobody waits for that long; and if one did not come, it would be seen.
        let batching = Batching {
            most: cameras,
            wait: PATIENCE,
        };
        let probes: Vec<_> = (0..cameras)
            .map(|_| Probe::together(&folder, Provider::Cpu, batching).unwrap())
            .collect();
        assert!(probes.iter().all(|probe| probe.sharing() == cameras));
        let begun = Instant::now();
        let seen = thread::scope(|scope| {
            let (pictures, expected) =
                (pictures.chunks(24 / cameras), expected.chunks(24 / cameras));
            let looks: Vec<_> = (probes.into_iter())
                .zip(pictures.zip(expected))
                .map(|(mut probe, (pictures, expected))| {
                    scope.spawn(move || {
                        let seen = pictures.iter().map(|one| probe.run(&frame(one)).unwrap());
                        let differences = seen
                            .zip(expected)
                            .map(|(one, other)| difference(&one, other));
                        let largest = differences.fold(0.0, f32::max);
                        // All stay until all have looked.
                        (probe, largest)
                    })
                })
                .collect();
            looks
                .into_iter()
                .map(|look| look.join().unwrap())
                .collect::<Vec<_>>()
        });
        let largest = seen.iter().map(|(_, largest)| *largest).fold(0.0, f32::max);
        println!("{cameras} cameras: largest difference {largest:e}");
        assert!(largest <= TOLERANCE, "{cameras}: {largest}");
        assert!(
            begun.elapsed() < PATIENCE,
            "{cameras}: a batch was not full"
        );
    }
}

#[test]
fn only_equal_settings_share_and_the_last_one_ends_it() {
    let folder = model("msao-edge");
    let batching = |most, ms| Batching {
        most,
        wait: Duration::from_millis(ms),
    };
    let probe = |batching| Probe::together(&folder, Provider::Cpu, batching).unwrap();
    let (one, two) = (probe(batching(4, 1)), probe(batching(4, 1)));
    let others = [
        probe(batching(4, 2)),
        probe(batching(3, 1)),
        probe(batching(1, 1)),
    ];
    assert_eq!((one.sharing(), two.sharing()), (2, 2));
    assert!(others.iter().all(|other| other.sharing() == 1));
    drop(one);
    assert_eq!(two.sharing(), 1);
    drop(two);
    assert_eq!(probe(batching(4, 1)).sharing(), 1);
}

#[test]
fn a_folder_that_does_not_load_says_so_to_each() {
    let folder = tempfile::tempdir().unwrap();
    let batching = Batching {
        most: 4,
        wait: Duration::ZERO,
    };
    for _ in 0..2 {
        let error = Probe::together(folder.path(), Provider::Cpu, batching).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error}");
    }
}
