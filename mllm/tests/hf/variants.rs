//! Networks in f16, and in 8 and 4 bits. What they answer with random weights says nothing: their logits are held to those of f32.

use mllm::Agreement;
use mllm::hf::{Turn, Variant, Variants};

use crate::golden::{LONGEST, MODELS, apart, cases, frames, load, pictures, tensors};

/// f16 from pixels to logits: the largest difference found was 0.011, of logits up to 5.
const F16: f64 = 0.03;
/// A decoder in 8 bits: the largest difference found was 0.37.
const INT8: f64 = 0.6;
/// A decoder in blocks of 32 4-bit values, which random weights bear badly: the largest difference found was 2.0.
const Q4: f64 = 3.0;

#[test]
fn other_variants_give_nearly_the_logits_of_f32() {
    let decoder = |decoder| Variants {
        decoder,
        ..Variants::default()
    };
    for (variants, tolerance) in [
        (Variant::Fp16.into(), F16),
        (decoder(Variant::Int8), INT8),
        (decoder(Variant::Q4), Q4),
    ] {
        for name in MODELS {
            let mut model = load(name, variants);
            let mut worst = 0.0_f64;
            for (case, asked) in cases(name) {
                let golden = &tensors(name, &case)["logits"];
                for (index, question) in asked.questions.iter().enumerate() {
                    let shown = pictures(&asked.pictures[index]);
                    let tokens = &asked.answers[index].tokens;
                    let ours = model.logits(&frames(&shown), question, tokens).unwrap();
                    let theirs = &golden.part(index).values[..ours.len()];
                    worst = worst.max(apart(ours.iter().copied(), theirs));
                }
            }
            println!(
                "{name}, {:?}: logits differ by at most {worst}",
                variants.decoder
            );
            assert!(worst < tolerance, "{name}: {worst}");
            assert!(worst > 1e-5, "{name}: is this f32?");
        }
    }
}

#[test]
fn under_the_exact_rule_they_answer_as_alone() {
    let mixed = |decoder| Variants {
        vision: Variant::Fp16,
        embed: Variant::Fp32,
        decoder,
    };
    for variants in [
        Variant::Fp16.into(),
        mixed(Variant::Int8),
        mixed(Variant::Q4),
    ] {
        for name in MODELS {
            let mut model = load(name, variants);
            let shown = pictures(&["wide".into()]);
            let (images, question) = (frames(&shown), "how many cars are there?");
            let own = model.answer(&images, question, LONGEST).unwrap();
            let draft = &own.token_ids[..own.token_ids.len() - 1];
            let turn = |draft| Turn {
                images: &images,
                prompt: question,
                draft,
            };
            let turns = [turn(Some(draft)), turn(None)];
            for verified in model.verify_all(&turns, LONGEST, Agreement::Exact) {
                assert_eq!(verified.unwrap().caption, own, "{name}, {variants:?}");
            }
            assert!(model.near_ties() > 0, "a pass is not to be trusted here");

            // Together, and on what is left of a cache.
            let lenient = Agreement::Margin(1e-30);
            let verified = model.verify_all(&turns, LONGEST, lenient);
            let accepted: Vec<_> = verified.into_iter().map(|v| v.unwrap().accepted).collect();
            assert_eq!(accepted, [draft.len(), 0]);
        }
    }
}
