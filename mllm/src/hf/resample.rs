//! Resizing as Pillow 11 does it, to the last bit: what the processors of others were run with.
//!
//! Each pass sums bytes with weights of 22 fractional bits and rounds to bytes again; columns first, then rows. A resizer
//! with other fixed-point weights is one level off here and there, which is 0.0078 after normalisation.

use crate::{Error, Result};

/// Fractional bits of a weight.
const BITS: u32 = 22;

/// A resampling filter, as Pillow numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    Lanczos,
    Bilinear,
    Bicubic,
}

impl Filter {
    pub(crate) fn numbered(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Lanczos),
            2 => Some(Self::Bilinear),
            3 => Some(Self::Bicubic),
            _ => None,
        }
    }

    /// It is 0 from this distance on.
    fn support(self) -> f64 {
        match self {
            Self::Lanczos => 3.0,
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        fn sinc(x: f64) -> f64 {
            let x = x * std::f64::consts::PI;
            if x == 0.0 { 1.0 } else { x.sin() / x }
        }
        let far = x.abs();
        match self {
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Bilinear if far < 1.0 => 1.0 - far,
            // Keys' cubic with a = -1/2.
            Self::Bicubic if far < 1.0 => (1.5 * far - 2.5) * far * far + 1.0,
            Self::Bicubic if far < 2.0 => (((far - 5.0) * far + 8.0) * far - 4.0) * -0.5,
            _ => 0.0,
        }
    }
}

/// An RGB picture, 8 bits a sample, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub width: usize,
    pub height: usize,
    /// width x height x 3 bytes.
    pub rgb: Vec<u8>,
}

/// Most pixels of a picture that is resized to.
const MOST_PIXELS: usize = 1 << 26;

impl Picture {
    /// The whole picture in another size.
    ///
    /// # Errors
    /// [`Error::Frame`] if that is empty or has more than 2^26 pixels.
    pub(crate) fn resized(&self, width: usize, height: usize, filter: Filter) -> Result<Self> {
        let pixels = width.saturating_mul(height);
        if !(1..=MOST_PIXELS).contains(&pixels) {
            let reason = format!("cannot be resized to {width}x{height}");
            return Err(Error::Frame(reason));
        }
        let mut picture = self.clone();
        if width != self.width {
            let taps = Taps::all(self.width, width, filter);
            let mut rgb = Vec::with_capacity(width * picture.height * 3);
            for row in picture.rgb.chunks_exact(picture.width * 3) {
                let (row, _) = row.as_chunks::<3>();
                rgb.extend(taps.iter().flat_map(|tap| tap.sum(&row[tap.first..])));
            }
            (picture.width, picture.rgb) = (width, rgb);
        }
        if height != self.height {
            let taps = Taps::all(self.height, height, filter);
            let row = width * 3;
            let mut rgb = Vec::with_capacity(row * height);
            let mut sums = vec![0_i32; row];
            for tap in &taps {
                sums.fill(1 << (BITS - 1));
                let rows = picture.rgb[tap.first * row..].chunks_exact(row);
                for (samples, &weight) in rows.zip(&tap.weights) {
                    for (sum, &sample) in sums.iter_mut().zip(samples) {
                        *sum += i32::from(sample) * weight;
                    }
                }
                rgb.extend(sums.iter().map(|&sum| to_byte(sum)));
            }
            (picture.height, picture.rgb) = (height, rgb);
        }
        Ok(picture)
    }

    /// `width` x `height` pixels from column `left` and row `top` on, all within the picture.
    pub(crate) fn cropped(&self, left: usize, top: usize, width: usize, height: usize) -> Self {
        let rows = self.rgb.chunks_exact(self.width * 3);
        let rgb = (rows.skip(top).take(height))
            .flat_map(|row| &row[left * 3..(left + width) * 3])
            .copied()
            .collect();
        Self { width, height, rgb }
    }
}

/// What one column or row is the weighted sum of.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

impl Taps {
    fn all(from: usize, to: usize, filter: Filter) -> Vec<Self> {
        let scale = from as f64 / to as f64;
        // When shrinking, the filter widens with the scale.
        let wide = scale.max(1.0);
        let (support, narrow) = (filter.support() * wide, 1.0 / wide);
        (0..to)
            .map(|at| {
                let centre = (at as f64 + 0.5) * scale;
                // Truncated, as Pillow does.
                let first = (centre - support + 0.5).max(0.0) as usize;
                let end = ((centre + support + 0.5) as usize).min(from);
                let weights: Vec<f64> = (first..end)
                    .map(|x| filter.weight((x as f64 - centre + 0.5) * narrow))
                    .collect();
                let sum: f64 = weights.iter().sum();
                Self {
                    first,
                    weights: (weights.iter())
                        .map(|weight| (weight / sum * f64::from(1 << BITS)).round() as i32)
                        .collect(),
                }
            })
            .collect()
    }

    fn sum(&self, pixels: &[[u8; 3]]) -> [u8; 3] {
        let mut sums = [1_i32 << (BITS - 1); 3];
        for (pixel, weight) in pixels.iter().zip(&self.weights) {
            for (sum, &sample) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(sample) * weight;
            }
        }
        sums.map(to_byte)
    }
}

fn to_byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_picture_stays_even() {
        let picture = Picture {
            width: 13,
            height: 7,
            rgb: [9, 128, 255].repeat(13 * 7),
        };
        for filter in [Filter::Lanczos, Filter::Bilinear, Filter::Bicubic] {
            for (width, height) in [(5, 3), (13, 7), (40, 2), (1, 1)] {
                let other = picture.resized(width, height, filter).unwrap();
                assert_eq!(other.rgb, [9, 128, 255].repeat(width * height));
            }
        }
        assert!(picture.resized(0, 3, Filter::Bicubic).is_err());
        assert!(picture.resized(usize::MAX, 3, Filter::Bicubic).is_err());
    }

    #[test]
    fn a_crop_is_its_part() {
        let rgb: Vec<u8> = (0..4 * 3 * 3).collect();
        let picture = Picture {
            width: 4,
            height: 3,
            rgb,
        };
        let part = picture.cropped(1, 2, 2, 1);
        assert_eq!(part.rgb, [27, 28, 29, 30, 31, 32]);
    }
}
