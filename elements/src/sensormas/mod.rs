//! `msaosensormas`: measures MAS on hops of numeric channels and adds
//! [`MasMeta`](crate::meta::MasMeta).
//!
//! ```shell
//! gst-launch-1.0 -m msaosensorsrc location=drive.csv realtime=false ! \
//!     msaosensormas model=models/msao-edge message=true ! fakesink
//! ```

use gst::glib;
use gst::prelude::*;

mod imp;

glib::wrapper! {
    /// Measures MAS on numeric channels in place.
    pub struct SensorMas(ObjectSubclass<imp::SensorMas>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "msaosensormas",
        gst::Rank::NONE,
        SensorMas::static_type(),
    )
}
