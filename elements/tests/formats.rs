//! `msaovideomas`: the same picture measures the same however it lies in memory, and what cannot be read is refused with
//! the mend.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use gst::prelude::*;
use gst_allocators::prelude::*;
use gst_check::Harness;
use gst_video::prelude::*;
use gst_video::{VideoFormat, VideoFrameRef, VideoInfo, VideoMeta};
use gstmsao::meta::{MasMeta, Measured};

const FORMATS: [VideoFormat; 10] = [
    VideoFormat::I420,
    VideoFormat::Nv12,
    VideoFormat::Yuy2,
    VideoFormat::Gray8,
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Rgba,
    VideoFormat::Rgbx,
    VideoFormat::Bgra,
    VideoFormat::Bgrx,
];

/// Most that MAS of one picture differs between formats.
const TOLERANCE: f32 = 0.01;

fn info(format: VideoFormat, (width, height): (u32, u32)) -> VideoInfo {
    let info = VideoInfo::builder(format, width, height).fps((10, 1));
    info.build().unwrap()
}

fn timed_buffer(bytes: Vec<u8>, ms: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(bytes);
    let inner = buffer.get_mut().unwrap();
    inner.set_pts(gst::ClockTime::from_mseconds(ms));
    inner.set_duration(gst::ClockTime::from_mseconds(100));
    buffer
}

/// A soft scene, in colour or in grey, with a bright square at (`x`, 16).
fn scene(size: (u32, u32), x: u32, colour: bool) -> Vec<u8> {
    let info = info(VideoFormat::Rgb, size);
    let mut bytes = vec![0; info.size()];
    for (row, line) in bytes.chunks_mut(info.stride()[0] as usize).enumerate() {
        for column in 0..size.0 {
            let (fx, fy) = (column as f32 / size.0 as f32, row as f32 / size.1 as f32);
            let square = (x..x + 24).contains(&column) && (16..40).contains(&row);
            let wave = |phase: f32| 120.0 + 60.0 * (7.0 * fx + 5.0 * fy + phase).sin();
            let pixel = [0.0, 0.4, 0.8].map(|phase| match square {
                true => 230,
                false => wave(if colour { phase } else { 0.0 }) as u8,
            });
            line[3 * column as usize..][..3].copy_from_slice(&pixel);
        }
    }
    bytes
}

/// The scene in a format, without padding.
fn picture(format: VideoFormat, size: (u32, u32), x: u32, ms: u64) -> gst::Buffer {
    let (from, to) = (info(VideoFormat::Rgb, size), info(format, size));
    let rgb = timed_buffer(
        scene(size, x, format != VideoFormat::Gray8 && size.0 > 200),
        ms,
    );
    let mut converted = timed_buffer(vec![0; to.size()], ms);
    {
        let converter = gst_video::VideoConverter::new(&from, &to, None).unwrap();
        let source = VideoFrameRef::from_buffer_ref_readable(&rgb, &from).unwrap();
        let buffer = converted.get_mut().unwrap();
        let mut target = VideoFrameRef::from_buffer_ref_writable(buffer, &to).unwrap();
        converter.frame_ref(&source, &mut target);
    }
    converted
}

/// The same frame with other strides and offsets, and noise between the rows.
fn padded(buffer: &gst::Buffer, info: &VideoInfo) -> gst::Buffer {
    let frame = VideoFrameRef::from_buffer_ref_readable(buffer, info).unwrap();
    let (mut bytes, mut offsets, mut strides) = (vec![0xa5; 37], Vec::new(), Vec::new());
    for plane in 0..info.n_planes() {
        let stride = info.stride()[plane as usize] as usize;
        let rows = frame.plane_height(plane) as usize;
        offsets.push(bytes.len());
        strides.push(stride as i32 + 28);
        for row in frame.plane_data(plane).unwrap().chunks(stride).take(rows) {
            bytes.extend_from_slice(row);
            bytes.extend((0..28).map(|i| (i * 91) as u8));
        }
    }
    let mut out = timed_buffer(bytes, buffer.pts().unwrap().mseconds());
    VideoMeta::add_full(
        out.get_mut().unwrap(),
        gst_video::VideoFrameFlags::empty(),
        info.format(),
        info.width(),
        info.height(),
        &offsets,
        &strides,
    )
    .unwrap();
    out
}

fn measure(info: &VideoInfo, buffers: [gst::Buffer; 2]) -> [Arc<Measured>; 2] {
    let element = make_with_model("msaovideomas");
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps(info.to_caps().unwrap());
    buffers.map(|buffer| {
        let out = harness.push_and_pull(buffer).unwrap();
        let measured = MasMeta::of(&out).unwrap();
        if out.pts() == Some(gst::ClockTime::ZERO) {
            measured.mark_sent(0..49);
        }
        measured
    })
}

fn close(a: &Measured, b: &Measured, tolerance: f32, what: &str) {
    let (a_mas, b_mas) = (a.measurement.mas, b.measurement.mas);
    for (name, a, b) in [
        ("rho", a_mas.rho, b_mas.rho),
        ("gamma", a_mas.gamma, b_mas.gamma),
        ("MAS", a_mas.mas, b_mas.mas),
        ("T0", a.t0, b.t0),
    ] {
        println!("{what}: {name} {a} {b}");
        assert!((a - b).abs() <= tolerance, "{what}: {name} {a} and {b}");
    }
}

#[test]
fn one_picture_measures_the_same_in_every_format_size_and_layout() {
    init();
    // The second and third in grey, for GRAY8's sake; their sides are odd.
    for size in [(320, 240), (161, 121), (99, 67)] {
        let formats = FORMATS
            .into_iter()
            .filter(|format| *format != VideoFormat::Gray8 || size.0 < 200);
        let mut reference: Option<[Arc<Measured>; 2]> = None;
        for format in formats {
            let info = info(format, size);
            let pictures = || [(8, 0), (60, 100)].map(|(x, ms)| picture(format, size, x, ms));
            let tight = measure(&info, pictures());
            assert!(tight.iter().all(|one| one.probed), "{format}");
            let spread = measure(&info, pictures().map(|buffer| padded(&buffer, &info)));
            for (tight, spread) in tight.iter().zip(&spread) {
                close(tight, spread, 0.0, &format!("{format} {size:?} padded"));
            }
            let reference = reference.get_or_insert_with(|| tight.clone());
            for (one, other) in reference.iter().zip(&tight) {
                close(one, other, TOLERANCE, &format!("{format} {size:?}"));
            }
        }
    }
}

/// The error that caps get, and that nothing flows.
fn refusal(caps: &str) -> String {
    let element = make_with_model("msaovideomas");
    let bus = bus(&element);
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps_str(caps);
    let flow = harness.push(timed(0));
    assert_eq!(flow, Err(gst::FlowError::NotNegotiated), "{caps}");
    error_on(&bus)
}

#[test]
fn what_cannot_be_read_is_refused_with_the_element_to_insert() {
    init();
    let rest = "format=NV12,width=64,height=48,framerate=10/1";
    for (caps, words) in [
        (
            format!("video/x-raw(memory:DMABuf),{rest}"),
            ["memory:DMABuf", "vapostproc"],
        ),
        (
            format!("video/x-raw(memory:VAMemory),{rest}"),
            ["memory:VAMemory", "vapostproc"],
        ),
        (
            format!("video/x-raw(memory:GLMemory),{rest}"),
            ["memory:GLMemory", "gldownload"],
        ),
        (
            format!("video/x-raw(memory:CUDAMemory),{rest}"),
            ["memory:CUDAMemory", "cudadownload"],
        ),
        (
            format!("video/x-raw(memory:Strange),{rest}"),
            ["memory:Strange", "system memory"],
        ),
        (
            format!("video/x-raw,{rest},interlace-mode=interleaved"),
            ["interlace-mode=interleaved", "deinterlace"],
        ),
        (
            format!("video/x-raw,{rest},interlace-mode=mixed"),
            ["interlace-mode=mixed", "deinterlace"],
        ),
        (
            format!("video/x-raw(format:Interlaced),{rest},interlace-mode=alternate"),
            ["format:Interlaced", "deinterlace"],
        ),
        (
            "video/x-raw,format=P010_10LE,width=64,height=48,framerate=10/1".to_owned(),
            ["P010_10LE", "videoconvert"],
        ),
    ] {
        let error = refusal(&caps);
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn who_can_bring_readable_frames_is_asked_for_them() {
    init();
    let element = make_with_model("msaovideomas");
    let sink = element.static_pad("sink").unwrap();
    let device: gst::Caps = "video/x-raw(memory:VAMemory),format=NV12".parse().unwrap();
    assert!(sink.query_caps(Some(&device)).can_intersect(&device));
    let harness = Harness::with_element(&element, Some("sink"), Some("src"));
    let caps = sink.query_caps(None);
    assert!(!caps.is_empty() && !caps.can_intersect(&device), "{caps}");
    // Who has nothing else may come, and is told what to insert.
    assert!(sink.query_caps(Some(&device)).can_intersect(&device));
    drop(harness);
}

#[test]
#[allow(unsafe_code)] // The allocator takes any descriptor.
fn memory_that_cannot_be_mapped_is_an_error_that_says_so() {
    use std::os::fd::AsRawFd;
    init();
    let info = info(VideoFormat::Gray8, (64, 48));
    let element = make_with_model("msaovideomas");
    let bus = bus(&element);
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps(info.to_caps().unwrap());
    // What stands for a device whose memory stays its own.
    let file = std::fs::File::open("/dev/null").unwrap();
    let allocator = gst_allocators::FdAllocator::new();
    let flags = gst_allocators::FdMemoryFlags::DONT_CLOSE;
    // SAFETY: the file is open for as long as the memory lives.
    let memory = unsafe { allocator.alloc_fd(file.as_raw_fd(), info.size(), flags) }.unwrap();
    let mut buffer = gst::Buffer::new();
    let inner = buffer.get_mut().unwrap();
    inner.append_memory(memory);
    inner.set_pts(gst::ClockTime::ZERO);
    assert_eq!(harness.push(buffer), Err(gst::FlowError::NotNegotiated));
    let error = error_on(&bus);
    assert!(
        error.contains("`fd`") && error.contains("vapostproc"),
        "{error}"
    );
}

#[test]
fn allocation_is_decided_downstream_and_strides_are_welcome_before_a_window() {
    init();
    let answer = |line: &str| {
        let bin = gst::parse::bin_from_description(line, false).unwrap();
        for name in ["mas", "window"] {
            if let Some(element) = bin.by_name(name) {
                element.set_property("model", model());
            }
        }
        bin.set_state(gst::State::Paused).unwrap();
        let sink = bin.by_name("mas").unwrap().static_pad("sink").unwrap();
        let caps = info(VideoFormat::I420, (64, 48)).to_caps().unwrap();
        sink.send_event(gst::event::StreamStart::new("a"));
        sink.send_event(gst::event::Caps::new(&caps));
        let mut query = gst::query::Allocation::new(Some(&caps), true);
        let answered = sink.query(&mut query);
        let strides = query.find_allocation_meta::<VideoMeta>().is_some();
        bin.set_state(gst::State::Null).unwrap();
        (answered, strides)
    };
    assert_eq!(
        answer("msaovideomas name=mas ! msaogate ! msaowindow name=window ! fakesink async=false"),
        (true, true)
    );
    // jpegenc reads any strides.
    assert_eq!(
        answer("msaovideomas name=mas ! msaogate ! jpegenc ! fakesink async=false"),
        (true, true)
    );
}
