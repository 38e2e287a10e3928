//! Idefics3, and so SmolVLM: a picture is cut into square tiles, and then read once more as a whole.

use std::path::Path;

use super::config::{Pixels, TileSizes};
use super::picture::{Layout, Seen, shaped};
use super::resample::{Filter, Picture};
use crate::Result;

const FAKE: &str = "<fake_token_around_image>";
const GLOBAL: &str = "<global-img>";

/// Turns pictures into tiles.
#[derive(Debug)]
pub(crate) struct Tiler {
    sizes: TileSizes,
    splits: bool,
    filter: Filter,
    normalised: [Vec<f32>; 3],
}

impl Tiler {
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let pixels = Pixels::load(folder)?;
        Ok(Self {
            sizes: pixels.tiles(folder)?,
            splits: pixels.do_image_splitting,
            filter: pixels.filter(Filter::Lanczos),
            normalised: pixels.normalised(),
        })
    }

    /// Side of a tile.
    pub(crate) fn side(&self) -> usize {
        self.sizes.tile
    }

    /// Embeddings of all tiles of a picture.
    pub(crate) fn tokens(&self, rows: usize, columns: usize) -> usize {
        (rows * columns + 1) * self.sizes.tokens
    }

    pub(crate) fn see(&self, picture: &Picture) -> Result<Seen> {
        let (tile, filter) = (self.sizes.tile, self.filter);
        let (width, height) = fitted(picture.width, picture.height, self.sizes.longest);
        let whole = picture.resized(width, height, filter)?;
        let (mut tiles, mut rows, mut columns) = (Vec::new(), 0, 0);
        let whole = if self.splits {
            let (width, height) = in_tiles(width, height, tile);
            let whole = whole.resized(width, height, filter)?;
            if width > tile || height > tile {
                (rows, columns) = (height / tile, width / tile);
                tiles.extend((0..rows).flat_map(|y| {
                    let whole = &whole;
                    (0..columns).map(move |x| whole.cropped(x * tile, y * tile, tile, tile))
                }));
            }
            whole
        } else {
            whole
        };
        tiles.push(whole.resized(tile, tile, filter)?);

        let mut values = Vec::with_capacity(tiles.len() * 3 * tile * tile);
        for one in &tiles {
            for (channel, table) in self.normalised.iter().enumerate() {
                let samples = one.rgb.iter().skip(channel).step_by(3);
                values.extend(samples.map(|&sample| table[usize::from(sample)]));
            }
        }
        Ok(Seen {
            pixels: shaped(&[tiles.len(), 3, tile, tile], values)?,
            layout: Layout::Tiles { rows, columns },
        })
    }

    /// What stands for a picture in the text: `image` for each embedding, with where each tile lies.
    pub(crate) fn text(&self, rows: usize, columns: usize, image: &str) -> String {
        let images = image.repeat(self.sizes.tokens);
        let mut text = String::new();
        for row in 1..=rows {
            for column in 1..=columns {
                text += &format!("{FAKE}<row_{row}_col_{column}>{images}");
            }
            text.push('\n');
        }
        if rows > 0 {
            text.push('\n');
        }
        text + &format!("{FAKE}{GLOBAL}{images}{FAKE}")
    }
}

/// The longer side becomes `longest`, the other one in proportion and even.
fn fitted(width: usize, height: usize, longest: usize) -> (usize, usize) {
    let aspect = width as f64 / height as f64;
    let even = |side: f64| (side as usize).next_multiple_of(2).max(1);
    if width >= height {
        (longest, even(longest as f64 / aspect))
    } else {
        (even(longest as f64 * aspect), longest)
    }
}

/// The size in whole tiles: the longer side first, the other in proportion to it.
fn in_tiles(width: usize, height: usize, tile: usize) -> (usize, usize) {
    let aspect = width as f64 / height as f64;
    let whole = |side: usize| side.next_multiple_of(tile).max(tile);
    if width >= height {
        let width = whole(width);
        (width, whole((width as f64 / aspect) as usize))
    } else {
        let height = whole(height);
        (whole((height as f64 * aspect) as usize), height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_tiles() {
        assert_eq!(fitted(1920, 1080, 2048), (2048, 1152));
        assert_eq!(in_tiles(2048, 1152, 512), (2048, 1536));
        assert_eq!(fitted(10, 4000, 2048), (6, 2048));
        assert_eq!(in_tiles(6, 2048, 512), (512, 2048));
        // Very flat: 0 rows, and so as few as there can be.
        assert_eq!(fitted(4000, 1, 2048), (2048, 1));
        assert_eq!(in_tiles(2048, 1, 512), (2048, 512));
    }
}
