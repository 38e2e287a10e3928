//! Settings and counters of `msaodraft`, and their properties.

use std::sync::LazyLock;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;

use super::window::Settings;
use crate::beta::{Betas, UNKNOWN};
use crate::model::ModelSettings;

/// Settings; their defaults are the properties'.
#[derive(Debug, Default, Clone)]
pub(super) struct Properties {
    pub model: ModelSettings,
    pub draft: Settings,
}

impl Properties {
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        if self.model.set(name, value) {
            return;
        }
        let ns = || value.get::<u64>().unwrap_or_default();
        let pace = &mut self.draft.pace;
        match name {
            "beta-interval" => pace.interval = gst::ClockTime::from_nseconds(ns()),
            "beta-budget" => pace.budget = Duration::from_nanos(ns()),
            _ => self.draft.keep_tokens = value.get::<u32>().unwrap_or_default() as usize,
        }
    }

    pub fn get(&self, name: &str) -> Option<glib::Value> {
        let pace = self.draft.pace;
        match name {
            "beta-interval" => Some(pace.interval.nseconds().to_value()),
            "beta-budget" => Some((pace.budget.as_nanos() as u64).to_value()),
            "keep-tokens" => Some((self.draft.keep_tokens as u32).to_value()),
            name => self.model.get(name),
        }
    }
}

/// Counters since the element started, and what is known of β.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stats {
    pub windows: u64,
    pub drafted: u64,
    pub stopped: u64,
    pub tokens: u64,
    pub time: Duration,
    pub betas: Betas,
    pub refreshes: u64,
    pub beta_time: Duration,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            windows: 0,
            drafted: 0,
            stopped: 0,
            tokens: 0,
            time: Duration::ZERO,
            betas: UNKNOWN,
            refreshes: 0,
            beta_time: Duration::ZERO,
        }
    }
}

impl Stats {
    pub fn structure(&self) -> gst::Structure {
        gst::Structure::builder("stats")
            .field("windows", self.windows)
            .field("drafted", self.drafted)
            .field("stopped", self.stopped)
            .field("tokens", self.tokens)
            .field("time", self.time.as_nanos() as u64)
            .field("beta-video", self.betas.video)
            .field("beta-audio", self.betas.audio)
            .field("beta-sensor", self.betas.sensor)
            .field("beta-refreshes", self.refreshes)
            .field("beta-time", self.beta_time.as_nanos() as u64)
            .build()
    }
}

/// The element's properties.
pub(super) fn properties() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let default = Settings::default();
        let mut properties = ModelSettings::properties().to_vec();
        properties.extend([
            glib::ParamSpecUInt64::builder("beta-interval")
                .nick("Beta interval")
                .blurb("Running time (ns) from one measurement of each modality's contribution (beta) to the next; 0 for never")
                // The greatest value is no time.
                .maximum(u64::MAX - 1)
                .default_value(default.pace.interval.nseconds())
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("beta-budget")
                .nick("Beta budget")
                .blurb("How long (ns) one measurement of beta may take: after one that took longer the next comes later by as much; 0 for no bound")
                .default_value(default.pace.budget.as_nanos() as u64)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("keep-tokens")
                .nick("Tokens to keep")
                .blurb("Tokens of a window that go on at most: streams share them by beta, and of each those go on that stand for all by the draft's attention; 0 for all")
                .maximum(65_535)
                .default_value(default.keep_tokens as u32)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb("windows, drafted, stopped, tokens (of drafts); time: spent on windows (ns); beta-video, beta-audio, beta-sensor, beta-refreshes; beta-time: spent on measuring beta (ns)")
                .read_only()
                .build(),
        ]);
        properties
    });
    &PROPERTIES
}
