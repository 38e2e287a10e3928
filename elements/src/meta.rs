//! [`MasMeta`]: the measurement that travels on a buffer.
#![allow(unsafe_code)] // GstMeta is registered through C structures.

use std::ffi::c_int;
use std::ptr;
use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::glib::translate::{FromGlib, IntoGlib};
use gst::prelude::*;
use ndarray::Array3;

/// MAS of one frame and what it was measured on.
#[derive(Debug, Clone)]
pub struct FrameMas {
    /// Counts the stream's frames from 0.
    pub frame: u64,
    /// T0's score: share of luma blocks that changed since the probe last ran, in \[0, 1\].
    pub t0: f32,
    /// Whether the probe (T1) ran on this very frame. If not, features and s are those
    /// of the last frame that it ran on, from which T0 saw no change.
    pub probed: bool,
    /// s, u, energy and MAS at the time of measuring.
    pub measurement: Arc<mas::Measurement>,
    /// The probe's features for T2: `[24, 56, 56]`.
    pub features: Arc<Array3<f32>>,
    /// The vision encoder that made them.
    pub encoder: Arc<mllm::EncoderId>,
    /// The stream's meter. Whoever sends positions of the frame marks them here, so that
    /// later frames are measured against them; [`Self::now`] measures the frame again.
    pub meter: Arc<Mutex<mas::Meter>>,
    /// What was out of the ordinary: `black`, `frozen`, `non-finite`.
    pub flags: Vec<&'static str>,
}

impl FrameMas {
    /// The measurement against what has been sent by now.
    pub fn now(&self) -> mas::Measurement {
        crate::lock(&self.meter).again(&self.measurement)
    }

    /// Notes that these positions of the frame were sent.
    pub fn mark_sent(&self, positions: impl IntoIterator<Item = usize>) {
        crate::lock(&self.meter).mark_sent(&self.measurement, positions);
    }
}

/// The meta with a [`FrameMas`]. It has no tags, so every element that copies metas
/// keeps it: converters, scalers, encoders.
#[repr(C)]
pub struct MasMeta {
    parent: gst::ffi::GstMeta,
    mas: Option<Arc<FrameMas>>,
}

// SAFETY: the content is an `Arc` of `Send + Sync` data; the parent is plain data that
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
    /// Adds `mas` to a buffer in place of an earlier one.
    pub fn put(buffer: &mut gst::BufferRef, mas: Arc<FrameMas>) {
        if let Some(mut meta) = buffer.meta_mut::<Self>() {
            meta.mas = Some(mas);
            return;
        }
        // SAFETY: the buffer is writable; `add` returns a `MasMeta` that `init` has made
        // valid, or null if the API type could not be registered.
        unsafe {
            let meta = gst::ffi::gst_buffer_add_meta(buffer.as_mut_ptr(), INFO.0, ptr::null_mut());
            if let Some(meta) = meta.cast::<Self>().as_mut() {
                meta.mas = Some(mas);
            }
        }
    }

    /// The measurement on a buffer.
    pub fn of(buffer: &gst::BufferRef) -> Option<Arc<FrameMas>> {
        buffer.meta::<Self>()?.mas.clone()
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
    unsafe { ptr::write(&raw mut (*meta.cast::<MasMeta>()).mas, None) };
    glib::ffi::GTRUE
}

unsafe extern "C" fn free(meta: *mut gst::ffi::GstMeta, _buffer: *mut gst::ffi::GstBuffer) {
    // SAFETY: `init` made the field valid, and the meta is not used after this.
    unsafe { ptr::drop_in_place(&raw mut (*meta.cast::<MasMeta>()).mas) };
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
        if let Some(mas) = &(*meta.cast::<MasMeta>()).mas {
            MasMeta::put(gst::BufferRef::from_mut_ptr(to), Arc::clone(mas));
        }
    }
    glib::ffi::GTRUE
}
