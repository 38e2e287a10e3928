//! Settings and counters of `msaogate`, and their properties.

use std::sync::LazyLock;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use mas::gate::{self, Decision};

use super::Mode;

/// Settings; their defaults are the properties'.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    gate: gate::Settings,
    pub mode: Mode,
    thin_interval: Duration,
    pub mark_sent: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gate: gate::Settings::default(),
            mode: Mode::Drop,
            thin_interval: Duration::from_secs(1),
            mark_sent: false,
        }
    }
}

impl Settings {
    /// What the gate decides by.
    pub fn gate(&self) -> gate::Settings {
        gate::Settings {
            thin_interval: (self.mode == Mode::Thin).then_some(self.thin_interval),
            ..self.gate
        }
    }

    pub fn set(&mut self, name: &str, value: &glib::Value) {
        let share = || value.get().unwrap_or_default();
        let time = || Duration::from_nanos(value.get().unwrap_or_default());
        match name {
            "mode" => self.mode = value.get().unwrap_or_default(),
            "threshold" => self.gate.threshold = share(),
            "hysteresis" => self.gate.hysteresis = share(),
            "min-interval" => self.gate.min_interval = time(),
            "max-gap" => self.gate.max_gap = time(),
            "thin-interval" => self.thin_interval = time(),
            "budget" => self.gate.budget = value.get().unwrap_or_default(),
            _ => self.mark_sent = value.get().unwrap_or_default(),
        }
    }

    pub fn get(&self, name: &str) -> glib::Value {
        let time = |time: Duration| (time.as_nanos() as u64).to_value();
        match name {
            "mode" => self.mode.to_value(),
            "threshold" => self.gate.threshold.to_value(),
            "hysteresis" => self.gate.hysteresis.to_value(),
            "min-interval" => time(self.gate.min_interval),
            "max-gap" => time(self.gate.max_gap),
            "thin-interval" => time(self.thin_interval),
            "budget" => self.gate.budget.to_value(),
            _ => self.mark_sent.to_value(),
        }
    }
}

/// Counters since the element started. What is not worth sending is either dropped or flagged.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Stats {
    frames_in: u64,
    dropped: u64,
    flagged: u64,
    open: u64,
    heartbeat: u64,
    thinned: u64,
    pub unmeasured: u64,
    shut: u64,
    too_soon: u64,
    over_budget: u64,
}

impl Stats {
    /// Counts a buffer that goes on because nothing is known of it.
    pub fn pass(&mut self) {
        self.frames_in += 1;
        self.unmeasured += 1;
    }

    pub fn count(&mut self, decision: Decision, mode: Mode) {
        self.frames_in += 1;
        match decision {
            Decision::Open => self.open += 1,
            Decision::Heartbeat => self.heartbeat += 1,
            Decision::Thinned => self.thinned += 1,
            Decision::Shut => self.shut += 1,
            Decision::TooSoon => self.too_soon += 1,
            Decision::OverBudget => self.over_budget += 1,
        }
        match mode {
            _ if decision.keeps() => {}
            Mode::Flag => self.flagged += 1,
            Mode::Drop | Mode::Thin => self.dropped += 1,
        }
    }

    pub fn structure(&self) -> gst::Structure {
        let kept = self.open + self.heartbeat + self.thinned + self.unmeasured;
        gst::Structure::builder("stats")
            .field("in", self.frames_in)
            .field("kept", kept)
            .field("dropped", self.dropped)
            .field("flagged", self.flagged)
            .field("open", self.open)
            .field("heartbeat", self.heartbeat)
            .field("thinned", self.thinned)
            .field("unmeasured", self.unmeasured)
            .field("shut", self.shut)
            .field("too-soon", self.too_soon)
            .field("over-budget", self.over_budget)
            .build()
    }
}

/// The element's properties.
pub(super) fn properties() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let default = Settings::default();
        let share = |name, nick, blurb, default| {
            glib::ParamSpecFloat::builder(name)
                .nick(nick)
                .blurb(blurb)
                .maximum(1.0)
                .minimum(0.0)
                .default_value(default)
                .mutable_playing()
                .build()
        };
        let time = |name, nick, blurb, default: Duration| {
            glib::ParamSpecUInt64::builder(name)
                .nick(nick)
                .blurb(blurb)
                .default_value(default.as_nanos() as u64)
                .mutable_playing()
                .build()
        };
        vec![
            glib::ParamSpecEnum::builder_with_default("mode", default.mode)
                .nick("Mode")
                .blurb("What becomes of buffers that are not worth sending")
                .mutable_playing()
                .build(),
            share(
                "threshold",
                "Threshold",
                "The gate opens when the share worth sending, 1 - MAS, reaches this",
                default.gate.threshold,
            ),
            share(
                "hysteresis",
                "Hysteresis",
                "The gate shuts when 1 - MAS falls this much below the threshold; at most the threshold",
                default.gate.hysteresis,
            ),
            time(
                "min-interval",
                "Least interval",
                "Buffers sooner than this (ns) after a kept one are not worth sending",
                default.gate.min_interval,
            ),
            time(
                "max-gap",
                "Greatest gap",
                "A buffer this long (ns) after the last kept one goes on whatever its MAS; 0 for never",
                default.gate.max_gap,
            ),
            time(
                "thin-interval",
                "Thin interval",
                "In mode thin, while the gate is shut, a buffer this long (ns) after the last kept one goes on",
                default.thin_interval,
            ),
            glib::ParamSpecDouble::builder("budget")
                .nick("Budget")
                .blurb("Buffers a second that may go on, averaged; the more of it is used up, the greater 1 - MAS must be; 0 for any number")
                .minimum(0.0)
                .maximum(1e6)
                .default_value(default.gate.budget)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("mark-sent")
                .nick("Mark as sent")
                .blurb("Count kept buffers as sent whole; leave off where msaowindow follows, which says what is sent")
                .mutable_playing()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb("in = kept + dropped + flagged; kept by reason: open, heartbeat, thinned, unmeasured; dropped or flagged by reason: shut, too-soon, over-budget")
                .read_only()
                .build(),
        ]
    });
    &PROPERTIES
}
