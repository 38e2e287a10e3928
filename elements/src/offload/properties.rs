//! Settings and counters of `msaooffload`, and their properties.

use std::sync::LazyLock;
use std::time::Duration;

use ::offload::{link, planner, runtime, thresholds};
use gst::glib;
use gst::prelude::*;

use super::desk::Desk;

/// Settings; their defaults are the properties'.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    planner: planner::Settings,
    thresholds: thresholds::Settings,
    link: link::Settings,
    /// Tokens that are sent of a window at most; 0 for all.
    pub max_tokens: u32,
    /// Windows that may wait, and how long.
    pub waiting: usize,
    pub patience: Duration,
    /// Cosine from which two windows are of one scene.
    pub same_scene: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            planner: planner::Settings::default(),
            thresholds: thresholds::Settings::default(),
            link: link::Settings::default(),
            max_tokens: 0,
            waiting: 64,
            patience: Duration::from_secs(60),
            same_scene: 0.9,
        }
    }
}

impl Settings {
    pub fn runtime(&self) -> runtime::Settings {
        runtime::Settings {
            planner: self.planner,
            thresholds: self.thresholds,
            link: self.link,
            ..runtime::Settings::default()
        }
    }

    /// Share of audits, and the seed of their draw.
    pub fn audits(&self) -> (f64, u64) {
        (self.planner.audit, self.planner.seed)
    }

    pub fn set(&mut self, name: &str, value: &glib::Value) {
        let number = || value.get::<f64>().unwrap_or_default();
        let whole = || value.get::<u32>().unwrap_or_default();
        let time = || Duration::from_nanos(value.get().unwrap_or_default());
        match name {
            "target-risk" => self.thresholds.target_risk = number(),
            "target-latency" => self.thresholds.target_latency = time().as_secs_f64(),
            "lambda-bytes" => self.planner.lambda_bytes = number(),
            "lambda-cloud" => self.planner.lambda_cloud = number(),
            "min-tokens" => self.planner.min_tokens = whole(),
            "max-tokens" => self.max_tokens = whole(),
            "audit" => self.planner.audit = number(),
            "seed" => self.planner.seed = value.get().unwrap_or_default(),
            "bandwidth" => self.link.assumed = number(),
            "defer-windows" => self.waiting = whole() as usize,
            "same-scene" => self.same_scene = number(),
            _ => self.patience = time(),
        }
    }

    pub fn get(&self, name: &str) -> glib::Value {
        let time = |time: Duration| (time.as_nanos() as u64).to_value();
        match name {
            "target-risk" => self.thresholds.target_risk.to_value(),
            "target-latency" => time(Duration::from_secs_f64(self.thresholds.target_latency)),
            "lambda-bytes" => self.planner.lambda_bytes.to_value(),
            "lambda-cloud" => self.planner.lambda_cloud.to_value(),
            "min-tokens" => self.planner.min_tokens.to_value(),
            "max-tokens" => self.max_tokens.to_value(),
            "audit" => self.planner.audit.to_value(),
            "seed" => self.planner.seed.to_value(),
            "bandwidth" => self.link.assumed.to_value(),
            "defer-windows" => (self.waiting as u32).to_value(),
            "same-scene" => self.same_scene.to_value(),
            _ => time(self.patience),
        }
    }
}

/// The element's properties.
pub(super) fn properties() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let default = Settings::default();
        let number = |name, nick, blurb, (least, most): (f64, f64), default: f64| {
            glib::ParamSpecDouble::builder(name)
                .nick(nick)
                .blurb(blurb)
                .minimum(least)
                .maximum(most)
                .default_value(default)
                .mutable_ready()
                .build()
        };
        let flags = |name| match name {
            "max-tokens" | "defer-windows" | "defer-age" => gst::PARAM_FLAG_MUTABLE_PLAYING,
            _ => gst::PARAM_FLAG_MUTABLE_READY,
        };
        let count = |name, nick, blurb, most, default| {
            glib::ParamSpecUInt::builder(name)
                .nick(nick)
                .blurb(blurb)
                .maximum(most)
                .default_value(default)
                .flags(glib::ParamFlags::READWRITE | flags(name))
                .build()
        };
        let time = |name, nick, blurb, least: u64, default: Duration| {
            glib::ParamSpecUInt64::builder(name)
                .nick(nick)
                .blurb(blurb)
                .minimum(least)
                .maximum(86_400_000_000_000)
                .default_value(default.as_nanos() as u64)
                .flags(glib::ParamFlags::READWRITE | flags(name))
                .build()
        };
        let latency = Duration::from_secs_f64(default.thresholds.target_latency);
        vec![
            number(
                "target-risk",
                "Target of risk",
                "Share of windows that may be kept on the edge though the cloud would change their draft",
                (0.0, 1.0),
                default.thresholds.target_risk,
            ),
            time(
                "target-latency",
                "Target of latency",
                "Time from a window's decision to its final caption (ns), for 95 % of those sent",
                1,
                latency,
            ),
            number(
                "lambda-bytes",
                "Price of the link",
                "Price of a second of the link, in seconds of latency",
                (0.0, 1000.0),
                default.planner.lambda_bytes,
            ),
            number(
                "lambda-cloud",
                "Price of the cloud",
                "Price of a second of the cloud, in seconds of latency",
                (0.0, 1000.0),
                default.planner.lambda_cloud,
            ),
            count(
                "min-tokens",
                "Least tokens",
                "Tokens of a window that are sent at least, whatever the link",
                65_535,
                default.planner.min_tokens,
            ),
            count(
                "max-tokens",
                "Most tokens",
                "Tokens of a window that are sent at most; 0 for all",
                65_535,
                default.max_tokens,
            ),
            number(
                "audit",
                "Audits",
                "Share of the windows that would teach nothing that is verified all the same; above 0",
                (0.0, 1.0),
                default.planner.audit,
            ),
            glib::ParamSpecUInt64::builder("seed")
                .nick("Seed")
                .blurb("Seed of the draw of audits")
                .default_value(default.planner.seed)
                .mutable_ready()
                .build(),
            number(
                "bandwidth",
                "Bandwidth",
                "Bandwidth that is assumed until it was measured, bytes a second",
                (link::SLOWEST, link::FASTEST),
                default.link.assumed,
            ),
            count(
                "defer-windows",
                "Windows that wait",
                "Windows that may wait for the cloud; of more the oldest waits no longer",
                4096,
                default.waiting as u32,
            ),
            time(
                "defer-age",
                "Longest wait",
                "How long a window may wait for the cloud (ns); after that its draft is final",
                0,
                default.patience,
            ),
            number(
                "same-scene",
                "Same scene",
                "Cosine between the mean features of two windows from which a correction of one falls on the same draft of the other; above 1 for never",
                (0.0, 2.0),
                default.same_scene,
            ),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb("windows; decisions: skip, keep, verify, offload, defer, audits; waiting now, stale, dropped; redrafted; contact, cloud, bandwidth (bytes a second), rtt (ns), risk-limit, latency-limit (ns)")
                .read_only()
                .build(),
        ]
    });
    &PROPERTIES
}

/// What has been decided so far, and what is known at this time.
pub(super) fn structure(desk: &Desk, now: Duration) -> gst::Structure {
    let (decisions, known) = (desk.decisions(), desk.known(now));
    let ns = |seconds: f64| (seconds * 1e9) as u64;
    gst::Structure::builder("stats")
        .field("windows", desk.windows)
        .field("skip", decisions.skip)
        .field("keep", decisions.keep)
        .field("verify", decisions.verify)
        .field("offload", decisions.offload)
        .field("defer", decisions.defer)
        .field("audits", decisions.audits)
        .field("waiting", decisions.waiting)
        .field("stale", decisions.stale)
        .field("dropped", decisions.dropped)
        .field("redrafted", desk.redrafted)
        .field("contact", known.link.contact)
        .field("cloud", known.cloud.available)
        .field("bandwidth", known.link.bandwidth)
        .field("rtt", ns(known.link.rtt))
        .field("risk-limit", known.limits.risk)
        .field("latency-limit", ns(known.limits.latency))
        .build()
}
