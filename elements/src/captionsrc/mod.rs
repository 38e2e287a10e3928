//! `msaocaptionsrc`: what is said of a rig's windows, as text for an overlay.
//!
//! ```shell
//! gst-launch-1.0 videotestsrc is-live=true ! textoverlay name=overlay ! videoconvert ! autovideosink \
//!     msaocaptionsrc rig=street ! overlay.text_sink
//! ```

use gst::glib;
use gst::prelude::*;

mod imp;
mod properties;
mod screen;

glib::wrapper! {
    /// The captions of a rig, as they come: a correction takes the place of its draft.
    pub struct CaptionSrc(ObjectSubclass<imp::CaptionSrc>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "msaocaptionsrc",
        gst::Rank::NONE,
        CaptionSrc::static_type(),
    )
}
