//! A model that answers questions about pictures.

use std::fmt;
use std::path::Path;

use ndarray::Array2;

use super::config::Architecture;
use super::networks::Networks;
use super::reader::{Read, Reader};
use super::sequences::{Prefix, Reading, Readings};
use super::variant::{Variant, Variants};
use crate::batch::{self, Sequences};
use crate::caption::{Caption, Verified};
use crate::generate::{Decoded, LanguageModel, Rules, greedy};
use crate::verify::{self, Outcome};
use crate::{Agreement, Error, Frame, Options, Provider, Result};

/// Most tokens of an answer.
const MOST_TOKENS: usize = 4096;
/// How near in logits two tokens may be for one pass in f32 not to settle which is best: see [`verify`].
const TIE_TOLERANCE: f32 = 1e-3;
/// How far apart a sequence's logits may be alone and beside a longer one, as a share of their range. A decoder in 8 bits
/// came out at 0.018, one that looks at padding at 0.69.
const SAME: f32 = 0.1;

/// A question about pictures, and what another model answered.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// Shown before the question, in this order. RGB, BGR, with alpha or without, or grey.
    pub images: &'a [Frame<'a>],
    /// What is asked.
    pub prompt: &'a str,
    /// Token ids of another model's answer, without the end: see [`ChatModel::tokens`]. Without one it is answered.
    pub draft: Option<&'a [u32]>,
}

/// A model of pictures and text, exported to ONNX.
pub struct ChatModel {
    reader: Reader,
    networks: Networks,
    tie_tolerance: f32,
    near_ties: u64,
    batches: bool,
}

impl ChatModel {
    /// Loads the model in `folder`. `variants` may be just a [`Variant`](super::Variant), and `options` a [`Provider`].
    ///
    /// # Errors
    /// [`Error::File`] if a file is missing, corrupt, of another architecture, or does not fit the others;
    /// [`Error::Provider`] if a provider asked for by name can't run it; [`Error::Runtime`] if ONNX Runtime can't be
    /// loaded.
    pub fn load(
        folder: &Path,
        variants: impl Into<Variants>,
        options: impl Into<Options>,
    ) -> Result<Self> {
        let (variants, options) = (variants.into(), options.into());
        let reader = Reader::load(folder)?;
        let (places, pixels) = (reader.places(), reader.pixels());
        let networks = Networks::load(folder, variants, places, &pixels, options)?;
        reader.check(folder, networks.vocabulary)?;
        // Any other arithmetic rounds too much for a pass to settle what is near.
        let whole = variants.decoder == Variant::Fp32 && networks.decodes_in_f32();
        let mut loaded = Self {
            reader,
            networks,
            tie_tolerance: if whole { TIE_TOLERANCE } else { f32::INFINITY },
            near_ties: 0,
            batches: true,
        };
        loaded.try_out().map_err(Error::at_load)?;
        loaded.batches = loaded.masks().map_err(Error::at_load)?;
        if !loaded.batches {
            tracing::warn!(
                network = %loaded.networks.decoder_path().display(),
                "it looks at padding: questions are answered one by one"
            );
        }
        tracing::info!(model = %folder.display(), provider = %loaded.provider(), "chat model loaded");
        Ok(loaded)
    }

    /// Reads a little, so that a network whose sizes are wrong fails here and not at the first picture.
    fn try_out(&mut self) -> Result<()> {
        let seen = self.reader.smallest();
        let tokens = self.reader.embeddings(seen.layout);
        self.networks.see(&seen, tokens)?;
        let read = self.read(&[], "?")?;
        let prefix = self.prefix(&read)?;
        let mut reading = Reading::new(&mut self.networks, prefix);
        reading.start(&[])?;
        reading.step(0, self.reader.model.image_token)?;
        Ok(())
    }

    /// Whether the decoder gives a short sequence beside a longer one the logits that it has alone: some exports look at
    /// padding whatever the mask says.
    fn masks(&mut self) -> Result<bool> {
        let prefix = |model: &mut Self, prompt: &str| {
            let read = model.read(&[], prompt)?;
            model.prefix(&read)
        };
        let (short, long) = (prefix(self, "?")?, prefix(self, &"? ".repeat(16))?);
        let alone = Reading::new(&mut self.networks, short.clone()).start(&[])?;
        let mut readings = Readings::new(&mut self.networks, vec![long, short]);
        let (_, together) = readings.start(&[&[], &[]])?;
        let apart = verify::apart(alone.row(0), together[1].row(0));
        let finite = || alone.iter().copied().filter(|logit| logit.is_finite());
        let range = finite().fold(f32::MIN, f32::max) - finite().fold(f32::MAX, f32::min);
        tracing::debug!(apart, range, "a sequence alone and beside a longer one");
        Ok(apart <= SAME * range)
    }

    /// Whether sequences of different lengths can be read together. If not, [`verify_all`](Self::verify_all) reads one
    /// after another.
    pub fn batches(&self) -> bool {
        self.batches
    }

    /// What it is.
    pub fn architecture(&self) -> Architecture {
        self.reader.model.architecture
    }

    /// What runs it: never [`Provider::Auto`].
    pub fn provider(&self) -> Provider {
        self.networks.provider()
    }

    /// How many verifications under [`Agreement::Exact`] met a near tie and so cost an answer from the start.
    pub fn near_ties(&self) -> u64 {
        self.near_ties
    }

    /// How near in logits two tokens may be for one pass not to settle which is best: see [`verify`](crate::verify).
    /// It must be at least twice the largest [`difference`](Self::difference) that is met.
    ///
    /// The default is 0.001 for a decoder in f32, and infinite for all others: under [`Agreement::Exact`] those answer
    /// by themselves, and the draft is compared with that.
    pub fn set_tie_tolerance(&mut self, tolerance: f32) {
        self.tie_tolerance = tolerance.max(0.0);
    }

    /// Answers `prompt` about `images` in at most `max_tokens` tokens, up to 4,096: greedily, with a KV cache.
    ///
    /// # Errors
    /// [`Error::Frame`] or [`Error::Prompt`] if the model can't read them; [`Error::Inference`] or [`Error::Logits`]
    /// if it fails.
    pub fn answer(
        &mut self,
        images: &[Frame<'_>],
        prompt: &str,
        max_tokens: usize,
    ) -> Result<Caption> {
        let rules = self.rules(max_tokens);
        let prefix = self.begin(images, prompt, &rules)?;
        let decoded = greedy(&mut Reading::new(&mut self.networks, prefix), &rules)?;
        self.caption(decoded)
    }

    /// Verifies `draft`, the [token ids](Self::tokens) of an answer to `prompt` without its end, in one pass over all of
    /// it, and writes on from the first token that it does not agree with.
    ///
    /// Under [`Agreement::Exact`] the answer is that of [`answer`](Self::answer).
    ///
    /// # Errors
    /// As for [`answer`](Self::answer), and [`Error::Draft`] or [`Error::Margin`] if the draft can't be judged.
    pub fn verify(
        &mut self,
        images: &[Frame<'_>],
        prompt: &str,
        draft: &[u32],
        max_tokens: usize,
        agreement: Agreement,
    ) -> Result<Verified> {
        let rules = self.rules(max_tokens);
        let prefix = self.begin(images, prompt, &rules)?;
        let mut reading = Reading::new(&mut self.networks, prefix);
        let outcome = verify::verify(&mut reading, &rules, draft, agreement)?;
        self.verified(outcome)
    }

    /// Verifies the drafts of many turns, or answers those without one, in one pass and then step by step together, if
    /// the model [can](Self::batches).
    ///
    /// Under [`Agreement::Exact`] each answer is that of [`answer`](Self::answer), and what is decoded on is decoded on
    /// alone.
    ///
    /// # Errors
    /// For each turn, as for [`verify`](Self::verify).
    pub fn verify_all(
        &mut self,
        turns: &[Turn<'_>],
        max_tokens: usize,
        agreement: Agreement,
    ) -> Vec<Result<Verified>> {
        let rules = self.rules(max_tokens);
        let mut results: Vec<Option<Result<Verified>>> = turns.iter().map(|_| None).collect();
        let (mut together, mut prefixes) = (Vec::new(), Vec::new());
        // One by itself needs none of this.
        let several = self.batches && turns.len() > 1;
        for (index, turn) in turns.iter().enumerate().filter(|_| several) {
            let checked = (turn.draft)
                .map_or(Ok(()), |draft| verify::check(draft, &rules))
                .and_then(|()| self.begin(turn.images, turn.prompt, &rules));
            match checked {
                Ok(prefix) => {
                    together.push(index);
                    prefixes.push(prefix);
                }
                Err(error) => results[index] = Some(Err(error)),
            }
        }
        if together.len() > 1 {
            let drafts: Vec<_> = together.iter().map(|&index| turns[index].draft).collect();
            let mut readings = Readings::new(&mut self.networks, prefixes);
            match batch::verify(&mut readings, &rules, &drafts, agreement) {
                Ok(outcomes) => {
                    for (index, outcome) in together.into_iter().zip(outcomes) {
                        results[index] = outcome.map(|outcome| self.verified(outcome));
                    }
                }
                // One of them may be to blame, or all together take too much memory.
                Err(error) => tracing::warn!("a batch failed, each is tried alone: {error}"),
            }
        }
        (results.into_iter().zip(turns))
            .map(|(result, turn)| match (result, turn.draft) {
                (Some(result), _) => result,
                (None, Some(draft)) => {
                    self.verify(turn.images, turn.prompt, draft, max_tokens, agreement)
                }
                (None, None) => {
                    let caption = self.answer(turn.images, turn.prompt, max_tokens);
                    caption.map(|caption| Verified {
                        caption,
                        accepted: 0,
                        whole: false,
                    })
                }
            })
            .collect()
    }

    /// The token ids of `text`, an answer, as a draft to verify.
    ///
    /// # Errors
    /// [`Error::Draft`] if it holds a special token.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        self.reader.tokens(text)
    }

    /// The text of an answer's tokens, as in [`Caption::text`].
    ///
    /// # Errors
    /// [`Error::Draft`] if the tokenizer can't decode them.
    pub fn text(&self, token_ids: &[u32]) -> Result<String> {
        self.reader.text(token_ids)
    }

    /// What the model reads when it is asked `prompt` about `images`.
    ///
    /// # Errors
    /// [`Error::Frame`] or [`Error::Prompt`] if it can't read them.
    pub fn read(&self, images: &[Frame<'_>], prompt: &str) -> Result<Read> {
        self.reader.read(images, prompt)
    }

    /// The logits that predict each token of `answer`, and what follows it: one pass over all of it, [tokens + 1,
    /// vocabulary].
    ///
    /// # Errors
    /// As for [`answer`](Self::answer).
    pub fn logits(
        &mut self,
        images: &[Frame<'_>],
        prompt: &str,
        answer: &[u32],
    ) -> Result<Array2<f32>> {
        let rules = self.rules(answer.len());
        let prefix = self.begin(images, prompt, &rules)?;
        Reading::new(&mut self.networks, prefix).start(answer)
    }

    /// How far apart the ways of reading an answer come out, in logits: see [`verify::difference`]. For choosing the
    /// [tie tolerance](Self::set_tie_tolerance).
    ///
    /// # Errors
    /// As for [`answer`](Self::answer).
    pub fn difference(
        &mut self,
        images: &[Frame<'_>],
        prompt: &str,
        answer: &[u32],
    ) -> Result<f32> {
        let rules = self.rules(answer.len());
        let prefix = self.begin(images, prompt, &rules)?;
        verify::difference(&mut Reading::new(&mut self.networks, prefix), answer)
    }

    fn rules(&self, max_tokens: usize) -> Rules {
        Rules {
            vocabulary: self.networks.vocabulary,
            ends: self.reader.model.ends.clone(),
            suppressed: self.reader.model.suppressed.clone(),
            longest: max_tokens.min(MOST_TOKENS),
            tie_tolerance: self.tie_tolerance,
        }
    }

    /// Reads pictures and prompt, with room for an answer.
    fn begin(&mut self, images: &[Frame<'_>], prompt: &str, rules: &Rules) -> Result<Prefix> {
        let read = self.read(images, prompt)?;
        self.reader.fits(read.token_ids.len() + rules.longest)?;
        self.prefix(&read)
    }

    fn prefix(&mut self, read: &Read) -> Result<Prefix> {
        let mut embeds = self.networks.embed(&read.token_ids)?;
        let width = self.networks.width;
        let mut features = Vec::new();
        for seen in &read.pictures {
            let tokens = self.reader.embeddings(seen.layout);
            features.extend(self.networks.see(seen, tokens)?);
        }
        let (ids, seen) = (read.token_ids.iter(), features.len() / width);
        let places = ids
            .filter(|&&id| id == self.reader.model.image_token)
            .count();
        if places != seen {
            return Err(Error::Prompt(format!(
                "has {places} places for {seen} embeddings of pictures: are tokenizer.json and config.json of one model?"
            )));
        }
        let rows = embeds.chunks_exact_mut(width).zip(&read.token_ids);
        let places = rows.filter(|&(_, &id)| id == self.reader.model.image_token);
        for ((row, _), feature) in places.zip(features.chunks_exact(width)) {
            row.copy_from_slice(feature);
        }
        Ok(Prefix {
            embeds,
            positions: read.positions.clone(),
            next: read.next,
        })
    }

    fn caption(&self, decoded: Decoded) -> Result<Caption> {
        Ok(Caption {
            text: self.text(&decoded.tokens)?,
            token_ids: decoded.tokens,
            logprobs: decoded.log_probabilities,
        })
    }

    fn verified(&mut self, outcome: Outcome) -> Result<Verified> {
        self.near_ties += u64::from(outcome.near_tie);
        Ok(Verified {
            caption: self.caption(outcome.decoded)?,
            accepted: outcome.accepted,
            whole: outcome.whole,
        })
    }
}

impl fmt::Debug for ChatModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatModel")
            .field("architecture", &self.architecture())
            .field("provider", &self.provider())
            .finish_non_exhaustive()
    }
}
