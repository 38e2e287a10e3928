//! `msaodraft`: captions each window with the draft model, at once.
//!
//! The model reads of each modality the window's first stream: `msaowindow` puts the
//! stream most worth sending first. A window without tokens goes on as it is.
//!
//! Now and then it measures how much each modality contributes to the draft (β): that goes
//! onto the windows, and upstream as the event [`msao-beta`](crate::beta).
//!
//! ```shell
//! gst-launch-1.0 -m filesrc location=street.avi ! decodebin ! videoconvert ! \
//!     msaovideomas model=models/msao-edge ! msaogate ! \
//!     msaowindow model=models/msao-edge ! msaodraft model=models/msao-edge ! fakesink
//! ```

use gst::glib;
use gst::prelude::*;

mod contribution;
mod imp;
mod properties;
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
