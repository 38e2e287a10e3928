use std::hash::{DefaultHasher, Hash, Hasher};

use ndarray::{Array1, Array2};
use proptest::prelude::*;

use super::*;
use crate::generate::greedy_unless;

const VOCABULARY: usize = 12;
const END: u32 = 2;
const TIE: f32 = 0.1;

fn rules() -> Rules {
    Rules {
        vocabulary: VOCABULARY,
        ends: vec![END],
        suppressed: vec![0, 1, 3],
        longest: 6,
        tie_tolerance: TIE,
    }
}

/// Logits drawn from a hash of what was read. As in a real model, the way it was read, in one pass or in steps, shifts
/// them a little, and goes on shifting what is read later.
struct Fake {
    seed: u64,
    /// Most that a logit moves with the way of reading.
    noise: f32,
    /// Step between the values that logits take: with a large one, ties are common.
    grain: f32,
    read: Vec<u32>,
    /// For each token read, and first for the prefix: which pass read it.
    passes: Vec<u64>,
    started: usize,
}

impl Fake {
    fn new(seed: u64, noise: f32, grain: f32) -> Self {
        Self {
            seed,
            noise,
            grain,
            read: Vec::new(),
            passes: Vec::new(),
            started: 0,
        }
    }

    fn logits(&self, length: usize) -> Array1<f32> {
        Array1::from_shape_fn(VOCABULARY, |token| {
            let tokens = &self.read[..length];
            let exact = (unit(&(self.seed, tokens, token)) * 4.0 / self.grain).round() * self.grain;
            let way = unit(&(self.seed, tokens, token, &self.passes[..=length])) * 2.0 - 1.0;
            exact + way * self.noise
        })
    }
}

/// A number from 0 to 1 that `what` determines.
fn unit(what: &impl Hash) -> f32 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    (hasher.finish() >> 40) as f32 / (1 << 24) as f32
}

impl LanguageModel for Fake {
    fn start(&mut self, tokens: &[u32]) -> Result<Array2<f32>> {
        self.started += 1;
        self.read = tokens.to_vec();
        self.passes = vec![tokens.len() as u64; tokens.len() + 1];
        let mut rows = Array2::zeros((0, VOCABULARY));
        for length in 0..=tokens.len() {
            rows.push_row(self.logits(length).view()).unwrap();
        }
        Ok(rows)
    }

    fn step(&mut self, keep: usize, token: u32) -> Result<Array1<f32>> {
        assert!(keep <= self.read.len(), "nothing was read there");
        self.read.truncate(keep);
        self.passes.truncate(keep + 1);
        self.read.push(token);
        self.passes.push(u64::MAX);
        Ok(self.logits(keep + 1))
    }
}

/// A model that says the same whatever it reads: `rows[i]` after i tokens.
struct Script(Vec<Vec<f32>>);

impl LanguageModel for Script {
    fn start(&mut self, tokens: &[u32]) -> Result<Array2<f32>> {
        let rows: Vec<f32> = self.0[..=tokens.len()].concat();
        Ok(Array2::from_shape_vec((tokens.len() + 1, self.0[0].len()), rows).unwrap())
    }

    fn step(&mut self, keep: usize, _: u32) -> Result<Array1<f32>> {
        Ok(self.0[keep + 1].clone().into())
    }
}

/// A row in which `token` has probability `factor` of the best, which is `best`, and the rest have none.
fn row(best: usize, token: usize, factor: f32) -> Vec<f32> {
    let mut row = vec![-1e9; VOCABULARY];
    row[best] = 0.0;
    row[token] = factor.ln();
    row
}

#[test]
fn what_is_no_number_is_as_far_apart_as_can_be() {
    let row = |row: [f32; 3]| Array1::from_iter(row);
    let (own, suppressed) = (row([1.0, 2.0, 0.5]), row([1.0, f32::NEG_INFINITY, 0.5]));
    assert_eq!(apart(suppressed.view(), suppressed.view()), 0.0);
    for other in [suppressed, row([1.0, f32::NAN, 0.5])] {
        assert_eq!(apart(own.view(), other.view()), f32::INFINITY);
        assert_eq!(apart(other.view(), own.view()), f32::INFINITY);
    }
}

fn drafts() -> impl Strategy<Value = Vec<u32>> {
    let word = (0..VOCABULARY as u32).prop_filter("the end is not part of a draft", |&t| t != END);
    prop::collection::vec(word, 0..=6)
}

/// How a draft comes about: at random, or from what the model says itself, changed a little.
#[derive(Debug, Clone)]
enum Edit {
    Random(Vec<u32>),
    Own { keep: usize, then: Vec<u32> },
}

fn edits() -> impl Strategy<Value = Edit> {
    prop_oneof![
        drafts().prop_map(Edit::Random),
        (0_usize..=6, drafts()).prop_map(|(keep, then)| Edit::Own { keep, then }),
    ]
}

fn draft(edit: Edit, own: &[u32]) -> Vec<u32> {
    match edit {
        Edit::Random(draft) => draft,
        Edit::Own { keep, then } => {
            let mut draft: Vec<u32> = own.iter().take(keep).copied().chain(then).collect();
            draft.truncate(6);
            draft
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// The invariant, with logits that differ by up to half the tolerance and ties in every other row.
    #[test]
    fn exact_is_what_the_model_writes_alone(
        seed: u64,
        edit in edits(),
        grain in prop_oneof![Just(1.0_f32), Just(0.3), Just(0.01)],
        noise in 0.0_f32..(TIE * 0.24),
    ) {
        let own = greedy(&mut Fake::new(seed, noise, grain), &rules()).unwrap();
        let draft = draft(edit, &own.tokens);
        let mut model = Fake::new(seed, noise, grain);
        let outcome = verify(&mut model, &rules(), &draft, Agreement::Exact).unwrap();

        prop_assert_eq!(&outcome.decoded.tokens, &own.tokens);
        prop_assert_eq!(outcome.decoded.log_probabilities.len(), own.log_probabilities.len());
        let common = draft.iter().zip(&own.tokens).take_while(|(a, b)| a == b).count();
        prop_assert_eq!(outcome.accepted, common);
        prop_assert_eq!(outcome.whole, draft == own.tokens);
        prop_assert_eq!(model.started, if outcome.near_tie { 2 } else { 1 });
        for (here, alone) in outcome.decoded.log_probabilities.iter().zip(&own.log_probabilities) {
            prop_assert!((here - alone).abs() <= 4.0 * noise + 1e-5);
        }
    }

    #[test]
    fn without_ties_one_pass_settles_it(seed: u64, edit in edits()) {
        let mut rules = rules();
        rules.tie_tolerance = 0.0;
        let own = greedy(&mut Fake::new(seed, 0.0, 1e-4), &rules).unwrap();
        let draft = draft(edit, &own.tokens);
        let outcome = verify(&mut Fake::new(seed, 0.0, 1e-4), &rules, &draft, Agreement::Exact).unwrap();
        prop_assert_eq!(outcome.decoded.tokens, own.tokens);
    }

    #[test]
    fn margin_accepts_the_longest_agreeing_prefix(
        seed: u64,
        edit in edits(),
        factor in 0.01_f32..=1.0,
    ) {
        let new = || Fake::new(seed, 0.0, 1e-4);
        let rules = rules();
        let own = greedy(&mut new(), &rules).unwrap();
        let draft = draft(edit, &own.tokens);
        let outcome = verify(&mut new(), &rules, &draft, Agreement::Margin(factor)).unwrap();
        let tokens = &outcome.decoded.tokens;

        prop_assert_eq!(&tokens[..outcome.accepted], &draft[..outcome.accepted]);
        prop_assert!(!outcome.near_tie);
        prop_assert_eq!(outcome.whole, outcome.accepted == draft.len() && *tokens == draft);
        let judged: Vec<u32> = draft.iter().copied().chain((draft.len() < 6).then_some(END)).collect();
        let mut rows = new().start(&draft).unwrap();
        for (index, &token) in judged.iter().enumerate().take(outcome.accepted + 1) {
            let row = rows.row_mut(index).into_slice().unwrap();
            let best = rules.best(row).unwrap();
            let ratio = (row[token as usize] - best.logit).exp();
            let agreed = ratio >= factor;
            prop_assume!((ratio - factor).abs() > 1e-4);
            prop_assert_eq!(agreed, index < outcome.accepted || outcome.whole);
        }
        // A stricter rule accepts no more.
        let strict = verify(&mut new(), &rules, &draft, Agreement::Margin(1.0)).unwrap();
        prop_assert!(strict.accepted <= outcome.accepted);
        // With a factor of 1 it is what the model writes alone, up to where two tokens are equally likely.
        let strict = &strict.decoded.tokens;
        let common = strict.iter().zip(&own.tokens).take_while(|(a, b)| a == b).count();
        let logit = |tokens: &[u32]| rows[[common, tokens.get(common).copied().unwrap_or(END) as usize]];
        if *strict != own.tokens {
            prop_assert_eq!(logit(strict), logit(&own.tokens));
        }
        // Past the draft the model decides alone, after what was accepted.
        if !outcome.whole {
            let mut model = new();
            let mut row = model.start(&draft[..outcome.accepted]).unwrap().row(outcome.accepted).to_owned();
            let best = rules.best(row.as_slice_mut().unwrap()).unwrap();
            prop_assert_eq!(tokens.get(outcome.accepted).copied().unwrap_or(END), best.token);
        }
    }
}

#[test]
fn the_end_is_judged_like_a_token() {
    let rules = rules();
    let script = || {
        Script(vec![
            row(5, 6, 0.5),
            row(7, END as usize, 0.5),
            row(END as usize, 4, 0.1),
        ])
    };
    let verify = |draft: &[u32], factor| {
        verify(&mut script(), &rules, draft, Agreement::Margin(factor)).unwrap()
    };
    let accepted = verify(&[6], 0.4);
    assert_eq!(
        (accepted.accepted, accepted.whole, accepted.decoded.tokens),
        (1, true, vec![6])
    );
    let longer = verify(&[5], 0.6);
    assert_eq!(
        (longer.accepted, longer.whole, longer.decoded.tokens),
        (1, false, vec![5, 7])
    );
    let other = verify(&[6], 0.6);
    assert_eq!(
        (other.accepted, other.whole, other.decoded.tokens),
        (0, false, vec![5, 7])
    );
    assert_eq!(
        other.decoded.log_probabilities.len(),
        3,
        "two tokens and the end"
    );
}

#[test]
fn an_empty_draft_is_judged_by_its_end() {
    let rules = rules();
    let mut says_nothing = Script(vec![row(END as usize, 5, 0.5)]);
    let outcome = verify(&mut says_nothing, &rules, &[], Agreement::Exact).unwrap();
    assert_eq!((outcome.accepted, outcome.whole), (0, true));
    assert_eq!(outcome.decoded.log_probabilities.len(), 1);

    let mut says_five = Script(vec![row(5, END as usize, 0.5), row(END as usize, 5, 0.5)]);
    let outcome = verify(&mut says_five, &rules, &[], Agreement::Exact).unwrap();
    assert_eq!(
        (outcome.accepted, outcome.whole, outcome.decoded.tokens),
        (0, false, vec![5])
    );
}

#[test]
fn a_cut_draft_needs_no_end() {
    let rules = rules();
    let mut model = Script(vec![row(5, 6, 0.5); 7]);
    let outcome = verify(&mut model, &rules, &[5; 6], Agreement::Exact).unwrap();
    assert_eq!((outcome.accepted, outcome.whole), (6, true));
    assert_eq!(outcome.decoded.tokens, [5; 6]);
    assert_eq!(outcome.decoded.log_probabilities.len(), 6);
}

#[test]
fn suppressed_tokens_are_never_accepted_nor_produced() {
    let rules = rules();
    let mut model = Script(vec![row(3, 5, 0.01), row(END as usize, 5, 0.5)]);
    let outcome = verify(&mut model, &rules, &[3], Agreement::Margin(0.001)).unwrap();
    assert_eq!((outcome.accepted, outcome.decoded.tokens), (0, vec![5]));
}

#[test]
fn drafts_that_cannot_be_judged_are_refused() {
    let refused = |draft: &[u32], agreement| {
        let error = verify(&mut Fake::new(1, 0.0, 0.1), &rules(), draft, agreement).unwrap_err();
        error.to_string()
    };
    assert!(refused(&[5, 12], Agreement::Exact).contains("token 1 is 12"));
    assert!(refused(&[u32::MAX], Agreement::Exact).contains("vocabulary"));
    assert!(refused(&[5, END], Agreement::Exact).contains("the end"));
    assert!(refused(&[5; 7], Agreement::Exact).contains("at most 6"));
    for factor in [0.0, -1.0, 1.1, f32::NAN, f32::INFINITY] {
        assert!(
            refused(&[5], Agreement::Margin(factor)).contains("margin"),
            "{factor}"
        );
    }
}

#[test]
fn the_difference_is_that_of_the_ways_of_reading() {
    let measure = |noise| difference(&mut Fake::new(3, noise, 0.1), &[5, 6, 7, 8]).unwrap();
    assert_eq!(measure(0.0), 0.0);
    assert!(
        (0.05..=0.2).contains(&measure(0.1)),
        "up to twice the noise: {}",
        measure(0.1)
    );
}

#[test]
fn a_broken_model_is_an_error() {
    let mut model = Script(vec![vec![f32::NAN; VOCABULARY]; 3]);
    for agreement in [Agreement::Exact, Agreement::Margin(0.5)] {
        let error = verify(&mut model, &rules(), &[5], agreement).unwrap_err();
        assert!(matches!(error, Error::Logits));
    }
    assert!(matches!(greedy(&mut model, &rules()), Err(Error::Logits)));
}

#[test]
fn a_draft_is_given_up_when_it_is_told_to_and_else_the_same() {
    for seed in 0..50 {
        let own = greedy(&mut Fake::new(seed, 0.0, 1e-4), &rules()).unwrap();
        let mut asked = Vec::new();
        let model = &mut Fake::new(seed, 0.0, 1e-4);
        let whole = greedy_unless(model, &rules(), |so_far| {
            asked.push(so_far.tokens.len());
            false
        });
        assert_eq!(whole.unwrap(), Some(own.clone()));
        // After each token that another follows, or the end.
        let cut = own.tokens.len() == rules().longest;
        let last = own.tokens.len() - usize::from(cut);
        assert_eq!(asked, (1..=last).collect::<Vec<_>>());
        let model = &mut Fake::new(seed, 0.0, 1e-4);
        let stopped = greedy_unless(model, &rules(), |so_far| {
            so_far.log_probabilities.len() == 2
        });
        assert_eq!(stopped.unwrap().is_none(), last >= 2);
    }
}
