//! Settings of `msaocaptionsrc` and their properties.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

use crate::nats::NatsSettings;

/// Settings; their defaults are the properties'.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub nats: NatsSettings,
    pub rig: Option<String>,
    /// Length of a buffer.
    pub interval: gst::ClockTime,
    /// How long a caption stays without a new one.
    pub hold: gst::ClockTime,
    pub lines: u32,
    pub marks: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nats: NatsSettings::default(),
            rig: None,
            interval: gst::ClockTime::from_mseconds(100),
            hold: gst::ClockTime::from_seconds(5),
            lines: 1,
            marks: true,
        }
    }
}

impl Settings {
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        if self.nats.set(name, value) {
            return;
        }
        let time = || gst::ClockTime::from_nseconds(value.get().unwrap_or_default());
        match name {
            "rig" => self.rig = value.get().unwrap_or_default(),
            "interval" => self.interval = time(),
            "hold" => self.hold = time(),
            "lines" => self.lines = value.get().unwrap_or_default(),
            _ => self.marks = value.get().unwrap_or_default(),
        }
    }

    pub fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "rig" => Some(self.rig.to_value()),
            "interval" => Some(self.interval.nseconds().to_value()),
            "hold" => Some(self.hold.nseconds().to_value()),
            "lines" => Some(self.lines.to_value()),
            "marks" => Some(self.marks.to_value()),
            name => self.nats.get(name),
        }
    }
}

/// The element's properties.
pub(super) fn properties() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let default = Settings::default();
        let mut properties = NatsSettings::properties().to_vec();
        properties.extend([
            glib::ParamSpecString::builder("rig")
                .nick("Rig")
                .blurb("Whose captions")
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt64::builder("interval")
                .nick("Interval")
                .blurb("Length of a buffer (ns): a caption is shown at most so long after it came")
                .minimum(10_000_000)
                .maximum(10_000_000_000)
                .default_value(default.interval.nseconds())
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("hold")
                .nick("Hold")
                .blurb("How long a caption stays (ns), if no other takes its place")
                // The greatest value is no time.
                .maximum(u64::MAX - 1)
                .default_value(default.hold.nseconds())
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("lines")
                .nick("Lines")
                .blurb("How many windows' captions are shown, the newest at the bottom: a correction that comes late is then still seen")
                .minimum(1)
                .maximum(10)
                .default_value(default.lines)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("marks")
                .nick("Marks")
                .blurb("Mark drafts that the cloud will confirm or correct with an ellipsis")
                .default_value(default.marks)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb("captions shown, replaced and late; unreadable messages; connected")
                .read_only()
                .build(),
        ]);
        properties
    });
    &PROPERTIES
}
