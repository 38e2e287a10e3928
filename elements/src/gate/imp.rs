//! Implementation of `msaogate`.

use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use mas::gate::{self, Decision};

use crate::meta::MasMeta;
use crate::{lock, running_time};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("msaogate", gst::DebugColorFlags::empty(), Some("MAS gate"))
});

const THRESHOLD: f32 = 0.02;
const HYSTERESIS: f32 = 0.01;
const MIN_INTERVAL: u64 = 0;
const MAX_GAP: u64 = 10_000_000_000;

#[derive(Debug, Clone, Copy)]
struct Settings {
    gate: gate::Settings,
    mark_sent: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let gate = gate::Settings {
            threshold: THRESHOLD,
            hysteresis: HYSTERESIS,
            min_interval: Duration::from_nanos(MIN_INTERVAL),
            max_gap: Duration::from_nanos(MAX_GAP),
        };
        Self {
            gate,
            mark_sent: false,
        }
    }
}

/// Counters since the element started.
#[derive(Debug, Default, Clone, Copy)]
struct Stats {
    frames_in: u64,
    open: u64,
    heartbeat: u64,
    unmeasured: u64,
    shut: u64,
    too_soon: u64,
}

#[derive(Default)]
struct State {
    gate: gate::Gate,
    stats: Stats,
}

/// Implementation of [`Gate`](super::Gate).
#[derive(Default)]
pub struct Gate {
    settings: Mutex<Settings>,
    state: Mutex<State>,
}

#[glib::object_subclass]
impl ObjectSubclass for Gate {
    const NAME: &'static str = "GstMsaoGate";
    type Type = super::Gate;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for Gate {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let share = |name, nick, blurb, default| {
                glib::ParamSpecFloat::builder(name)
                    .nick(nick)
                    .blurb(blurb)
                    .minimum(0.0)
                    .maximum(1.0)
                    .default_value(default)
                    .mutable_playing()
                    .build()
            };
            let time = |name, nick, blurb, default| {
                glib::ParamSpecUInt64::builder(name)
                    .nick(nick)
                    .blurb(blurb)
                    .default_value(default)
                    .mutable_playing()
                    .build()
            };
            vec![
                share(
                    "threshold",
                    "Threshold",
                    "The gate opens when the share worth sending, 1 - MAS, reaches this",
                    THRESHOLD,
                ),
                share(
                    "hysteresis",
                    "Hysteresis",
                    "The gate shuts when 1 - MAS falls this much below the threshold; at most the threshold",
                    HYSTERESIS,
                ),
                time(
                    "min-interval",
                    "Least interval",
                    "Buffers sooner than this (ns) after a kept one are dropped",
                    MIN_INTERVAL,
                ),
                time(
                    "max-gap",
                    "Greatest gap",
                    "A buffer this long (ns) after the last kept one goes on whatever its MAS; 0 for never",
                    MAX_GAP,
                ),
                glib::ParamSpecBoolean::builder("mark-sent")
                    .nick("Mark as sent")
                    .blurb("Count kept buffers as sent whole; leave off where msaowindow follows, which says what is sent")
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("in, kept; kept by reason: open, heartbeat, unmeasured; dropped by reason: shut, too-soon")
                    .read_only()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        let share = || value.get().unwrap_or_default();
        let time = || Duration::from_nanos(value.get().unwrap_or_default());
        match pspec.name() {
            "threshold" => settings.gate.threshold = share(),
            "hysteresis" => settings.gate.hysteresis = share(),
            "min-interval" => settings.gate.min_interval = time(),
            "max-gap" => settings.gate.max_gap = time(),
            "mark-sent" => settings.mark_sent = value.get().unwrap_or_default(),
            name => gst::error!(CAT, imp = self, "no writable property `{name}`"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = *lock(&self.settings);
        match pspec.name() {
            "threshold" => settings.gate.threshold.to_value(),
            "hysteresis" => settings.gate.hysteresis.to_value(),
            "min-interval" => (settings.gate.min_interval.as_nanos() as u64).to_value(),
            "max-gap" => (settings.gate.max_gap.as_nanos() as u64).to_value(),
            "mark-sent" => settings.mark_sent.to_value(),
            _ => {
                let stats = lock(&self.state).stats;
                gst::Structure::builder("stats")
                    .field("in", stats.frames_in)
                    .field("kept", stats.open + stats.heartbeat + stats.unmeasured)
                    .field("open", stats.open)
                    .field("heartbeat", stats.heartbeat)
                    .field("unmeasured", stats.unmeasured)
                    .field("shut", stats.shut)
                    .field("too-soon", stats.too_soon)
                    .build()
                    .to_value()
            }
        }
    }
}

impl GstObjectImpl for Gate {}

impl ElementImpl for Gate {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MSAO gate",
                "Filter",
                "Passes on buffers that are worth sending, by their MAS, and puts gaps in place of the others",
                "The MSAO authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::new_any();
            [
                ("sink", gst::PadDirection::Sink),
                ("src", gst::PadDirection::Src),
            ]
            .into_iter()
            .filter_map(|(name, direction)| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).ok()
            })
            .collect()
        });
        &TEMPLATES
    }
}

impl BaseTransformImpl for Gate {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = true;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = true;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).gate;
        settings
            .check()
            .map_err(|error| gst::error_msg!(gst::ResourceError::Settings, ("{error}")))?;
        *lock(&self.state) = State::default();
        Ok(())
    }

    fn transform_ip_passthrough(
        &self,
        buffer: &gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let settings = *lock(&self.settings);
        let running = running_time(&*self.obj(), buffer);
        let mas = MasMeta::of(buffer);
        let decision = {
            let mut state = lock(&self.state);
            state.stats.frames_in += 1;
            let (Some(mas), Some(running)) = (&mas, running) else {
                if state.stats.unmeasured == 0 {
                    gst::warning!(
                        CAT,
                        imp = self,
                        "a buffer without MAS or without a time: it goes on. Is msaovideomas upstream?"
                    );
                }
                state.stats.unmeasured += 1;
                return Ok(gst::FlowSuccess::Ok);
            };
            // What was sent since the frame was measured counts.
            let worth = mas.now().mas.worth();
            let decision = state.gate.decide(&settings.gate, running.into(), worth);
            match decision {
                Decision::Open => state.stats.open += 1,
                Decision::Heartbeat => state.stats.heartbeat += 1,
                Decision::Shut => state.stats.shut += 1,
                Decision::TooSoon => state.stats.too_soon += 1,
            }
            decision
        };
        gst::trace!(CAT, imp = self, "{running:?}: {decision:?}");
        if decision.keeps() {
            if let (true, Some(mas)) = (settings.mark_sent, &mas) {
                mas.mark_sent(0..mas.measurement.s.len());
            }
            return Ok(gst::FlowSuccess::Ok);
        }
        if let Some(pts) = buffer.pts() {
            let gap = gst::event::Gap::builder(pts)
                .duration(buffer.duration())
                .build();
            self.obj().src_pad().push_event(gap);
        }
        Ok(gst_base::BASE_TRANSFORM_FLOW_DROPPED)
    }
}
