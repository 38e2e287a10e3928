//! Properties of the metric on any input.
#![allow(clippy::unwrap_used)]

use mas::{Measurement, Meter, MeterSettings, gate, luma, select, spatial, temporal};
use ndarray::{Array1, Array2, Axis};
use proptest::prelude::*;

const CHANNELS: usize = 12;

/// Whole numbers, so that sums do not depend on their order.
fn grid() -> impl Strategy<Value = Array2<f32>> {
    (1usize..30).prop_flat_map(grid_of)
}

fn grid_of(positions: usize) -> impl Strategy<Value = Array2<f32>> {
    proptest::collection::vec(-50i32..50, positions * CHANNELS).prop_map(move |values| {
        Array2::from_shape_fn((positions, CHANNELS), |(p, c)| {
            values[p * CHANNELS + c] as f32
        })
    })
}

/// Any bits at all: NaN, infinities, subnormals, huge values.
fn wild_grid() -> impl Strategy<Value = Array2<f32>> {
    (0usize..12, 0usize..6).prop_flat_map(|(positions, channels)| {
        proptest::collection::vec(any::<u32>(), positions * channels).prop_map(move |bits| {
            Array2::from_shape_fn((positions, channels), |(p, c)| {
                f32::from_bits(bits[p * channels + c])
            })
        })
    })
}

fn meter(seed: u64) -> Meter {
    Meter::new(MeterSettings {
        seed,
        ..MeterSettings::default()
    })
    .unwrap()
}

fn assert_bounded(m: &Measurement) {
    let unit = 0.0..=1.0;
    assert!(m.s.iter().chain(&m.u).all(|v| unit.contains(v)), "{m:?}");
    assert!(m.energy.iter().all(|a| a.is_finite() && *a >= 0.0), "{m:?}");
    let mas = m.mas;
    assert!(
        [mas.rho, mas.gamma, mas.beta, mas.mas]
            .iter()
            .all(|v| unit.contains(v)),
        "{mas:?}"
    );
}

proptest! {
    #[test]
    fn everything_is_bounded_whatever_comes(
        grids in proptest::collection::vec(wild_grid(), 1..6),
        beta in any::<f32>(),
    ) {
        let mut meter = meter(3);
        meter.set_beta(beta);
        for grid in &grids {
            let measurement = meter.measure(grid.view());
            assert_bounded(&measurement);
            meter.mark_sent(&measurement, 0..20);
            assert_bounded(&meter.again(&measurement));
        }
    }

    #[test]
    fn what_was_sent_and_stays_scores_zero(grid in grid()) {
        let mut meter = meter(1);
        let first = meter.measure(grid.view());
        prop_assert!(first.u.iter().all(|u| *u == 1.0));
        meter.mark_sent(&first, 0..grid.nrows());
        for later in [meter.again(&first), meter.measure(grid.view())] {
            prop_assert!(later.u.iter().all(|u| *u == 0.0));
            prop_assert_eq!((later.mas.mas, later.mas.gamma), (1.0, 1.0));
        }
    }

    #[test]
    fn what_was_not_sent_stays_new(grid in grid()) {
        let mut meter = meter(1);
        let first = meter.measure(grid.view());
        meter.mark_sent(&first, [0]);
        let second = meter.measure(grid.view());
        prop_assert_eq!(second.u[0], 0.0);
        prop_assert!(second.u.iter().skip(1).all(|u| *u == 1.0));
    }

    #[test]
    fn a_seed_fixes_the_result(grid in grid(), other in any::<u64>()) {
        let run = |seed| {
            let mut meter = meter(seed);
            let first = meter.measure(grid.view());
            meter.mark_sent(&first, 0..grid.nrows());
            (first, meter.measure(grid.mapv(|v| v + v.sin()).view()))
        };
        prop_assert_eq!(run(other), run(other));
    }

    #[test]
    fn positions_may_be_permuted(grid in grid(), turn in 0usize..30) {
        let order: Vec<usize> =
            (0..grid.nrows()).map(|p| (p + turn) % grid.nrows()).rev().collect();
        let moved = grid.select(Axis(0), &order);
        let a = spatial::energy(grid.view());
        let b = spatial::energy(moved.view());
        prop_assert_eq!(&a.select(Axis(0), &order), &b);
        let s = spatial::mask(a.view(), 0.9).select(Axis(0), &order);
        prop_assert_eq!(s, spatial::mask(b.view(), 0.9));
        let hash = temporal::SimHash::calibrate(grid.view(), 5);
        let codes = hash.codes(grid.view());
        let permuted: Vec<_> = order.iter().map(|p| codes[*p]).collect();
        prop_assert_eq!(permuted, hash.codes(moved.view()));
    }

    #[test]
    fn a_gain_leaves_the_spatial_mask(grid in grid(), power in -3i32..4) {
        let gain = 2f32.powi(power);
        let of = |grid: &Array2<f32>| spatial::mask(spatial::energy(grid.view()).view(), 0.9);
        prop_assert_eq!(of(&grid), of(&grid.mapv(|v| v * gain)));
    }

    #[test]
    fn the_mask_is_monotone_in_energy_and_coverage(
        energy in proptest::collection::vec(0u16..1000, 1..50),
        coverage in 0.1f32..1.0,
    ) {
        let energy = Array1::from_iter(energy.into_iter().map(f32::from));
        let s = spatial::mask(energy.view(), coverage);
        for p in 0..energy.len() {
            for q in 0..energy.len() {
                prop_assert!(energy[p] < energy[q] || s[p] >= s[q]);
            }
        }
        let wider = spatial::mask(energy.view(), 1.0);
        prop_assert!(s.iter().zip(&wider).all(|(s, wider)| s <= wider));
        let held: f32 = (0..energy.len()).filter(|p| s[*p] == 1.0).map(|p| energy[p]).sum();
        prop_assert!(held >= coverage * energy.sum() * 0.9999);
    }

    #[test]
    fn more_distance_never_lowers_change(
        near in 0u32..=64, far in 0u32..=64, floor in 0f32..64.0, ramp in 0.1f32..64.0,
    ) {
        let (near, far) = (near.min(far), near.max(far));
        let (low, high) =
            (temporal::change(near, floor, ramp), temporal::change(far, floor, ramp));
        prop_assert!((0.0..=1.0).contains(&low) && low <= high && high <= 1.0);
        prop_assert_eq!(temporal::change(0, floor, ramp), 0.0);
    }

    #[test]
    fn selection_keeps_within_the_budget_and_nothing_better_is_left(
        values in proptest::collection::vec((0f32..1.0, 0f32..9.0), 0..60),
        threshold in 0f32..1.0, min in 0usize..60, more in 0usize..60,
    ) {
        let importance = Array1::from_iter(values.iter().map(|v| v.0));
        let energy = Array1::from_iter(values.iter().map(|v| v.1));
        let budget = select::Budget::new(threshold, min, min + more).unwrap();
        let kept = select::keep(importance.view(), energy.view(), budget);
        prop_assert!(kept.is_sorted_by(|a, b| a < b));
        prop_assert!(kept.len() >= min.min(values.len()) && kept.len() <= min + more);
        let worst = kept.iter().map(|p| importance[*p]).filter(|i| *i > threshold).reduce(f32::min);
        for p in (0..values.len()).filter(|p| !kept.contains(p) && importance[*p] > threshold) {
            prop_assert!(worst.is_some_and(|worst| worst >= importance[p]));
        }
    }

    #[test]
    fn a_gate_keeps_its_interval_and_its_heartbeat(
        steps in proptest::collection::vec((0u64..500, 0f32..1.0), 1..200),
    ) {
        let millis = std::time::Duration::from_millis;
        let settings = gate::Settings {
            threshold: 0.5, hysteresis: 0.1, min_interval: millis(100), max_gap: millis(700),
        };
        let mut gate = gate::Gate::default();
        let (mut running, mut last) = (millis(0), None);
        for (step, worth) in steps {
            running += millis(step);
            let keeps = gate.decide(&settings, running, worth).keeps();
            if let Some(last) = last {
                prop_assert!(!keeps || running - last >= settings.min_interval);
                prop_assert!(keeps || running - last < settings.max_gap);
            } else {
                prop_assert!(keeps);
            }
            if keeps {
                last = Some(running);
            }
        }
    }

    #[test]
    fn t0_is_bounded_and_blind_to_a_brightness_shift(
        (width, height, padding) in (1usize..80, 1usize..80, 0usize..9),
        seed in any::<u8>(), shift in 0u8..100,
    ) {
        let stride = width + padding;
        let plane: Vec<u8> =
            (0..stride * height).map(|i| (i * 31 + usize::from(seed)) as u8 % 150).collect();
        let shifted: Vec<u8> = plane.iter().map(|v| v + shift).collect();
        let means = |data: &[u8]| {
            luma::Plane::new(data, width, height, stride).unwrap().block_means()
        };
        let (grid, shifted) = (means(&plane), means(&shifted));
        prop_assert_eq!(grid.dim(), (height.div_ceil(8), width.div_ceil(8)));
        prop_assert!(grid.iter().all(|mean| (0.0..=255.0).contains(mean)));
        let mut detector = luma::ChangeDetector::new();
        prop_assert_eq!(detector.compare(grid.view()).score, 1.0);
        detector.set_reference(grid);
        prop_assert_eq!(detector.compare(shifted.view()).score, 0.0);
    }
}

#[test]
fn a_new_shape_is_a_first_grid_and_older_measurements_no_longer_count() {
    let mut meter = meter(0);
    let old = meter.measure(Array2::from_elem((4, 3), 1.0).view());
    let new = meter.measure(Array2::from_shape_fn((9, 3), |(p, c)| (p * c) as f32).view());
    assert!(new.u.iter().all(|u| *u == 1.0));
    meter.mark_sent(&old, 0..4);
    assert_eq!(meter.again(&new), new);
    assert_eq!(meter.again(&old), old);
    meter.reset();
    meter.mark_sent(&new, 0..9);
    assert_eq!(meter.noise_floor(), 0.0);
}

#[test]
fn a_black_picture_is_one_event() {
    let picture = Array2::from_shape_fn((49, 8), |(p, c)| ((p * 7 + c * 3) % 11) as f32);
    let black = Array2::zeros((49, 8));
    let mut meter = meter(0);
    let mut worth = Vec::new();
    for grid in [&picture, &picture, &black, &black, &picture] {
        let measurement = meter.measure(grid.view());
        worth.push(measurement.mas.worth());
        meter.mark_sent(&measurement, 0..49);
    }
    assert_eq!(worth[1], 0.0);
    assert!(worth[2] > 0.9, "{worth:?}");
    assert_eq!(worth[3], 0.0);
    assert!(worth[4] > 0.5, "{worth:?}");
}

#[test]
fn positions_that_are_not_finite_are_not_sent() {
    let mut grid = Array2::from_shape_fn((49, 8), |(p, c)| ((p * 5 + c) % 7) as f32);
    grid[[11, 2]] = f32::NAN;
    let measurement = meter(0).measure(grid.view());
    assert!(measurement.has_non_finite());
    assert_eq!((measurement.s[11], measurement.u[11]), (0.0, 0.0));
    assert!(measurement.mas.worth() > 0.5);
    let nothing = meter(0).measure(Array2::from_elem((49, 8), f32::NAN).view());
    assert_eq!(nothing.mas.mas, 1.0);
}

#[test]
fn slow_drift_adds_up_until_it_is_seen() {
    let start = Array2::from_shape_fn((49, 16), |(p, c)| (((p * 13 + c * 5) % 17) as f32) - 8.0);
    let end = start.slice(ndarray::s![.., ..;-1]).to_owned();
    let mut meter = meter(0);
    let first = meter.measure(start.view());
    meter.mark_sent(&first, 0..49);
    let mut worth = Vec::new();
    for step in 1..=200 {
        let share = step as f32 / 200.0;
        let grid = &start * (1.0 - share) + &end * share;
        worth.push(meter.measure(grid.view()).mas.worth());
    }
    assert!(worth[0] < 0.01, "{}", worth[0]);
    assert!(worth[199] > 0.5, "{}", worth[199]);
}

#[test]
fn settings_out_of_range_are_named() {
    for (settings, name) in [
        (
            MeterSettings {
                coverage: 0.0,
                ..MeterSettings::default()
            },
            "coverage",
        ),
        (
            MeterSettings {
                coverage: f32::NAN,
                ..MeterSettings::default()
            },
            "coverage",
        ),
        (
            MeterSettings {
                noise_quantile: 1.1,
                ..MeterSettings::default()
            },
            "noise-quantile",
        ),
        (
            MeterSettings {
                noise_most: 65.0,
                ..MeterSettings::default()
            },
            "noise-most",
        ),
        (
            MeterSettings {
                ramp: 0.0,
                ..MeterSettings::default()
            },
            "ramp",
        ),
    ] {
        assert!(
            Meter::new(settings)
                .unwrap_err()
                .to_string()
                .starts_with(name)
        );
    }
}
