//! From a video frame to the network's picture: resized, in RGB, normalised.
//!
//! Planes are resized first, at one byte a sample, and only then converted and normalised: resizing is linear, so the
//! order changes nothing but the cost. The filter is Pillow's bilinear: a triangle that widens with the scale, so
//! shrinking does not alias. Chroma planes are taken to cover the picture as luma does.

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x2, U8x3, U8x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use crate::config::{PreprocessorConfig, Size};
use crate::frame::{Colour, Format, Frame, Matrix, Range, SizedPlane};
use crate::{Error, Result};

/// Turns frames into normalised pictures, keeping its working memory between them.
#[derive(Debug)]
pub struct Preprocessor {
    size: Size,
    /// For R, G and B: output = scale * value in 0..255 + offset.
    normalise: [(f32, f32); 3],
    resizer: Resizer,
    /// Rows without padding, for strides that are no whole number of pixels.
    packed: Vec<u8>,
    /// Luma, and interleaved chroma, of a format that mixes them.
    split: [Vec<u8>; 2],
    /// Resized planes, at most four bytes a pixel.
    resized: Vec<u8>,
}

impl Preprocessor {
    /// A preprocessor that does what `config` says.
    pub fn new(config: &PreprocessorConfig) -> Self {
        let normalise = std::array::from_fn(|channel| {
            let (mean, std) = (config.image_mean[channel], config.image_std[channel]);
            (config.rescale_factor / std, -mean / std)
        });
        Self {
            size: config.size,
            normalise,
            resizer: Resizer::new(),
            packed: Vec::new(),
            split: Default::default(),
            resized: vec![0; config.size.width as usize * config.size.height as usize * 4],
        }
    }

    /// Size of the pictures it makes.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Writes `frame` into `pixels`, which has 3 x height x width elements: R, G and B planes, normalised.
    ///
    /// # Errors
    /// [`Error::Frame`] if the resizer refuses the frame's size.
    ///
    /// # Panics
    /// If `pixels` is of another length.
    pub fn run(&mut self, frame: &Frame<'_>, pixels: &mut [f32]) -> Result<()> {
        let area = self.size.width as usize * self.size.height as usize;
        assert_eq!(pixels.len(), 3 * area, "pixels must be 3 x height x width");
        match frame.format() {
            Format::I420 => {
                self.resize::<U8>(frame.plane(0), 0)?;
                self.resize::<U8>(frame.plane(1), area)?;
                self.resize::<U8>(frame.plane(2), 2 * area)?;
            }
            Format::Nv12 => {
                self.resize::<U8>(frame.plane(0), 0)?;
                self.resize::<U8x2>(frame.plane(1), area)?;
            }
            Format::Yuy2 => {
                let split = std::mem::take(&mut self.split);
                self.split = self.resize_pairs(frame, split)?;
            }
            Format::Gray8 => self.resize::<U8>(frame.plane(0), 0)?,
            Format::Rgb | Format::Bgr => self.resize::<U8x3>(frame.plane(0), 0)?,
            Format::Rgba | Format::Bgra => self.resize::<U8x4>(frame.plane(0), 0)?,
        }

        let (red, rest) = pixels.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        let out = [red, green, blue];
        let (first, rest) = self.resized.split_at(area);
        let colour = frame.colour();
        match frame.format() {
            Format::I420 => {
                let (u, v) = rest.split_at(area);
                let samples = first.iter().zip(u).zip(v).map(|((&y, &u), &v)| (y, u, v));
                convert(samples, colour, self.normalise, out);
            }
            Format::Nv12 | Format::Yuy2 => {
                let chroma = rest.chunks_exact(2);
                let samples = first.iter().zip(chroma).map(|(&y, c)| (y, c[0], c[1]));
                convert(samples, colour, self.normalise, out);
            }
            Format::Gray8 => {
                convert(
                    first.iter().map(|&y| (y, 128, 128)),
                    colour,
                    self.normalise,
                    out,
                );
            }
            Format::Rgb => pack(&self.resized, 3, [0, 1, 2], self.normalise, out),
            Format::Bgr => pack(&self.resized, 3, [2, 1, 0], self.normalise, out),
            Format::Rgba => pack(&self.resized, 4, [0, 1, 2], self.normalise, out),
            Format::Bgra => pack(&self.resized, 4, [2, 1, 0], self.normalise, out),
        }
        Ok(())
    }

    /// Resizes pairs of pixels, Y U Y V, as a plane of luma and one of chroma; `split` holds them meanwhile.
    fn resize_pairs(&mut self, frame: &Frame<'_>, split: [Vec<u8>; 2]) -> Result<[Vec<u8>; 2]> {
        let pairs = frame.plane(0);
        let [mut luma, mut chroma] = split;
        luma.clear();
        chroma.clear();
        for row in pairs.data.chunks(pairs.stride).take(pairs.height as usize) {
            let (row, _) = row[..pairs.width as usize * 4].as_chunks::<4>();
            luma.extend(row.iter().flat_map(|[y0, _, y1, _]| [*y0, *y1]));
            chroma.extend(row.iter().flat_map(|[_, u, _, v]| [*u, *v]));
        }
        let plane = |data, width, stride| SizedPlane {
            data,
            stride,
            width,
            height: pairs.height,
        };
        let pixels = 2 * pairs.width as usize;
        let area = self.size.width as usize * self.size.height as usize;
        self.resize::<U8>(plane(&luma, frame.width(), pixels), 0)?;
        self.resize::<U8x2>(plane(&chroma, pairs.width, pixels), area)?;
        Ok([luma, chroma])
    }

    /// Resizes a plane of pixels `P` into `self.resized`, from byte `at`.
    fn resize<P: PixelTrait>(&mut self, plane: SizedPlane<'_>, at: usize) -> Result<()> {
        let sample = size_of::<P>();
        let (width, height) = (plane.width, plane.height);
        let whole_rows = plane.stride.saturating_mul(height as usize);
        let view = if plane.stride.is_multiple_of(sample) && plane.data.len() >= whole_rows {
            let stride = u32::try_from(plane.stride / sample).map_err(refused)?;
            TypedImageRef::<P>::from_buffer(stride, height, &plane.data[..whole_rows])
        } else {
            self.packed.clear();
            for row in plane.data.chunks(plane.stride).take(height as usize) {
                self.packed
                    .extend_from_slice(&row[..width as usize * sample]);
            }
            TypedImageRef::<P>::from_buffer(width, height, &self.packed)
        }
        .map_err(refused)?;
        // Cropped as a view, not by the resizer's own option: that one lets padding bleed into the last columns.
        let view = TypedCroppedImage::from_ref(&view, 0, 0, width, height).map_err(refused)?;

        let Size {
            width: to_width,
            height: to_height,
        } = self.size;
        let bytes = to_width as usize * to_height as usize * sample;
        let buffer = &mut self.resized[at..at + bytes];
        let mut out = TypedImage::<P>::from_buffer(to_width, to_height, buffer).map_err(refused)?;
        // With alpha off: the resizer would take the second of two channels for one.
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .use_alpha(false);
        self.resizer
            .resize_typed(&view, &mut out, &options)
            .map_err(refused)
    }
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::Frame(format!("cannot be resized: {error}"))
}

/// Luma and chroma to normalised RGB.
///
/// R = Y + 2(1 − Kr)V, B = Y + 2(1 − Kb)U, G = (Y − Kr·R − Kb·B) / Kg with the matrix's Kr, Kb and Kg = 1 − Kr − Kb
/// (ITU-R BT.601 and BT.709), after stretching a limited range to 0..255; then clipped to 0..255.
fn convert(
    samples: impl Iterator<Item = (u8, u8, u8)>,
    colour: Colour,
    normalise: [(f32, f32); 3],
    out: [&mut [f32]; 3],
) {
    let (kr, kb) = match colour.matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
    };
    let kg = 1.0 - kr - kb;
    let (black, luma, chroma) = match colour.range {
        Range::Limited => (16.0, 255.0 / 219.0, 255.0 / 224.0),
        Range::Full => (0.0, 1.0, 1.0),
    };
    let (to_red, to_blue) = (2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma);
    let (green_u, green_v) = (-to_blue * kb / kg, -to_red * kr / kg);
    let [red, green, blue] = out;
    let out = red.iter_mut().zip(green).zip(blue);
    for ((y, u, v), ((r, g), b)) in samples.zip(out) {
        let y = (f32::from(y) - black) * luma;
        let (u, v) = (f32::from(u) - 128.0, f32::from(v) - 128.0);
        let value = [
            y + to_red * v,
            y + green_u * u + green_v * v,
            y + to_blue * u,
        ];
        *r = value[0].clamp(0.0, 255.0) * normalise[0].0 + normalise[0].1;
        *g = value[1].clamp(0.0, 255.0) * normalise[1].0 + normalise[1].1;
        *b = value[2].clamp(0.0, 255.0) * normalise[2].0 + normalise[2].1;
    }
}

/// Interleaved pixels of `size` bytes, with R, G and B at `order`, to normalised planes.
fn pack(
    interleaved: &[u8],
    size: usize,
    order: [usize; 3],
    normalise: [(f32, f32); 3],
    out: [&mut [f32]; 3],
) {
    for ((plane, at), (scale, offset)) in out.into_iter().zip(order).zip(normalise) {
        for (value, pixel) in plane.iter_mut().zip(interleaved.chunks_exact(size)) {
            *value = f32::from(pixel[at]) * scale + offset;
        }
    }
}

#[cfg(test)]
#[path = "preprocess_tests.rs"]
mod tests;
