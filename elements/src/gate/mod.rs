//! `msaogate`: passes on the frames worth sending and drops the others.
//!
//! ```shell
//! gst-launch-1.0 filesrc location=street.avi ! decodebin ! videoconvert ! \
//!     msaovideomas model=models/msao-edge ! msaogate mark-sent=true ! \
//!     videoconvert ! jpegenc ! multifilesink location=kept-%05d.jpg
//! ```

use gst::glib;
use gst::prelude::*;

mod imp;

glib::wrapper! {
    /// Drops buffers that are not worth sending, by their MAS.
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
