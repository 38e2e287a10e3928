//! What T0 says of an object that comes and goes, and of what moves by itself.
#![allow(clippy::unwrap_used)]

use mas::scene::{Look, Scene};
use ndarray::Array2;

const OBJECT: (usize, usize) = (24, 40);
const CELL: usize = 24 * 7 / 60 * 7 + 40 * 7 / 80;

/// Block means of a textured picture with a little noise, an object of 4 x 3 blocks if `level` is
/// not 0, and a patch that sways by `sway`.
fn picture(frame: u32, level: f32, sway: f32) -> Array2<f32> {
    let mut random = frame.wrapping_mul(2_654_435_761) | 1;
    Array2::from_shape_fn((60, 80), |(y, x)| {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let noise = (random >> 16) as f32 / 65_536.0 - 0.5;
        let object = (OBJECT.0..OBJECT.0 + 4).contains(&y) && (OBJECT.1..OBJECT.1 + 3).contains(&x);
        let swaying = (5..9).contains(&y) && (5..9).contains(&x);
        let there = if object { level } else { 0.0 } + if swaying { sway } else { 0.0 };
        90.0 + ((y * 7 + x * 13) % 31) as f32 + noise + there
    })
}

/// What a position counts for.
fn worth(look: &Look, position: usize) -> f32 {
    look.evidence[position] * look.fresh[position]
}

#[test]
fn what_comes_counts_in_full_and_its_going_counts_for_less() {
    let mut scene = Scene::new(7, 7);
    let first = scene.look(picture(0, 0.0, 0.0).view());
    scene.mark_sent(&first, 0..49);
    for frame in 1..30 {
        assert_eq!(
            worth(&scene.look(picture(frame, 0.0, 0.0).view()), CELL),
            0.0
        );
    }
    let came = scene.look(picture(30, 40.0, 0.0).view());
    assert_eq!((came.evidence[CELL], came.fresh[CELL]), (1.0, 1.0));
    scene.mark_sent(&came, 0..49);
    for frame in 31..35 {
        assert_eq!(
            worth(&scene.look(picture(frame, 40.0, 0.0).view()), CELL),
            0.0
        );
    }
    let gone = scene.look(picture(35, 0.0, 0.0).view());
    assert_eq!(gone.evidence[CELL], 1.0);
    assert!(
        (0.1..0.3).contains(&worth(&gone, CELL)),
        "{}",
        worth(&gone, CELL)
    );
    // Not sent, it stays; sent, it is known, and what comes next is new again.
    let still = scene.look(picture(36, 0.0, 0.0).view());
    assert!(worth(&still, CELL) > 0.1);
    scene.mark_sent(&still, 0..49);
    assert_eq!(worth(&scene.look(picture(37, 0.0, 0.0).view()), CELL), 0.0);
    assert_eq!(
        worth(&scene.look(picture(38, -40.0, 0.0).view()), CELL),
        1.0
    );
}

#[test]
fn an_object_before_the_place_that_another_left_is_new() {
    let mut scene = Scene::new(7, 7);
    let first = scene.look(picture(0, 0.0, 0.0).view());
    scene.mark_sent(&first, 0..49);
    for frame in 1..20 {
        scene.look(picture(frame, 0.0, 0.0).view());
    }
    let one = scene.look(picture(20, 40.0, 0.0).view());
    scene.mark_sent(&one, 0..49);
    // It goes and a darker one comes, between two frames.
    let other = scene.look(picture(21, -30.0, 0.0).view());
    assert_eq!(worth(&other, CELL), 1.0);
}

#[test]
fn what_sways_counts_for_less_than_what_leaves_its_range() {
    let mut scene = Scene::new(7, 7);
    let sway = |frame: u32| 12.0 * (frame as f32 * 0.4).sin();
    let first = scene.look(picture(0, 0.0, sway(0)).view());
    scene.mark_sent(&first, 0..49);
    let mut most = 0f32;
    for frame in 1..200 {
        let look = scene.look(picture(frame, 0.0, sway(frame)).view());
        if frame > 100 {
            most = most.max(worth(&look, 0));
        }
    }
    let beyond = scene.look(picture(200, 0.0, 80.0).view());
    assert!(
        most < 0.5 * worth(&beyond, 0),
        "{most}, {}",
        worth(&beyond, 0)
    );
}

/// A picture of full HD has more blocks than are fitted to.
#[test]
fn light_is_explained_and_an_object_is_seen_in_a_large_picture() {
    let picture = |frame: u32, gain: f32, object: f32| {
        let mut random = frame.wrapping_mul(2_654_435_761) | 1;
        Array2::from_shape_fn((135, 240), |(y, x)| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (random >> 16) as f32 / 65_536.0 - 0.5;
            let there = (60..64).contains(&y) && (120..123).contains(&x);
            let still = 60.0 + ((y * 7 + x * 13) % 31) as f32 + x as f32 / 10.0;
            gain * still + noise + if there { object } else { 0.0 }
        })
    };
    let mut scene = Scene::new(7, 7);
    let first = scene.look(picture(0, 1.0, 0.0).view());
    scene.mark_sent(&first, 0..49);
    for frame in 1..30 {
        scene.look(picture(frame, 1.0, 0.0).view());
    }
    let brighter = scene.look(picture(30, 1.15, 40.0).view());
    assert!((brighter.gain - 1.15).abs() < 0.02, "{}", brighter.gain);
    let seen: Vec<usize> = (0..49).filter(|p| brighter.evidence[*p] > 0.5).collect();
    assert_eq!(seen, [3 * 7 + 3]);
}
