//! `msaogate`: passes on the buffers worth sending and drops, thins or flags the others.
//!
//! ```shell
//! gst-launch-1.0 filesrc location=street.avi ! decodebin ! videoconvert ! \
//!     msaovideomas model=models/msao-edge ! msaogate mark-sent=true ! \
//!     videoconvert ! jpegenc ! multifilesink location=kept-%05d.jpg
//! ```

use gst::glib;
use gst::prelude::*;

mod imp;
mod properties;

/// What becomes of buffers that are not worth sending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMsaoGateMode")]
pub enum Mode {
    /// They are dropped.
    #[default]
    #[enum_value(name = "A GAP event in place of each", nick = "drop")]
    Drop,
    /// A few of them go on.
    #[enum_value(
        name = "One each thin-interval goes on, a GAP event in place of each other",
        nick = "thin"
    )]
    Thin,
    /// All of them go on, marked.
    #[enum_value(name = "They go on, with the buffer flag DROPPABLE", nick = "flag")]
    Flag,
}

glib::wrapper! {
    /// Drops, thins or flags buffers that are not worth sending, by their MAS.
    pub struct Gate(ObjectSubclass<imp::Gate>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "msaogate",
        gst::Rank::NONE,
        Gate::static_type(),
    )
}
