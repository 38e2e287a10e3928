//! The three networks of an export, and the edges between what they declare and f32.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use half::f16;
use ndarray::Array2;
use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor, TensorElementType};

use super::picture::{Layout, Seen};
use super::variant::{Variants, find};
use crate::network::{Network, Port, check_tensor, elements_of, failed, fetched_of};
use crate::{Error, Options, Provider, Result};

const VISION: &str = "vision_encoder";
const EMBED: &str = "embed_tokens";
const DECODER: &str = "decoder_model_merged";

const LOGITS: &str = "logits";
const FEATURES: &str = "image_features";
const EMBEDS: &str = "inputs_embeds";
/// Of how many last positions logits are wanted; 0 is all. Newer exports have it.
const KEPT: &str = "num_logits_to_keep";

/// How many numbers a place in a sequence has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// One: `position_ids` is [batch, length].
    Plain,
    /// Time, row and column: [3, batch, length].
    Three,
}

/// The networks of a model.
pub(crate) struct Networks {
    vision: Network,
    embed: Network,
    decoder: Network,
    places: Places,
    /// For each layer's key and value: the input's name, the output's name.
    cache_names: Vec<(String, String)>,
    cache_type: TensorElementType,
    heads: usize,
    head_dim: usize,
    keeps_logits: bool,
    pub width: usize,
    pub vocabulary: usize,
}

/// What one pass of the decoder reads.
pub(crate) struct Pass<'p> {
    /// [batch, count, width].
    pub embeds: Vec<f32>,
    pub batch: usize,
    /// [batch, cached and read]: 1 where a position may be looked at.
    pub mask: Vec<i64>,
    /// [batch, count].
    pub positions: &'p [[i64; 3]],
    /// Of how many last positions logits are wanted.
    pub rows: usize,
}

impl Networks {
    pub(crate) fn load(
        folder: &Path,
        variants: Variants,
        places: Places,
        pixels: &[i64],
        options: Options,
    ) -> Result<Self> {
        let decoder = Network::open(&find(folder, DECODER, variants.decoder)?, options)?;
        let size = |name: &str, rank: usize, at: usize| {
            let shape = decoder.declared(name).map(|(_, shape)| shape);
            let size = shape
                .filter(|shape| shape.len() == rank)
                .map(|shape| shape[at]);
            match size.map(usize::try_from) {
                Some(Ok(size)) => Ok(size),
                _ => {
                    let problem = format!(
                        "`{name}` does not have {rank} sizes of which the one at {at} is fixed"
                    );
                    Err(Error::broken(decoder.path(), problem))
                }
            }
        };
        let (width, vocabulary) = (size(EMBEDS, 3, 2)?, size(LOGITS, 3, 2)?);
        let first = "past_key_values.0.key";
        let (heads, head_dim) = (size(first, 4, 1)?, size(first, 4, 3)?);
        let layers = (decoder.inputs())
            .filter(|name| name.starts_with("past_key_values.") && name.ends_with(".key"))
            .count();
        let cache_names: Vec<(String, String)> = (0..layers)
            .flat_map(|layer| ["key", "value"].map(|part| format!("{layer}.{part}")))
            .map(|name| (format!("past_key_values.{name}"), format!("present.{name}")))
            .collect();
        let cache_type = float(&decoder, first)?;

        let positions = match places {
            Places::Plain => vec![-1, -1],
            Places::Three => vec![3, -1, -1],
        };
        let embeds = |network: &Network| -> Result<Port> {
            Ok(Port::new(
                EMBEDS,
                float(network, EMBEDS)?,
                [-1, -1, width as i64],
            ))
        };
        let mut inputs = vec![
            embeds(&decoder)?,
            Port::i64("attention_mask", [-1, -1]),
            Port::i64("position_ids", positions),
        ];
        let keeps_logits = decoder.declared(KEPT).is_some();
        if keeps_logits {
            inputs.push(Port::scalar(KEPT));
        }
        let logits = [-1, -1, vocabulary as i64];
        let mut outputs = vec![Port::new(LOGITS, float(&decoder, LOGITS)?, logits)];
        let cache = [-1, heads as i64, -1, head_dim as i64];
        for (past, present) in &cache_names {
            inputs.push(Port::new(past, cache_type, cache));
            outputs.push(Port::new(present, cache_type, cache));
        }
        decoder.expect(&inputs, &outputs)?;

        let embed = Network::open(&find(folder, EMBED, variants.embed)?, options)?;
        embed.expect(&[Port::i64("input_ids", [-1, -1])], &[embeds(&embed)?])?;

        let vision = Network::open(&find(folder, VISION, variants.vision)?, options)?;
        let mut inputs = vec![Port::new(
            "pixel_values",
            float(&vision, "pixel_values")?,
            pixels,
        )];
        inputs.push(match places {
            Places::Plain => {
                let [batch, images, _, height, width] = pixels else {
                    return Err(Error::broken(vision.path(), "reads no tiles"));
                };
                let shape = [*batch, *images, *height, *width];
                Port::new("pixel_attention_mask", TensorElementType::Bool, shape)
            }
            Places::Three => Port::i64("image_grid_thw", [-1, 3]),
        });
        // Of what shape features are is left to the export: their number is checked.
        float(&vision, FEATURES)?;
        vision.expect(&inputs, &[])?;
        Ok(Self {
            vision,
            embed,
            decoder,
            places,
            cache_names,
            cache_type,
            heads,
            head_dim,
            keeps_logits,
            width,
            vocabulary,
        })
    }

    pub(crate) fn provider(&self) -> Provider {
        self.decoder.provider()
    }

    /// Whether what the decoder takes and gives is f32: a file's name may say otherwise.
    pub(crate) fn decodes_in_f32(&self) -> bool {
        let float32 = TensorElementType::Float32;
        let is =
            |name: &str| (self.decoder.declared(name)).is_some_and(|(dtype, _)| dtype == float32);
        self.cache_type == float32 && is(EMBEDS) && is(LOGITS)
    }

    pub(crate) fn decoder_path(&self) -> PathBuf {
        self.decoder.path().to_path_buf()
    }

    /// Embeddings of a picture, which must be `tokens`, one row after another.
    pub(crate) fn see(&mut self, seen: &Seen, tokens: usize) -> Result<Vec<f32>> {
        let path = self.vision.path().to_path_buf();
        let bad = |error: ort::Error| failed(&path, error.to_string());
        let shape = seen.pixels.shape();
        let values = seen.pixels.iter().copied().collect();
        let dtype = float(&self.vision, "pixel_values")?;
        let (name, shape, layout): (_, Vec<usize>, DynValue) = match seen.layout {
            Layout::Tiles { .. } => {
                let mask = [1, shape[0], shape[2], shape[3]];
                let all = vec![true; mask.iter().product()];
                let all = Tensor::from_array((mask, all)).map_err(bad)?.into_dyn();
                ("pixel_attention_mask", [&[1], shape].concat(), all)
            }
            Layout::Grid(grid) => {
                let grid = grid.map(|size| size as i64).to_vec();
                let grid = Tensor::from_array(([1, 3], grid)).map_err(bad)?.into_dyn();
                ("image_grid_thw", shape.to_vec(), grid)
            }
        };
        let pixels = tensor(&path, dtype, &shape, values)?;
        let inputs = vec![
            (Cow::from("pixel_values"), pixels.into()),
            (Cow::from(name), layout.into()),
        ];
        let value = self.vision.run_for(inputs, FEATURES)?;
        let features = floats(&path, FEATURES, &value)?;
        if features.len() != tokens * self.width {
            let (has, width) = (features.len() / self.width, self.width);
            let reason =
                format!("gave {has} embeddings of {width} for a picture, expected {tokens}");
            return Err(failed(&path, reason));
        }
        Ok(features)
    }

    /// Embeddings of token ids, one row after another.
    pub(crate) fn embed(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let path = self.embed.path().to_path_buf();
        let wide: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let input = Tensor::from_array(([1, wide.len()], wide))
            .map_err(|error| failed(&path, error.to_string()))?;
        let inputs = vec![("input_ids".into(), input.into())];
        let value = self.embed.run_for(inputs, EMBEDS)?;
        let rows = floats(&path, EMBEDS, &value)?;
        if rows.len() != ids.len() * self.width {
            let (has, wanted) = (rows.len(), ids.len());
            let reason = format!("gave {has} values for {wanted} tokens");
            return Err(failed(&path, reason));
        }
        Ok(rows)
    }

    /// Reads the positions of `pass` after those in `cache`, which then holds them too. Of each sequence it returns the
    /// logits of the last `pass.rows` positions, [batch x rows, vocabulary].
    pub(crate) fn forward(
        &mut self,
        pass: Pass<'_>,
        cache: &mut Vec<DynValue>,
    ) -> Result<Array2<f32>> {
        let Pass {
            embeds,
            batch,
            mask,
            positions,
            rows,
        } = pass;
        let (path, count, total) = (
            self.decoder_path(),
            positions.len() / batch,
            mask.len() / batch,
        );
        let bad = |error: ort::Error| failed(&path, error.to_string());
        let embeds = tensor(
            &path,
            float(&self.decoder, EMBEDS)?,
            &[batch, count, self.width],
            embeds,
        )?;
        let mask = Tensor::from_array(([batch, total], mask)).map_err(bad)?;
        let positions: DynValue = match self.places {
            Places::Plain => {
                let plain: Vec<i64> = positions.iter().map(|place| place[0]).collect();
                Tensor::from_array(([batch, count], plain))
                    .map_err(bad)?
                    .into_dyn()
            }
            Places::Three => {
                let axes = (0..3).flat_map(|axis| positions.iter().map(move |place| place[axis]));
                let three: Vec<i64> = axes.collect();
                Tensor::from_array(([3, batch, count], three))
                    .map_err(bad)?
                    .into_dyn()
            }
        };
        let none = tensor(
            &path,
            self.cache_type,
            &[batch, self.heads, 0, self.head_dim],
            vec![],
        )?;
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = vec![
            (Cow::from(EMBEDS), embeds.into()),
            (Cow::from("attention_mask"), mask.into()),
            (Cow::from("position_ids"), positions.into()),
        ];
        let mut given = count;
        if self.keeps_logits {
            let kept = Tensor::from_array(((), vec![rows as i64])).map_err(bad)?;
            inputs.push((Cow::from(KEPT), kept.into()));
            given = rows;
        }
        for (index, (past, _)) in self.cache_names.iter().enumerate() {
            let value = cache.get(index).unwrap_or(&none);
            inputs.push((Cow::from(past.as_str()), value.into()));
        }
        let kept = self.cache_names.iter().map(|(_, present)| present.as_str());
        let (present, read) = self.decoder.run_keeping(inputs, kept.clone(), &[LOGITS])?;
        let shape = [batch, self.heads, total, self.head_dim];
        for (name, value) in kept.zip(&present) {
            check_tensor(&path, name, value, self.cache_type, &shape)?;
        }
        *cache = present;

        let logits = match read.first() {
            Some(value) => floats(&path, LOGITS, value)?,
            None => Vec::new(),
        };
        let vocabulary = self.vocabulary;
        if logits.len() != batch * given * vocabulary {
            let has = logits.len();
            let reason = format!("gave {has} logits, expected {batch} x {given} x {vocabulary}");
            return Err(failed(&path, reason));
        }
        let sequences = logits.chunks_exact(given * vocabulary);
        let last: Vec<f32> = (sequences)
            .flat_map(|its| &its[(given - rows) * vocabulary..])
            .copied()
            .collect();
        Array2::from_shape_vec((batch * rows, vocabulary), last)
            .map_err(|error| failed(&path, error.to_string()))
    }

    /// What is cached of `picked` sequences: of each its index, the column it begins at and how many columns. They end
    /// together; what is before the shorter ones is 0.
    pub(crate) fn pick(
        &self,
        cache: &[DynValue],
        shape: (usize, usize),
        picked: &[(usize, usize, usize)],
    ) -> Result<Vec<DynValue>> {
        let gather = |value: &DynValue| match self.cache_type {
            TensorElementType::Float16 => self.gathered::<f16>(value, shape, picked),
            _ => self.gathered::<f32>(value, shape, picked),
        };
        cache.iter().map(gather).collect()
    }

    fn gathered<T>(
        &self,
        value: &DynValue,
        (batch, columns): (usize, usize),
        picked: &[(usize, usize, usize)],
    ) -> Result<DynValue>
    where
        T: PrimitiveTensorElementType + Copy + Default + std::fmt::Debug + 'static,
    {
        let (path, heads, dim) = (self.decoder.path(), self.heads, self.head_dim);
        let all = fetched_of::<T>(path, "present", value, &[batch, heads, columns, dim])?;
        let after = picked.iter().map(|&(_, _, count)| count).max().unwrap_or(0);
        let mut some = Vec::with_capacity(picked.len() * heads * after * dim);
        for &(index, first, count) in picked {
            for head in 0..heads {
                some.resize(some.len() + (after - count) * dim, T::default());
                let from = (index * heads + head) * columns + first;
                some.extend_from_slice(&all[from * dim..(from + count) * dim]);
            }
        }
        let tensor = Tensor::from_array(([picked.len(), heads, after, dim], some));
        Ok(tensor
            .map_err(|error| failed(path, error.to_string()))?
            .into_dyn())
    }
}

/// Whether an input or output is f32 or f16: it must be one of them.
fn float(network: &Network, name: &str) -> Result<TensorElementType> {
    let problem = match network.declared(name) {
        Some((dtype @ (TensorElementType::Float32 | TensorElementType::Float16), _)) => {
            return Ok(dtype);
        }
        Some((dtype, _)) => format!("`{name}` is {dtype}, expected f32 or f16"),
        None => format!("has no `{name}`"),
    };
    Err(Error::broken(network.path(), problem))
}

/// A tensor of type f32 or f16.
fn tensor(
    path: &Path,
    dtype: TensorElementType,
    shape: &[usize],
    values: Vec<f32>,
) -> Result<DynValue> {
    let made = match dtype {
        TensorElementType::Float16 => {
            let values: Vec<f16> = values.into_iter().map(f16::from_f32).collect();
            Tensor::from_array((shape, values)).map(Tensor::into_dyn)
        }
        _ => Tensor::from_array((shape, values)).map(Tensor::into_dyn),
    };
    made.map_err(|error| failed(path, error.to_string()))
}

/// The elements of an output of type f32 or f16.
fn floats(path: &Path, name: &str, value: &DynValue) -> Result<Vec<f32>> {
    let shape: Vec<usize> = (value.shape().iter()).map(|&size| size as usize).collect();
    if *value.data_type() == TensorElementType::Float16 {
        let values = elements_of::<f16>(path, name, value, &shape)?;
        return Ok(values.iter().map(|value| value.to_f32()).collect());
    }
    Ok(elements_of::<f32>(path, name, value, &shape)?.to_vec())
}
