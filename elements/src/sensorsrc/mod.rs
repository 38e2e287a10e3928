//! `msaosensorsrc`: numeric channels from a recording or from a NATS subject.
//!
//! ```shell
//! gst-launch-1.0 -m msaosensorsrc location=drive.csv ! \
//!     msaosensormas model=models/msao-edge message=true ! fakesink
//! ```

use gst::glib;
use gst::prelude::*;

mod imp;
mod live;
mod packer;
mod properties;
mod recording;
mod replay;
mod resample;

glib::wrapper! {
    /// Replays a recording of sensors, or passes on what a NATS subject brings.
    pub struct SensorSrc(ObjectSubclass<imp::SensorSrc>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "msaosensorsrc",
        gst::Rank::NONE,
        SensorSrc::static_type(),
    )
}
