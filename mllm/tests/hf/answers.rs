//! Logits and greedy answers, alone and together.

use mllm::hf::{ChatModel, Turn, Variant};
use mllm::{Agreement, Provider};

use crate::golden::{LONGEST, MODELS, apart, cases, copy, folder, frames, load, pictures, tensors};

#[test]
fn logits_and_answers_are_those_of_pytorch() {
    for name in MODELS {
        let mut model = load(name, Variant::Fp32);
        for (case, asked) in cases(name) {
            let golden = &tensors(name, &case)["logits"];
            for (index, (question, answer)) in
                asked.questions.iter().zip(&asked.answers).enumerate()
            {
                let shown = pictures(&asked.pictures[index]);
                let frames = frames(&shown);
                let ours = model.logits(&frames, question, &answer.tokens).unwrap();
                let theirs = &golden.part(index).values[..ours.len()];
                let worst = apart(ours.iter().copied(), theirs);
                println!("{name}, {case}: logits differ by at most {worst:e}");
                assert!(worst < 1e-3, "{name}, {case}: {worst}");

                let caption = model.answer(&frames, question, LONGEST).unwrap();
                assert_eq!(caption.token_ids, answer.tokens, "{name}, {case}");
                assert_eq!(caption.text, answer.text, "{name}, {case}");
                // The end has a probability, too, unless the answer was cut.
                let judged = answer.tokens.len() + usize::from(answer.ended);
                assert_eq!(caption.logprobs.len(), judged, "{name}, {case}");
            }
        }
    }
}

#[test]
fn questions_asked_together_are_answered_as_alone() {
    for name in MODELS {
        let mut model = load(name, Variant::Fp32);
        assert!(model.batches());
        let cases = cases(name);
        let all: Vec<_> = (cases.values())
            .flat_map(|case| case.questions.iter().zip(&case.pictures).zip(&case.answers))
            .collect();
        assert_eq!(all.len(), 7);
        let shown: Vec<_> = all.iter().map(|((_, names), _)| pictures(names)).collect();
        let frames: Vec<_> = shown.iter().map(|shown| frames(shown)).collect();
        let turns: Vec<_> = (all.iter().zip(&frames))
            .map(|(((question, _), _), images)| Turn {
                images,
                prompt: question,
                draft: None,
            })
            .collect();
        for agreement in [Agreement::Exact, Agreement::Margin(1.0)] {
            let answers = model.verify_all(&turns, LONGEST, agreement);
            for (((_, pictures), expected), answer) in all.iter().zip(answers) {
                let answer = answer.unwrap();
                let which = format!("{name}, {pictures:?}, {agreement:?}");
                assert_eq!(answer.caption.token_ids, expected.tokens, "{which}");
                assert_eq!((answer.accepted, answer.whole), (0, false));
            }
        }
        assert_eq!(model.near_ties(), 0);
    }
}

#[test]
fn steps_on_a_cache_give_what_one_pass_gives() {
    for name in MODELS {
        let mut model = load(name, Variant::Fp32);
        for (case, asked) in cases(name) {
            let shown = pictures(&asked.pictures[0]);
            let tokens = &asked.answers[0].tokens;
            let apart = (model.difference(&frames(&shown), &asked.questions[0], tokens)).unwrap();
            println!("{name}, {case}: a pass and steps differ by at most {apart:e}");
            assert!(apart < 1e-4, "{name}, {case}: {apart}");
        }
    }
}

#[test]
fn a_decoder_that_looks_at_padding_is_asked_one_by_one() {
    let mut model = load("smolvlm", Variant::Fp32);
    let folder_copy = copy("smolvlm");
    std::fs::copy(
        folder("smolvlm").join("unmasked/decoder_model_merged.onnx"),
        folder_copy.path().join("onnx/decoder_model_merged.onnx"),
    )
    .unwrap();
    let mut unmasked = ChatModel::load(folder_copy.path(), Variant::Fp32, Provider::Cpu).unwrap();
    assert!(!unmasked.batches());
    let shown = [pictures(&["wide".into()]), pictures(&[])];
    let frames: Vec<_> = shown.iter().map(|shown| frames(shown)).collect();
    let turns: Vec<_> = (frames.iter())
        .map(|images| Turn {
            images,
            prompt: "what is on the road?",
            draft: None,
        })
        .collect();
    let answers = unmasked.verify_all(&turns, LONGEST, Agreement::Margin(1.0));
    for (turn, answer) in turns.iter().zip(answers) {
        let alone = model.answer(turn.images, turn.prompt, LONGEST).unwrap();
        assert_eq!(answer.unwrap().caption.token_ids, alone.token_ids);
    }
}
