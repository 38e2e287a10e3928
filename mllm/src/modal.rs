//! How much each modality contributes: β, the modal part of MAS.
//!
//! The contribution of a modality to a text is the Jensen-Shannon divergence (J. Lin, "Divergence measures based on the
//! Shannon entropy", IEEE Transactions on Information Theory 37, 1991) of the model's next-token distributions with all
//! modalities and without that one, both having read the same text so far, averaged over the text and its end. Scaled so
//! that the largest is 1, it is β.

use ndarray::ArrayView1;

use crate::tokens::{ByModality, Modality};

/// β of each modality, in \[0, 1\]; `None` for one that the window had no tokens of.
pub type Modal = ByModality<Option<f32>>;

/// Below this divergence a modality is taken to have made no difference: rounding in two passes is of this size.
const NOTHING: f32 = 1e-6;

/// Jensen-Shannon divergence of the softmax of two rows of logits, in \[0, 1\] (bits). Logits of -∞ have probability 0;
/// rows must be of one length and hold some finite logit each, and no NaN.
pub fn divergence(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f32 {
    let probabilities = |row: ArrayView1<'_, f32>| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f64> = row.iter().map(|x| f64::from(x - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(move |weight| weight / sum)
    };
    let relative = |p: f64, middle: f64| {
        if p > 0.0 {
            p * (p / middle).log2()
        } else {
            0.0
        }
    };
    let sum: f64 = probabilities(a)
        .zip(probabilities(b))
        .map(|(p, q)| (relative(p, (p + q) / 2.0) + relative(q, (p + q) / 2.0)) / 2.0)
        .sum();
    (sum as f32).clamp(0.0, 1.0)
}

/// β from the divergences of the modalities that are there: scaled so that the largest is 1. If only one is there, or none
/// made a difference, nothing can be told apart and all are 1.
pub fn scale(divergences: Modal) -> Modal {
    let present = Modality::ALL.map(|modality| *divergences.get(modality));
    let largest = present.iter().flatten().copied().fold(0.0, f32::max);
    let told = present.iter().flatten().count() > 1 && largest > NOTHING;
    let scaled = |value: Option<f32>| value.map(|value| if told { value / largest } else { 1.0 });
    Modal {
        video: scaled(divergences.video),
        audio: scaled(divergences.audio),
        sensor: scaled(divergences.sensor),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, array};
    use proptest::prelude::*;

    use super::*;

    fn logits() -> impl Strategy<Value = (Array1<f32>, Array1<f32>)> {
        (2usize..40).prop_flat_map(|n| {
            let row = || prop::collection::vec(-30f32..30.0, n).prop_map(Array1::from_vec);
            (row(), row())
        })
    }

    proptest! {
        #[test]
        fn divergence_is_bounded_symmetric_and_nought_for_equals((a, b) in logits(), shift in -9f32..9.0) {
            let there = divergence(a.view(), b.view());
            prop_assert!((0.0..=1.0).contains(&there));
            prop_assert!((there - divergence(b.view(), a.view())).abs() < 1e-6);
            prop_assert!(divergence(a.view(), (&a + shift).view()) < 1e-5);
        }

        #[test]
        fn the_largest_beta_is_one(
            video in prop::option::of(0f32..1.0),
            audio in prop::option::of(0f32..1.0),
            sensor in prop::option::of(0f32..1.0),
        ) {
            let given = Modal { video, audio, sensor };
            let beta = scale(given);
            let values: Vec<f32> = Modality::ALL.iter().filter_map(|m| *beta.get(*m)).collect();
            prop_assert!(values.iter().all(|value| (0.0..=1.0).contains(value)));
            prop_assert!(values.is_empty() || values.contains(&1.0));
            for modality in Modality::ALL {
                prop_assert_eq!(beta.get(modality).is_some(), given.get(modality).is_some());
            }
        }
    }

    #[test]
    fn certain_and_contrary_is_one() {
        let (yes, no) = (array![50.0, -50.0], array![-50.0, 50.0]);
        assert!(divergence(yes.view(), no.view()) > 0.999);
        let suppressed = array![1.0, f32::NEG_INFINITY];
        assert_eq!(divergence(suppressed.view(), suppressed.view()), 0.0);
    }

    #[test]
    fn one_modality_alone_or_no_difference_is_one() {
        let alone = Modal {
            audio: Some(0.2),
            ..Modal::default()
        };
        assert_eq!(scale(alone).audio, Some(1.0));
        let same = Modal {
            video: Some(0.0),
            audio: Some(0.0),
            sensor: None,
        };
        assert_eq!(
            scale(same),
            Modal {
                video: Some(1.0),
                audio: Some(1.0),
                sensor: None
            }
        );
    }
}
