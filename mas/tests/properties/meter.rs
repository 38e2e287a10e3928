//! Measurements of any grid, and any picture.

use mas::scene::Scene;
use mas::{Measurement, Meter, MeterSettings, luma, spatial, temporal};
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

pub fn meter(seed: u64) -> Meter {
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
    fn more_change_at_a_position_never_lowers_its_u(
        grid in grid(), noise in -3i32..4, p in 0usize..30, near in 0f32..1.0, far in 0f32..1.0,
    ) {
        let p = p % grid.nrows();
        let u = |share: f32| {
            let mut meter = meter(4);
            let first = meter.measure(grid.view());
            meter.mark_sent(&first, 0..grid.nrows());
            let mut moved = grid.mapv(|v| v + noise as f32 * (v * 9.0).sin());
            // Turns the row about the origin: the angle, and so the distance, grows with `share`.
            moved.row_mut(p).mapv_inplace(|v| v * (1.0 - 2.0 * share));
            let m = meter.measure(moved.view());
            (temporal::distance(m.codes[p].unwrap(), first.codes[p].unwrap()), m.u[p])
        };
        let (mut low, mut high) = (u(near), u(far));
        if low.0 > high.0 {
            (low, high) = (high, low);
        }
        prop_assert!(low.1 <= high.1, "{low:?} {high:?}");
    }

    #[test]
    fn t0_is_bounded(
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
        let mut scene = Scene::new(7, 7);
        prop_assert_eq!(scene.look(grid.view()).score, 1.0);
        let look = scene.look(shifted.mapv(|mean| mean.max(17.0)).view());
        prop_assert!(look.evidence.iter().all(|e| (0.0..=1.0).contains(e)), "{look:?}");
        prop_assert!(look.fresh.iter().all(|f| *f > 0.0 && *f <= 1.0), "{look:?}");
    }
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
