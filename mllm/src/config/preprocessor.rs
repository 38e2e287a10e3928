//! How a picture becomes what the vision encoder takes.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{MOST_JSON, files, parse_checked, read};
use crate::Result;

/// `preprocessor_config.json` of a model folder, in Hugging Face's terms.
///
/// The whole frame is resized to `size` without keeping its aspect, values are scaled by `rescale_factor`, then
/// normalised by mean and standard deviation of each of R, G and B.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreprocessorConfig {
    /// Must be true.
    pub do_resize: bool,
    /// Size of the network's picture.
    pub size: Size,
    /// Filter, as Pillow numbers them; must be 2, bilinear (a triangle as wide as the scale when shrinking).
    pub resample: u32,
    /// Must be true.
    pub do_rescale: bool,
    /// Factor from 0..255 to the range of mean and deviation: 1/255.
    pub rescale_factor: f32,
    /// Must be true.
    pub do_normalize: bool,
    /// Mean of R, G and B.
    pub image_mean: [f32; 3],
    /// Standard deviation of R, G and B.
    pub image_std: [f32; 3],
}

/// A picture's size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

impl PreprocessorConfig {
    /// Reads and checks `preprocessor_config.json` in `folder`.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if it is missing, is not JSON, lacks a key, or asks for what this crate does not do.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(files::PREPROCESSOR);
        Self::parse(&path, &read(&path, MOST_JSON)?)
    }

    /// Checks the bytes of such a file; `path` is what errors call it.
    #[doc(hidden)]
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        parse_checked(path, bytes, Self::problem)
    }

    fn problem(&self) -> Option<&'static str> {
        let sizes = 1..=4096;
        if !(self.do_resize && self.do_rescale && self.do_normalize) {
            Some("do_resize, do_rescale and do_normalize must all be true")
        } else if self.resample != 2 {
            Some("resample must be 2 (bilinear)")
        } else if !(sizes.contains(&self.size.height) && sizes.contains(&self.size.width)) {
            Some("size must be 1 to 4096 each way")
        } else if !(self.rescale_factor > 0.0 && self.rescale_factor.is_finite()) {
            Some("rescale_factor must be above 0")
        } else if !self
            .image_std
            .iter()
            .all(|&std| std > 0.0 && std.is_finite())
        {
            Some("image_std must be above 0")
        } else if !self.image_mean.iter().all(|mean| mean.is_finite()) {
            Some("image_mean must be finite")
        } else {
            None
        }
    }
}
