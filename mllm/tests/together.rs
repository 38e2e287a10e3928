//! On real pictures: what is verified exactly in a batch is what the model writes alone of each window.

#![allow(clippy::unwrap_used)]

mod common;

use mllm::{
    Agreement, CaptionModel, ModalTokens, Probe, Provider, Tokens, Trunk, Verified, Window,
};
use rand_core::Rng;
use rand_pcg::Pcg32;

/// A window, its draft, and what the full model writes of it alone.
struct Case {
    tokens: Tokens,
    prompt: &'static str,
    draft: Option<Vec<u32>>,
    alone: mllm::Caption,
}

impl Case {
    fn window(&self) -> Window<'_> {
        Window {
            tokens: &self.tokens,
            prompt: self.prompt,
            draft: self.draft.as_deref(),
        }
    }

    fn check(&self, verified: &Verified) {
        assert_eq!(verified.caption.text, self.alone.text);
        assert_eq!(verified.caption.token_ids, self.alone.token_ids);
        let draft = self.draft.as_deref();
        assert_eq!(verified.whole, draft == Some(&self.alone.token_ids[..]));
        let agreed = (draft.unwrap_or_default().iter().zip(&self.alone.token_ids))
            .take_while(|(draft, own)| draft == own);
        assert_eq!(verified.accepted, agreed.count());
        let alone = self.alone.logprobs.iter();
        assert_eq!(verified.caption.logprobs.len(), self.alone.logprobs.len());
        for (one, other) in verified.caption.logprobs.iter().zip(alone) {
            assert!((one - other).abs() < 1e-3, "{one} and {other}");
        }
    }
}

fn cases(small: &mut CaptionModel, full: &mut CaptionModel) -> Vec<Case> {
    let edge = common::model("msao-edge");
    let mut probe = Probe::load(&edge, Provider::Cpu).unwrap();
    let mut trunk = Trunk::load(&edge, Provider::Cpu).unwrap();
    let mut pictures = common::pictures("vtest.avi", 50, 2);
    pictures.extend(common::pictures("bikes.mp4", 30, 5));
    let mut random = Pcg32::new(7, 0);
    let mut cases = Vec::new();
    for (index, picture) in pictures.iter().enumerate() {
        let seen = probe.run(&common::frame(picture)).unwrap();
        let features = trunk.run(&seen.features).unwrap();
        let tokens = if index % 8 == 0 {
            Tokens::from(ModalTokens::all(features))
        } else {
            ModalTokens::kept(&features, &common::subset(&mut random, features.nrows())).into()
        };
        let tokens = tokens.as_received();
        let prompt = ["describe", "describe", "what is on the street ?"][index % 3];
        let alone = full.draft(&tokens, prompt).unwrap();
        // A draft of the small model, the full model's own, one cut short, none.
        let draft = match index % 5 {
            0 => None,
            1 => Some(alone.token_ids.clone()),
            2 => Some(alone.token_ids[..alone.token_ids.len() / 2].to_vec()),
            _ => Some(small.draft(&tokens, prompt).unwrap().token_ids),
        };
        cases.push(Case {
            tokens,
            prompt,
            draft,
            alone,
        });
    }
    cases
}

#[test]
fn what_is_verified_together_is_what_the_full_model_writes_alone() {
    let mut small = CaptionModel::load(&common::model("msao-edge"), Provider::Cpu).unwrap();
    let mut full = CaptionModel::load(&common::model("msao-cloud"), Provider::Cpu).unwrap();
    let cases = cases(&mut small, &mut full);
    let mut random = Pcg32::new(8, 0);
    let (mut rest, mut difference) = (&cases[..], 0.0_f32);
    while !rest.is_empty() {
        let (batch, others) = rest.split_at((1 + random.next_u32() as usize % 8).min(rest.len()));
        let windows: Vec<Window<'_>> = batch.iter().map(Case::window).collect();
        let verified = full.verify_all(&windows, Agreement::Exact);
        assert_eq!(verified.len(), batch.len());
        for (case, verified) in batch.iter().zip(verified) {
            case.check(&verified.unwrap());
        }
        // By the margin, drafts fare as they do alone.
        let together = full.verify_all(&windows, Agreement::Margin(0.3));
        for (window, verified) in windows.iter().zip(together) {
            let (Some(draft), verified) = (window.draft, verified.unwrap()) else {
                continue;
            };
            let alone = full.verify(window.tokens, window.prompt, draft, Agreement::Margin(0.3));
            let alone = alone.unwrap();
            assert_eq!(
                (verified.accepted, verified.whole),
                (alone.accepted, alone.whole)
            );
            let accepted = ..alone.accepted;
            assert_eq!(
                verified.caption.token_ids[accepted],
                alone.caption.token_ids[accepted]
            );
        }
        difference = difference.max(full.difference_together(&windows).unwrap());
        rest = others;
    }
    println!(
        "largest difference of a logit: {difference}; near ties: {}",
        full.near_ties()
    );
    let tolerance = full.config().tie_tolerance;
    assert!(
        2.0 * difference <= tolerance,
        "batches and single steps differ by {difference}: raise tie_tolerance above {tolerance}"
    );
}

#[test]
fn one_bad_window_spoils_no_other() {
    let mut small = CaptionModel::load(&common::model("msao-edge"), Provider::Cpu).unwrap();
    let mut full = CaptionModel::load(&common::model("msao-cloud"), Provider::Cpu).unwrap();
    let cases = cases(&mut small, &mut full);
    let nothing = Tokens::default();
    let unknown = [4_000_000];
    let bad = [
        Window {
            tokens: &nothing,
            ..cases[0].window()
        },
        Window {
            draft: Some(&unknown),
            ..cases[1].window()
        },
    ];
    let windows = [cases[2].window(), bad[0], cases[3].window(), bad[1]];
    let [first, none, second, draft] = full
        .verify_all(&windows, Agreement::Exact)
        .try_into()
        .unwrap();
    cases[2].check(&first.unwrap());
    cases[3].check(&second.unwrap());
    assert!(none.unwrap_err().to_string().contains("none"));
    assert!(draft.unwrap_err().to_string().contains("vocabulary"));
    assert!(full.verify_all(&[], Agreement::Exact).is_empty());
}
