//! Properties of the metric on any input.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use mas::scene::Scene;
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

/// Settings of a gate that agree with each other.
fn gate_settings() -> impl Strategy<Value = gate::Settings> {
    let millis = |most: u64| (0..most).prop_map(Duration::from_millis);
    let shares = (0f32..=1.0, 0f32..=1.0);
    let thin = proptest::option::of(millis(1_000));
    let budget = prop_oneof![Just(0.0), 0.1..20.0];
    (shares, millis(300), millis(2_000), thin, budget).prop_map(
        |((threshold, share), min_interval, more, thin_interval, budget)| gate::Settings {
            threshold,
            hysteresis: threshold * share,
            min_interval,
            max_gap: min_interval + more,
            thin_interval,
            budget,
        },
    )
}

/// Steps of milliseconds and worth through a gate: what it kept, checked for the intervals between.
fn play(
    settings: &gate::Settings,
    steps: &[(u64, f32)],
) -> Result<Vec<(Duration, gate::Decision)>, TestCaseError> {
    settings.check().unwrap();
    let mut gate = gate::Gate::default();
    let mut running = Duration::ZERO;
    let mut kept: Vec<(Duration, gate::Decision)> = Vec::new();
    for (step, worth) in steps {
        running += Duration::from_millis(*step);
        let decision = gate.decide(settings, running, *worth);
        let last = kept.last().map(|(last, _)| running - *last);
        let heartbeat =
            !settings.max_gap.is_zero() && last.is_some_and(|gap| gap >= settings.max_gap);
        if decision.keeps() {
            prop_assert!(
                last.is_none_or(|gap| gap >= settings.min_interval),
                "{decision:?}"
            );
            kept.push((running, decision));
        } else {
            prop_assert!(last.is_some() && !heartbeat, "{decision:?}");
        }
    }
    Ok(kept)
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
    fn a_shared_budget_is_spent_and_nobody_gets_more_than_it_has(
        total in 0usize..200,
        wants in proptest::collection::vec((0usize..60, 0f32..1.0), 0..5),
    ) {
        let wants: Vec<_> =
            wants.into_iter().map(|(available, beta)| select::Want { available, beta }).collect();
        let given = select::share(total, &wants);
        let available: usize = wants.iter().map(|want| want.available).sum();
        prop_assert_eq!(given.iter().sum::<usize>(), total.min(available));
        for (a, got) in wants.iter().zip(&given) {
            prop_assert!(*got <= a.available);
            prop_assert!(total < wants.len() || a.available == 0 || a.beta == 0.0 || *got > 0);
            for (b, other) in wants.iter().zip(&given) {
                // More beta is never less, unless there is nothing more to give.
                prop_assert!(a.beta <= b.beta || *got == a.available || got + 1 >= *other);
            }
        }
    }

    #[test]
    fn the_best_are_of_the_count_asked_for_and_nothing_better_is_left(
        values in proptest::collection::vec(-9f32..9.0, 0..60), count in 0usize..70,
    ) {
        let values = Array1::from_vec(values);
        let kept = select::best(values.view(), count);
        prop_assert_eq!(kept.len(), count.min(values.len()));
        prop_assert!(kept.is_sorted_by(|a, b| a < b));
        let worst = kept.iter().map(|p| values[*p]).reduce(f32::min);
        for p in (0..values.len()).filter(|p| !kept.contains(p)) {
            prop_assert!(worst.is_none_or(|worst| worst >= values[p]));
        }
    }

    #[test]
    fn what_a_position_adds_is_bounded_and_does_not_depend_on_the_unit_of_weights(
        weights in proptest::collection::vec(any::<f32>(), 0..40), columns in 1usize..7, powers in -9i32..9,
    ) {
        let place = |p: usize| select::Place { sample: p / 20, row: p % 20 / columns, column: p % 20 % columns };
        let places: Vec<_> = (0..weights.len()).map(place).collect();
        let weights = Array1::from_vec(weights).mapv(|w| w.clamp(-1e9, 1e9));
        let adds = select::spread(weights.view(), &places);
        prop_assert!(adds.iter().all(|adds| (0.0..=2.0 * 40.0).contains(adds)));
        // A power of two is exact, but for what is too small for the type.
        let unit = 2f32.powi(powers);
        let louder = weights.mapv(|w| if w.abs() < 1e-20 { 0.0 } else { w });
        prop_assert_eq!(
            select::spread(louder.mapv(|w| w * unit).view(), &places),
            select::spread(louder.view(), &places)
        );
    }

    #[test]
    fn what_matters_more_is_not_chosen_later(
        weights in proptest::collection::vec(0f32..1.0, 2..30), columns in 1usize..7, at in any::<prop::sample::Index>(),
    ) {
        // The greatest stays the unit, and each position is far from all others: nothing stands for another.
        let place = |p: usize| select::Place { sample: 0, row: p / columns * 9, column: p % columns * 9 };
        let places: Vec<_> = (0..weights.len()).map(place).collect();
        let mut weights = Array1::from_vec(weights);
        weights[0] = 1.0;
        let rank = |weights: &Array1<f32>, p: usize| {
            let adds = select::spread(weights.view(), &places);
            adds.iter().filter(|other| **other > adds[p]).count()
        };
        let p = at.index(weights.len());
        let before = rank(&weights, p);
        weights[p] = (weights[p] + 0.5).min(1.0);
        prop_assert!(rank(&weights, p) <= before);
    }

    #[test]
    fn a_choice_spends_its_budget_and_a_larger_one_holds_it(
        weights in proptest::collection::vec(any::<f32>(), 0..40), columns in 1usize..7, total in 0usize..90,
    ) {
        let place = |p: usize| select::Place { sample: p / 20, row: p % 20 / columns, column: p % 20 % columns };
        let places: Vec<_> = (0..weights.len()).map(place).collect();
        let stream = select::Stream { weights: Array1::from_vec(weights), places, beta: 1.0 };
        let all = stream.weights.len();
        let streams = [stream.clone(), stream];
        let kept = select::choose(total, &streams);
        prop_assert_eq!(kept.iter().map(Vec::len).sum::<usize>(), total.min(2 * all));
        let more = select::choose(total + 1, &streams);
        for (kept, more) in kept.iter().zip(&more) {
            prop_assert!(kept.is_sorted_by(|a, b| a < b));
            prop_assert!(kept.iter().all(|p| more.contains(p)));
        }
    }

    #[test]
    fn a_gate_keeps_its_interval_its_budget_and_its_heartbeat(
        settings in gate_settings(),
        steps in proptest::collection::vec((0u64..500, 0f32..1.0), 1..200),
    ) {
        let kept = play(&settings, &steps)?;
        // Any stretch of time that begins and ends with a frame within the budget.
        let spent: Vec<Duration> = kept
            .iter()
            .filter(|(_, decision)| *decision != gate::Decision::Heartbeat)
            .map(|(running, _)| *running)
            .collect();
        if settings.budget > 0.0 {
            for (first, from) in spent.iter().enumerate() {
                for (last, to) in spent.iter().enumerate().skip(first) {
                    let most = settings.budget * (*to - *from).as_secs_f64() + settings.burst();
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6, "{from:?} to {to:?}");
                }
            }
        }
    }

    #[test]
    fn a_gate_opens_at_its_threshold_and_shuts_below_its_hysteresis(
        settings in gate_settings(),
        steps in proptest::collection::vec((0u64..500, 0f32..1.0), 1..200),
    ) {
        let settings = gate::Settings {
            min_interval: Duration::ZERO, max_gap: Duration::ZERO, thin_interval: None, budget: 0.0, ..settings
        };
        let mut gate = gate::Gate::default();
        let (mut running, mut open) = (Duration::ZERO, false);
        for (step, worth) in steps {
            let first = running.is_zero();
            running += Duration::from_millis(step + 1);
            let keeps = gate.decide(&settings, running, worth).keeps();
            open = worth >= settings.threshold || open && worth >= settings.threshold - settings.hysteresis;
            prop_assert_eq!(keeps, open || first);
        }
    }

    #[test]
    fn what_is_worth_more_goes_on_if_what_is_worth_less_does(
        settings in gate_settings(),
        steps in proptest::collection::vec((0u64..500, 0f32..1.0), 1..100),
        (worth, more) in (0f32..1.0, 0f32..1.0),
    ) {
        let decide = |worth: f32| {
            let mut gate = gate::Gate::default();
            let mut running = Duration::ZERO;
            for (step, worth) in &steps {
                running += Duration::from_millis(*step);
                gate.decide(&settings, running, *worth);
            }
            gate.decide(&settings, running + Duration::from_millis(40), worth)
        };
        // A frame that goes on though not worth sending is no measure.
        if decide(worth) == gate::Decision::Open {
            prop_assert_eq!(decide((worth + more).min(1.0)), gate::Decision::Open);
        }
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
    assert!(worth[4] > 0.4, "{worth:?}");
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

/// Features of a picture that a change of the whole scene turns into others.
fn picture(look: usize) -> Array2<f32> {
    Array2::from_shape_fn((49, 24), |(p, c)| {
        ((p * 31 + c * (17 + 6 * look) + p * c * (3 + look)) % 23) as f32 - 11.0
    })
}

#[test]
fn a_change_of_the_whole_scene_is_one_event_though_few_positions_are_sent() {
    let mut meter = meter(0);
    let before = meter.measure(picture(0).view());
    meter.mark_sent(&before, 0..49);
    assert_eq!(meter.measure(picture(0).view()).mas.worth(), 0.0);
    let after = meter.measure(picture(1).view());
    assert!(after.mas.worth() > 0.4, "{:?}", after.mas);
    // Nothing of it was sent: it stays new.
    assert!(meter.measure(picture(1).view()).mas.worth() > 0.4);
    meter.mark_sent(&after, [3, 20]);
    assert_eq!(meter.again(&after).mas.worth(), 0.0);
    assert_eq!(meter.measure(picture(1).view()).mas.worth(), 0.0);
    // What comes after it is new again, also where nothing was sent.
    let mut object = picture(1);
    object.row_mut(30).mapv_inplace(|v| -v);
    let later = meter.measure(object.view());
    assert_eq!(later.u[30], 1.0);
    assert!(
        later
            .u
            .iter()
            .enumerate()
            .all(|(p, u)| p == 30 || *u == 0.0)
    );
}

#[test]
fn a_change_that_takes_several_frames_is_one_event_too() {
    let mut meter = meter(0);
    let first = meter.measure(picture(0).view());
    meter.mark_sent(&first, 0..49);
    let mut last = first;
    for step in 1..=4 {
        let share = step as f32 / 4.0;
        last = meter.measure((picture(0) * (1.0 - share) + picture(1) * share).view());
    }
    meter.mark_sent(&last, [0]);
    let settled = meter.measure(picture(1).view());
    assert!(settled.mas.worth() < 0.01, "{:?}", settled.mas);
}

#[test]
fn a_local_change_says_nothing_of_other_positions() {
    let mut meter = meter(0);
    let first = meter.measure(picture(0).view());
    meter.mark_sent(&first, 0..49);
    let mut objects = picture(0);
    for p in [5, 30] {
        objects.row_mut(p).mapv_inplace(|v| -v);
    }
    let seen = meter.measure(objects.view());
    meter.mark_sent(&seen, [5]);
    let again = meter.again(&seen);
    assert_eq!((again.u[5], again.u[30]), (0.0, 1.0));
}

#[test]
fn a_measurement_from_before_the_change_does_not_tell_of_it() {
    let mut meter = meter(0);
    let before = meter.measure(picture(0).view());
    meter.mark_sent(&before, 0..49);
    let after = meter.measure(picture(1).view());
    meter.mark_sent(&before, [0]);
    assert!(meter.again(&after).mas.worth() > 0.4);
}

#[test]
fn other_grids_are_measured_alike() {
    // Sound: 4 bands x 4 quarters of time; sensors: 7 channels x 2; one position alone.
    for positions in [16, 14, 1] {
        let quiet = Array2::from_shape_fn((positions, 32), |(p, c)| ((p * 5 + c * 3) % 7) as f32);
        let mut meter = meter(0);
        let first = meter.measure(quiet.view());
        assert_eq!(first.mas.gamma, 0.0);
        meter.mark_sent(&first, 0..positions);
        assert_eq!(meter.measure(quiet.view()).mas.mas, 1.0);
        let mut event = quiet.clone();
        event.row_mut(0).mapv_inplace(|v| 40.0 - 9.0 * v);
        let seen = meter.measure(event.view());
        assert!(seen.u[0] > 0.9 && seen.s[0] == 1.0, "{positions}: {seen:?}");
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
