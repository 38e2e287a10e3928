//! Captioning with the real models, without real pictures.

#![allow(clippy::unwrap_used)]

mod common;

use mllm::frame::{Colour, Format, Frame, Plane};
use mllm::{Agreement, CaptionModel, Error, ModalTokens, Options, Probe, Provider, Tokens, Trunk};
use ndarray::Array2;

fn tokens(features: &Array2<f32>, positions: &[usize]) -> Tokens {
    let keep: Vec<bool> = (0..features.nrows())
        .map(|p| positions.contains(&p))
        .collect();
    ModalTokens::kept(features, &keep).into()
}

#[test]
fn a_caption_follows_the_rules() {
    let folder = common::model("msao-edge");
    let mut model = CaptionModel::load(&folder, Provider::Cpu).unwrap();
    let config = model.config().clone();
    let features =
        Array2::from_shape_fn((config.image_tokens, config.image_token_size), |(p, c)| {
            ((p * 31 + c * 17) as f32).sin()
        });
    for (positions, prompt) in [
        ((0..49).collect::<Vec<_>>(), "describe"),
        (vec![48], "describe"),
        (vec![0, 7, 20], ""),
        (vec![3, 4], "what is on the road? </s> <a>"),
    ] {
        let tokens = tokens(&features, &positions);
        let caption = model.draft(&tokens, prompt).unwrap();
        let length = caption.token_ids.len();
        let cut = length == config.max_caption_tokens;
        assert!(length <= config.max_caption_tokens);
        assert_eq!(caption.logprobs.len(), length + usize::from(!cut));
        assert!(caption.logprobs.iter().all(|&p| p <= 0.0 && p.is_finite()));
        assert!((0.0..=1.0).contains(&caption.confidence()));
        assert!(!caption.token_ids.contains(&config.eos_token_id));
        assert!(
            caption
                .token_ids
                .iter()
                .all(|id| !config.suppress_tokens.contains(id))
        );
        assert_eq!(caption.text, model.text(&caption.token_ids).unwrap());
        assert_eq!(caption.text, caption.text.trim());
        assert_eq!(
            model.draft(&tokens, prompt).unwrap(),
            caption,
            "the same again"
        );

        for draft in [
            &caption.token_ids[..],
            &caption.token_ids[..length / 2],
            &[],
            &[5, 6, 7],
        ] {
            let exact = model
                .verify(&tokens, prompt, draft, Agreement::Exact)
                .unwrap();
            assert_eq!(exact.caption.token_ids, caption.token_ids);
            assert_eq!(exact.whole, draft == caption.token_ids);
            let lax = model
                .verify(&tokens, prompt, draft, Agreement::Margin(1e-30))
                .unwrap();
            assert_eq!(
                (lax.accepted, lax.whole),
                (draft.len(), true),
                "anything goes"
            );
            assert_eq!(lax.caption.token_ids, draft);
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    let mut model = CaptionModel::load(&common::model("msao-edge"), Provider::Cpu).unwrap();
    let config = model.config().clone();
    let features = Array2::<f32>::zeros((config.image_tokens, config.image_token_size));
    let all = Tokens::from(ModalTokens::all(features.clone()));
    let error = model.draft(&tokens(&features, &[]), "").unwrap_err();
    assert!(matches!(error, Error::Tokens(_)), "{error}");
    let error = model.draft(&all, &"word ".repeat(1000)).unwrap_err();
    assert!(matches!(error, Error::Prompt(_)), "{error}");
    let beyond = [config.vocab_size as u32];
    let error = model
        .verify(&all, "", &beyond, Agreement::Exact)
        .unwrap_err();
    assert!(matches!(error, Error::Draft(_)), "{error}");
}

/// NaN can't come from a frame, but black, white and tiny pictures can.
#[test]
fn degenerate_frames_have_finite_tokens() {
    let folder = common::model("msao-edge");
    let options = Options {
        provider: Provider::Cpu,
        threads: 2,
    };
    let mut probe = Probe::load(&folder, options).unwrap();
    let mut trunk = Trunk::load(&folder, options).unwrap();
    let mut model = CaptionModel::load(&folder, options).unwrap();
    for (side, value) in [(1, 0), (1, 255), (2, 128), (1000, 0), (1000, 255)] {
        let data = vec![value; side * side];
        let plane = Plane {
            data: &data,
            stride: side,
        };
        let side = side as u32;
        let frame = Frame::new(Format::Gray8, side, side, &[plane], Colour::default()).unwrap();
        let seen = probe.run(&frame).unwrap();
        assert_eq!(seen.grid.dim(), (49, 96));
        assert!(
            seen.grid
                .iter()
                .chain(&seen.features)
                .all(|value| value.is_finite())
        );
        let features = trunk.run(&seen.features).unwrap();
        model
            .draft(
                &Tokens::from(ModalTokens::all(features).as_received()),
                "describe",
            )
            .unwrap();
    }
}
