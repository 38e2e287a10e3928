//! T0: does the picture change at all? Block means of a luma plane and their
//! change against a reference grid. No network; tens of microseconds a frame.
//!
//! The difference of two grids loses its median first, so a shift of the whole
//! picture's brightness is no change. What is left is compared with a noise
//! floor: 4 standard deviations of the blocks' noise, estimated by the median
//! absolute deviation (σ ≈ 1.4826 · MAD; Rousseeuw and Croux, 1993) and taken
//! as the lower quartile of recent frames, so that moving objects do not raise it.

use std::collections::VecDeque;

use ndarray::{Array2, ArrayView2};

use crate::{Error, quantile};

/// Side of a block in pixels.
pub const BLOCK: usize = 8;

/// Least and greatest noise floor, in luma levels of 0 to 255.
const FLOOR: std::ops::RangeInclusive<f32> = 1.0..=8.0;
/// Noise floor in units of the blocks' median absolute deviation.
const FLOOR_MADS: f32 = 4.0 * 1.4826;
/// Blocks, about, that the medians are taken of.
const SAMPLE: usize = 1024;
/// Frames that the noise estimate looks back on.
const MEMORY: usize = 64;

/// A view of 8-bit luma samples.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    data: &'a [u8],
    width: usize,
    height: usize,
    stride: usize,
}

impl<'a> Plane<'a> {
    /// `data` holds `height` rows, `stride` bytes apart, of `width` samples each;
    /// the last row need not be padded to the stride.
    ///
    /// # Errors
    /// [`Error::Plane`] if a side is 0, the stride is less than the width or the data too short.
    pub fn new(data: &'a [u8], width: usize, height: usize, stride: usize) -> Result<Self, Error> {
        let needed = height
            .checked_sub(1)
            .and_then(|rows| rows.checked_mul(stride))
            .and_then(|bytes| bytes.checked_add(width));
        match needed {
            Some(needed) if width > 0 && stride >= width && data.len() >= needed => Ok(Self {
                data,
                width,
                height,
                stride,
            }),
            _ => Err(Error::Plane {
                width,
                height,
                stride,
                len: data.len(),
            }),
        }
    }

    /// Mean luma of each block of [`BLOCK`] x [`BLOCK`] pixels, in \[0, 255\]:
    /// `[ceil(height / BLOCK), ceil(width / BLOCK)]`. Blocks at the right and
    /// lower edge average the pixels they have.
    pub fn block_means(&self) -> Array2<f32> {
        let columns = self.width.div_ceil(BLOCK);
        let rows = self.height.div_ceil(BLOCK);
        let mut means = Array2::zeros((rows, columns));
        let mut sums = vec![0u64; columns];
        for (block_row, mut means) in means.outer_iter_mut().enumerate() {
            let top = block_row * BLOCK;
            let bottom = (top + BLOCK).min(self.height);
            sums.fill(0);
            for y in top..bottom {
                let row = &self.data[y * self.stride..][..self.width];
                let (whole, rest) = row.as_chunks::<BLOCK>();
                for (sum, samples) in sums.iter_mut().zip(whole) {
                    *sum += pair_sums(*samples);
                }
                if let (Some(sum), false) = (sums.last_mut(), rest.is_empty()) {
                    let mut samples = [0; BLOCK];
                    samples[..rest.len()].copy_from_slice(rest);
                    *sum += pair_sums(samples);
                }
            }
            for (column, (mean, sum)) in means.iter_mut().zip(&sums).enumerate() {
                let wide = BLOCK.min(self.width - column * BLOCK);
                let sum: u64 = (0..4).map(|lane| (sum >> (16 * lane)) & 0xffff).sum();
                *mean = sum as f32 / ((bottom - top) * wide) as f32;
            }
        }
        means
    }
}

/// The sums of neighbouring samples in four lanes of 16 bits. Eight rows fit in a
/// lane, and plain integer arithmetic vectorises on every machine.
fn pair_sums(samples: [u8; BLOCK]) -> u64 {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let samples = u64::from_le_bytes(samples);
    (samples & EVEN) + ((samples >> 8) & EVEN)
}

/// What T0 says of one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Share of the blocks that changed by more than the noise floor, in \[0, 1\].
    /// 1 when there is no reference of the same shape.
    pub score: f32,
    /// Noise floor applied, in luma levels.
    pub floor: f32,
    /// Brightness shift of the whole picture against the reference, in luma levels.
    pub shift: f32,
}

/// Compares block means with a reference grid.
#[derive(Debug, Default)]
pub struct ChangeDetector {
    reference: Option<Array2<f32>>,
    deviations: VecDeque<f32>,
    differences: Vec<f32>,
}

impl ChangeDetector {
    /// A detector without a reference: the first grid counts as changed everywhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `grid` the one that later grids are compared with.
    pub fn set_reference(&mut self, grid: Array2<f32>) {
        self.reference = Some(grid);
    }

    /// Change of `grid` against the reference. A grid of another shape starts afresh.
    pub fn compare(&mut self, grid: ArrayView2<'_, f32>) -> Change {
        let Some(reference) = self.reference.as_ref().filter(|r| r.dim() == grid.dim()) else {
            *self = Self::new();
            return Change {
                score: 1.0,
                floor: *FLOOR.start(),
                shift: 0.0,
            };
        };
        self.differences.clear();
        self.differences
            .extend(grid.iter().zip(reference).map(|(now, then)| now - then));
        // An odd step, so that the sample does not stay in a few columns.
        let step = (self.differences.len() / SAMPLE) | 1;
        let mut sample: Vec<f32> = self.differences.iter().step_by(step).copied().collect();
        let shift = quantile(&mut sample, 0.5);
        for difference in &mut sample {
            *difference = (*difference - shift).abs();
        }
        if self.deviations.len() == MEMORY {
            self.deviations.pop_front();
        }
        self.deviations.push_back(quantile(&mut sample, 0.5));
        let mut recent: Vec<f32> = self.deviations.iter().copied().collect();
        let floor = FLOOR_MADS * quantile(&mut recent, 0.25);
        let floor = floor.clamp(*FLOOR.start(), *FLOOR.end());
        let changed = self
            .differences
            .iter()
            .filter(|d| (**d - shift).abs() > floor)
            .count();
        Change {
            score: changed as f32 / self.differences.len() as f32,
            floor,
            shift,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(plane: &[u8], width: usize, height: usize) -> Array2<f32> {
        Plane::new(plane, width, height, width)
            .unwrap()
            .block_means()
    }

    #[test]
    fn partial_blocks_average_what_they_have() {
        let mut plane = vec![10u8; 10 * 9];
        plane[9 * 10 + 9 - 10] = 255; // last pixel of row 8
        let means = grid(&plane, 10, 9);
        assert_eq!(means.dim(), (2, 2));
        assert_eq!(means[[0, 0]], 10.0);
        assert_eq!(means[[1, 1]], (10.0 + 255.0) / 2.0);
    }

    #[test]
    fn the_stride_is_skipped() {
        let plane: Vec<u8> = (0..16)
            .flat_map(|_| [[50u8; 16], [255; 16]].concat())
            .collect();
        let means = Plane::new(&plane[..15 * 32 + 16], 16, 16, 32)
            .unwrap()
            .block_means();
        assert!(means.iter().all(|mean| *mean == 50.0));
    }

    #[test]
    fn short_or_empty_planes_are_refused() {
        for (len, width, height, stride) in [
            (63, 8, 8, 8),
            (64, 0, 8, 8),
            (64, 8, 0, 8),
            (64, 8, 8, 7),
            (64, 2, usize::MAX, 8),
        ] {
            let error = Plane::new(&vec![0; len], width, height, stride).unwrap_err();
            assert!(error.to_string().contains(&len.to_string()), "{error}");
        }
    }

    #[test]
    fn brightness_shift_is_no_change_but_an_object_is() {
        let still: Vec<u8> = (0..64 * 64).map(|i| 40 + (i % 97) as u8).collect();
        let brighter: Vec<u8> = still.iter().map(|v| v + 30).collect();
        let mut object = still.clone();
        for y in 8..24 {
            object[y * 64 + 8..y * 64 + 24].fill(230);
        }
        let mut detector = ChangeDetector::new();
        assert_eq!(detector.compare(grid(&still, 64, 64).view()).score, 1.0);
        detector.set_reference(grid(&still, 64, 64));
        assert_eq!(detector.compare(grid(&still, 64, 64).view()).score, 0.0);
        let shifted = detector.compare(grid(&brighter, 64, 64).view());
        assert_eq!((shifted.score, shifted.shift), (0.0, 30.0));
        assert_eq!(
            detector.compare(grid(&object, 64, 64).view()).score,
            4.0 / 64.0
        );
    }

    #[test]
    fn black_frames_and_new_shapes_are_defined() {
        let mut detector = ChangeDetector::new();
        detector.set_reference(grid(&[0; 256], 16, 16));
        assert_eq!(detector.compare(grid(&[0; 256], 16, 16).view()).score, 0.0);
        assert_eq!(detector.compare(grid(&[0; 1], 1, 1).view()).score, 1.0);
    }

    #[test]
    fn a_cut_to_another_scene_is_seen_whatever_its_spread() {
        let mut detector = ChangeDetector::new();
        let first: Vec<u8> = (0..128 * 128).map(|i| (i / 128) as u8).collect();
        let second: Vec<u8> = (0..128 * 128).map(|i| (i * 7 % 251) as u8 ^ 0x55).collect();
        let flipped: Vec<u8> = first.iter().rev().copied().collect();
        detector.set_reference(grid(&first, 128, 128));
        assert!(detector.compare(grid(&second, 128, 128).view()).score > 0.5);
        assert!(detector.compare(grid(&flipped, 128, 128).view()).score > 0.5);
    }
}
