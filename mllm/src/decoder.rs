//! The language model's networks: projectors, embeddings, and the decoder with its KV cache.

use std::borrow::Cow;
use std::path::Path;

use ndarray::{Array1, Array2};
use ort::session::SessionInputValue;
use ort::value::{DynValue, Tensor, TensorRef};

use crate::config::files;
use crate::generate::LanguageModel;
use crate::network::{Network, Port, check_shape, elements, failed, fetched};
use crate::tokens::{ByModality, ModalTokens, Modality, Tokens};
use crate::{Config, Error, Options, Provider, Result};

/// The decoder's output with its attention, which only models that draft have.
const ATTENTION: &str = "attention";
const LOGITS: &str = "logits";

/// The networks of a language model, and the names and sizes of what passes between them.
pub(crate) struct Decoder {
    /// Of each modality that the model reads.
    projectors: ByModality<Option<Projector>>,
    embed: Network,
    decoder: Network,
    /// Whether the decoder tells its attention.
    attends: bool,
    /// For each layer's key and value: the input's name, the output's name.
    cache_names: Vec<(String, String)>,
    heads: usize,
    head_dim: usize,
    width: usize,
    vocabulary: usize,
}

/// Tokens of one modality to embeddings.
struct Projector {
    network: Network,
    input: &'static str,
    output: &'static str,
}

impl Projector {
    fn load(folder: &Path, modality: Modality, config: &Config, options: Options) -> Result<Self> {
        let (file, input, output) = match modality {
            Modality::Video => (files::PROJECTOR, "image_tokens", "image_embeds"),
            Modality::Audio => (files::AUDIO_PROJECTOR, "audio_tokens", "audio_embeds"),
            Modality::Sensor => (files::SENSOR_PROJECTOR, "sensor_tokens", "sensor_embeds"),
        };
        let network = Network::load(
            &folder.join(file),
            options,
            &[
                Port::f32(input, [1, -1, config.image_token_size as i64]),
                Port::i64("positions", [1, -1]),
            ],
            &[Port::f32(output, [1, -1, config.hidden_size as i64])],
        )?;
        Ok(Self {
            network,
            input,
            output,
        })
    }

    /// Embeddings, one row of `width` after another.
    fn run(&mut self, tokens: &ModalTokens, width: usize) -> Result<Vec<f32>> {
        let count = tokens.positions.len();
        let features = tokens.features.as_standard_layout();
        let features = features.as_slice().unwrap_or_default();
        let path = self.network.path();
        let bad = |error: ort::Error| failed(path, error.to_string());
        let shape = [1, count, tokens.features.ncols()];
        let inputs = vec![
            (
                Cow::from(self.input),
                TensorRef::from_array_view((shape, features))
                    .map_err(bad)?
                    .into(),
            ),
            (
                Cow::from("positions"),
                TensorRef::from_array_view(([1, count], &tokens.positions[..]))
                    .map_err(bad)?
                    .into(),
            ),
        ];
        let value = self.network.run_for(inputs, self.output)?;
        let shape = [1, count, width];
        Ok(elements(self.network.path(), self.output, &value, &shape)?.to_vec())
    }
}

impl Decoder {
    pub(crate) fn load(folder: &Path, config: &Config, options: Options) -> Result<Self> {
        let width = config.hidden_size as i64;
        let (heads, head_dim) = (config.num_key_value_heads, config.head_dim);
        let cache_names: Vec<(String, String)> = (0..config.num_hidden_layers)
            .flat_map(|layer| ["key", "value"].map(|part| (layer, part)))
            .map(|(layer, part)| {
                let name = format!("{layer}.{part}");
                (format!("past_key_values.{name}"), format!("present.{name}"))
            })
            .collect();

        let reads = |modality: Modality| {
            (modality.positions(config) > 0)
                .then(|| Projector::load(folder, modality, config, options))
                .transpose()
        };
        let projectors = ByModality {
            video: reads(Modality::Video)?,
            audio: reads(Modality::Audio)?,
            sensor: reads(Modality::Sensor)?,
        };
        let embed = Network::load(
            &folder.join(files::EMBED),
            options,
            &[Port::i64("input_ids", [1, -1])],
            &[Port::f32("inputs_embeds", [1, -1, width])],
        )?;
        let cache_shape = [1, heads as i64, -1, head_dim as i64];
        let mut inputs = vec![
            Port::f32("inputs_embeds", [1, -1, width]),
            Port::i64("attention_mask", [1, -1]),
            Port::i64("position_ids", [1, -1]),
        ];
        let mut outputs = vec![Port::f32(LOGITS, [1, -1, config.vocab_size as i64])];
        for (past, present) in &cache_names {
            inputs.push(Port::f32(past, cache_shape));
            outputs.push(Port::f32(present, cache_shape));
        }
        let path = folder.join(files::DECODER);
        let decoder = Network::load(&path, options, &inputs, &outputs)?;

        let mut loaded = Self {
            projectors,
            embed,
            attends: decoder.gives(ATTENTION),
            decoder,
            cache_names,
            heads,
            head_dim,
            width: config.hidden_size,
            vocabulary: config.vocab_size,
        };
        loaded.try_out(config).map_err(Error::at_load)?;
        Ok(loaded)
    }

    /// Reads a little, so that a network whose sizes are wrong fails here and not at the first window.
    fn try_out(&mut self, config: &Config) -> Result<()> {
        let mut tokens = Tokens::default();
        for modality in Modality::ALL {
            let positions = modality.positions(config);
            *tokens.get_mut(modality) = (positions > 0).then(|| ModalTokens {
                positions: vec![positions as i64 - 1],
                features: Array2::zeros((1, config.image_token_size)),
            });
        }
        let ids = [config.bos_token_id, config.answer_token_id];
        let mut reading = self.read(&tokens, &ids)?;
        reading.start(&ids)?;
        reading.step(1, ids[0])?;
        Ok(())
    }

    pub(crate) fn provider(&self) -> Provider {
        self.decoder.provider()
    }

    /// Begins a sequence whose prefix is `tokens` and then the token ids `prompt`.
    pub(crate) fn read(&mut self, tokens: &Tokens, prompt: &[u32]) -> Result<Reading<'_>> {
        Ok(Reading {
            prefix: self.prefix(tokens, prompt)?,
            prefix_length: tokens.count() + prompt.len(),
            tokens: tokens.count(),
            cache: Vec::new(),
            cached: 0,
            looked_at: None,
            decoder: self,
        })
    }

    /// Embeddings of `tokens` and then of the token ids `prompt`, one row after another.
    pub(crate) fn prefix(&mut self, tokens: &Tokens, prompt: &[u32]) -> Result<Vec<f32>> {
        let (width, mut prefix) = (self.width, Vec::new());
        for (modality, some) in tokens.present() {
            let projector = self.projectors.get_mut(modality).as_mut();
            let projector =
                projector.ok_or_else(|| Error::Tokens(format!("{modality} is not read")))?;
            prefix.extend(projector.run(some, width)?);
        }
        prefix.extend(self.embeddings(prompt)?);
        Ok(prefix)
    }

    /// Embeddings of token ids, one row after another.
    pub(crate) fn embeddings(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let embedded = self.embed(ids)?;
        let shape = [1, ids.len(), self.width];
        Ok(elements(self.embed.path(), "inputs_embeds", &embedded, &shape)?.to_vec())
    }

    /// Whether the decoder tells what it attends to.
    pub(crate) fn attends(&self) -> bool {
        self.attends
    }

    /// Embeddings of token ids, [1, ids, width].
    fn embed(&mut self, ids: &[u32]) -> Result<DynValue> {
        let wide: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let input = Tensor::from_array(([1, wide.len()], wide))
            .map_err(|error| failed(self.embed.path(), error.to_string()))?;
        self.embed
            .run_for(vec![("input_ids".into(), input.into())], "inputs_embeds")
    }

    /// Reads the embeddings of `pass` after the positions in `cache`, which then holds them too.
    pub(crate) fn forward(
        &mut self,
        embeds: SessionInputValue<'_>,
        pass: Pass,
        cache: &mut Vec<DynValue>,
    ) -> Result<Seen> {
        let Pass {
            batch,
            count,
            mask,
            positions,
            watch,
        } = pass;
        let (path, total) = (self.decoder.path().to_path_buf(), mask.len() / batch);
        let bad = |error: ort::Error| failed(&path, error.to_string());
        let mask = Tensor::from_array(([batch, total], mask)).map_err(bad)?;
        let positions = Tensor::from_array(([batch, count], positions)).map_err(bad)?;
        let unread = Tensor::from_array(([batch, self.heads, 0, self.head_dim], Vec::<f32>::new()))
            .map_err(bad)?
            .into_dyn();

        let mut inputs = Vec::with_capacity(3 + self.cache_names.len());
        inputs.push((Cow::from("inputs_embeds"), embeds));
        inputs.push((Cow::from("attention_mask"), mask.into()));
        inputs.push((Cow::from("position_ids"), positions.into()));
        for (index, (past, _)) in self.cache_names.iter().enumerate() {
            let value = cache.get(index).unwrap_or(&unread);
            inputs.push((Cow::from(past.as_str()), value.into()));
        }
        let kept = self.cache_names.iter().map(|(_, present)| present.as_str());
        let read: &[&str] = if watch {
            &[LOGITS, ATTENTION]
        } else {
            &[LOGITS]
        };
        let (present, read) = self.decoder.run_keeping(inputs, kept.clone(), read)?;
        let mut read = read.into_iter();
        let mut take = |name: &str, shape: &[usize]| {
            let value = read
                .next()
                .ok_or_else(|| failed(&path, format!("gave no `{name}`")))?;
            check_shape(&path, name, &value, shape)?;
            Ok::<_, Error>(value)
        };
        let logits = take(LOGITS, &[batch, count, self.vocabulary])?;
        let attention = watch
            .then(|| take(ATTENTION, &[batch, count, total]))
            .transpose()?;
        for (name, value) in kept.zip(&present) {
            check_shape(
                &path,
                name,
                value,
                &[batch, self.heads, total, self.head_dim],
            )?;
        }
        *cache = present;
        Ok(Seen { logits, attention })
    }

    /// The elements of a part of the cache, wherever it is.
    pub(crate) fn cached<'v>(
        &self,
        value: &'v DynValue,
        shape: &[usize],
    ) -> Result<Cow<'v, [f32]>> {
        fetched(self.decoder.path(), "present", value, shape)
    }

    /// The elements of an output of [`forward`](Self::forward).
    pub(crate) fn values<'v>(&self, value: &'v DynValue, shape: &[usize]) -> Result<&'v [f32]> {
        elements(self.decoder.path(), "output", value, shape)
    }

    /// A tensor of the decoder's.
    pub(crate) fn tensor<const N: usize>(
        &self,
        shape: [usize; N],
        values: Vec<f32>,
    ) -> Result<DynValue> {
        let tensor = Tensor::from_array((shape, values));
        let tensor = tensor.map_err(|error| failed(self.decoder.path(), error.to_string()))?;
        Ok(tensor.into_dyn())
    }

    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            heads: self.heads,
            head_dim: self.head_dim,
            width: self.width,
            vocabulary: self.vocabulary,
        }
    }
}

/// Sizes of the decoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub heads: usize,
    pub head_dim: usize,
    pub width: usize,
    pub vocabulary: usize,
}

/// What one pass of the decoder reads.
pub(crate) struct Pass {
    /// Sequences.
    pub batch: usize,
    /// Positions read of each.
    pub count: usize,
    /// [batch, cached and read]: 1 where a position may be looked at.
    pub mask: Vec<i64>,
    /// [batch, count]: the place of each in its sequence.
    pub positions: Vec<i64>,
    /// Whether its attention is wanted.
    pub watch: bool,
}

impl Pass {
    /// `count` positions of one sequence after the `cached` ones.
    fn of_one(count: usize, cached: usize, watch: bool) -> Self {
        let total = cached + count;
        Self {
            batch: 1,
            count,
            mask: vec![1; total],
            positions: (cached as i64..total as i64).collect(),
            watch,
        }
    }
}

/// What a pass gives.
pub(crate) struct Seen {
    /// [batch, count, vocabulary].
    pub logits: DynValue,
    /// [batch, count, cached and read], if it was wanted.
    attention: Option<DynValue>,
}

/// A sequence being read: its prefix, and the KV cache of what was read.
pub(crate) struct Reading<'d> {
    decoder: &'d mut Decoder,
    /// Embeddings of tokens and prompt, one row after another.
    prefix: Vec<f32>,
    prefix_length: usize,
    /// How many of the prefix's first positions are tokens.
    tokens: usize,
    /// The attention paid to each of those so far, if it is wanted.
    looked_at: Option<Vec<f32>>,
    /// Each layer's key and value, [1, heads, `cached`, head_dim]; empty while nothing is cached.
    cache: Vec<DynValue>,
    cached: usize,
}

impl Reading<'_> {
    /// From now on sums up the attention that each position which predicts a piece pays to each token.
    pub(crate) fn watch(&mut self) {
        self.looked_at = self.decoder.attends.then(|| vec![0.0; self.tokens]);
    }

    /// The attention paid to each token, all together 1; `None` if it is not known or none was paid.
    pub(crate) fn saliency(&self) -> Option<Vec<f32>> {
        let looked_at = self.looked_at.as_ref()?;
        let sum: f32 = looked_at.iter().sum();
        (sum > 0.0 && sum.is_finite())
            .then(|| looked_at.iter().map(|weight| weight / sum).collect())
    }

    /// Forgets all but the first `length` cached positions.
    fn truncate(&mut self, length: usize) -> Result<()> {
        if length >= self.cached {
            return Ok(());
        }
        let Decoder {
            heads, head_dim, ..
        } = *self.decoder;
        let path = self.decoder.decoder.path();
        for (value, (_, name)) in self.cache.iter_mut().zip(&self.decoder.cache_names) {
            let all = fetched(path, name, value, &[1, heads, self.cached, head_dim])?;
            let mut kept = Vec::with_capacity(heads * length * head_dim);
            for head in all.chunks_exact(self.cached * head_dim) {
                kept.extend_from_slice(&head[..length * head_dim]);
            }
            *value = Tensor::from_array(([1, heads, length, head_dim], kept))
                .map_err(|error| failed(path, error.to_string()))?
                .into_dyn();
        }
        self.cached = length;
        Ok(())
    }
}

impl Reading<'_> {
    /// Reads `embeds`, `count` positions, and returns the logits of the last `rows`.
    fn forward(&mut self, embeds: Vec<f32>, count: usize, rows: usize) -> Result<Vec<f32>> {
        let Sizes {
            width, vocabulary, ..
        } = self.decoder.sizes();
        let embeds = self.decoder.tensor([1, count, width], embeds)?;
        let pass = Pass::of_one(count, self.cached, self.looked_at.is_some());
        let seen = self.decoder.forward(embeds.into(), pass, &mut self.cache)?;
        self.cached += count;
        if let (Some(looked_at), Some(attention)) = (&mut self.looked_at, &seen.attention) {
            let attention = self.decoder.values(attention, &[1, count, self.cached])?;
            for row in attention.chunks_exact(self.cached).skip(count - rows) {
                for (sum, weight) in looked_at.iter_mut().zip(row) {
                    *sum += weight;
                }
            }
        }
        let logits = (self.decoder).values(&seen.logits, &[1, count, vocabulary])?;
        Ok(logits[(count - rows) * vocabulary..].to_vec())
    }
}

impl LanguageModel for Reading<'_> {
    fn start(&mut self, tokens: &[u32]) -> Result<Array2<f32>> {
        let mut embeds = self.prefix.clone();
        embeds.extend(self.decoder.embeddings(tokens)?);
        self.cache.clear();
        self.cached = 0;
        let rows = tokens.len() + 1;
        let logits = self.forward(embeds, self.prefix_length + tokens.len(), rows)?;
        Array2::from_shape_vec((rows, self.decoder.vocabulary), logits)
            .map_err(|error| failed(self.decoder.decoder.path(), error.to_string()))
    }

    fn step(&mut self, keep: usize, token: u32) -> Result<Array1<f32>> {
        self.truncate(self.prefix_length + keep)?;
        let embeds = self.decoder.embeddings(&[token])?;
        Ok(Array1::from_vec(self.forward(embeds, 1, 1)?))
    }
}
