//! Verifying a draft: one pass over all of it, the longest prefix that the model agrees with, then decoding on.
//!
//! # Exact is exact
//!
//! Under [`Agreement::Exact`] the result is what the model writes alone ([`greedy`]). That is not for free: one batched
//! pass and single steps sum the same products in another order, so their logits differ in the last bits, and where
//! two tokens are nearly equal the two ways may choose differently. So the pass is believed only where it can't
//! matter: let δ bound the difference of a logit between the two ways. A token that leads by more than 2δ in one way
//! leads in the other, so as long as every choice so far led by more than 2δ, both ways have read the same tokens and
//! choose the same next one. At the first choice that leads by no more than [`Rules::tie_tolerance`], which must be at
//! least 2δ, nothing of the pass is used, and the model decodes alone from the start: then the result is the same
//! because it is the same computation. [`Outcome::near_tie`] says that it happened.
//!
//! Choices after the first disagreement read a cache that the pass wrote, so they are held to the same tolerance.
//!
//! [`Agreement::Margin`] makes no such promise and needs no such care.

use ndarray::{Array1, Array2, ArrayView1};
use serde::{Deserialize, Serialize};

use crate::generate::{Decoded, LanguageModel, Rules, decode_on, greedy};
use crate::{Error, Result, logits};

/// When the model agrees with a token of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Agreement {
    /// When it is the model's own choice: the verified text is then identical to what the model writes alone.
    Exact,
    /// When its probability is at least this factor, above 0 and at most 1, of the best token's.
    Margin(f32),
}

/// A verified draft.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The verified caption.
    pub decoded: Decoded,
    /// How many of the draft's tokens, from its start, were accepted.
    pub accepted: usize,
    /// The whole draft was accepted, and so was its end: the caption is the draft.
    pub whole: bool,
    /// One pass could not settle a choice, and the model decoded alone from the start.
    pub near_tie: bool,
}

/// Judges `draft`, the tokens of a caption without its end.
///
/// The end is taken to follow the draft and is judged like a token, unless the draft is as long as a caption can be:
/// then it was cut. An empty draft is one whose end comes first.
///
/// # Errors
/// [`Error::Draft`] if it is longer than a caption can be, or holds the end or a token out of the vocabulary;
/// [`Error::Margin`] if the factor is out of range; or if the model fails or its logits are not finite.
pub fn verify(
    model: &mut impl LanguageModel,
    rules: &Rules,
    draft: &[u32],
    agreement: Agreement,
) -> Result<Outcome> {
    check(draft, rules)?;
    let bounds = Bounds::new(agreement, rules)?;
    let rows = model.start(read(draft, rules))?;
    match judge(rules, draft, bounds, rows)? {
        Judged::Whole(decoded) => Ok(Outcome {
            decoded,
            accepted: draft.len(),
            whole: true,
            near_tie: false,
        }),
        Judged::Tie => alone(model, rules, draft),
        Judged::On {
            mut decoded,
            logits,
        } => {
            let accepted = decoded.tokens.len();
            if !decode_on(model, rules, &mut decoded, logits, bounds.tie)? {
                return alone(model, rules, draft);
            }
            Ok(Outcome {
                decoded,
                accepted,
                whole: false,
                near_tie: false,
            })
        }
    }
}

/// What an [`Agreement`] asks of logits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// A choice that leads by no more than this is not settled by a pass over many positions.
    pub tie: Option<f32>,
    /// How far below the best a token's logit may be.
    below_best: f32,
}

impl Bounds {
    pub fn new(agreement: Agreement, rules: &Rules) -> Result<Self> {
        let (tie, below_best) = match agreement {
            Agreement::Exact => (Some(rules.tie_tolerance), 0.0),
            Agreement::Margin(factor) if factor > 0.0 && factor <= 1.0 => (None, factor.ln()),
            Agreement::Margin(factor) => return Err(Error::Margin(factor)),
        };
        Ok(Self { tie, below_best })
    }
}

/// A draft after one pass over it.
pub(crate) enum Judged {
    /// All of it stands.
    Whole(Decoded),
    /// Its first tokens stand; the logits predict what comes instead of the next.
    On {
        decoded: Decoded,
        logits: Array1<f32>,
    },
    /// The pass could not settle a choice.
    Tie,
}

/// What is read of a draft to judge it: nothing follows the last token of one that was cut.
pub(crate) fn read<'d>(draft: &'d [u32], rules: &Rules) -> &'d [u32] {
    &draft[..draft.len().min(rules.longest.saturating_sub(1))]
}

/// Judges a draft by the logits `rows` of one pass over it.
pub(crate) fn judge(
    rules: &Rules,
    draft: &[u32],
    Bounds { tie, below_best }: Bounds,
    mut rows: Array2<f32>,
) -> Result<Judged> {
    let cut = draft.len() == rules.longest;
    let mut decoded = Decoded::default();
    let judged = draft.iter().copied().map(Some);
    for (index, token) in judged.chain((!cut).then_some(None)).enumerate() {
        let row = rows.row_mut(index).into_slice().unwrap_or_default();
        let token = token.or_else(|| rules.end(row)).ok_or(Error::Logits)?;
        let best = rules.best(row)?;
        if tie.is_some_and(|tie| best.lead <= tie) {
            return Ok(Judged::Tie);
        }
        // Logits differ by the logarithm of the ratio of probabilities. A suppressed token is at -∞.
        let agreed = token == best.token
            || (tie.is_none() && row[token as usize] >= best.logit + below_best);
        if !agreed {
            let logits = rows.row(index).to_owned();
            return Ok(Judged::On { decoded, logits });
        }
        let log_probability = logits::log_probability(row, token, best.logit);
        decoded.log_probabilities.push(log_probability);
        if index < draft.len() {
            decoded.tokens.push(token);
        }
    }
    Ok(Judged::Whole(decoded))
}

/// How far apart the ways of reading `tokens` come out: the largest difference of a logit between one pass over all of
/// them, single steps, and a step on what the pass left. This is the δ of [the module's argument](self); a model's
/// [`Rules::tie_tolerance`] must be at least twice the largest that is met, on the machine it runs on.
///
/// # Errors
/// If the model fails.
pub fn difference(model: &mut impl LanguageModel, tokens: &[u32]) -> Result<f32> {
    let pass = model.start(tokens)?;
    let mut largest = 0.0_f32;
    if let Some((&last, before)) = tokens.split_last() {
        let after_pass = model.step(before.len(), last)?;
        largest = largest.max(apart(after_pass.view(), pass.row(tokens.len())));
    }
    let alone = model.start(&[])?;
    largest = largest.max(apart(alone.row(0), pass.row(0)));
    for (index, &token) in tokens.iter().enumerate() {
        let step = model.step(index, token)?;
        largest = largest.max(apart(step.view(), pass.row(index + 1)));
    }
    Ok(largest)
}

/// The largest difference between two rows of logits; infinite if one of them holds NaN.
pub(crate) fn apart(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f32 {
    let apart = |(a, b): (&f32, &f32)| match (a - b).abs() {
        // Both may be at -∞.
        _ if a == b => 0.0,
        apart if apart.is_nan() => f32::INFINITY,
        apart => apart,
    };
    a.iter().zip(b).map(apart).fold(0.0, f32::max)
}

/// The model decodes alone, and the draft is compared with that.
fn alone(model: &mut impl LanguageModel, rules: &Rules, draft: &[u32]) -> Result<Outcome> {
    let decoded = greedy(model, rules)?;
    let agreed = draft
        .iter()
        .zip(&decoded.tokens)
        .take_while(|(draft, own)| draft == own);
    Ok(Outcome {
        accepted: agreed.count(),
        whole: decoded.tokens == draft,
        decoded,
        near_tie: true,
    })
}

pub(crate) fn check(draft: &[u32], rules: &Rules) -> Result<()> {
    if draft.len() > rules.longest {
        let (has, most) = (draft.len(), rules.longest);
        return Err(Error::Draft(format!(
            "{has} tokens, but a caption has at most {most}"
        )));
    }
    for (index, &token) in draft.iter().enumerate() {
        if token as usize >= rules.vocabulary {
            let size = rules.vocabulary;
            return Err(Error::Draft(format!(
                "token {index} is {token}, but the vocabulary ends at {size}: was it made with another tokenizer?"
            )));
        }
        if rules.ends.contains(&token) {
            return Err(Error::Draft(format!(
                "token {index} is the end, which is not part of a draft"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
