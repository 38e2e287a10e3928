//! GStreamer video frames as `mllm` and `mas` read them.

use gst_video::prelude::*;
use mas::luma;
use mllm::frame::{Colour, Format, Matrix, Plane, Range};
use ndarray::Array2;

/// The formats that the probe reads.
pub(super) const FORMATS: [gst_video::VideoFormat; 7] = [
    gst_video::VideoFormat::I420,
    gst_video::VideoFormat::Nv12,
    gst_video::VideoFormat::Gray8,
    gst_video::VideoFormat::Rgb,
    gst_video::VideoFormat::Bgr,
    gst_video::VideoFormat::Rgba,
    gst_video::VideoFormat::Rgbx,
];

type VideoFrame<'a> = gst_video::VideoFrameRef<&'a gst::BufferRef>;

/// Why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("cannot map the video frame: its {size} bytes do not hold {info}")]
    Map { size: usize, info: String },
    #[error("no support for video format {0}")]
    Format(gst_video::VideoFormat),
    #[error("plane {plane}: {problem}")]
    Plane { plane: u32, problem: String },
    #[error(transparent)]
    Frame(#[from] mllm::Error),
    #[error(transparent)]
    Luma(#[from] mas::Error),
}

/// Maps a buffer as a video frame.
pub(super) fn map<'a>(
    buffer: &'a gst::BufferRef,
    info: &gst_video::VideoInfo,
) -> Result<VideoFrame<'a>, Unreadable> {
    VideoFrame::from_buffer_ref_readable(buffer, info).map_err(|_| Unreadable::Map {
        size: buffer.size(),
        info: format!("{} {}x{}", info.format(), info.width(), info.height()),
    })
}

fn plane<'a>(frame: &'a VideoFrame<'_>, index: u32) -> Result<Plane<'a>, Unreadable> {
    let wrong = |problem: String| Unreadable::Plane {
        plane: index,
        problem,
    };
    let data = frame
        .plane_data(index)
        .map_err(|error| wrong(error.to_string()))?;
    let stride = frame
        .plane_stride()
        .get(index as usize)
        .copied()
        .unwrap_or_default();
    let stride = usize::try_from(stride).map_err(|_| wrong(format!("stride {stride}")))?;
    Ok(Plane { data, stride })
}

/// The frame as the probe reads it.
pub(super) fn for_probe<'a>(frame: &'a VideoFrame<'_>) -> Result<mllm::Frame<'a>, Unreadable> {
    use gst_video::VideoFormat;
    let format = match frame.format() {
        VideoFormat::I420 => Format::I420,
        VideoFormat::Nv12 => Format::Nv12,
        VideoFormat::Gray8 => Format::Gray8,
        VideoFormat::Rgb => Format::Rgb,
        VideoFormat::Bgr => Format::Bgr,
        VideoFormat::Rgba | VideoFormat::Rgbx => Format::Rgba,
        other => return Err(Unreadable::Format(other)),
    };
    let planes = (0..format.planes() as u32)
        .map(|index| plane(frame, index))
        .collect::<Result<Vec<_>, _>>()?;
    let colorimetry = frame.info().colorimetry();
    let colour = Colour {
        matrix: match colorimetry.matrix() {
            gst_video::VideoColorMatrix::Bt709 => Matrix::Bt709,
            _ => Matrix::Bt601,
        },
        range: match colorimetry.range() {
            gst_video::VideoColorRange::Range0_255 => Range::Full,
            _ => Range::Limited,
        },
    };
    Ok(mllm::Frame::new(
        format,
        frame.width(),
        frame.height(),
        &planes,
        colour,
    )?)
}

/// Block means of the frame's luma. For packed RGB the luma is (2 R + 5 G + B) / 8,
/// computed into `scratch`.
pub(super) fn luma_grid(
    frame: &VideoFrame<'_>,
    scratch: &mut Vec<u8>,
) -> Result<Array2<f32>, Unreadable> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let first = plane(frame, 0)?;
    if !frame.info().is_rgb() {
        let luma = luma::Plane::new(first.data, width, height, first.stride)?;
        return Ok(luma.block_means());
    }
    let bytes = usize::try_from(frame.comp_pstride(0)).unwrap_or(0);
    let offset = |component| frame.comp_poffset(component) as usize;
    let (red, green, blue) = (offset(0), offset(1), offset(2));
    scratch.clear();
    for row in first.data.chunks(first.stride.max(1)).take(height) {
        let pixels = row.chunks_exact(bytes.max(1)).take(width);
        scratch.extend(pixels.map(|pixel| {
            let at = |offset: usize| pixel.get(offset).copied().map_or(0, u16::from);
            ((2 * at(red) + 5 * at(green) + at(blue)) / 8) as u8
        }));
    }
    Ok(luma::Plane::new(scratch, width, height, width)?.block_means())
}
