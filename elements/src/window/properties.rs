//! Settings and counters of `msaowindow`, and their properties.

use std::sync::LazyLock;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use mas::select::Budget;

use crate::model::ModelSettings;

/// Settings; their defaults are the properties'.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub model: ModelSettings,
    pub rig: String,
    pub duration: gst::ClockTime,
    pub prompt: Option<String>,
    pub threshold: f32,
    pub min_tokens: u32,
    pub max_tokens: u32,
    pub stall_timeout: gst::ClockTime,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: ModelSettings::default(),
            rig: "rig".to_owned(),
            duration: gst::ClockTime::SECOND,
            prompt: None,
            threshold: 0.1,
            min_tokens: 16,
            // All positions of a picture, of sound and of sensors.
            max_tokens: 109,
            stall_timeout: gst::ClockTime::from_seconds(2),
        }
    }
}

impl Settings {
    pub fn budget(&self) -> Result<Budget, mas::Error> {
        Budget::new(
            self.threshold,
            self.min_tokens as usize,
            self.max_tokens as usize,
        )
    }

    /// The budget. Set while playing, the pair may cross for a moment: then the greatest counts.
    pub fn shared(&self) -> Budget {
        Budget {
            threshold: self.threshold,
            min: self.min_tokens.min(self.max_tokens) as usize,
            max: self.max_tokens as usize,
        }
    }

    pub fn set(&mut self, name: &str, value: &glib::Value) {
        if self.model.set(name, value) {
            return;
        }
        match name {
            "rig" => self.rig = value.get().unwrap_or_default(),
            "duration" => {
                self.duration = gst::ClockTime::from_nseconds(value.get().unwrap_or_default());
            }
            "prompt" => self.prompt = value.get().unwrap_or_default(),
            "threshold" => self.threshold = value.get().unwrap_or_default(),
            "min-tokens" => self.min_tokens = value.get().unwrap_or_default(),
            "stall-timeout" => {
                self.stall_timeout = gst::ClockTime::from_nseconds(value.get().unwrap_or_default());
            }
            _ => self.max_tokens = value.get().unwrap_or_default(),
        }
    }

    pub fn get(&self, name: &str) -> glib::Value {
        match name {
            "rig" => self.rig.to_value(),
            "duration" => self.duration.nseconds().to_value(),
            "prompt" => self.prompt.to_value(),
            "threshold" => self.threshold.to_value(),
            "min-tokens" => self.min_tokens.to_value(),
            "max-tokens" => self.max_tokens.to_value(),
            "stall-timeout" => self.stall_timeout.nseconds().to_value(),
            name => self
                .model
                .get(name)
                .unwrap_or_else(|| None::<String>.to_value()),
        }
    }
}

/// Counters since the element started.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Stats {
    /// What runs T2, once the element has started.
    pub provider: Option<mllm::Provider>,
    pub windows: u64,
    pub skipped: u64,
    pub frames_in: u64,
    pub frames_kept: u64,
    pub hops: u64,
    pub stalls: u64,
    pub late: u64,
    pub unusable: u64,
    /// Somebody was told of what is unusable.
    pub warned: bool,
    pub tokens_kept: u64,
    pub tokens_possible: u64,
    pub t2: Duration,
}

impl Stats {
    pub fn structure(&self) -> gst::Structure {
        gst::Structure::builder("stats")
            .field("windows", self.windows)
            .field("skipped", self.skipped)
            .field("frames-in", self.frames_in)
            .field("frames-kept", self.frames_kept)
            .field("hops", self.hops)
            .field("stalls", self.stalls)
            .field("late", self.late)
            .field("unusable", self.unusable)
            .field("tokens-kept", self.tokens_kept)
            .field("tokens-possible", self.tokens_possible)
            .field("t2-time", self.t2.as_nanos() as u64)
            .field("provider", self.provider.map(|p| p.to_string()))
            .build()
    }
}

/// The element's properties.
pub(super) fn properties() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let default = Settings::default();
        let tokens = |name, nick, blurb, default| {
            glib::ParamSpecUInt::builder(name)
                .nick(nick)
                .blurb(blurb)
                .maximum(65_535)
                .default_value(default)
                .mutable_playing()
                .build()
        };
        let mut properties = ModelSettings::properties().to_vec();
        properties.extend([
            glib::ParamSpecString::builder("rig")
                .nick("Rig")
                .blurb("Name of the rig: 1 to 64 of A-Z, a-z, 0-9, _ and -")
                .default_value(Some(default.rig.as_str()))
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("epoch")
                .nick("Epoch")
                .blurb("ULID made when the element started; windows are rig/epoch/seq")
                .read_only()
                .build(),
            glib::ParamSpecUInt64::builder("duration")
                .nick("Duration")
                .blurb("Length of a window (ns)")
                .minimum(1_000_000)
                .maximum(3_600_000_000_000)
                .default_value(default.duration.nseconds())
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("prompt")
                .nick("Prompt")
                .blurb("What the models are asked (default: the model's own default prompt)")
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("threshold")
                .nick("Threshold")
                .blurb("A position is kept if its importance s * u is greater")
                .minimum(0.0)
                .maximum(1.0)
                .default_value(default.threshold)
                .mutable_playing()
                .build(),
            tokens(
                "min-tokens",
                "Least tokens",
                "Tokens kept of a window at least, all streams together, filled up by spatial energy",
                default.min_tokens,
            ),
            tokens(
                "max-tokens",
                "Most tokens",
                "Tokens kept of a window at most, shared among its streams by beta, the most important first; at least min-tokens",
                default.max_tokens,
            ),
            glib::ParamSpecUInt64::builder("stall-timeout")
                .nick("Stall timeout")
                .blurb("A stream that delivers nothing for so long (ns) does not hold the others; 0 for never")
                // The greatest value is no time.
                .maximum(u64::MAX - 1)
                .default_value(default.stall_timeout.nseconds())
                .mutable_playing()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb("windows, skipped, frames-in and frames-kept (of video), hops (of audio and sensors), stalls, late and unusable (buffers), tokens-kept, tokens-possible (of skipped windows too), t2-time (ns); provider: what runs T2")
                .read_only()
                .build(),
        ]);
        properties
    });
    &PROPERTIES
}
