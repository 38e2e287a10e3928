//! Choices of what is kept.

use mas::select;
use ndarray::Array1;
use proptest::prelude::*;

proptest! {
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
}
