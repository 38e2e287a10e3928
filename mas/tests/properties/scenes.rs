//! What is measured of pictures one after the other.

use ndarray::Array2;

use crate::meter::meter;

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
