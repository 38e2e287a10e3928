//! Fills in the version, commit and date that the plugin shows in `gst-inspect-1.0`.
fn main() {
    gst_plugin_version_helper::info();
}
