//! `msaodraft`: captions each window with the draft model, at once.
//!
//! A window's image is its first video token's stream: `msaowindow` puts the stream most
//! worth sending first. A window without video tokens goes on as it is.
//!
//! ```shell
//! gst-launch-1.0 -m filesrc location=street.avi ! decodebin ! videoconvert ! \
//!     msaovideomas model=models/msao-edge ! msaogate ! \
//!     msaowindow model=models/msao-edge ! msaodraft model=models/msao-edge ! fakesink
//! ```

use gst::glib;
use gst::prelude::*;

mod imp;
mod window;

glib::wrapper! {
    /// Adds a draft caption to windows.
    pub struct Draft(ObjectSubclass<imp::Draft>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "msaodraft",
        gst::Rank::NONE,
        Draft::static_type(),
    )
}
