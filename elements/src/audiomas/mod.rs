//! `msaoaudiomas`: measures MAS on hops of sound and adds
//! [`MasMeta`](crate::meta::MasMeta).
//!
//! ```shell
//! gst-launch-1.0 -m filesrc location=street.ogg ! decodebin ! audioconvert ! \
//!     msaoaudiomas model=models/msao-edge message=true ! fakesink
//! ```

use gst::glib;
use gst::prelude::*;

mod convert;
mod imp;
mod sound;

glib::wrapper! {
    /// Measures MAS on sound in place.
    pub struct AudioMas(ObjectSubclass<imp::AudioMas>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "msaoaudiomas",
        gst::Rank::NONE,
        AudioMas::static_type(),
    )
}
