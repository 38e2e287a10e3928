//! GStreamer video frames as `mllm` and `mas` read them.

use gst_video::prelude::*;
use mas::luma;
use mllm::frame::{Colour, Format, Matrix, Plane, Range};
use ndarray::Array2;

/// The formats that the probe reads.
const FORMATS: [gst_video::VideoFormat; 10] = [
    gst_video::VideoFormat::I420,
    gst_video::VideoFormat::Nv12,
    gst_video::VideoFormat::Yuy2,
    gst_video::VideoFormat::Gray8,
    gst_video::VideoFormat::Rgb,
    gst_video::VideoFormat::Bgr,
    gst_video::VideoFormat::Rgba,
    gst_video::VideoFormat::Rgbx,
    gst_video::VideoFormat::Bgra,
    gst_video::VideoFormat::Bgrx,
];

/// Frames in memory that can be read.
pub(super) fn readable_caps() -> gst::Caps {
    gst_video::VideoCapsBuilder::new()
        .format_list(FORMATS)
        .build()
}

/// All that may be linked: what cannot be read is refused with an error that names the mend.
pub(super) fn any_caps() -> gst::Caps {
    let mut caps = readable_caps();
    let any = gst_video::VideoCapsBuilder::new().any_features().build();
    caps.merge(any);
    caps
}

/// Why frames of these caps are not measured, and the mend.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("caps {caps}: {error}")]
    Caps {
        caps: gst::Caps,
        error: gst::glib::BoolError,
    },
    #[error("frames in {memory} cannot be read: put {} before msaovideomas", converter(.memory))]
    Memory { memory: String },
    #[error("interlaced video ({0}) is not measured: put `deinterlace` before msaovideomas")]
    Interlaced(String),
    #[error("no support for video format {0}: put `videoconvert` before msaovideomas")]
    Format(gst_video::VideoFormat),
}

/// What brings frames from a kind of memory to where they can be read.
fn converter(memory: &str) -> &'static str {
    match memory {
        "memory:DMABuf" | "memory:VAMemory" | "memory:VASurface" => "`vapostproc ! video/x-raw`",
        "memory:GLMemory" => "`gldownload`",
        "memory:CUDAMemory" => "`cudadownload`",
        "memory:NVMM" => "`nvvideoconvert ! video/x-raw` (or `nvvidconv`)",
        "memory:D3D11Memory" => "`d3d11download`",
        "memory:VulkanImage" => "`vulkandownload`",
        _ => "an element that downloads them to system memory",
    }
}

/// The format of progressive frames in readable memory.
pub(super) fn info(caps: &gst::Caps) -> Result<gst_video::VideoInfo, Refused> {
    let features = caps.features(0).into_iter().flat_map(|all| all.iter());
    for feature in features.map(|feature| feature.to_string()) {
        if feature.starts_with("memory:") && feature != "memory:SystemMemory" {
            return Err(Refused::Memory { memory: feature });
        }
        if feature == "format:Interlaced" {
            return Err(Refused::Interlaced(feature));
        }
    }
    let info = gst_video::VideoInfo::from_caps(caps).map_err(|error| Refused::Caps {
        caps: caps.clone(),
        error,
    })?;
    if info.is_interlaced() {
        let mode = info.interlace_mode().to_str();
        return Err(Refused::Interlaced(format!("interlace-mode={mode}")));
    }
    if !FORMATS.contains(&info.format()) {
        return Err(Refused::Format(info.format()));
    }
    Ok(info)
}

type VideoFrame<'a> = gst_video::VideoFrameRef<&'a gst::BufferRef>;

/// Why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("cannot map the video frame: its {size} bytes do not hold {info}")]
    Map { size: usize, info: String },
    #[error(
        "frames in memory `{memory}` cannot be mapped: put {} before msaovideomas",
        converter("memory:DMABuf")
    )]
    Memory { memory: String },
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
    VideoFrame::from_buffer_ref_readable(buffer, info).map_err(|_| match buffer.map_readable() {
        Ok(_) => Unreadable::Map {
            size: buffer.size(),
            info: format!("{} {}x{}", info.format(), info.width(), info.height()),
        },
        Err(_) => Unreadable::Memory {
            memory: memory_type(buffer),
        },
    })
}

fn memory_type(buffer: &gst::BufferRef) -> String {
    let memory = (buffer.n_memory() > 0).then(|| buffer.peek_memory(0));
    let allocator = memory.and_then(|memory| memory.allocator());
    allocator.map_or_else(String::new, |allocator| allocator.memory_type().to_string())
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
        VideoFormat::Yuy2 => Format::Yuy2,
        VideoFormat::Gray8 => Format::Gray8,
        VideoFormat::Rgb => Format::Rgb,
        VideoFormat::Bgr => Format::Bgr,
        VideoFormat::Rgba | VideoFormat::Rgbx => Format::Rgba,
        VideoFormat::Bgra | VideoFormat::Bgrx => Format::Bgra,
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

/// Block means of the frame's luma. For packed RGB the luma is (2 R + 5 G + B) / 8. Where luma is not a plane of its own
/// it is gathered in `scratch`.
pub(super) fn luma_grid(
    frame: &VideoFrame<'_>,
    scratch: &mut Vec<u8>,
) -> Result<Array2<f32>, Unreadable> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let first = plane(frame, 0)?;
    let bytes = usize::try_from(frame.comp_pstride(0)).unwrap_or(0);
    if !frame.info().is_rgb() && bytes == 1 {
        let luma = luma::Plane::new(first.data, width, height, first.stride)?;
        return Ok(luma.block_means());
    }
    let offset = |component| frame.comp_poffset(component) as usize;
    scratch.clear();
    let rows = first.data.chunks(first.stride.max(1)).take(height);
    if frame.info().is_rgb() {
        let (red, green, blue) = (offset(0), offset(1), offset(2));
        for row in rows {
            let pixels = row.chunks_exact(bytes.max(1)).take(width);
            scratch.extend(pixels.map(|pixel| {
                let at = |offset: usize| pixel.get(offset).copied().map_or(0, u16::from);
                ((2 * at(red) + 5 * at(green) + at(blue)) / 8) as u8
            }));
        }
    } else {
        for row in rows {
            let samples = row.iter().skip(offset(0)).step_by(bytes.max(1));
            scratch.extend(samples.take(width));
        }
    }
    Ok(luma::Plane::new(scratch, width, height, width)?.block_means())
}
