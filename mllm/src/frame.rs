//! A video frame in memory, as planes with strides.

use crate::{Error, Result};

/// Layout of a frame's pixels, 8 bits a sample, named as GStreamer names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Three planes: Y, then U and V at half the size each way, rounded up.
    I420,
    /// Two planes: Y, then U and V interleaved at half the size each way, rounded up.
    Nv12,
    /// One plane: two pixels as Y, U, Y, V, chroma at half the width, rounded up.
    Yuy2,
    /// One plane of luma.
    Gray8,
    /// One plane: R, G, B.
    Rgb,
    /// One plane: B, G, R.
    Bgr,
    /// One plane: R, G, B and alpha or nothing, which is ignored.
    Rgba,
    /// One plane: B, G, R and alpha or nothing, which is ignored.
    Bgra,
}

impl Format {
    /// How many planes it has.
    pub fn planes(self) -> usize {
        match self {
            Self::I420 => 3,
            Self::Nv12 => 2,
            Self::Yuy2 | Self::Gray8 | Self::Rgb | Self::Bgr | Self::Rgba | Self::Bgra => 1,
        }
    }

    /// Width and height in samples (of YUY2: pairs of pixels), and bytes a sample, of plane `index` of a `width` x `height` frame.
    pub(crate) fn plane(self, index: usize, width: u32, height: u32) -> (u32, u32, usize) {
        let half = (width.div_ceil(2), height.div_ceil(2));
        match (self, index) {
            (Self::I420, 1..) => (half.0, half.1, 1),
            (Self::Nv12, 1..) => (half.0, half.1, 2),
            (Self::I420 | Self::Nv12 | Self::Gray8, _) => (width, height, 1),
            (Self::Yuy2, _) => (half.0, height, 4),
            (Self::Rgb | Self::Bgr, _) => (width, height, 3),
            (Self::Rgba | Self::Bgra, _) => (width, height, 4),
        }
    }
}

/// The weights of R, G and B in luma.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Matrix {
    /// ITU-R BT.601: standard definition, and JPEG.
    #[default]
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
}

/// What the sample values of luma and chroma span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Range {
    /// Y 16 to 235, chroma 16 to 240.
    #[default]
    Limited,
    /// 0 to 255.
    Full,
}

/// How luma and chroma relate to R, G and B. The RGB formats don't use it; [`Format::Gray8`] only the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Colour {
    /// The matrix.
    pub matrix: Matrix,
    /// The range.
    pub range: Range,
}

/// One plane of a frame.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plane<'a> {
    /// The samples, row after row.
    pub data: &'a [u8],
    /// Bytes from the start of a row to the start of the next: at least a row's samples.
    pub stride: usize,
}

/// A plane with its size, checked to hold it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SizedPlane<'a> {
    pub data: &'a [u8],
    pub stride: usize,
    pub width: u32,
    pub height: u32,
}

/// A video frame of any size, borrowed from its buffer.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    format: Format,
    width: u32,
    height: u32,
    planes: [Plane<'a>; 3],
    colour: Colour,
}

impl<'a> Frame<'a> {
    /// A `width` x `height` frame over `planes`, of which there must be [`Format::planes`].
    ///
    /// # Errors
    /// [`Error::Frame`] if the frame is empty, or a plane is missing, or its stride or data are too short.
    pub fn new(
        format: Format,
        width: u32,
        height: u32,
        planes: &[Plane<'a>],
        colour: Colour,
    ) -> Result<Self> {
        let size = || format!("{format:?} {width}x{height}");
        if width == 0 || height == 0 {
            return Err(Error::Frame(format!("{} is empty", size())));
        }
        if planes.len() != format.planes() {
            let (has, needs) = (planes.len(), format.planes());
            return Err(Error::Frame(format!(
                "{} has {has} planes, needs {needs}",
                size()
            )));
        }
        let mut held = [Plane::default(); 3];
        for (index, plane) in planes.iter().enumerate() {
            let (columns, rows, sample) = format.plane(index, width, height);
            let row = columns as usize * sample;
            if plane.stride < row {
                let stride = plane.stride;
                return Err(Error::Frame(format!(
                    "plane {index} of {} has stride {stride}, needs {row}",
                    size()
                )));
            }
            let needs = (plane.stride)
                .checked_mul(rows as usize - 1)
                .and_then(|n| n.checked_add(row));
            if needs.is_none_or(|needs| plane.data.len() < needs) {
                let has = plane.data.len();
                return Err(Error::Frame(format!(
                    "plane {index} of {} has {has} bytes, too few for {rows} rows of stride {}",
                    size(),
                    plane.stride
                )));
            }
            held[index] = *plane;
        }
        Ok(Self {
            format,
            width,
            height,
            planes: held,
            colour,
        })
    }

    /// An RGB frame without padding, such as a decoded picture.
    ///
    /// # Errors
    /// [`Error::Frame`] if it is empty or `data` holds fewer than `width * height * 3` bytes.
    pub fn rgb(width: u32, height: u32, data: &'a [u8]) -> Result<Self> {
        let stride = width as usize * 3;
        Self::new(
            Format::Rgb,
            width,
            height,
            &[Plane { data, stride }],
            Colour::default(),
        )
    }

    /// A frame in I420 without padding, as raw video files hold it: BT.601, limited range; both sides even.
    ///
    /// # Errors
    /// [`Error::Frame`] if it is empty or `data` holds fewer than `width * height * 3 / 2` bytes.
    pub fn i420(width: u32, height: u32, data: &'a [u8]) -> Result<Self> {
        let (stride, luma) = (width as usize, width as usize * height as usize);
        let plane = |from: usize, stride| Plane {
            data: data.get(from..).unwrap_or_default(),
            stride,
        };
        let planes = [
            plane(0, stride),
            plane(luma, stride / 2),
            plane(luma + luma / 4, stride / 2),
        ];
        Self::new(Format::I420, width, height, &planes, Colour::default())
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Its height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// How its luma and chroma relate to R, G and B.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    pub(crate) fn plane(&self, index: usize) -> SizedPlane<'a> {
        let (width, height, _) = self.format.plane(index, self.width, self.height);
        SizedPlane {
            data: self.planes[index].data,
            stride: self.planes[index].stride,
            width,
            height,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<Frame<'_>>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_frame_holds_its_picture() {
        let data = [0; 64];
        let plane = |len: usize, stride| Plane {
            data: &data[..len],
            stride,
        };
        let colour = Colour::default();
        let new = |planes: &[Plane<'static>]| {
            // 3 x 3: chroma is 2 x 2.
            Frame::new(Format::I420, 3, 3, planes, colour).map(|_| ())
        };
        let leak = |p: Plane<'_>| Plane {
            data: Box::leak(p.data.to_vec().into_boxed_slice()),
            stride: p.stride,
        };
        let (y, uv) = (leak(plane(11, 4)), leak(plane(6, 4)));
        new(&[y, uv, uv]).unwrap();
        for (planes, word) in [
            (vec![y, uv], "2 planes"),
            (vec![leak(plane(10, 4)), uv, uv], "10 bytes"),
            (vec![leak(plane(64, 2)), uv, uv], "stride 2"),
            (vec![y, uv, leak(plane(5, 4))], "plane 2"),
        ] {
            let error = new(&planes).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("3x3"), "{error}");
        }
        let error = message(Frame::new(Format::Gray8, 0, 3, &[plane(64, 4)], colour));
        assert!(error.contains("empty"), "{error}");
        let huge = plane(64, usize::MAX);
        let error = message(Frame::new(Format::Gray8, 3, 3, &[huge], colour));
        assert!(error.contains("too few"), "{error}");
    }
}
