//! Block means of a luma plane, which tier T0 looks at. No network; tens of
//! microseconds a frame.

use ndarray::Array2;

use crate::Error;
use crate::rows::rows_mut;

/// Side of a block in pixels.
pub const BLOCK: usize = 8;

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
        for (block_row, means) in rows_mut(&mut means).enumerate() {
            let top = block_row * BLOCK;
            let bottom = (top + BLOCK).min(self.height);
            sums.fill(0);
            for y in top..bottom {
                add(&mut sums, &self.data[y * self.stride..][..self.width]);
            }
            let high = bottom - top;
            let scale = ((high * BLOCK) as f32).recip();
            for (mean, sum) in means.iter_mut().zip(&sums) {
                *mean = lanes(*sum) as f32 * scale;
            }
            let wide = self.width - (columns - 1) * BLOCK;
            if let (Some(mean), Some(sum)) = (means.last_mut(), sums.last()) {
                *mean = lanes(*sum) as f32 / (high * wide) as f32;
            }
        }
        means
    }
}

/// Adds the samples of a row to the sums of its blocks.
fn add(sums: &mut [u64], row: &[u8]) {
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

/// The sums of neighbouring samples in four lanes of 16 bits. Eight rows fit in a
/// lane, and plain integer arithmetic vectorises on every machine.
fn pair_sums(samples: [u8; BLOCK]) -> u64 {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let samples = u64::from_le_bytes(samples);
    (samples & EVEN) + ((samples >> 8) & EVEN)
}

/// The sum of the four lanes: at most 64 samples.
fn lanes(sums: u64) -> i32 {
    const EVEN: u64 = 0x0000_ffff_0000_ffff;
    let pairs = (sums & EVEN) + ((sums >> 16) & EVEN);
    (pairs as u32 + (pairs >> 32) as u32) as i32
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
}
