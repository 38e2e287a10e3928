//! Implementation of `msaovideomas`.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;

use super::frame::{self, Unreadable};
use super::late::Lateness;
use super::measure::{Failure, Settings, State, Stats};
use crate::latency::Latency;
use crate::meta::{MasMeta, Measured};
use crate::model::ModelSettings;
use crate::shut::Shut;
use crate::{beta, lock, running_time};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "msaovideomas",
        gst::DebugColorFlags::empty(),
        Some("MAS of video"),
    )
});

/// Implementation of [`VideoMas`](super::VideoMas).
#[derive(Default)]
pub struct VideoMas {
    settings: Mutex<Settings>,
    pub(super) state: Mutex<Option<State>>,
    stats: Mutex<Stats>,
    latency: Latency,
    lateness: Lateness,
    /// What a gate downstream said last.
    shut: Mutex<Option<Shut>>,
}

impl VideoMas {
    fn post(&self, mas: &Measured, pts: Option<gst::ClockTime>) {
        let value = mas.measurement.mas;
        let structure = gst::Structure::builder("msao-mas")
            .field("frame", mas.frame)
            .field("pts", pts)
            .field("rho", value.rho)
            .field("gamma", value.gamma)
            .field("beta", value.beta)
            .field("mas", value.mas)
            .field("t0", mas.t0)
            .field("probed", mas.probed)
            .build();
        let message = gst::message::Element::builder(structure)
            .src(&*self.obj())
            .build();
        // Without a bus nobody listens.
        let _ = self.obj().post_message(message);
    }
}

#[glib::object_subclass]
impl ObjectSubclass for VideoMas {
    const NAME: &'static str = "GstMsaoVideoMas";
    type Type = super::VideoMas;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for VideoMas {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let default = Settings::default();
            let mut properties = ModelSettings::properties().to_vec();
            properties.extend([
                glib::ParamSpecFloat::builder("t0-threshold")
                    .nick("T0 threshold")
                    .blurb("The probe runs if at least this share of luma blocks changed since it last ran; 0 for every frame")
                    .minimum(0.0)
                    .maximum(1.0)
                    .default_value(default.t0_threshold)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt64::builder("heartbeat")
                    .nick("Heartbeat")
                    .blurb("The probe runs at least once in this time (ns), whatever T0 says")
                    .maximum(u64::MAX - 1)
                    .default_value(default.heartbeat.nseconds())
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt64::builder("budget")
                    .nick("Budget")
                    .blurb("Time that a frame may take in the mean (ns), T0 and T1 together: while it takes longer the probe runs on fewer frames, and on more again when there is room; 0 for any")
                    .maximum(10_000_000_000)
                    .default_value(default.budget.as_nanos() as u64)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("batch")
                    .nick("Batch")
                    .blurb("Frames of several of these elements that one session looks at together, at most; 1: a session for this element alone")
                    .minimum(1)
                    .maximum(64)
                    .default_value(default.batching.most as u32)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt64::builder("batch-wait")
                    .nick("Batch wait")
                    .blurb("How long a frame waits for those of other elements (ns)")
                    .maximum(gst::ClockTime::SECOND.nseconds())
                    .default_value(default.batching.wait.as_nanos() as u64)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecFloat::builder("coverage")
                    .nick("Coverage")
                    .blurb("Share of a frame's activation energy that the spatial mask holds; above 0")
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
                glib::ParamSpecUInt64::builder("probe-interval")
                    .nick("Probe interval")
                    .blurb("The probe runs at most once in this time (ns), but for what is new to T0; 0 for no bound")
                    .maximum(u64::MAX - 1)
                    .default_value(default.probe_interval.nseconds())
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("heed-gate")
                    .nick("Heed gate")
                    .blurb("The probe does not run on frames that a gate downstream drops whatever they are worth: those within its min-interval of a kept one")
                    .default_value(default.heed_gate)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("message")
                    .nick("Message")
                    .blurb("Post an element message `msao-mas` for each frame")
                    .default_value(default.message)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("frames, probed, unreadable; not probed as they were late, over-budget, too-soon; step: how often the budget has halved how many frames may be probed; t0-time and t1-time: time spent in T0 and T1 (ns); sharing: elements on this one's session")
                    .read_only()
                    .build(),
            ]);
            properties
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !crate::may_set(&*self.obj(), pspec) {
            return;
        }
        let mut settings = lock(&self.settings);
        if settings.model.set(pspec.name(), value) {
            return;
        }
        match pspec.name() {
            "t0-threshold" => settings.t0_threshold = value.get().unwrap_or_default(),
            "heed-gate" => settings.heed_gate = value.get().unwrap_or_default(),
            "heartbeat" => {
                settings.heartbeat = gst::ClockTime::from_nseconds(value.get().unwrap_or_default());
            }
            "budget" => settings.budget = Duration::from_nanos(value.get().unwrap_or_default()),
            "batch" => settings.batching.most = value.get::<u32>().unwrap_or(1) as usize,
            "batch-wait" => {
                settings.batching.wait = Duration::from_nanos(value.get().unwrap_or_default());
            }
            "coverage" => settings.coverage = value.get().unwrap_or_default(),
            "seed" => settings.seed = value.get().unwrap_or_default(),
            "message" => settings.message = value.get().unwrap_or_default(),
            "probe-interval" => {
                let interval = value.get().unwrap_or_default();
                settings.probe_interval = gst::ClockTime::from_nseconds(interval);
            }
            name => gst::error!(CAT, imp = self, "no writable property `{name}`"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            let stats = *lock(&self.stats);
            let sharing = lock(&self.state).as_ref().map_or(0, State::sharing);
            return gst::Structure::builder("stats")
                .field("frames", stats.frames)
                .field("probed", stats.probed)
                .field("unreadable", stats.unreadable)
                .field("late", stats.late)
                .field("over-budget", stats.over_budget)
                .field("too-soon", stats.too_soon)
                .field("step", stats.step)
                .field("t0-time", stats.t0.as_nanos() as u64)
                .field("t1-time", stats.t1.as_nanos() as u64)
                .field("sharing", sharing as u64)
                .build()
                .to_value();
        }
        let settings = lock(&self.settings);
        match pspec.name() {
            "t0-threshold" => settings.t0_threshold.to_value(),
            "heartbeat" => settings.heartbeat.nseconds().to_value(),
            "budget" => (settings.budget.as_nanos() as u64).to_value(),
            "batch" => (settings.batching.most as u32).to_value(),
            "batch-wait" => (settings.batching.wait.as_nanos() as u64).to_value(),
            "coverage" => settings.coverage.to_value(),
            "seed" => settings.seed.to_value(),
            "heed-gate" => settings.heed_gate.to_value(),
            "message" => settings.message.to_value(),
            "probe-interval" => settings.probe_interval.nseconds().to_value(),
            name => settings
                .model
                .get(name)
                .unwrap_or_else(|| pspec.default_value().clone()),
        }
    }
}

impl GstObjectImpl for VideoMas {}

impl ElementImpl for VideoMas {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MSAO video sparsity meter",
                "Filter/Analyzer/Video",
                "Measures on each frame what share of it need not be sent (MAS), and adds it as a meta",
                "The MSAO authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> =
            LazyLock::new(|| crate::in_and_out(&frame::any_caps()));
        &TEMPLATES
    }
}

impl BaseTransformImpl for VideoMas {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let state = State::new(&lock(&self.settings).clone())?;
        gst::info!(CAT, imp = self, "probe runs on {}", state.provider());
        *lock(&self.stats) = Stats::default();
        self.latency.reset();
        self.lateness.reset();
        *lock(&self.shut) = None;
        *lock(&self.state) = Some(state);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _out: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = frame::info(incaps).map_err(|refused| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{refused}"));
            gst::loggable_error!(CAT, "{refused}")
        })?;
        if let Some(state) = lock(&self.state).as_mut() {
            state.info = Some(info);
        }
        Ok(())
    }

    /// Whoever can bring frames in readable memory is asked to. Who cannot may say so, and gets an error that names the
    /// mend; so may who is not linked yet.
    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        if !BaseTransformImplExt::parent_query(self, direction, query) {
            return false;
        }
        self.latency.add_to(direction, query);
        let linked = self.obj().sink_pad().is_linked();
        if let gst::QueryViewMut::Caps(caps) = query.view_mut()
            && direction == gst::PadDirection::Sink
            && linked
            && let Some(result) = caps.result_owned()
        {
            let readable = result.intersect(&frame::readable_caps());
            if !readable.is_empty() {
                caps.set_result(&readable);
            }
        }
        true
    }

    /// Frames go on as they came.
    fn propose_allocation(
        &self,
        _decided: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        crate::allocate_as_downstream(&*self.obj(), query)?;
        // Of a picture in part of the frame all is measured: upstream is to cut it out.
        while let Some(crop) = query.find_allocation_meta::<gst_video::VideoCropMeta>() {
            query.remove_nth_allocation_meta(crop);
        }
        Ok(())
    }

    /// The first frame after a flush is looked at as the first of all is; what was sent stays sent.
    fn sink_event(&self, event: gst::Event) -> bool {
        if event.type_() == gst::EventType::FlushStop {
            self.lateness.reset();
            *lock(&self.shut) = None;
            if let Some(state) = lock(&self.state).as_mut() {
                state.restart();
            }
        }
        self.parent_sink_event(event)
    }

    /// β comes from the draft model, downstream; so does word that frames come too late, or too soon to be kept.
    fn src_event(&self, event: gst::Event) -> bool {
        self.lateness.hear(&event);
        if let Some(shut) = Shut::read(&event) {
            *lock(&self.shut) = Some(shut);
            return true;
        }
        let Some(betas) = beta::read(&event) else {
            return self.parent_src_event(event);
        };
        if let Some(state) = lock(&self.state).as_ref() {
            state.set_beta(betas.video);
        }
        true
    }

    fn transform_ip(
        &self,
        buffer: &mut gst::BufferRef,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let begun = Instant::now();
        let settings = lock(&self.settings).clone();
        let running = running_time(&*self.obj(), buffer);
        let late = running.is_some_and(|running| {
            let length = buffer.duration();
            (self.lateness).is_late(&self.obj(), &self.latency, running, length)
        });
        let shut = *lock(&self.shut);
        let shut = settings.heed_gate
            && shut
                .zip(running)
                .is_some_and(|(shut, running)| shut.drops(running));
        let result = {
            let mut state = lock(&self.state);
            let state = state.as_mut().ok_or(gst::FlowError::Flushing)?;
            state.measure(buffer, running, (late, shut), &settings, &self.stats)
        };
        lock(&self.stats).frames += 1;
        match result {
            Ok(mas) => {
                gst::trace!(
                    CAT,
                    imp = self,
                    "frame {}: {:?}",
                    mas.frame,
                    mas.measurement.mas
                );
                if settings.message {
                    self.post(&mas, buffer.pts());
                }
                MasMeta::put(buffer, Arc::new(mas));
                self.latency.note(&*self.obj(), begun.elapsed());
                Ok(gst::FlowSuccess::Ok)
            }
            Err(Failure::Frame(error @ Unreadable::Memory { .. })) => {
                gst::element_imp_error!(self, gst::StreamError::Format, ("{error}"));
                Err(gst::FlowError::NotNegotiated)
            }
            Err(Failure::Frame(error)) => {
                lock(&self.stats).unreadable += 1;
                gst::element_imp_warning!(
                    self,
                    gst::StreamError::Decode,
                    ("frame dropped: {error}")
                );
                Ok(gst_base::BASE_TRANSFORM_FLOW_DROPPED)
            }
            Err(Failure::Probe(error)) => {
                gst::element_imp_error!(self, gst::LibraryError::Failed, ("{error}"));
                Err(gst::FlowError::Error)
            }
        }
    }
}
