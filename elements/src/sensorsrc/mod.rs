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

/// What comes from outside, read as the element does.
#[doc(hidden)]
pub mod outside {
    use std::io::Cursor;
    use std::path::Path;

    use super::{live, recording::Recording};

    /// Reads a CSV recording; `each` row with its nanoseconds from the first. Returns the channels' names.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub fn recording(
        bytes: &[u8],
        mut each: impl FnMut(u64, &[f32]),
    ) -> Result<Vec<String>, String> {
        let text = |error: super::recording::Error| error.to_string();
        let mut recording =
            Recording::read(Path::new("recording"), Cursor::new(bytes), None).map_err(text)?;
        while let Some(row) = recording.row().map_err(text)? {
            each(row.at, &row.values);
        }
        Ok(recording.names())
    }

    /// Reads a message of a row of `channels`: the sender's time in seconds, and the values.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn message(payload: &[u8], channels: usize) -> Result<(Option<f64>, Vec<f32>), String> {
        live::parse(payload, channels)
    }
}
