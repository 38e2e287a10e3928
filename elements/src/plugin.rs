//! The plugin's entry points for GStreamer.
#![allow(unsafe_code, missing_docs)] // The macro writes C entry points.

use gst::glib;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    crate::register(plugin)
}

gst::plugin_define!(
    msao,
    "Modality Sparsity-Aware Offloading: what is worth sending, drafted at once",
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    "msao",
    "msao",
    "https://arxiv.org/abs/2604.02945",
    env!("BUILD_REL_DATE")
);
