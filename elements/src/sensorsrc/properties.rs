//! Settings of `msaosensorsrc` and their properties.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

use crate::nats::NatsSettings;
use crate::sensor::{MOST_RATE, split_names};

/// Longest buffer.
const MOST_DURATION: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// Settings; their defaults are the properties'.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub location: Option<String>,
    pub again: bool,
    pub realtime: bool,
    pub subject: Option<String>,
    channels: Option<String>,
    pub rate: u32,
    pub duration: gst::ClockTime,
    pub nats: NatsSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            location: None,
            again: false,
            realtime: true,
            subject: None,
            channels: None,
            rate: 100,
            duration: gst::ClockTime::from_mseconds(100),
            nats: NatsSettings::default(),
        }
    }
}

impl Settings {
    /// Whether the element is a live source.
    pub fn is_live(&self) -> bool {
        self.realtime || self.subject.is_some()
    }

    /// The names given for channels.
    pub fn names(&self) -> Option<Vec<String>> {
        self.channels.as_deref().map(split_names)
    }

    pub fn set(&mut self, name: &str, value: &glib::Value) {
        if self.nats.set(name, value) {
            return;
        }
        let text = || {
            let text: Option<String> = value.get().unwrap_or_default();
            text.filter(|text| !text.is_empty())
        };
        match name {
            "location" => self.location = text(),
            "loop" => self.again = value.get().unwrap_or_default(),
            "realtime" => self.realtime = value.get().unwrap_or_default(),
            "subject" => self.subject = text(),
            "channels" => self.channels = text(),
            "rate" => self.rate = value.get().unwrap_or_default(),
            _ => self.duration = gst::ClockTime::from_nseconds(value.get().unwrap_or_default()),
        }
    }

    pub fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "location" => Some(self.location.to_value()),
            "loop" => Some(self.again.to_value()),
            "realtime" => Some(self.realtime.to_value()),
            "subject" => Some(self.subject.to_value()),
            "channels" => Some(self.channels.to_value()),
            "rate" => Some(self.rate.to_value()),
            "buffer-duration" => Some(self.duration.nseconds().to_value()),
            name => self.nats.get(name),
        }
    }
}

/// The element's properties.
pub(super) fn properties() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let default = Settings::default();
        let text = |name, nick, blurb| {
            glib::ParamSpecString::builder(name)
                .nick(nick)
                .blurb(blurb)
                .mutable_ready()
                .build()
        };
        let switch = |name, nick, blurb, default| {
            glib::ParamSpecBoolean::builder(name)
                .nick(nick)
                .blurb(blurb)
                .default_value(default)
                .mutable_ready()
                .build()
        };
        let mut properties = vec![
            text(
                "location",
                "Location",
                "CSV file to replay: a header `time,CHANNEL,...`, times in seconds",
            ),
            switch(
                "loop",
                "Loop",
                "Replay the file again and again",
                default.again,
            ),
            switch(
                "realtime",
                "Real time",
                "Replay at the pace of the recording, as a live source; otherwise as fast as possible",
                default.realtime,
            ),
            text(
                "subject",
                "Subject",
                "NATS subject to listen to, instead of a file: messages {\"time\": seconds, \"values\": [...]} or rows of F32LE",
            ),
            text(
                "channels",
                "Channels",
                "Names with commas between them: of the values in messages; of a file the columns to read, in this order (default: all)",
            ),
            glib::ParamSpecUInt::builder("rate")
                .nick("Rate")
                .blurb("Samples of each channel a second, interpolated linearly")
                .minimum(1)
                .maximum(MOST_RATE)
                .default_value(default.rate)
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt64::builder("buffer-duration")
                .nick("Buffer duration")
                .blurb("Length of a buffer (ns), at least one sample")
                .maximum(MOST_DURATION.nseconds())
                .default_value(default.duration.nseconds())
                .mutable_ready()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb("buffers, samples; with a subject: messages, unusable, dropped, connected")
                .read_only()
                .build(),
        ];
        properties.extend(NatsSettings::properties());
        properties
    });
    &PROPERTIES
}
