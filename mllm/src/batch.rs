//! Verifying the drafts of many windows in one pass.
//!
//! The sequences stand one under another, padded at their ends, where nothing looks: each row of logits comes out as in a
//! pass over its sequence alone. Steps together are another matter. Caches of different lengths have gaps between what was
//! read and what comes next, which sums products in another order; activations are rounded to 8 bits, so that last bits
//! can become a visible difference. So under [`Agreement::Exact`], where the text must be what the model writes alone, a
//! sequence whose draft does not stand is decoded on by itself, as in [`verify`](crate::verify), and what the pass could
//! not settle is left to the caller. Under [`Agreement::Margin`], which promises no certain text, all are decoded on
//! together.

use ndarray::{Array1, Array2};

use crate::generate::{Choice, Decoded, Rules, choose};
use crate::verify::{Bounds, Judged, Outcome, apart, judge, read};
use crate::{Agreement, Result};

/// A language model that reads sequences together, each with its prefix.
pub(crate) trait Sequences {
    /// What was read of some sequences.
    type Cache;

    /// Reads each prefix and its text after it in one pass. As [`start`](crate::generate::LanguageModel::start), for each.
    fn start(&mut self, texts: &[&[u32]]) -> Result<(Self::Cache, Vec<Array2<f32>>)>;

    /// What was read of these sequences: the index of each in the cache, and how many tokens after its prefix.
    fn pick(&self, cache: &Self::Cache, picked: &[(usize, usize)]) -> Result<Self::Cache>;

    /// Reads the next token of each sequence of a cache, and returns the logits that predict what follows.
    fn step(&mut self, cache: &mut Self::Cache, tokens: &[u32]) -> Result<Vec<Array1<f32>>>;
}

/// A sequence that is decoded on.
struct Going {
    /// Its index among the drafts.
    index: usize,
    /// Its index in the cache.
    slot: usize,
    decoded: Decoded,
    accepted: usize,
    logits: Array1<f32>,
}

/// Judges the draft of each sequence, checked before, or captions it if there is none. `None` where a near tie is to be
/// decided alone.
pub(crate) fn verify(
    model: &mut impl Sequences,
    rules: &Rules,
    drafts: &[Option<&[u32]>],
    agreement: Agreement,
) -> Result<Vec<Option<Outcome>>> {
    let bounds = Bounds::new(agreement, rules)?;
    let texts: Vec<&[u32]> = (drafts.iter())
        .map(|draft| draft.map_or(&[][..], |draft| read(draft, rules)))
        .collect();
    let mut outcomes = vec![None; drafts.len()];
    let mut going = Vec::new();
    let (cache, rows) = model.start(&texts)?;
    for (index, rows) in rows.into_iter().enumerate() {
        let judged = match drafts[index] {
            Some(draft) => judge(rules, draft, bounds, rows)?,
            None => Judged::On {
                decoded: Decoded::default(),
                logits: rows.row(0).to_owned(),
            },
        };
        match judged {
            Judged::Tie => {}
            Judged::Whole(decoded) => {
                outcomes[index] = Some(Outcome {
                    accepted: decoded.tokens.len(),
                    decoded,
                    whole: true,
                    near_tie: false,
                });
            }
            Judged::On { decoded, logits } => going.push(Going {
                index,
                slot: index,
                accepted: decoded.tokens.len(),
                decoded,
                logits,
            }),
        }
    }
    match agreement {
        Agreement::Exact => {
            for one in going {
                decode_on(model, rules, bounds, &cache, vec![one], &mut outcomes)?;
            }
        }
        Agreement::Margin(_) => decode_on(model, rules, bounds, &cache, going, &mut outcomes)?,
    }
    Ok(outcomes)
}

/// Decodes on together what goes on from `cache`, until all have ended or met a tie.
fn decode_on<M: Sequences>(
    model: &mut M,
    rules: &Rules,
    bounds: Bounds,
    cache: &M::Cache,
    mut going: Vec<Going>,
    outcomes: &mut [Option<Outcome>],
) -> Result<()> {
    let mut own: Option<M::Cache> = None;
    loop {
        let (there, mut tokens, mut next) = (going.len(), Vec::new(), Vec::new());
        for mut one in going {
            let row = one.logits.as_slice_mut().unwrap_or_default();
            match choose(rules, &mut one.decoded, row, bounds.tie)? {
                Choice::Tie => {}
                Choice::End => {
                    outcomes[one.index] = Some(Outcome {
                        decoded: one.decoded,
                        accepted: one.accepted,
                        whole: false,
                        near_tie: false,
                    });
                }
                Choice::Token(token) => {
                    tokens.push(token);
                    next.push(one);
                }
            }
        }
        going = next;
        if going.is_empty() {
            return Ok(());
        }
        let mut current = match own.take() {
            Some(own) if going.len() == there => own,
            // The first time, and when some have ended.
            before => {
                let picked: Vec<_> = (going.iter())
                    .map(|one| (one.slot, one.decoded.tokens.len() - 1))
                    .collect();
                model.pick(before.as_ref().unwrap_or(cache), &picked)?
            }
        };
        for (slot, (one, logits)) in
            (going.iter_mut().zip(model.step(&mut current, &tokens)?)).enumerate()
        {
            (one.slot, one.logits) = (slot, logits);
        }
        own = Some(current);
    }
}

/// The largest difference of a logit between `alone`, for each text a row for its prefix and each of its tokens, and one
/// pass over all of them, or a step by itself after part of it.
pub(crate) fn difference(
    model: &mut impl Sequences,
    texts: &[&[u32]],
    alone: &[Vec<Array1<f32>>],
) -> Result<f32> {
    let mut largest = 0.0_f32;
    let (cache, rows) = model.start(texts)?;
    for (index, (rows, alone)) in rows.iter().zip(alone).enumerate() {
        for (row, alone) in rows.outer_iter().zip(alone) {
            largest = largest.max(apart(row, alone.view()));
        }
        if let (Some((&token, before)), Some(alone)) = (texts[index].split_last(), alone.last()) {
            let mut own = model.pick(&cache, &[(index, before.len())])?;
            for row in model.step(&mut own, &[token])? {
                largest = largest.max(apart(row.view(), alone.view()));
            }
        }
    }
    Ok(largest)
}
