//! Drafts of answers, verified in one pass.

use mllm::hf::{ChatModel, Turn, Variant};
use mllm::{Agreement, Caption, Frame, Provider};

use tokenizers::Tokenizer;

use crate::common;
use crate::golden::{LONGEST, MODELS, copy, folder, frames, load, pictures};

const QUESTION: &str = "what is on the road?";

/// A draft that agrees with `answer` for its first `good` tokens only.
fn wrong_from(answer: &Caption, good: usize) -> Vec<u32> {
    let mut draft = answer.token_ids.clone();
    for token in &mut draft[good..] {
        *token = match (*token + 1) % 200 {
            // These end an answer.
            44 | 198 => 7,
            other => other,
        };
    }
    draft
}

fn answer(model: &mut ChatModel, images: &[Frame<'_>]) -> Caption {
    model.answer(images, QUESTION, LONGEST).unwrap()
}

#[test]
fn what_agrees_stands_and_the_rest_is_written_anew() {
    for name in MODELS {
        let mut model = load(name, Variant::Fp32);
        let shown = pictures(&["wide".into()]);
        let images = frames(&shown);
        let own = answer(&mut model, &images);
        assert_eq!(own.token_ids.len(), LONGEST);
        for good in 0..LONGEST {
            let draft = wrong_from(&own, good);
            for agreement in [Agreement::Exact, Agreement::Margin(1.0)] {
                let verified =
                    (model.verify(&images, QUESTION, &draft, LONGEST, agreement)).unwrap();
                assert_eq!(verified.caption.token_ids, own.token_ids, "{name}, {good}");
                assert_eq!((verified.accepted, verified.whole), (good, false));
            }
        }
        let exact = Agreement::Exact;
        let whole = (model.verify(&images, QUESTION, &own.token_ids, LONGEST, exact)).unwrap();
        assert_eq!((whole.accepted, whole.whole), (LONGEST, true));
        assert_eq!(whole.caption.text, own.text);
        // A lenient margin lets any draft stand.
        let draft = wrong_from(&own, 3);
        let lenient = Agreement::Margin(1e-30);
        let stands = (model.verify(&images, QUESTION, &draft, LONGEST, lenient)).unwrap();
        assert_eq!((stands.accepted, stands.whole), (LONGEST, true));
        assert_eq!(stands.caption.token_ids, draft);
        assert_eq!(model.near_ties(), 0);
    }
}

#[test]
fn a_decoder_in_f16_is_not_relied_on_whatever_its_file_is_called() {
    for name in MODELS {
        let folder = copy(name);
        let file = |end: &str| {
            folder
                .path()
                .join(format!("onnx/decoder_model_merged{end}.onnx"))
        };
        std::fs::copy(file("_fp16"), file("")).unwrap();
        mllm::runtime::init(Some(&common::library())).unwrap();
        let mut model = ChatModel::load(folder.path(), Variant::Fp32, Provider::Cpu).unwrap();
        let shown = pictures(&["wide".into()]);
        let images = frames(&shown);
        let own = answer(&mut model, &images);
        let exact = Agreement::Exact;
        let verified = (model.verify(&images, QUESTION, &own.token_ids, LONGEST, exact)).unwrap();
        assert_eq!(verified.caption.token_ids, own.token_ids, "{name}");
        assert_eq!(model.near_ties(), 1, "{name}: it answers by itself");
    }
}

#[test]
fn an_answer_that_ends_is_accepted_with_its_end() {
    for name in MODELS {
        let mut model = load(name, Variant::Fp32);
        let shown = pictures(&["tall".into()]);
        let (images, question) = (frames(&shown), "describe the picture in a few words");
        let own = model.answer(&images, question, LONGEST).unwrap();
        assert_eq!(own.token_ids.len(), 3, "{name}");
        let exact = Agreement::Exact;
        let whole = (model.verify(&images, question, &own.token_ids, LONGEST, exact)).unwrap();
        assert_eq!((whole.accepted, whole.whole), (3, true));
        assert_eq!(whole.caption.logprobs.len(), 4);
        // One that goes on is cut there.
        let mut longer = own.token_ids.clone();
        longer.push(7);
        let cut = (model.verify(&images, question, &longer, LONGEST, exact)).unwrap();
        assert_eq!((cut.accepted, cut.whole), (3, false));
        assert_eq!(cut.caption.token_ids, own.token_ids);
    }
}

#[test]
fn drafts_are_verified_together_as_alone() {
    for name in MODELS {
        let mut model = load(name, Variant::Fp32);
        let shown = [
            pictures(&["wide".into()]),
            pictures(&["tall".into(), "small".into()]),
            pictures(&[]),
            pictures(&["tile".into()]),
        ];
        let frames: Vec<_> = shown.iter().map(|shown| frames(shown)).collect();
        let own: Vec<_> = (frames.iter())
            .map(|images| answer(&mut model, images))
            .collect();
        let drafts = [
            Some(own[0].token_ids.clone()),
            Some(wrong_from(&own[1], 4.min(own[1].token_ids.len()))),
            None,
            Some(wrong_from(&own[3], 1)),
        ];
        let turns: Vec<_> = (frames.iter().zip(&drafts))
            .map(|(images, draft)| Turn {
                images,
                prompt: QUESTION,
                draft: draft.as_deref(),
            })
            .collect();
        for agreement in [Agreement::Exact, Agreement::Margin(1.0)] {
            let verified: Vec<_> = (model.verify_all(&turns, LONGEST, agreement).into_iter())
                .map(Result::unwrap)
                .collect();
            for (verified, own) in verified.iter().zip(&own) {
                assert_eq!(verified.caption.token_ids, own.token_ids, "{name}");
                let pairs = verified.caption.logprobs.iter().zip(&own.logprobs);
                assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-3));
            }
            assert!(verified[0].whole);
            let accepted: Vec<_> = verified.iter().map(|verified| verified.accepted).collect();
            assert_eq!(accepted, [own[0].token_ids.len(), 4, 0, 1], "{name}");
        }
    }
}

#[test]
fn text_of_another_model_is_a_draft() {
    // After "Assistant:" a space comes first, after a line's end none.
    for (name, space) in [("smolvlm", " "), ("qwen2vl", "")] {
        let mut model = load(name, Variant::Fp32);
        let text = "a red car stands at the left";
        let tokens = model.tokens(&format!(" {text} \n")).unwrap();
        let tokenizer = Tokenizer::from_file(folder(name).join("tokenizer.json")).unwrap();
        let expected = tokenizer.encode(format!("{space}{text}"), false).unwrap();
        assert_eq!(tokens, expected.get_ids(), "{name}");
        assert_eq!(model.text(&tokens).unwrap(), text);
        assert!(model.tokens("  ").unwrap().is_empty());
        let shown = pictures(&["wide".into()]);
        let margin = Agreement::Margin(1e-30);
        let images = frames(&shown);
        let verified = (model.verify(&images, QUESTION, &tokens, 64, margin)).unwrap();
        assert_eq!(
            (verified.caption.text.as_str(), verified.whole),
            (text, true)
        );
    }
}
