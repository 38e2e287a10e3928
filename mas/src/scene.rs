//! Tier T0: what changed in a picture, from the means of its luma blocks alone.
//!
//! Each frame is explained, as far as it goes, by what every camera does without
//! anything happening before it, and what is left is judged:
//!
//! 1. **Exposure and shake.** `x − r ≈ o + g·(r − mean r) + a·X + b·Y + dx·∂r/∂x + dy·∂r/∂y`,
//!    with `x` the block means and `r` the reference: offset, gain, a slope of the light,
//!    and a small shift of the whole picture. Six numbers, fitted by iteratively
//!    reweighted least squares with Tukey's biweight (Beaton and Tukey, 1974), so that
//!    objects do not pull at the fit.
//! 2. **Noise of each block.** The residual over the block's own σ, learnt from how it
//!    changes from frame to frame: a moving tree has more than a wall. Where exposure
//!    or shift had to explain much, σ is wider, because the model is only first order.
//! 3. **Objects are larger than a block** and keep their sign, noise does not: residuals
//!    are summed over 2 x 2 blocks, of this frame and, for what stays in place, of the
//!    last two.
//! 4. **What happens everywhere is no event.** The greatest sum in each cell of the token
//!    grid is compared with what the cells show at the same time and lately: rain, noise
//!    and the pumping of a codec raise them all.
//!
//! 5. **What was there before is not as new.** Each block has a range that it moves in by
//!    itself, learnt slowly: a tree's is wide, a wall's is narrow. Where an object left, or
//!    a branch swung back, the blocks differ from what was sent but lie in their range, and
//!    the change counts for less (the idea of W4: Haritaoglu, Harwood and Davis, 2000).
//!
//! The reference is what was last sent. Light that changes slowly moves it along, a
//! block by at most a fiftieth of its noise a frame; the probe (T1) has no such leak.

use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView2, Zip};

use crate::fit::{CLIP, Fit};
use crate::peaks::{blocks_of, cell, peaks};
use crate::quantile;
use crate::rows::{greater, less, rows, rows_mut};

/// Least standard deviation of a block's noise, in luma levels.
const LEAST_NOISE: f32 = 0.35;
/// Weight of a new frame in a block's noise, in the cells' usual level, and in the reference.
const LEARN: (f32, f32, f32) = (0.02, 0.1, 0.02);
/// Residuals below the first, in units of what the cells usually show, are no evidence;
/// from the second on they are full evidence.
const RAMP: (f32, f32) = (1.8, 12.0);
/// Least level of a cell: what Gaussian noise gives. For one frame and for two.
const LEAST_LEVEL: (f32, f32) = (2.6, 1.5);
/// What a change counts for that leads back to what is known.
const FAMILIAR: f32 = 0.2;
/// By how much of its noise a frame widens a block's range, and by how much it narrows.
const RANGE: (f32, f32) = (0.25, 0.02);
/// A block counts as changed beyond so many standard deviations.
const CHANGED: f32 = 4.0;

/// What T0 says of one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Evidence in \[0, 1\] for each position of the token grid that something there
    /// differs from what was sent.
    pub evidence: Array1<f32>,
    /// What a change of each position counts for, above 0 and at most 1: less than 1 where
    /// the picture went back to what it shows by itself.
    pub fresh: Array1<f32>,
    /// Share of the blocks that changed by more than 4 standard deviations since the
    /// probe last ran, in \[0, 1\]: in positions with evidence now or then. 1 for a first frame.
    pub score: f32,
    /// Change of brightness against the reference, in luma levels.
    pub offset: f32,
    /// Mean luma of the frame, in \[0, 255\].
    pub brightness: f32,
    /// Change of contrast against the reference, as a factor.
    pub gain: f32,
    /// Shift against the reference in blocks, right and down.
    pub shift: (f32, f32),
    /// The frame's blocks, in the light of the reference.
    pub(crate) blocks: Arc<Array2<f32>>,
}

/// The state of T0 for one stream.
#[derive(Debug, Clone)]
pub struct Scene {
    rows: usize,
    columns: usize,
    known: Option<Known>,
    probed: Option<Arc<Look>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub reference: Array2<f32>,
    /// The range that each block moves in by itself.
    pub low: Array2<f32>,
    pub high: Array2<f32>,
    pub noise: Array2<f32>,
    /// Residual of the frame before, in luma levels.
    pub last: Array2<f32>,
    /// What cells show without an event: in one frame, and in two.
    level: (f32, f32),
    frames: u32,
}

impl Scene {
    /// For a token grid of `rows` x `columns` positions.
    pub fn new(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            known: None,
            probed: None,
        }
    }

    /// Compares block means, `[block rows, block columns]`, with what was sent. The
    /// first frame, and the first of another size, is evidence everywhere.
    pub fn look(&mut self, blocks: ArrayView2<'_, f32>) -> Look {
        let x = blocks.as_standard_layout().mapv(|mean| {
            if mean.is_finite() {
                mean.clamp(CLIP.0, CLIP.1)
            } else {
                CLIP.0
            }
        });
        let same = self.known.take().filter(|k| k.reference.dim() == x.dim());
        let Some(mut known) = same else {
            self.known = Some(Known::new(&x));
            return Look {
                evidence: Array1::ones(self.rows * self.columns),
                fresh: Array1::ones(self.rows * self.columns),
                score: 1.0,
                offset: 0.0,
                brightness: x.mean().unwrap_or(0.0),
                gain: 1.0,
                shift: (0.0, 0.0),
                blocks: Arc::new(x),
            };
        };
        let fit = Fit::new(&x, &known.reference);
        let (evidence, fresh) = self.judge(&mut known, &fit);
        known.learn(&fit.residual);
        let blocks = &known.reference + &fit.residual;
        let score = self.score(&known, &blocks, &evidence, &fit);
        known.last = fit.residual;
        self.known = Some(known);
        Look {
            evidence,
            fresh,
            score,
            offset: fit.terms[0],
            brightness: x.mean().unwrap_or(0.0),
            gain: 1.0 + fit.terms[1],
            shift: (-fit.terms[4], -fit.terms[5]),
            blocks: Arc::new(blocks),
        }
    }

    /// Notes that these positions of a frame were sent: it is the reference there.
    pub fn mark_sent(&mut self, look: &Look, positions: impl IntoIterator<Item = usize>) {
        let (down, across) = (self.rows, self.columns);
        let Some(known) = &mut self.known else { return };
        let (height, width) = known.reference.dim();
        if look.blocks.dim() != (height, width) {
            return;
        }
        let mut sent = vec![false; down * across];
        for position in positions {
            if let Some(sent) = sent.get_mut(position) {
                *sent = true;
            }
        }
        let marked = rows_mut(&mut known.reference).zip(rows_mut(&mut known.last));
        for (y, ((reference, last), blocks)) in marked.zip(rows(&look.blocks)).enumerate() {
            let sent = &sent[cell(y, down, height) * across..][..across];
            for (column, _) in sent.iter().enumerate().filter(|(_, sent)| **sent) {
                let cell = blocks_of(column, across, width);
                let state = reference[cell.clone()]
                    .iter_mut()
                    .zip(&mut last[cell.clone()]);
                for ((reference, last), block) in state.zip(&blocks[cell]) {
                    let change = block - *reference;
                    *reference += change;
                    *last -= change;
                }
            }
        }
    }

    /// Notes that the probe ran on a frame: later scores are against it.
    pub fn mark_probed(&mut self, look: Arc<Look>) {
        self.probed = Some(look);
    }

    fn score(&self, known: &Known, blocks: &Array2<f32>, evidence: &Array1<f32>, fit: &Fit) -> f32 {
        let probed = self.probed.as_ref();
        let Some(probed) = probed.filter(|probed| probed.blocks.dim() == blocks.dim()) else {
            return 1.0;
        };
        let (height, width) = blocks.dim();
        let mut changed = 0u32;
        let then = rows(blocks).zip(rows(&probed.blocks));
        let noise = rows(&known.noise).zip(rows(&fit.slack));
        for (y, ((now, then), (noise, slack))) in then.zip(noise).enumerate() {
            let row = cell(y, self.rows, height) * self.columns;
            for column in 0..self.columns {
                let p = row + column;
                if evidence[p] > 0.0 || probed.evidence[p] > 0.0 {
                    let cell = blocks_of(column, self.columns, width);
                    let change = now[cell.clone()].iter().zip(&then[cell.clone()]);
                    let sigma = noise[cell.clone()].iter().zip(&slack[cell]);
                    let far = change.zip(sigma).map(|((now, then), (noise, slack))| {
                        let most = CHANGED * (noise * noise + slack * slack).sqrt();
                        u32::from((now - then).abs() > most)
                    });
                    changed += far.sum::<u32>();
                }
            }
        }
        changed as f32 / blocks.len() as f32
    }

    /// Evidence that a position differs from what was sent, and the factor for what is
    /// known from before.
    fn judge(&self, known: &mut Known, fit: &Fit) -> (Array1<f32>, Array1<f32>) {
        let [one, two, beyond, both] = peaks(known, fit, (self.rows, self.columns));
        let level = (usual(&one), usual(&two));
        let settle = |old: f32, new: f32, least: f32, frames: u32| {
            let weight = LEARN.1.max(1.0 / (frames as f32 + 1.0));
            (old + weight * (new.min(2.0 * old.max(least)) - old)).max(least)
        };
        known.level.0 = settle(known.level.0, level.0, LEAST_LEVEL.0, known.frames);
        known.level.1 = settle(known.level.1, level.1, LEAST_LEVEL.1, known.frames);
        let ramp = |value: f32, level: f32| {
            ((value / level / RAMP.0).ln() / (RAMP.1 / RAMP.0).ln()).clamp(0.0, 1.0)
        };
        let bar = |settled: f32, now: f32| settled.max(now.min(3.0 * settled));
        let bars = (bar(known.level.0, level.0), bar(known.level.1, level.1));
        let evidence = |one: &[f32], two: &[f32]| -> Array1<f32> {
            let pairs = one.iter().zip(two);
            pairs
                .map(|(one, two)| ramp(*one, bars.0).max(ramp(*two, bars.1)))
                .collect()
        };
        let sent = evidence(&one, &two);
        let before = evidence(&beyond, &both);
        let fresh = Zip::from(&sent).and(&before).map_collect(|sent, before| {
            let share = if *sent > 0.0 {
                before.min(*sent) / sent
            } else {
                1.0
            };
            FAMILIAR + (1.0 - FAMILIAR) * share
        });
        (sent, fresh)
    }
}

/// What cells without an event show: the median and its distance to the least ones
/// above it, so that objects in up to half of the cells do not count.
fn usual(greatest: &[f32]) -> f32 {
    let mut sorted = greatest.to_vec();
    let low = quantile(&mut sorted, 0.1);
    let middle = quantile(&mut sorted, 0.5);
    middle + 0.5 * (middle - low)
}

impl Known {
    pub fn new(x: &Array2<f32>) -> Self {
        Self {
            reference: x.clone(),
            low: x.clone(),
            high: x.clone(),
            noise: Array2::from_elem(x.dim(), 1.0),
            last: Array2::zeros(x.dim()),
            level: LEAST_LEVEL,
            frames: 0,
        }
    }

    fn learn(&mut self, residual: &Array2<f32>) {
        let weight = LEARN.0.max(1.0 / (self.frames as f32 + 2.0));
        self.frames = self.frames.saturating_add(1);
        Zip::from(&mut self.low)
            .and(&mut self.high)
            .and(&self.reference)
            .and(residual)
            .and(&self.noise)
            .for_each(|low, high, reference, r, noise| {
                let x = reference + r;
                let step = |off: f32| less(greater(off, -RANGE.1 * noise), RANGE.0 * noise);
                *high += step(x - *high);
                *low -= step(*low - x);
            });
        Zip::from(&mut self.noise)
            .and(&mut self.reference)
            .and(residual)
            .and(&self.last)
            .for_each(|noise, reference, r, last| {
                // Mean absolute difference of two Gaussians to one standard deviation.
                let step = less((r - last).abs() * 0.886, 3.0 * *noise);
                *noise = greater(*noise + weight * (step - *noise), LEAST_NOISE);
                *reference += LEARN.2 * less(greater(*r, -*noise), *noise);
            });
    }
}
