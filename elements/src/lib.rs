//! The GStreamer plugin `msao`: MAS measured on live streams, and windows of what is
//! worth sending.
//!
//! | element | pads | what it does |
//! | --- | --- | --- |
//! | [`msaovideomas`](videomas) | video/x-raw in place | measures MAS, adds [`meta::MasMeta`] |
//! | [`msaoaudiomas`](audiomas) | audio/x-raw in place | the same on hops of sound |
//! | [`msaosensormas`](sensormas) | application/x-msao-sensor in place | the same on hops of numeric channels |
//! | [`msaosensorsrc`](sensorsrc) | src application/x-msao-sensor | replays recordings, or takes a NATS subject |
//! | [`msaogate`](gate) | any, one in, one out | drops, thins or flags what is not worth sending |
//! | [`msaowindow`](window) | request `video_%u`, `audio_%u`, `sensor_%u`; src application/x-msao-window | gathers windows of features |
//! | [`msaodraft`](draft) | window to window | captions each window with the draft model |
//! | [`msaooffload`](offload) | window to window | decides what becomes of each window |
//! | [`msaonatssink`](natssink) | sink: windows | publishes through NATS |
//! | [`msaocaptionsrc`](captionsrc) | src text/x-raw | the captions of a rig, for an overlay |
//!
//! `docs/elements.md` holds each element's properties and a line for gst-launch-1.0.

// A lock in the head of a `match` or `if let` would be held across the calls in its body.
#![warn(clippy::significant_drop_in_scrutinee)]

use gst::glib;
use gst::prelude::*;
use gst_base::prelude::*;

pub mod audiomas;
pub mod beta;
pub mod captionsrc;
pub mod draft;
pub mod feedback;
pub mod gate;
mod hops;
mod keep;
mod latency;
pub mod meta;
mod model;
mod nats;
pub mod natssink;
pub mod offload;
mod plugin;
mod sensor;
pub mod sensormas;
pub mod sensorsrc;
pub mod shut;
pub mod videomas;
pub mod window;

pub use model::ProviderChoice;
pub use plugin::plugin_register_static;
pub use sensor::{SENSOR_MEDIA_TYPE, check_names as check_channels};

/// Media type of buffers that hold one encoded [`broker::FeatureWindow`] each.
pub const WINDOW_MEDIA_TYPE: &str = "application/x-msao-window";

/// Schema of the windows, as it stands in the caps.
pub const WINDOW_SCHEMA: &str = "features/1.1";

/// Media type of frames as pictures.
const JPEG_MEDIA_TYPE: &str = "image/jpeg";

/// Whether frames come as JPEG pictures.
fn is_jpeg(caps: &gst::CapsRef) -> bool {
    caps.structure(0)
        .is_some_and(|structure| structure.name() == JPEG_MEDIA_TYPE)
}

fn window_caps() -> gst::Caps {
    gst::Caps::builder(WINDOW_MEDIA_TYPE)
        .field("schema", WINDOW_SCHEMA)
        .build()
}

fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    videomas::register(plugin)?;
    audiomas::register(plugin)?;
    sensormas::register(plugin)?;
    gate::register(plugin)?;
    window::register(plugin)?;
    draft::register(plugin)?;
    offload::register(plugin)?;
    natssink::register(plugin)?;
    sensorsrc::register(plugin)?;
    captionsrc::register(plugin)
}

/// The pads of an element with one way in and one way out.
fn in_and_out(caps: &gst::Caps) -> Vec<gst::PadTemplate> {
    [
        ("sink", gst::PadDirection::Sink),
        ("src", gst::PadDirection::Src),
    ]
    .into_iter()
    .filter_map(|(name, direction)| {
        gst::PadTemplate::new(name, direction, gst::PadPresence::Always, caps).ok()
    })
    .collect()
}

/// Answers an element upstream that asks how to allocate what passes through in place: as downstream would have it.
fn allocate_as_downstream(
    element: &impl IsA<gst_base::BaseTransform>,
    query: &mut gst::query::Allocation,
) -> Result<(), gst::LoggableError> {
    if element.src_pad().peer_query(query) {
        return Ok(());
    }
    Err(gst::loggable_error!(
        gst::CAT_RUST,
        "nobody downstream says how to allocate"
    ))
}

/// The running time of a buffer that the element is handling.
fn running_time(
    element: &impl IsA<gst_base::BaseTransform>,
    buffer: &gst::BufferRef,
) -> Option<gst::ClockTime> {
    let segment = element.segment().downcast::<gst::ClockTime>().ok()?;
    segment.to_running_time(buffer.pts())
}

/// Whether a property may be set in the state that the element is in, or on its way to; a warning says if not.
fn may_set(element: &impl IsA<gst::Element>, property: &glib::ParamSpec) -> bool {
    let (most, until) = match property.flags() {
        flags if flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING) => return true,
        flags if flags.contains(gst::PARAM_FLAG_MUTABLE_PAUSED) => (gst::State::Paused, "PAUSED"),
        _ => (gst::State::Ready, "READY"),
    };
    let element = element.upcast_ref::<gst::Element>();
    let state = element.current_state().max(element.pending_state());
    if state <= most {
        return true;
    }
    let name = property.name();
    gst::element_warning!(
        element,
        gst::ResourceError::Settings,
        ("`{name}` stays as it is: it may be set up to the state {until}, and the element is in {state:?}")
    );
    false
}

/// Locks, also after a panic elsewhere: what the elements guard is valid between statements.
fn lock<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
