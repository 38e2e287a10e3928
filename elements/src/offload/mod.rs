//! `msaooffload`: decides what becomes of each window, and carries it out.
//!
//! After `msaodraft`, before `msaonatssink`, which tells it of link and cloud by the event
//! [`msao-feedback`](crate::feedback). Each window gets its decision, the tokens that fit, and the record of what the
//! decision rests on. Windows wait here while the cloud is away.
//!
//! ```shell
//! gst-launch-1.0 filesrc location=street.avi ! decodebin ! videoconvert ! \
//!     msaovideomas model=models/msao-edge ! msaogate ! \
//!     msaowindow rig=rig-1 model=models/msao-edge ! msaodraft model=models/msao-edge ! \
//!     msaooffload ! msaonatssink url=nats://127.0.0.1:4222
//! ```

use gst::glib;
use gst::prelude::*;

mod amend;
mod beliefs;
mod desk;
mod imp;
mod properties;

glib::wrapper! {
    /// Decides what becomes of windows.
    pub struct Offload(ObjectSubclass<imp::Offload>)
        @extends gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "msaooffload",
        gst::Rank::NONE,
        Offload::static_type(),
    )
}
