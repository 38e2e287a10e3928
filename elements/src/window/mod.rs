//! `msaowindow`: gathers a rig's streams into windows of what is worth sending.
//!
//! Windows are `duration` long and aligned to multiples of it in running time. Of each
//! camera one frame is encoded: of the kept ones the latest whose worth (1 − MAS, against
//! what was sent by now) is within 5 % of the greatest, so that it shows what is new and
//! how things stand at the end. Of sound and sensors come the hops that end in the window.
//! All streams share one budget of tokens by β, which comes from the draft model as the
//! event [`msao-beta`](crate::beta). A window of which nothing was kept is counted, not
//! made.
//!
//! A stream that delivers nothing for `stall-timeout` does not hold the others, whether it
//! is live or not.
//!
//! ```shell
//! gst-launch-1.0 filesrc location=street.avi ! decodebin ! videoconvert ! \
//!     msaovideomas model=models/msao-edge ! msaogate ! \
//!     msaowindow rig=rig-1 model=models/msao-edge ! multifilesink location=window-%05d.arrow
//! ```

use gst::glib;
use gst::prelude::*;

mod collect;
mod encode;
mod feed;
mod gather;
mod imp;
mod properties;
mod select;

glib::wrapper! {
    /// Gathers measured streams into windows.
    pub struct Window(ObjectSubclass<imp::Window>)
        @extends gst_base::Aggregator, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "msaowindow",
        gst::Rank::NONE,
        Window::static_type(),
    )
}
