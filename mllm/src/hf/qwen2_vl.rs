//! Qwen2-VL: a picture keeps its shape, in patches, and its embeddings their row and column.

use std::path::Path;

use super::config::{PatchSizes, Pixels};
use super::picture::{Layout, Seen, shaped};
use super::resample::{Filter, Picture};
use crate::{Error, Result};

/// A longer side of more than so many shorter ones is refused.
const MOST_ASPECT: f64 = 200.0;

/// Turns pictures into patches.
#[derive(Debug)]
pub(crate) struct Patcher {
    sizes: PatchSizes,
    filter: Filter,
    normalised: [Vec<f32>; 3],
}

impl Patcher {
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let pixels = Pixels::load(folder)?;
        Ok(Self {
            sizes: pixels.patches(folder)?,
            filter: pixels.filter(Filter::Bicubic),
            normalised: pixels.normalised(),
        })
    }

    /// Values of a patch.
    pub(crate) fn patch_values(&self) -> usize {
        3 * self.sizes.temporal * self.sizes.patch.pow(2)
    }

    /// Patches that make one embedding, each way.
    pub(crate) fn merge(&self) -> usize {
        self.sizes.merge
    }

    /// Embeddings of a picture.
    pub(crate) fn tokens(&self, [time, rows, columns]: [usize; 3]) -> usize {
        time * rows * columns / self.sizes.merge.pow(2)
    }

    pub(crate) fn see(&self, picture: &Picture) -> Result<Seen> {
        let PatchSizes { patch, merge, .. } = self.sizes;
        let (width, height) = self.fitted(picture.width, picture.height)?;
        let picture = picture.resized(width, height, self.filter)?;
        let (rows, columns) = (height / patch, width / patch);
        let mut values = Vec::with_capacity(rows * columns * self.patch_values());
        // Patches that make one embedding follow each other.
        for top in (0..rows).step_by(merge) {
            for left in (0..columns).step_by(merge) {
                for row in top..top + merge {
                    for column in left..left + merge {
                        self.patch(&picture, column * patch, row * patch, &mut values);
                    }
                }
            }
        }
        Ok(Seen {
            pixels: shaped(&[rows * columns, self.patch_values()], values)?,
            layout: Layout::Grid([1, rows, columns]),
        })
    }

    /// A patch: of R, G and B each its pixels, once for each picture that it spans, which are all the same.
    fn patch(&self, picture: &Picture, left: usize, top: usize, values: &mut Vec<f32>) {
        let side = self.sizes.patch;
        for (channel, table) in self.normalised.iter().enumerate() {
            let from = values.len();
            for y in top..top + side {
                let row = (y * picture.width + left) * 3;
                let samples = picture.rgb[row..row + side * 3].iter();
                let samples = samples.skip(channel).step_by(3);
                values.extend(samples.map(|&sample| table[usize::from(sample)]));
            }
            let one = values.len() - from;
            for _ in 1..self.sizes.temporal {
                values.extend_from_within(from..from + one);
            }
        }
    }

    /// The nearest size in whole embeddings, in the range of pixels.
    fn fitted(&self, width: usize, height: usize) -> Result<(usize, usize)> {
        let (longer, shorter) = (width.max(height) as f64, width.min(height) as f64);
        if longer / shorter > MOST_ASPECT {
            return Err(Error::Frame(format!(
                "{width}x{height}: a side is more than {MOST_ASPECT} times as long as the other"
            )));
        }
        let unit = (self.sizes.patch * self.sizes.merge) as f64;
        let (least, most) = (
            self.sizes.least_pixels as f64,
            self.sizes.most_pixels as f64,
        );
        let sides = [width as f64, height as f64];
        let pixels = sides[0] * sides[1];
        let near = sides.map(|side| (side / unit).round_ties_even() * unit);
        let fitted = if near[0] * near[1] > most {
            let shrink = (pixels / most).sqrt();
            sides.map(|side| ((side / shrink / unit).floor() * unit).max(unit))
        } else if near[0] * near[1] < least {
            let grow = (least / pixels).sqrt();
            sides.map(|side| (side * grow / unit).ceil() * unit)
        } else {
            near
        };
        Ok((fitted[0] as usize, fitted[1] as usize))
    }

    /// The place of each of `ids` in time, row and column, and what the next text begins at.
    ///
    /// In text the three go on together. The embeddings of a picture have their own place in it, after the text before.
    pub(crate) fn positions(
        &self,
        ids: &[u32],
        image_token: u32,
        grids: &[[usize; 3]],
    ) -> (Vec<[i64; 3]>, i64) {
        let merge = self.sizes.merge;
        let (mut positions, mut next, mut grids) = (Vec::with_capacity(ids.len()), 0, grids.iter());
        while let Some(&id) = ids.get(positions.len()) {
            let grid = (id == image_token).then(|| grids.next()).flatten();
            let Some(&[time, rows, columns]) = grid else {
                positions.push([next; 3]);
                next += 1;
                continue;
            };
            let (rows, columns) = (rows / merge, columns / merge);
            for at in 0..time * rows * columns {
                let (frame, row, column) =
                    (at / (rows * columns), at / columns % rows, at % columns);
                positions.push([frame, row, column].map(|place| next + place as i64));
            }
            next += time.max(rows).max(columns) as i64;
        }
        (positions, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patcher() -> Patcher {
        Patcher {
            sizes: PatchSizes {
                patch: 14,
                temporal: 2,
                merge: 2,
                least_pixels: 56 * 56,
                most_pixels: 28 * 28 * 1280,
            },
            filter: Filter::Bicubic,
            normalised: std::array::from_fn(|_| vec![0.0; 256]),
        }
    }

    #[test]
    fn sizes_are_whole_embeddings_within_the_range() {
        let fitted = |width, height| patcher().fitted(width, height).unwrap();
        assert_eq!(fitted(640, 480), (644, 476));
        assert_eq!(fitted(4000, 3000), (1148, 840));
        assert_eq!(fitted(10, 10), (56, 56));
        // 70 is 2.5 units: to the even one.
        assert_eq!(fitted(70, 700), (56, 700));
        let error = patcher().fitted(1, 201).unwrap_err().to_string();
        assert!(error.contains("200 times"), "{error}");
    }

    #[test]
    fn pictures_have_places_of_their_own() {
        let (positions, next) = patcher().positions(&[5, 9, 9, 9, 9, 9, 9, 6], 9, &[[1, 4, 6]]);
        let expected = [
            [0, 0, 0],
            [1, 1, 1],
            [1, 1, 2],
            [1, 1, 3],
            [1, 2, 1],
            [1, 2, 2],
            [1, 2, 3],
            [4, 4, 4],
        ];
        assert_eq!((&positions[..], next), (&expected[..], 5));
    }
}
