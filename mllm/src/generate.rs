//! Greedy decoding, over any model that reads tokens one after another.

use ndarray::{Array1, Array2};

use crate::logits::{self, Best};
use crate::{Config, Error, Result};

/// A language model with its image and prompt already chosen: the *prefix* of everything it reads.
pub trait LanguageModel {
    /// Reads the prefix and then `tokens` in one pass, forgetting what it read before.
    ///
    /// Returns `tokens.len() + 1` rows of logits: row i predicts what follows the prefix and `tokens[..i]`.
    ///
    /// # Errors
    /// If the model fails.
    fn start(&mut self, tokens: &[u32]) -> Result<Array2<f32>>;

    /// Keeps the prefix and the first `keep` tokens read after it, reads `token` next, and returns the logits that
    /// predict what follows.
    ///
    /// # Errors
    /// If the model fails.
    fn step(&mut self, keep: usize, token: u32) -> Result<Array1<f32>>;
}

/// What a caption may be made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Token ids are below this.
    pub vocabulary: usize,
    /// Any of these ends a caption; at least one.
    pub ends: Vec<u32>,
    /// Never produced.
    pub suppressed: Vec<u32>,
    /// A caption is cut after this many tokens.
    pub longest: usize,
    /// See [`Config::tie_tolerance`].
    pub tie_tolerance: f32,
}

impl From<&Config> for Rules {
    fn from(config: &Config) -> Self {
        Self {
            vocabulary: config.vocab_size,
            ends: vec![config.eos_token_id],
            suppressed: config.suppress_tokens.clone(),
            longest: config.max_caption_tokens,
            tie_tolerance: config.tie_tolerance,
        }
    }
}

impl Rules {
    /// The best token of a row, after ruling out the suppressed ones in it.
    pub(crate) fn best(&self, row: &mut [f32]) -> Result<Best> {
        logits::mask(row, &self.suppressed);
        logits::best(row).ok_or(Error::Logits)
    }

    /// The likeliest of the ends.
    pub(crate) fn end(&self, row: &[f32]) -> Option<u32> {
        let logit = |&end: &u32| row.get(end as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let ends = self.ends.iter().copied();
        ends.reduce(|best, end| {
            if logit(&end) > logit(&best) {
                end
            } else {
                best
            }
        })
    }
}

/// A decoded caption.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// Its tokens, without the end.
    pub tokens: Vec<u32>,
    /// Natural log-probability of each token, and of the end unless the caption was cut.
    pub log_probabilities: Vec<f32>,
}

/// What the model writes alone: always the best token, one step at a time, until it ends or is cut.
///
/// # Errors
/// If the model fails or its logits are not finite.
pub fn greedy(model: &mut impl LanguageModel, rules: &Rules) -> Result<Decoded> {
    let logits = model.start(&[])?.row(0).to_owned();
    let mut decoded = Decoded::default();
    decode_on(model, rules, &mut decoded, logits, None)?;
    Ok(decoded)
}

/// The same, unless `stop`, which is asked after each token with what there is, says to give it up: then `None`.
///
/// # Errors
/// As for [`greedy`].
pub fn greedy_unless(
    model: &mut impl LanguageModel,
    rules: &Rules,
    mut stop: impl FnMut(&Decoded) -> bool,
) -> Result<Option<Decoded>> {
    let mut logits = model.start(&[])?.row(0).to_owned();
    let mut decoded = Decoded::default();
    loop {
        let row = logits.as_slice_mut().unwrap_or_default();
        let Choice::Token(token) = choose(rules, &mut decoded, row, None)? else {
            return Ok(Some(decoded));
        };
        if stop(&decoded) {
            return Ok(None);
        }
        logits = model.step(decoded.tokens.len() - 1, token)?;
    }
}

/// Decodes on greedily after `decoded`, from the `logits` that predict its next token.
///
/// With a `tie` it stops and returns false at the first choice that leads by no more than that.
pub(crate) fn decode_on(
    model: &mut impl LanguageModel,
    rules: &Rules,
    decoded: &mut Decoded,
    mut logits: Array1<f32>,
    tie: Option<f32>,
) -> Result<bool> {
    loop {
        match choose(
            rules,
            decoded,
            logits.as_slice_mut().unwrap_or_default(),
            tie,
        )? {
            Choice::Tie => return Ok(false),
            Choice::End => return Ok(true),
            Choice::Token(token) => logits = model.step(decoded.tokens.len() - 1, token)?,
        }
    }
}

/// What follows a caption that is being decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This token, to be read next.
    Token(u32),
    /// The caption is complete.
    End,
    /// Undecided: the best token leads by no more than the tie.
    Tie,
}

/// Takes the best token of the row that predicts what follows `decoded`, and adds it.
pub(crate) fn choose(
    rules: &Rules,
    decoded: &mut Decoded,
    row: &mut [f32],
    tie: Option<f32>,
) -> Result<Choice> {
    if decoded.tokens.len() >= rules.longest {
        return Ok(Choice::End);
    }
    let best = rules.best(row)?;
    if tie.is_some_and(|tie| best.lead <= tie) {
        return Ok(Choice::Tie);
    }
    let log_probability = logits::log_probability(row, best.token, best.logit);
    decoded.log_probabilities.push(log_probability);
    if rules.ends.contains(&best.token) {
        return Ok(Choice::End);
    }
    decoded.tokens.push(best.token);
    Ok(if decoded.tokens.len() < rules.longest {
        Choice::Token(best.token)
    } else {
        Choice::End
    })
}
