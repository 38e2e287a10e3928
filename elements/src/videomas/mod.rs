//! `msaovideomas`: measures MAS on each frame and adds [`MasMeta`](crate::meta::MasMeta).
//!
//! Each frame pays for T0 (block differences of the luma plane); only a frame that T0
//! sees change in, the first frame and one in every `heartbeat` pays for T1 (the probe).
//!
//! ```shell
//! gst-launch-1.0 -m filesrc location=street.avi ! decodebin ! videoconvert ! \
//!     msaovideomas model=models/msao-edge message=true ! fakesink
//! ```

use gst::glib;
use gst::prelude::*;

mod frame;
mod imp;
mod late;
mod measure;
mod pace;

glib::wrapper! {
    /// Measures MAS on video in place.
    pub struct VideoMas(ObjectSubclass<imp::VideoMas>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "msaovideomas",
        gst::Rank::NONE,
        VideoMas::static_type(),
    )
}

#[cfg(test)]
mod tests;
