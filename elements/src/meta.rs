//! [`MasMeta`]: the measurements that travel on a buffer.
#![allow(unsafe_code)] // GstMeta is registered through C structures.

use std::ffi::c_int;
use std::ptr;
use std::sync::{Arc, LazyLock, Mutex};

use broker::Modality;
use gst::glib;
use gst::glib::translate::{FromGlib, IntoGlib};
use gst::prelude::*;
use ndarray::{Array2, Array3};

/// MAS of one sample of a stream, a frame of video or a hop of audio or sensors, and what
/// it was measured on.
#[derive(Debug, Clone)]
pub struct Measured {
    /// What kind of stream it is of.
    pub modality: Modality,
    /// Counts the stream's frames or hops from 0.
    pub frame: u64,
    /// T0's score: share of luma blocks that changed since the probe last ran, in \[0, 1\].
    /// Always 1 for audio and sensors.
    pub t0: f32,
    /// Whether the probe (T1) ran on this very frame. If not, features and s are those
    /// of the last frame that it ran on, from which T0 saw no change. Always true for
    /// audio and sensors.
    pub probed: bool,
    /// s, u, energy and MAS at the time of measuring.
    pub measurement: Arc<mas::Measurement>,
    /// What the sample's tokens are made from.
    pub features: Features,
    /// The encoder that made the features.
    pub encoder: Arc<mllm::EncoderId>,
    /// Columns of the sample's positions: position p is in row p / columns, column
    /// p % columns.
    pub columns: usize,
    /// The stream's meter. Whoever sends positions of the sample marks them here, so that
    /// later ones are measured against them; [`Self::now`] measures the sample again.
    pub meter: Arc<Mutex<mas::Meter>>,
    /// Where a hop ends, in the stream's own time, as its buffers' PTS are; none for a
    /// frame, and where buffers have no time.
    pub end: Option<gst::ClockTime>,
    /// What was out of the ordinary: `black`, `frozen`, `silent`, `speech`, `non-finite`.
    pub flags: Vec<&'static str>,
}

/// What the tokens of a sample are made from.
#[derive(Debug, Clone)]
pub enum Features {
    /// A frame's features after the probe, for T2: `[24, 56, 56]`.
    Frame(Arc<Array3<f32>>),
    /// The tokens themselves: `[P, 256]`.
    Tokens(Arc<Array2<f32>>),
}

impl Measured {
    /// The measurement against what has been sent by now.
    pub fn now(&self) -> mas::Measurement {
        crate::lock(&self.meter).again(&self.measurement)
    }

    /// Notes that these positions of the sample were sent.
    pub fn mark_sent(&self, positions: impl IntoIterator<Item = usize>) {
        crate::lock(&self.meter).mark_sent(&self.measurement, positions);
    }
}

/// The meta with what was [`Measured`]. It has no tags, so every element that copies metas
/// keeps it: converters, scalers, encoders.
///
/// A frame of video has one measurement. A buffer of audio or sensors has those of the
/// hops that end in it, in order of time; one in which no hop ends has the latest hop's
/// again; before the first hop ends there is no meta.
#[repr(C)]
pub struct MasMeta {
    parent: gst::ffi::GstMeta,
    measured: Vec<Arc<Measured>>,
}

// SAFETY: the content is of `Arc`s of `Send + Sync` data; the parent is plain data that
// GStreamer guards by the buffer's writability.
unsafe impl Send for MasMeta {}
// SAFETY: as above.
unsafe impl Sync for MasMeta {}

// SAFETY: `GstType` is the structure registered in `INFO` for this API type.
unsafe impl MetaAPI for MasMeta {
    type GstType = MasMeta;

    fn meta_api() -> glib::Type {
        *API
    }
}

impl MasMeta {
    /// Puts one measurement on a buffer, in place of earlier ones.
    pub fn put(buffer: &mut gst::BufferRef, measured: Arc<Measured>) {
        Self::put_all(buffer, vec![measured]);
    }

    /// Puts measurements on a buffer in place of earlier ones, the latest last. None at
    /// all is no meta.
    pub fn put_all(buffer: &mut gst::BufferRef, measured: Vec<Arc<Measured>>) {
        if let Some(mut meta) = buffer.meta_mut::<Self>() {
            meta.measured = measured;
            return;
        }
        if measured.is_empty() {
            return;
        }
        // SAFETY: the buffer is writable; `add` returns a `MasMeta` that `init` has made
        // valid, or null if the API type could not be registered.
        unsafe {
            let meta = gst::ffi::gst_buffer_add_meta(buffer.as_mut_ptr(), INFO.0, ptr::null_mut());
            if let Some(meta) = meta.cast::<Self>().as_mut() {
                meta.measured = measured;
            }
        }
    }

    /// The measurements on a buffer, in order of time.
    pub fn all(buffer: &gst::BufferRef) -> Vec<Arc<Measured>> {
        let meta = buffer.meta::<Self>();
        meta.map(|meta| meta.measured.clone()).unwrap_or_default()
    }

    /// The latest measurement on a buffer.
    pub fn of(buffer: &gst::BufferRef) -> Option<Arc<Measured>> {
        buffer.meta::<Self>()?.measured.last().cloned()
    }
}

static API: LazyLock<glib::Type> = LazyLock::new(|| {
    // SAFETY: the name and the list of tags are static and end in null.
    unsafe {
        glib::Type::from_glib(gst::ffi::gst_meta_api_type_register(
            c"MsaoMasMetaAPI".as_ptr(),
            [ptr::null::<std::ffi::c_char>()].as_ptr().cast_mut(),
        ))
    }
});

struct Info(*const gst::ffi::GstMetaInfo);

// SAFETY: GStreamer never changes or frees a registered info.
unsafe impl Send for Info {}
// SAFETY: as above.
unsafe impl Sync for Info {}

static INFO: LazyLock<Info> = LazyLock::new(|| {
    // SAFETY: the functions fit the structure's size and type.
    Info(unsafe {
        gst::ffi::gst_meta_register(
            API.into_glib(),
            c"MsaoMasMeta".as_ptr(),
            size_of::<MasMeta>(),
            Some(init),
            Some(free),
            Some(transform),
        )
    })
});

unsafe extern "C" fn init(
    meta: *mut gst::ffi::GstMeta,
    _params: glib::ffi::gpointer,
    _buffer: *mut gst::ffi::GstBuffer,
) -> glib::ffi::gboolean {
    // SAFETY: `meta` has room for a `MasMeta`, whose own field is not initialised yet.
    unsafe { ptr::write(&raw mut (*meta.cast::<MasMeta>()).measured, Vec::new()) };
    glib::ffi::GTRUE
}

unsafe extern "C" fn free(meta: *mut gst::ffi::GstMeta, _buffer: *mut gst::ffi::GstBuffer) {
    // SAFETY: `init` made the field valid, and the meta is not used after this.
    unsafe { ptr::drop_in_place(&raw mut (*meta.cast::<MasMeta>()).measured) };
}

unsafe extern "C" fn transform(
    to: *mut gst::ffi::GstBuffer,
    meta: *mut gst::ffi::GstMeta,
    _from: *mut gst::ffi::GstBuffer,
    _type: glib::ffi::GQuark,
    _data: glib::ffi::gpointer,
) -> c_int {
    // SAFETY: `meta` is a valid `MasMeta`, and `to` a buffer that the caller may write.
    unsafe {
        let measured = (*meta.cast::<MasMeta>()).measured.clone();
        MasMeta::put_all(gst::BufferRef::from_mut_ptr(to), measured);
    }
    glib::ffi::GTRUE
}
