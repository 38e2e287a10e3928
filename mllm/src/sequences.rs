//! Sequences that the decoder reads together: one under another, padded with positions that nothing looks at.

use ndarray::{Array1, Array2};
use ort::value::DynValue;

use crate::batch::Sequences;
use crate::decoder::{Decoder, Pass, Sizes};
use crate::{Error, Result};

/// Sequences that begin with these prefixes.
pub(crate) struct Readings<'d> {
    decoder: &'d mut Decoder,
    /// Embeddings of tokens and prompt of each, one row after another.
    prefixes: Vec<Vec<f32>>,
}

/// What was read of some sequences.
#[derive(Default)]
pub(crate) struct Cache {
    /// Each layer's key and value, [sequences, heads, columns, head_dim].
    values: Vec<DynValue>,
    /// For each sequence and column: whether it holds a position, in order, or padding.
    held: Vec<Vec<bool>>,
    /// How many positions the prefix of each sequence has.
    prefix_lengths: Vec<usize>,
}

impl<'d> Readings<'d> {
    pub(crate) fn new(decoder: &'d mut Decoder, prefixes: Vec<Vec<f32>>) -> Self {
        Self { decoder, prefixes }
    }

    /// Reads `count` positions of each sequence, of which the first of `lengths` are no padding.
    /// Returns the logits, [sequences, count, vocabulary].
    fn forward(
        &mut self,
        cache: &mut Cache,
        embeds: Vec<f32>,
        count: usize,
        lengths: &[usize],
    ) -> Result<DynValue> {
        let (batch, width) = (lengths.len(), self.decoder.sizes().width);
        let mut positions = Vec::with_capacity(batch * count);
        for (held, &length) in cache.held.iter_mut().zip(lengths) {
            let read = held.iter().filter(|&&held| held).count();
            positions.extend((0..count).map(|at| (read + at.min(length - 1)) as i64));
            held.extend((0..count).map(|at| at < length));
        }
        let mask = (cache.held.iter().flatten()).map(|&held| i64::from(held));
        let pass = Pass {
            batch,
            count,
            mask: mask.collect(),
            positions,
            watch: false,
        };
        let embeds = self.decoder.tensor([batch, count, width], embeds)?;
        let seen = self
            .decoder
            .forward(embeds.into(), pass, &mut cache.values)?;
        Ok(seen.logits)
    }
}

impl Sequences for Readings<'_> {
    type Cache = Cache;

    fn start(&mut self, texts: &[&[u32]]) -> Result<(Cache, Vec<Array2<f32>>)> {
        let Sizes {
            width, vocabulary, ..
        } = self.decoder.sizes();
        let mut rows = Vec::with_capacity(texts.len());
        for (prefix, text) in self.prefixes.iter().zip(texts) {
            let mut row = prefix.clone();
            row.extend(self.decoder.embeddings(text)?);
            rows.push(row);
        }
        let mut cache = Cache {
            values: Vec::new(),
            held: vec![Vec::new(); rows.len()],
            prefix_lengths: (self.prefixes.iter())
                .map(|prefix| prefix.len() / width)
                .collect(),
        };
        let lengths: Vec<usize> = rows.iter().map(|row| row.len() / width).collect();
        let count = lengths.iter().copied().max().unwrap_or_default();
        for row in &mut rows {
            row.resize(count * width, 0.0);
        }
        let logits = self.forward(&mut cache, rows.concat(), count, &lengths)?;
        let shape = [rows.len(), count, vocabulary];
        let logits = self.decoder.values(&logits, &shape)?;
        let sequences = logits.chunks_exact(count * vocabulary);
        let rows = (sequences.zip(&lengths).zip(texts)).map(|((logits, length), text)| {
            let from = length - text.len() - 1;
            let predicting = &logits[from * vocabulary..length * vocabulary];
            Array2::from_shape_vec((text.len() + 1, vocabulary), predicting.to_vec())
                .map_err(|error| Error::Tokens(error.to_string()))
        });
        Ok((cache, rows.collect::<Result<_>>()?))
    }

    fn pick(&self, cache: &Cache, picked: &[(usize, usize)]) -> Result<Cache> {
        let Sizes {
            heads, head_dim, ..
        } = self.decoder.sizes();
        // The columns of each sequence that are copied.
        let columns: Vec<(usize, Vec<usize>)> = (picked.iter())
            .map(|&(index, tokens)| {
                let held = cache.held[index].iter().enumerate();
                let held = held.filter_map(|(column, &held)| held.then_some(column));
                (
                    index,
                    held.take(cache.prefix_lengths[index] + tokens).collect(),
                )
            })
            .collect();
        let before = cache.held.first().map_or(0, Vec::len);
        let after = columns.iter().map(|(_, its)| its.len()).max().unwrap_or(0);
        let shape = [cache.held.len(), heads, before, head_dim];
        let mut values = Vec::with_capacity(cache.values.len());
        for value in &cache.values {
            let all = self.decoder.cached(value, &shape)?;
            let mut some = Vec::with_capacity(picked.len() * heads * after * head_dim);
            for (index, its) in &columns {
                for head in 0..heads {
                    let from = (index * heads + head) * before;
                    for column in its {
                        let at = (from + column) * head_dim;
                        some.extend_from_slice(&all[at..at + head_dim]);
                    }
                    some.resize(some.len() + (after - its.len()) * head_dim, 0.0);
                }
            }
            let shape = [picked.len(), heads, after, head_dim];
            values.push(self.decoder.tensor(shape, some)?);
        }
        Ok(Cache {
            values,
            held: (columns.iter())
                .map(|(_, its)| (0..after).map(|column| column < its.len()).collect())
                .collect(),
            prefix_lengths: (picked.iter())
                .map(|&(index, _)| cache.prefix_lengths[index])
                .collect(),
        })
    }

    fn step(&mut self, cache: &mut Cache, tokens: &[u32]) -> Result<Vec<Array1<f32>>> {
        let vocabulary = self.decoder.sizes().vocabulary;
        let embeds = self.decoder.embeddings(tokens)?;
        let logits = self.forward(cache, embeds, 1, &vec![1; tokens.len()])?;
        let shape = [tokens.len(), 1, vocabulary];
        let logits = self.decoder.values(&logits, &shape)?;
        Ok((logits.chunks_exact(vocabulary))
            .map(|row| Array1::from_vec(row.to_vec()))
            .collect())
    }
}
