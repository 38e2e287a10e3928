//! A language model that captions windows, answers questions about them, and verifies both.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use crate::config::{files, tokenizer};
use crate::decoder::{Decoder, Reading};
use crate::generate::{Decoded, LanguageModel, Rules, greedy, greedy_unless};
use crate::modal::{self, Modal};
use crate::sequences::Readings;
use crate::tokens::{ByModality, Tokens};
use crate::{Agreement, Config, Error, Options, Provider, Result, batch, logits, verify};

/// Longest prompt, in tokens: what a model reads costs time and memory, and prompts come from elsewhere.
pub const LONGEST_PROMPT: usize = 256;

/// A caption and how sure the model was of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Caption {
    /// The text, without spaces at its ends.
    pub text: String,
    /// Its tokens, without the end.
    pub token_ids: Vec<u32>,
    /// Natural log-probability of each token and, last, of the end, unless the caption was cut at the model's longest.
    pub logprobs: Vec<f32>,
}

impl Caption {
    /// The geometric mean of the probabilities of tokens and end: 0 to 1; 0 for a caption without any.
    pub fn confidence(&self) -> f32 {
        if self.logprobs.is_empty() {
            return 0.0;
        }
        let sum: f32 = self.logprobs.iter().sum();
        (sum / self.logprobs.len() as f32).exp()
    }
}

/// What a model looked at while it wrote: the share of its attention that each token got, in the order of the tokens given,
/// all together 1. Empty for a modality without tokens.
pub type Saliency = ByModality<Vec<f32>>;

/// A draft after verification.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The verified caption.
    pub caption: Caption,
    /// How many of the draft's tokens, from its start, were accepted.
    pub accepted: usize,
    /// The whole draft was accepted, and so was its end: the caption's tokens are the draft's.
    pub whole: bool,
}

/// A window to be verified.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// Its tokens.
    pub tokens: &'a Tokens,
    /// What is asked of it.
    pub prompt: &'a str,
    /// The token ids of its draft; without one it is captioned.
    pub draft: Option<&'a [u32]>,
}

/// A language model over a window's tokens, small (to draft) or large (to verify).
pub struct CaptionModel {
    config: Config,
    rules: Rules,
    tokenizer: Tokenizer,
    decoder: Decoder,
    near_ties: u64,
}

impl CaptionModel {
    /// Loads the language model in `folder`; `options` may be just a [`Provider`].
    ///
    /// # Errors
    /// [`Error::File`] if a file is missing, corrupt, or does not fit the others; [`Error::Provider`] if a provider
    /// asked for by name can't run it; [`Error::Runtime`] if ONNX Runtime can't be loaded.
    pub fn load(folder: &Path, options: impl Into<Options>) -> Result<Self> {
        let config = Config::load(folder)?;
        let tokenizer = load_tokenizer(folder, &config)?;
        let decoder = Decoder::load(folder, &config, options.into())?;
        tracing::info!(model = config.name, provider = %decoder.provider(), "language model loaded");
        Ok(Self {
            rules: Rules::from(&config),
            config,
            tokenizer,
            decoder,
            near_ties: 0,
        })
    }

    /// The model's `config.json`.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What runs it: never [`Provider::Auto`].
    pub fn provider(&self) -> Provider {
        self.decoder.provider()
    }

    /// How many verifications under [`Agreement::Exact`] met a near tie and so cost a decode from the start: see
    /// [`verify`](crate::verify).
    pub fn near_ties(&self) -> u64 {
        self.near_ties
    }

    /// Writes a caption of `tokens`: greedily, with a KV cache.
    ///
    /// # Errors
    /// [`Error::Tokens`] or [`Error::Prompt`] if the model can't read them; [`Error::Inference`] or [`Error::Logits`]
    /// if it fails.
    pub fn draft(&mut self, tokens: &Tokens, prompt: &str) -> Result<Caption> {
        let rules = self.rules.clone();
        let decoded = greedy(&mut self.read(tokens, prompt)?, &rules)?;
        self.caption(decoded)
    }

    /// The same, unless `stop`, which is asked after each token with the log-probabilities so far, says to give it up.
    ///
    /// # Errors
    /// As for [`draft`](Self::draft).
    pub fn draft_unless(
        &mut self,
        tokens: &Tokens,
        prompt: &str,
        mut stop: impl FnMut(&[f32]) -> bool,
    ) -> Result<Option<Caption>> {
        let rules = self.rules.clone();
        let mut reading = self.read(tokens, prompt)?;
        let decoded = greedy_unless(&mut reading, &rules, |so_far: &Decoded| {
            stop(&so_far.log_probabilities)
        })?;
        decoded.map(|decoded| self.caption(decoded)).transpose()
    }

    /// As [`draft`](Self::draft), and what the model looked at while it wrote; `None` if its decoder does not tell.
    ///
    /// # Errors
    /// As for [`draft`](Self::draft).
    pub fn draft_with_saliency(
        &mut self,
        tokens: &Tokens,
        prompt: &str,
    ) -> Result<(Caption, Option<Saliency>)> {
        let rules = self.rules.clone();
        let mut reading = self.read(tokens, prompt)?;
        reading.watch();
        let decoded = greedy(&mut reading, &rules)?;
        let all = reading.saliency();
        let mut saliency = Saliency::default();
        let mut rest = all.as_deref().unwrap_or_default();
        for (modality, some) in tokens.present() {
            let (its, others) = rest.split_at(some.positions.len().min(rest.len()));
            *saliency.get_mut(modality) = its.to_vec();
            rest = others;
        }
        Ok((self.caption(decoded)?, all.map(|_| saliency)))
    }

    /// β: how much each modality contributed to `answer`, the token ids of a text about `tokens` and `prompt` without its
    /// end. See [`modal`](crate::modal). One pass over the answer for each modality that is there, and one more.
    ///
    /// # Errors
    /// As for [`draft`](Self::draft).
    pub fn modal(&mut self, tokens: &Tokens, prompt: &str, answer: &[u32]) -> Result<Modal> {
        let suppressed = self.rules.suppressed.clone();
        let mut distributions = |tokens: &Tokens| -> Result<_> {
            let mut rows = self.read(tokens, prompt)?.start(answer)?;
            for mut row in rows.outer_iter_mut() {
                logits::mask(row.as_slice_mut().unwrap_or_default(), &suppressed);
            }
            if rows.iter().any(|logit| logit.is_nan()) {
                return Err(Error::Logits);
            }
            Ok(rows)
        };
        let mut divergences = Modal::default();
        let present: Vec<_> = tokens.present().map(|(modality, _)| modality).collect();
        if present.len() > 1 {
            let all = distributions(tokens)?;
            for modality in present {
                let without = distributions(&tokens.without(modality))?;
                let rows = all.outer_iter().zip(without.outer_iter());
                let sum: f32 = rows.map(|(a, b)| modal::divergence(a, b)).sum();
                *divergences.get_mut(modality) = Some(sum / all.nrows() as f32);
            }
        } else {
            tokens.check(&self.config)?;
            for modality in present {
                *divergences.get_mut(modality) = Some(1.0);
            }
        }
        Ok(modal::scale(divergences))
    }

    /// Whether the decoder tells what it attends to: only then is there a [`Saliency`].
    pub fn attends(&self) -> bool {
        self.decoder.attends()
    }

    /// Verifies `draft`, the token ids of a caption of the same `tokens` and `prompt` without its end, in one pass over
    /// all of it, and writes on from the first token that it does not agree with.
    ///
    /// Under [`Agreement::Exact`] the caption's tokens and text are those of this model's own [`draft`](Self::draft).
    ///
    /// # Errors
    /// As for [`draft`](Self::draft), and [`Error::Draft`] or [`Error::Margin`] if the draft can't be judged.
    pub fn verify(
        &mut self,
        tokens: &Tokens,
        prompt: &str,
        draft: &[u32],
        agreement: Agreement,
    ) -> Result<Verified> {
        let rules = self.rules.clone();
        let outcome = verify::verify(&mut self.read(tokens, prompt)?, &rules, draft, agreement)?;
        self.verified(outcome)
    }

    fn verified(&mut self, outcome: verify::Outcome) -> Result<Verified> {
        if outcome.near_tie {
            self.near_ties += 1;
            tracing::debug!("near tie in one pass: decoded alone");
        }
        Ok(Verified {
            caption: self.caption(outcome.decoded)?,
            accepted: outcome.accepted,
            whole: outcome.whole,
        })
    }

    /// Verifies the drafts of many windows, or captions those without one, in one pass.
    ///
    /// Under [`Agreement::Exact`] each text is that of [`draft`](Self::draft). Under [`Agreement::Margin`] the words after
    /// those that are accepted may be others than alone: they are decoded together, which rounds otherwise.
    ///
    /// # Errors
    /// For each window, as for [`verify`](Self::verify).
    pub fn verify_all(
        &mut self,
        windows: &[Window<'_>],
        agreement: Agreement,
    ) -> Vec<Result<Verified>> {
        let mut results: Vec<Option<Result<Verified>>> = windows.iter().map(|_| None).collect();
        let (mut together, mut prefixes) = (Vec::new(), Vec::new());
        // One by itself needs none of this.
        let several = windows.iter().enumerate().filter(|_| windows.len() > 1);
        for (index, window) in several {
            let checked = (window.draft)
                .map_or(Ok(()), |draft| verify::check(draft, &self.rules))
                .and_then(|()| self.prompt(window.tokens, window.prompt))
                .and_then(|ids| self.decoder.prefix(window.tokens, &ids));
            match checked {
                Ok(prefix) => {
                    together.push(index);
                    prefixes.push(prefix);
                }
                Err(error) => results[index] = Some(Err(error)),
            }
        }
        if together.len() > 1 {
            let drafts: Vec<_> = (together.iter())
                .map(|&index| windows[index].draft)
                .collect();
            let mut readings = Readings::new(&mut self.decoder, prefixes);
            match batch::verify(&mut readings, &self.rules, &drafts, agreement) {
                Ok(outcomes) => {
                    for (index, outcome) in together.into_iter().zip(outcomes) {
                        results[index] = outcome.map(|outcome| self.verified(outcome));
                    }
                }
                // One of them may be to blame, or all together take too much memory.
                Err(error) => tracing::warn!("a batch failed, each is tried alone: {error}"),
            }
        }
        (results.into_iter().zip(windows))
            .map(|(result, window)| match (result, window.draft) {
                (Some(result), _) => result,
                (None, Some(draft)) => self.verify(window.tokens, window.prompt, draft, agreement),
                (None, None) => {
                    (self.draft(window.tokens, window.prompt)).map(|caption| Verified {
                        caption,
                        accepted: 0,
                        whole: false,
                    })
                }
            })
            .collect()
    }

    /// How far apart the ways of reading a caption come out, in logits: see [`verify::difference`]. For choosing
    /// [`Config::tie_tolerance`].
    ///
    /// # Errors
    /// As for [`draft`](Self::draft).
    pub fn difference(&mut self, tokens: &Tokens, prompt: &str, token_ids: &[u32]) -> Result<f32> {
        verify::difference(&mut self.read(tokens, prompt)?, token_ids)
    }

    /// The same for windows read together: the largest difference of a logit between one pass over all of their drafts,
    /// or a step of one of them after it, and single steps alone.
    ///
    /// # Errors
    /// As for [`draft`](Self::draft).
    pub fn difference_together(&mut self, windows: &[Window<'_>]) -> Result<f32> {
        let texts: Vec<&[u32]> = (windows.iter())
            .map(|window| window.draft.unwrap_or_default())
            .collect();
        let mut alone = Vec::new();
        for (window, text) in windows.iter().zip(&texts) {
            let mut reading = self.read(window.tokens, window.prompt)?;
            let mut rows = vec![reading.start(&[])?.row(0).to_owned()];
            for (index, &token) in text.iter().enumerate() {
                rows.push(reading.step(index, token)?);
            }
            alone.push(rows);
        }
        let mut prefixes = Vec::new();
        for window in windows {
            let ids = self.prompt(window.tokens, window.prompt)?;
            prefixes.push(self.decoder.prefix(window.tokens, &ids)?);
        }
        batch::difference(
            &mut Readings::new(&mut self.decoder, prefixes),
            &texts,
            &alone,
        )
    }

    /// The text of a caption's tokens, as in [`Caption::text`].
    ///
    /// # Errors
    /// [`Error::Draft`] if the tokenizer can't decode them.
    pub fn text(&self, token_ids: &[u32]) -> Result<String> {
        match self.tokenizer.decode(token_ids, true) {
            Ok(text) => Ok(text.trim().to_string()),
            Err(error) => Err(Error::Draft(format!("cannot be decoded: {error}"))),
        }
    }

    fn caption(&self, decoded: Decoded) -> Result<Caption> {
        Ok(Caption {
            text: self.text(&decoded.tokens)?,
            token_ids: decoded.tokens,
            logprobs: decoded.log_probabilities,
        })
    }

    /// How many tokens of text it reads before it writes: those of `prompt`, and the two around them.
    ///
    /// # Errors
    /// [`Error::Prompt`] if the tokenizer can't encode it.
    pub fn prompt_length(&self, prompt: &str) -> Result<usize> {
        Ok(self.words(prompt)?.len() + 2)
    }

    fn words(&self, prompt: &str) -> Result<Vec<u32>> {
        let encoding = (self.tokenizer.encode_fast(prompt, false))
            .map_err(|error| Error::Prompt(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Begins the sequence: video, audio and sensor tokens, `<s>`, prompt, `<a>`.
    fn read(&mut self, tokens: &Tokens, prompt: &str) -> Result<Reading<'_>> {
        let ids = self.prompt(tokens, prompt)?;
        self.decoder.read(tokens, &ids)
    }

    /// `<s>`, prompt, `<a>`, for `tokens` that the model can read.
    fn prompt(&self, tokens: &Tokens, prompt: &str) -> Result<Vec<u32>> {
        tokens.check(&self.config)?;
        let words = self.words(prompt)?;
        if words.len() > LONGEST_PROMPT {
            let length = words.len();
            return Err(Error::Prompt(format!(
                "is {length} tokens long, at most {LONGEST_PROMPT} are read"
            )));
        }
        let mut ids = vec![self.config.bos_token_id];
        ids.extend(words);
        ids.push(self.config.answer_token_id);
        Ok(ids)
    }
}

impl fmt::Debug for CaptionModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptionModel")
            .field("name", &self.config.name)
            .field("provider", &self.provider())
            .finish_non_exhaustive()
    }
}

fn load_tokenizer(folder: &Path, config: &Config) -> Result<Tokenizer> {
    let path = folder.join(files::TOKENIZER);
    let mut tokenizer = tokenizer(&path)?;
    let size = tokenizer.get_vocab_size(true);
    if size > config.vocab_size {
        let problem = format!(
            "has {size} tokens, but the model knows {}",
            config.vocab_size
        );
        return Err(Error::broken(&path, problem));
    }
    // Or a prompt could end the caption before it begins, by spelling out `</s>`.
    tokenizer.set_encode_special_tokens(true);
    Ok(tokenizer)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::EncoderId;

    /// A small model's: 4 positions of size 2, 16 tokens.
    pub(crate) fn config() -> Config {
        Config {
            model_type: "msao".into(),
            name: "small".into(),
            hidden_size: 8,
            num_hidden_layers: 1,
            num_key_value_heads: 1,
            head_dim: 8,
            vocab_size: 16,
            pad_token_id: 0,
            bos_token_id: 1,
            eos_token_id: 2,
            answer_token_id: 3,
            max_caption_tokens: 6,
            image_tokens: 4,
            image_token_size: 2,
            suppress_tokens: vec![0, 1, 3],
            default_prompt: "describe".into(),
            vision_encoder: EncoderId {
                id: "e".into(),
                sha256: String::new(),
            },
            audio_encoder: None,
            sensor_encoder: None,
            agreement_margin: None,
            tie_tolerance: 1e-3,
        }
    }

    #[test]
    fn confidence_is_the_geometric_mean() {
        let mut caption = Caption {
            text: "a".into(),
            token_ids: vec![4],
            logprobs: vec![0.5_f32.ln(), 0.125_f32.ln()],
        };
        assert!((caption.confidence() - 0.25).abs() < 1e-6);
        caption.logprobs.clear();
        assert_eq!(caption.confidence(), 0.0);
    }

    #[test]
    fn a_model_can_move_between_threads() {
        fn send<T: Send>() {}
        send::<CaptionModel>();
        send::<crate::Probe>();
        send::<crate::Trunk>();
    }
}
