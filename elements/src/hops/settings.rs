//! Settings, counters and messages of the elements that measure hops.

use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use mas::MeterSettings;

use super::measure::EndedHop;
use crate::model::ModelSettings;

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub model: ModelSettings,
    pub coverage: f32,
    pub seed: u64,
    pub message: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let meter = MeterSettings::default();
        Self {
            model: ModelSettings::default(),
            coverage: meter.coverage,
            seed: meter.seed,
            message: false,
        }
    }
}

impl Settings {
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        if self.model.set(name, value) {
            return true;
        }
        match name {
            "coverage" => self.coverage = value.get().unwrap_or_default(),
            "seed" => self.seed = value.get().unwrap_or_default(),
            "message" => self.message = value.get().unwrap_or_default(),
            _ => return false,
        }
        true
    }

    pub fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "coverage" => Some(self.coverage.to_value()),
            "seed" => Some(self.seed.to_value()),
            "message" => Some(self.message.to_value()),
            name => self.model.get(name),
        }
    }
}

pub(super) fn properties() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    let mut properties = ModelSettings::properties().to_vec();
    properties.extend([
        glib::ParamSpecFloat::builder("coverage")
            .nick("Coverage")
            .blurb("Share of a hop's activation energy that the spatial mask holds; above 0")
            .minimum(f32::MIN_POSITIVE)
            .maximum(1.0)
            .default_value(default.coverage)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("seed")
            .nick("Seed")
            .blurb("Seed of the hyperplanes that codes are made with")
            .default_value(default.seed)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("message")
            .nick("Message")
            .blurb("Post an element message `msao-mas` for each hop")
            .default_value(default.message)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("hops, restarts, given-up (samples of hops that did not end), unreadable (buffers); time: spent in the network and in measuring (ns)")
            .read_only()
            .build(),
    ]);
    properties
}

/// Counters since the element started.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Stats {
    pub hops: u64,
    pub restarts: u64,
    pub given_up: u64,
    pub unreadable: u64,
    pub time: Duration,
}

impl Stats {
    pub fn structure(&self) -> gst::Structure {
        gst::Structure::builder("stats")
            .field("hops", self.hops)
            .field("restarts", self.restarts)
            .field("given-up", self.given_up)
            .field("unreadable", self.unreadable)
            .field("time", self.time.as_nanos() as u64)
            .build()
    }
}

/// Posts the element message of a hop.
pub(super) fn post(element: &impl IsA<gst::Element>, hop: &EndedHop) {
    let value = hop.measured.measurement.mas;
    let structure = gst::Structure::builder("msao-mas")
        .field("frame", hop.measured.frame)
        .field("pts", hop.pts)
        .field("rho", value.rho)
        .field("gamma", value.gamma)
        .field("beta", value.beta)
        .field("mas", value.mas)
        .field("flags", hop.measured.flags.join(","))
        .field_if_some("speech", hop.speech)
        .build();
    let message = gst::message::Element::builder(structure)
        .src(element.upcast_ref())
        .build();
    // Without a bus nobody listens.
    let _ = element.post_message(message);
}
