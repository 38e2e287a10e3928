//! `msaonatssink`: publishes windows through NATS JetStream.
//!
//! A window's draft goes out first, as a caption with status `draft`, then its features, if its decision is `verify` or
//! `offload`. To an element upstream that decides on windows it says what it hears of link and cloud
//! ([`msao-feedback`](crate::feedback)).
//! The streaming thread waits for the network only if the queue is full and `on-full` is
//! `block`. At EOS the sink waits until everything is acknowledged, at most `flush-timeout`.
//!
//! JPEG pictures that carry [`MasMeta`](crate::MasMeta) go out as previews of `rig` and `stream`: not stored, one at a
//! time, those dropped that come while one is on its way.
//!
//! ```shell
//! gst-launch-1.0 filesrc location=street.avi ! decodebin ! videoconvert ! \
//!     msaovideomas model=models/msao-edge ! msaogate ! \
//!     msaowindow rig=rig-1 model=models/msao-edge ! msaodraft model=models/msao-edge ! \
//!     msaonatssink url=nats://127.0.0.1:4222
//! ```

use gst::glib;
use gst::prelude::*;

mod imp;
mod preview;
mod properties;
mod reporter;

pub use properties::{OnFull, Payload};

glib::wrapper! {
    /// Publishes windows and their drafts.
    pub struct NatsSink(ObjectSubclass<imp::NatsSink>)
        @extends gst_base::BaseSink, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "msaonatssink",
        gst::Rank::NONE,
        NatsSink::static_type(),
    )
}
