//! Sequences that a decoder reads together: they end together, and what is before the shorter ones is padding.

use ndarray::{Array1, Array2, s};
use ort::value::DynValue;

use super::networks::{Networks, Pass};
use crate::batch::Sequences;
use crate::generate::LanguageModel;
use crate::{Error, Result};

/// What a sequence begins with: pictures and text.
#[derive(Debug, Clone)]
pub(crate) struct Prefix {
    /// One row after another.
    pub embeds: Vec<f32>,
    /// Of each row.
    pub positions: Vec<[i64; 3]>,
    /// Of what comes next.
    pub next: i64,
}

/// Sequences that begin with these prefixes.
pub(crate) struct Readings<'n> {
    networks: &'n mut Networks,
    prefixes: Vec<Prefix>,
}

/// What was read of some sequences.
#[derive(Default)]
pub(crate) struct Cache {
    /// Each layer's key and value, [sequences, heads, columns, head_dim].
    values: Vec<DynValue>,
    columns: usize,
    /// Of each sequence: its prefix, and how many of the last columns are its own.
    members: Vec<(usize, usize)>,
}

impl<'n> Readings<'n> {
    pub(crate) fn new(networks: &'n mut Networks, prefixes: Vec<Prefix>) -> Self {
        Self { networks, prefixes }
    }

    /// Reads the last `counts` positions of each sequence of the cache, which already counts them; `embeds` are theirs.
    /// Returns the logits of the last `rows` of each.
    fn forward(
        &mut self,
        cache: &mut Cache,
        counts: &[usize],
        embeds: &[Vec<f32>],
        rows: usize,
    ) -> Result<Array2<f32>> {
        let (batch, count) = (counts.len(), counts.iter().copied().max().unwrap_or(0));
        let width = self.networks.width;
        let (mut padded, mut positions, mut mask) = (Vec::new(), Vec::new(), Vec::new());
        for ((&(member, length), &its), embeds) in cache.members.iter().zip(counts).zip(embeds) {
            let prefix = &self.prefixes[member];
            // With anything but zeros, so that a decoder which looks there is found out.
            padded.extend(embeds[..width].repeat(count - its));
            padded.extend_from_slice(embeds);
            positions.resize(positions.len() + count - its, [0; 3]);
            positions.extend((length - its..length).map(|at| {
                let after = at as i64 - prefix.positions.len() as i64;
                let own = prefix.positions.get(at);
                own.copied().unwrap_or([prefix.next + after; 3])
            }));
            mask.resize(mask.len() + cache.columns - length, 0);
            mask.resize(mask.len() + length, 1);
        }
        let pass = Pass {
            embeds: padded,
            batch,
            mask,
            positions: &positions,
            rows,
        };
        self.networks.forward(pass, &mut cache.values)
    }
}

impl Sequences for Readings<'_> {
    type Cache = Cache;

    fn start(&mut self, texts: &[&[u32]]) -> Result<(Cache, Vec<Array2<f32>>)> {
        let mut embeds = Vec::with_capacity(texts.len());
        for (prefix, text) in self.prefixes.iter().zip(texts) {
            let mut row = prefix.embeds.clone();
            row.extend(self.networks.embed(text)?);
            embeds.push(row);
        }
        let lengths = self.prefixes.iter().zip(texts);
        let counts: Vec<usize> = lengths
            .map(|(prefix, text)| prefix.positions.len() + text.len())
            .collect();
        let mut cache = Cache {
            values: Vec::new(),
            columns: counts.iter().copied().max().unwrap_or(0),
            members: counts.iter().copied().enumerate().collect(),
        };
        let rows = texts.iter().map(|text| text.len()).max().unwrap_or(0) + 1;
        let logits = self.forward(&mut cache, &counts, &embeds, rows)?;
        let each = (texts.iter().enumerate()).map(|(index, text)| {
            let end = (index + 1) * rows;
            logits.slice(s![end - text.len() - 1..end, ..]).to_owned()
        });
        Ok((cache, each.collect()))
    }

    fn pick(&self, cache: &Cache, picked: &[(usize, usize)]) -> Result<Cache> {
        let members: Vec<(usize, usize)> = (picked.iter())
            .map(|&(index, tokens)| {
                let (member, _) = cache.members[index];
                (member, self.prefixes[member].positions.len() + tokens)
            })
            .collect();
        let columns: Vec<(usize, usize, usize)> = (picked.iter().zip(&members))
            .map(|(&(index, _), &(_, kept))| {
                let (_, length) = cache.members[index];
                (index, cache.columns - length, kept)
            })
            .collect();
        let shape = (cache.members.len(), cache.columns);
        Ok(Cache {
            values: self.networks.pick(&cache.values, shape, &columns)?,
            columns: members.iter().map(|&(_, kept)| kept).max().unwrap_or(0),
            members,
        })
    }

    fn step(&mut self, cache: &mut Cache, tokens: &[u32]) -> Result<Vec<Array1<f32>>> {
        let rows = self.networks.embed(tokens)?;
        let rows = rows.chunks_exact(self.networks.width).map(<[f32]>::to_vec);
        let embeds: Vec<Vec<f32>> = rows.collect();
        cache.columns += 1;
        for (_, length) in &mut cache.members {
            *length += 1;
        }
        let logits = self.forward(cache, &vec![1; tokens.len()], &embeds, 1)?;
        Ok(logits.outer_iter().map(|row| row.to_owned()).collect())
    }
}

/// One sequence.
pub(crate) struct Reading<'n> {
    readings: Readings<'n>,
    cache: Cache,
}

impl<'n> Reading<'n> {
    pub(crate) fn new(networks: &'n mut Networks, prefix: Prefix) -> Self {
        Self {
            readings: Readings::new(networks, vec![prefix]),
            cache: Cache::default(),
        }
    }
}

impl LanguageModel for Reading<'_> {
    fn start(&mut self, tokens: &[u32]) -> Result<Array2<f32>> {
        let (cache, rows) = self.readings.start(&[tokens])?;
        self.cache = cache;
        rows.into_iter().next().ok_or(Error::Logits)
    }

    fn step(&mut self, keep: usize, token: u32) -> Result<Array1<f32>> {
        let kept = self.readings.prefixes[0].positions.len() + keep;
        if kept < self.cache.columns {
            self.cache = self.readings.pick(&self.cache, &[(0, keep)])?;
        }
        let rows = self.readings.step(&mut self.cache, &[token])?;
        rows.into_iter().next().ok_or(Error::Logits)
    }
}
