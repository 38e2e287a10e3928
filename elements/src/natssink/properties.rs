//! Settings of `msaonatssink` and their properties.

use std::sync::LazyLock;

use broker::PublisherConfig;
use gst::glib;
use gst::prelude::*;

use crate::nats::NatsSettings;

/// What to do with a message when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstMsaoOnFull")]
pub enum OnFull {
    /// Wait for room.
    #[default]
    #[enum_value(name = "Wait for room", nick = "block")]
    Block,
    /// Drop the oldest message that waits.
    #[enum_value(name = "Drop the oldest message that waits", nick = "drop-oldest")]
    DropOldest,
    /// Drop the message itself.
    #[enum_value(name = "Drop the message itself", nick = "drop-newest")]
    DropNewest,
}

impl From<OnFull> for broker::OnFull {
    fn from(policy: OnFull) -> Self {
        match policy {
            OnFull::Block => Self::Block,
            OnFull::DropOldest => Self::DropOldest,
            OnFull::DropNewest => Self::DropNewest,
        }
    }
}

/// What of a window may be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstMsaoPayload")]
pub enum Payload {
    /// Features and captions: a window that holds a picture is an error.
    #[default]
    #[enum_value(name = "Features and captions, no pictures", nick = "features")]
    Features,
    /// Pictures, too, if a window holds one.
    #[enum_value(name = "Pictures, too, if a window holds one", nick = "keyframes")]
    Keyframes,
}

/// How windows travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstMsaoCompression")]
pub enum Compression {
    /// In Zstandard frames.
    #[default]
    #[enum_value(name = "Zstandard frames", nick = "zstd")]
    Zstd,
    /// As they are.
    #[enum_value(name = "As they are", nick = "none")]
    None,
}

impl From<Compression> for broker::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Zstd => Self::Zstd,
            Compression::None => Self::None,
        }
    }
}

/// Settings; their defaults are the properties'.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub nats: NatsSettings,
    queue_messages: u32,
    queue_bytes: u64,
    on_full: OnFull,
    pub flush_timeout: gst::ClockTime,
    pub payload: Payload,
    pub compression: Compression,
    /// Of previews.
    pub rig: Option<String>,
    pub stream: String,
}

impl Default for Settings {
    fn default() -> Self {
        let publisher = PublisherConfig::default();
        Self {
            nats: NatsSettings::default(),
            queue_messages: publisher.max_messages as u32,
            queue_bytes: publisher.max_bytes as u64,
            on_full: OnFull::default(),
            flush_timeout: gst::ClockTime::from_seconds(5),
            payload: Payload::default(),
            compression: Compression::default(),
            rig: None,
            stream: "video_0".to_owned(),
        }
    }
}

impl Settings {
    pub fn publisher(&self) -> PublisherConfig {
        PublisherConfig {
            max_messages: self.queue_messages as usize,
            max_bytes: usize::try_from(self.queue_bytes).unwrap_or(usize::MAX),
            on_full: self.on_full.into(),
            ..PublisherConfig::default()
        }
    }

    pub fn set(&mut self, name: &str, value: &glib::Value) {
        if self.nats.set(name, value) {
            return;
        }
        match name {
            "queue-messages" => self.queue_messages = value.get().unwrap_or_default(),
            "queue-bytes" => self.queue_bytes = value.get().unwrap_or_default(),
            "payload" => self.payload = value.get().unwrap_or_default(),
            "compression" => self.compression = value.get().unwrap_or_default(),
            "on-full" => self.on_full = value.get().unwrap_or_default(),
            "rig" => self.rig = value.get().unwrap_or_default(),
            "stream" => self.stream = value.get().unwrap_or_default(),
            _ => {
                self.flush_timeout = gst::ClockTime::from_nseconds(value.get().unwrap_or_default());
            }
        }
    }

    pub fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "queue-messages" => Some(self.queue_messages.to_value()),
            "queue-bytes" => Some(self.queue_bytes.to_value()),
            "payload" => Some(self.payload.to_value()),
            "compression" => Some(self.compression.to_value()),
            "on-full" => Some(self.on_full.to_value()),
            "rig" => Some(self.rig.to_value()),
            "stream" => Some(self.stream.to_value()),
            "flush-timeout" => Some(self.flush_timeout.nseconds().to_value()),
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
            glib::ParamSpecUInt::builder("queue-messages")
                .nick("Queue length")
                .blurb("Most messages that wait; a drafted window is two")
                .minimum(1)
                .default_value(default.queue_messages)
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt64::builder("queue-bytes")
                .nick("Queue bytes")
                .blurb("Most bytes that wait")
                .minimum(1)
                .default_value(default.queue_bytes)
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("on-full", default.on_full)
                .nick("On full")
                .blurb("What to do with a message when the queue is full; what is dropped is counted and logged as an error")
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("payload", default.payload)
                .nick("Payload")
                .blurb("What of a window may be published; a window that holds more is an error")
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("compression", default.compression)
                .nick("Compression")
                .blurb("How windows of features travel: zstd takes fewer bytes, none is for readers that cannot expand it")
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("flush-timeout")
                .nick("Flush timeout")
                .blurb("How long EOS waits for the server's acknowledgements (ns)")
                .maximum(3_600_000_000_000)
                .default_value(default.flush_timeout.nseconds())
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("rig")
                .nick("Rig")
                .blurb("Whose previews these are, where JPEG pictures come in; windows say it themselves")
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("stream")
                .nick("Stream")
                .blurb("Name of the stream, where JPEG pictures come in")
                .default_value(Some(default.stream.as_str()))
                .mutable_ready()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb("windows; messages published, acknowledged, retried, dropped, pending; bytes acknowledged; previews sent; connected")
                .read_only()
                .build(),
        ]);
        properties
    });
    &PROPERTIES
}
