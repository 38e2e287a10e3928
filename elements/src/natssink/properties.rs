//! Settings of `msaonatssink` and their properties.

use std::sync::LazyLock;

use broker::{ConnectConfig, PublisherConfig};
use gst::glib;
use gst::prelude::*;

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

/// Settings; their defaults are the properties'.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    url: String,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    tls_ca: Option<String>,
    queue_messages: u32,
    queue_bytes: u64,
    on_full: OnFull,
    pub flush_timeout: gst::ClockTime,
    pub retry_connect: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let publisher = PublisherConfig::default();
        Self {
            url: ConnectConfig::default().url,
            user: None,
            password: None,
            token: None,
            tls_ca: None,
            queue_messages: publisher.max_messages as u32,
            queue_bytes: publisher.max_bytes as u64,
            on_full: OnFull::default(),
            flush_timeout: gst::ClockTime::from_seconds(5),
            retry_connect: false,
        }
    }
}

impl Settings {
    pub fn connect(&self) -> ConnectConfig {
        ConnectConfig {
            url: self.url.clone(),
            name: "msaonatssink".to_owned(),
            user: self.user.clone(),
            password: self.password.clone().map(Into::into),
            token: self.token.clone().map(Into::into),
            tls_ca: self.tls_ca.clone().map(Into::into),
        }
    }

    pub fn publisher(&self) -> PublisherConfig {
        PublisherConfig {
            max_messages: self.queue_messages as usize,
            max_bytes: usize::try_from(self.queue_bytes).unwrap_or(usize::MAX),
            on_full: self.on_full.into(),
            ..PublisherConfig::default()
        }
    }

    pub fn set(&mut self, name: &str, value: &glib::Value) {
        let text = || value.get().unwrap_or_default();
        match name {
            "url" => self.url = value.get().unwrap_or_default(),
            "user" => self.user = text(),
            "password" => self.password = text(),
            "token" => self.token = text(),
            "tls-ca" => self.tls_ca = text(),
            "queue-messages" => self.queue_messages = value.get().unwrap_or_default(),
            "queue-bytes" => self.queue_bytes = value.get().unwrap_or_default(),
            "on-full" => self.on_full = value.get().unwrap_or_default(),
            "flush-timeout" => {
                self.flush_timeout = gst::ClockTime::from_nseconds(value.get().unwrap_or_default());
            }
            _ => self.retry_connect = value.get().unwrap_or_default(),
        }
    }

    pub fn get(&self, name: &str) -> glib::Value {
        match name {
            "url" => self.url.to_value(),
            "user" => self.user.to_value(),
            "tls-ca" => self.tls_ca.to_value(),
            "queue-messages" => self.queue_messages.to_value(),
            "queue-bytes" => self.queue_bytes.to_value(),
            "on-full" => self.on_full.to_value(),
            "flush-timeout" => self.flush_timeout.nseconds().to_value(),
            _ => self.retry_connect.to_value(),
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
        };
        vec![
            text("url", "URL", "The NATS server: nats://host:port or tls://host:port; several with commas between them")
                .default_value(Some(default.url.as_str()))
                .build(),
            text("user", "User", "User name; needs password").build(),
            text("password", "Password", "Password of user").write_only().build(),
            text("token", "Token", "Token, instead of user and password").write_only().build(),
            text("tls-ca", "TLS authority", "PEM file of the authority that signed the server's certificate").build(),
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
            glib::ParamSpecUInt64::builder("flush-timeout")
                .nick("Flush timeout")
                .blurb("How long EOS waits for the server's acknowledgements (ns)")
                .maximum(3_600_000_000_000)
                .default_value(default.flush_timeout.nseconds())
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("retry-connect")
                .nick("Retry to connect")
                .blurb("Start without a server and keep trying, instead of an error")
                .default_value(default.retry_connect)
                .mutable_ready()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb("windows; messages published, acknowledged, retried, dropped, pending; bytes acknowledged; connected")
                .read_only()
                .build(),
        ]
    });
    &PROPERTIES
}
