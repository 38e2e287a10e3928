//! From a frame to what a vision encoder reads of it.

use ndarray::{ArrayD, IxDyn};

use super::resample::Picture;
use crate::frame::{Format, Frame};
use crate::{Error, Result};

/// A picture as the vision encoder reads it, and where its embeddings go.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Idefics3: [tiles, 3, side, side]; Qwen2-VL: [patches, channels x temporal x patch x patch].
    pub pixels: ArrayD<f32>,
    /// How they lie.
    pub layout: Layout,
}

/// How tiles or patches of a picture lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Tiles row after row, and then the whole picture in one; 0 x 0 if that is all.
    Tiles {
        /// Rows of tiles.
        rows: usize,
        /// Columns of tiles.
        columns: usize,
    },
    /// Patches: time, rows and columns, in blocks of those that make one embedding.
    Grid([usize; 3]),
}

/// The pixels of a frame that has R, G and B.
///
/// # Errors
/// [`Error::Frame`] if it has luma and chroma.
pub(crate) fn rgb(frame: &Frame<'_>) -> Result<Picture> {
    let (size, order) = match frame.format() {
        Format::Rgb => (3, [0, 1, 2]),
        Format::Bgr => (3, [2, 1, 0]),
        Format::Rgba => (4, [0, 1, 2]),
        Format::Bgra => (4, [2, 1, 0]),
        Format::Gray8 => (1, [0, 0, 0]),
        format @ (Format::I420 | Format::Nv12 | Format::Yuy2) => {
            return Err(Error::Frame(format!(
                "{format:?} is not read by this model: convert it to RGB"
            )));
        }
    };
    let plane = frame.plane(0);
    let (width, height) = (plane.width as usize, plane.height as usize);
    let rows = plane.data.chunks(plane.stride).take(height);
    let pixels = rows.flat_map(|row| row[..width * size].chunks_exact(size));
    Ok(Picture {
        width,
        height,
        rgb: pixels.flat_map(|pixel| order.map(|at| pixel[at])).collect(),
    })
}

/// An array of a shape that its values fill.
pub(crate) fn shaped(shape: &[usize], values: Vec<f32>) -> Result<ArrayD<f32>> {
    ArrayD::from_shape_vec(IxDyn(shape), values).map_err(|error| Error::Frame(error.to_string()))
}
