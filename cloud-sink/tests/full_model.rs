//! The model that ships, as a verifier.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use broker::{DraftReport, FeatureWindow, Token};
use cloud_sink::{Config, Fault, FullModel, Rule, Verifier};
use common::workspace;
use mllm::tokens::quantise;

fn load(agreement: Rule) -> FullModel {
    common::runtime();
    let config = Config {
        provider: mllm::Provider::Cpu,
        agreement,
        ..Config::new(workspace("testdata/models/msao-cloud"))
    };
    FullModel::load(&config).unwrap()
}

/// A window of 20 tokens that the shipped model can read.
fn window() -> FeatureWindow {
    let config = mllm::Config::load(&workspace("testdata/models/msao-cloud")).unwrap();
    let mut window = common::window(0);
    window.prompt = config.default_prompt.clone();
    window.modalities[0].encoder = config.vision_encoder.id;
    window.modalities[0].encoder_sha256 = config.vision_encoder.sha256;
    window.draft = None;
    window.tokens = (0..20_u16)
        .map(|i| {
            let row: Vec<f32> = (0..config.image_token_size)
                .map(|c| ((i as f32 * 7.3 + c as f32 * 1.7).sin()) * 0.5)
                .collect();
            let row = quantise(&row);
            Token {
                y: i / 5,
                x: i % 5,
                scale: row.scale,
                feature: row.steps.into(),
                ..common::window(0).tokens[0].clone()
            }
        })
        .collect();
    window
}

fn draft(text: String, token_ids: Vec<u32>) -> Option<DraftReport> {
    let logprobs = vec![-0.5; token_ids.len()];
    Some(DraftReport {
        text,
        token_ids,
        logprobs,
        confidence: 0.6,
        model: "draft".to_owned(),
    })
}

#[test]
fn its_own_words_are_confirmed_and_other_words_corrected() {
    let mut model = load(Rule::Exact);
    let alone = window();
    let own = model.verify(&alone).unwrap().unwrap();
    assert!(!own.confirmed && own.accepted_tokens.is_none() && own.tokens > 0);

    // Its own tokens, from the library beneath: verified, they are confirmed.
    let folder = workspace("testdata/models/msao-cloud");
    let mut beneath = mllm::CaptionModel::load(&folder, mllm::Provider::Cpu).unwrap();
    let tokens = mllm::Tokens::from(mllm::ModalTokens {
        positions: (0..20).map(|i| (i / 5) * 7 + i % 5).collect(),
        features: ndarray::Array2::from_shape_vec(
            (20, alone.tokens[0].feature.len()),
            alone
                .tokens
                .iter()
                .flat_map(|t| mllm::tokens::restore(t.scale, &t.feature))
                .collect(),
        )
        .unwrap(),
    });
    let caption = beneath.draft(&tokens, &alone.prompt).unwrap();
    assert_eq!(caption.text, own.text);
    let agreed = FeatureWindow {
        draft: draft(caption.text.clone(), caption.token_ids.clone()),
        ..alone.clone()
    };
    let verdict = model.verify(&agreed).unwrap().unwrap();
    assert!(verdict.confirmed && verdict.text == own.text);
    assert_eq!(
        verdict.accepted_tokens,
        Some(caption.token_ids.len() as u32)
    );

    let mut wrong = caption.token_ids.clone();
    wrong[0] = if wrong[0] == 100 { 101 } else { 100 };
    let disagreed = FeatureWindow {
        draft: draft("other words".to_owned(), wrong),
        ..alone
    };
    let verdict = model.verify(&disagreed).unwrap().unwrap();
    assert!(!verdict.confirmed && verdict.text == own.text && verdict.accepted_tokens == Some(0));
}

#[test]
fn what_it_cannot_read_is_hopeless_and_empty_windows_are_passed_over() {
    let mut model = load(Rule::Margin);
    let base = window();
    let empty = FeatureWindow {
        tokens: vec![],
        ..base.clone()
    };
    assert_eq!(model.verify(&empty), Ok(None));
    let mut other = base.clone();
    other.modalities[0].encoder_sha256 = "00".repeat(32);
    let mut twice = base.clone();
    twice.tokens[1] = twice.tokens[0].clone();
    let unknown = FeatureWindow {
        draft: draft("?".to_owned(), vec![4_000_000]),
        ..base
    };
    for (window, word) in [(other, "encoded by"), (twice, "ascend"), (unknown, "draft")] {
        let Err(Fault::Hopeless(reason)) = model.verify(&window) else {
            panic!("{word}: it was read")
        };
        assert!(reason.contains(word), "{reason}");
    }
}
