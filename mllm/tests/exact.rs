//! On real pictures: what is verified exactly is what the model writes alone.

#![allow(clippy::unwrap_used)]

mod common;

use std::thread;

use mllm::{Agreement, CaptionModel, ModalTokens, Probe, Provider, Tokens, Trunk};
use rand_pcg::Pcg32;

/// What a run over some pictures found.
#[derive(Debug, Default)]
struct Found {
    pictures: usize,
    drafted: usize,
    accepted: usize,
    whole: usize,
    near_ties: u64,
    /// Largest difference of a logit between one pass and single steps.
    difference: f32,
}

fn check(pictures: &[Vec<u8>], seed: u64) -> Found {
    let (edge, cloud) = (common::model("msao-edge"), common::model("msao-cloud"));
    let mut probe = Probe::load(&edge, Provider::Cpu).unwrap();
    let mut trunk = Trunk::load(&edge, Provider::Cpu).unwrap();
    let mut small = CaptionModel::load(&edge, Provider::Cpu).unwrap();
    let mut full = CaptionModel::load(&cloud, Provider::Cpu).unwrap();
    assert_eq!(probe.encoder(), trunk.encoder());
    assert_eq!(probe.encoder(), &full.config().vision_encoder);
    let prompt = full.config().default_prompt.clone();

    let mut found = Found::default();
    let mut random = Pcg32::new(seed, 0);
    for (index, picture) in pictures.iter().enumerate() {
        let seen = probe.run(&common::frame(picture)).unwrap();
        let features = trunk.run(&seen.features).unwrap();
        // Every eighth picture whole, the rest in part, as they travel.
        let tokens = if index % 8 == 0 {
            Tokens::from(ModalTokens::all(features))
        } else {
            ModalTokens::kept(&features, &common::subset(&mut random, features.nrows())).into()
        };
        let tokens = tokens.as_received();

        let draft = small.draft(&tokens, &prompt).unwrap();
        let alone = full.draft(&tokens, &prompt).unwrap();
        let verified = full
            .verify(&tokens, &prompt, &draft.token_ids, Agreement::Exact)
            .unwrap();
        assert_eq!(
            verified.caption.text, alone.text,
            "picture {index} of half {seed}"
        );
        assert_eq!(
            verified.caption.token_ids, alone.token_ids,
            "picture {index} of half {seed}"
        );
        assert_eq!(verified.whole, draft.token_ids == alone.token_ids);

        // Read in one pass, its own caption is accepted whole.
        if index % 20 == 0 {
            let own = full
                .verify(&tokens, &prompt, &alone.token_ids, Agreement::Exact)
                .unwrap();
            assert_eq!((own.whole, own.accepted), (true, alone.token_ids.len()));
            assert_eq!(own.caption.text, alone.text);
            let difference = full.difference(&tokens, &prompt, &alone.token_ids).unwrap();
            found.difference = found.difference.max(difference);
        }

        found.pictures += 1;
        found.drafted += draft.token_ids.len();
        found.accepted += verified.accepted;
        found.whole += usize::from(verified.whole);
    }
    found.near_ties = full.near_ties();
    let tolerance = full.config().tie_tolerance;
    assert!(
        2.0 * found.difference <= tolerance,
        "one pass and single steps differ by {}: raise tie_tolerance in {} above {tolerance}",
        found.difference,
        cloud.join("config.json").display()
    );
    found
}

#[test]
fn verified_text_is_what_the_full_model_writes_alone() {
    let mut pictures = common::pictures("vtest.avi", 130, 2);
    pictures.extend(common::pictures("bikes.mp4", 80, 10));
    let found: Vec<Found> = thread::scope(|scope| {
        let halves = pictures.chunks(pictures.len().div_ceil(2)).zip(0..);
        let runs: Vec<_> = halves
            .map(|(half, seed)| scope.spawn(move || check(half, seed)))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    println!("{found:#?}");
}
