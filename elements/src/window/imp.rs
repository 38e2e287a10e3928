//! Implementation of `msaowindow`.

use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;

use super::gather::{Moment, State, Step, first_start};
use super::properties::{self, Settings, Stats};
use crate::lock;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "msaowindow",
        gst::DebugColorFlags::empty(),
        Some("MSAO windows"),
    )
});

/// Implementation of [`Window`](super::Window).
#[derive(Default)]
pub struct Window {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
    stats: Mutex<Stats>,
}

impl Window {
    fn pads(&self) -> Vec<gst_base::AggregatorPad> {
        let pads = self.obj().sink_pads().into_iter();
        pads.filter_map(|pad| pad.downcast().ok()).collect()
    }
}

#[glib::object_subclass]
impl ObjectSubclass for Window {
    const NAME: &'static str = "GstMsaoWindow";
    type Type = super::Window;
    type ParentType = gst_base::Aggregator;
}

impl ObjectImpl for Window {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::properties()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => lock(&self.stats).structure().to_value(),
            "epoch" => lock(&self.state)
                .as_ref()
                .map(|state| state.epoch.to_string())
                .to_value(),
            name => lock(&self.settings).get(name),
        }
    }
}

impl GstObjectImpl for Window {}

impl ElementImpl for Window {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MSAO window",
                "Generic/Analyzer",
                "Gathers measured streams into windows, encodes what is worth sending and quantises it",
                "The MSAO authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let pad = gst_base::AggregatorPad::static_type();
            let video = gst::Caps::builder("video/x-raw").any_features().build();
            let sink = gst::PadTemplate::with_gtype(
                "video_%u",
                gst::PadDirection::Sink,
                gst::PadPresence::Request,
                &video,
                pad,
            );
            let src = gst::PadTemplate::with_gtype(
                "src",
                gst::PadDirection::Src,
                gst::PadPresence::Always,
                &crate::window_caps(),
                pad,
            );
            [sink, src].into_iter().flatten().collect()
        });
        &TEMPLATES
    }
}

impl AggregatorImpl for Window {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let state = State::new(&settings)?;
        gst::info!(
            CAT,
            imp = self,
            "epoch {}, trunk runs on {}",
            state.epoch,
            state.provider()
        );
        *lock(&self.stats) = Stats {
            provider: Some(state.provider()),
            ..Stats::default()
        };
        *lock(&self.state) = Some(state);
        // A window's first frame waits until the window is over.
        self.obj().set_latency(settings.duration, None);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        Ok(())
    }

    fn flush(&self) -> Result<gst::FlowSuccess, gst::FlowError> {
        if let Some(state) = lock(&self.state).as_mut() {
            state.flush();
        }
        Ok(gst::FlowSuccess::Ok)
    }

    fn create_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst_base::AggregatorPad> {
        let prefix = template.name_template().strip_suffix("%u")?;
        let name = match name.filter(|name| !name.contains('%')) {
            Some(name) => name.to_owned(),
            None => {
                let taken = |name: &String| self.obj().static_pad(name).is_some();
                (0u32..)
                    .map(|index| format!("{prefix}{index}"))
                    .find(|name| !taken(name))?
            }
        };
        Some(gst::PadBuilder::from_template(template).name(name).build())
    }

    /// The deadline is this plus the latency, which holds the window's duration.
    fn next_time(&self) -> Option<gst::ClockTime> {
        let state = lock(&self.state);
        let state = state.as_ref()?;
        state
            .start
            .or_else(|| first_start(&self.pads(), state.duration))
    }

    fn aggregate(&self, timeout: bool) -> Result<gst::FlowSuccess, gst::FlowError> {
        let live = self
            .obj()
            .latency()
            .and_then(|_| self.obj().current_running_time());
        let settings = lock(&self.settings).clone();
        let unusable = lock(&self.stats).unusable;
        let step = {
            let mut state = lock(&self.state);
            let state = state.as_mut().ok_or(gst::FlowError::Flushing)?;
            state.step(
                &self.pads(),
                &Moment { timeout, live },
                &settings,
                &self.stats,
            )
        };
        if unusable == 0 && lock(&self.stats).unusable > 0 {
            gst::warning!(
                CAT,
                imp = self,
                "a buffer without MAS is left out. Is msaovideomas upstream?"
            );
        }
        match step {
            Ok(Step::NeedData) => Err(gst_base::AGGREGATOR_FLOW_NEED_DATA),
            Ok(Step::Skipped) => Ok(gst::FlowSuccess::Ok),
            Ok(Step::Window(buffer)) => {
                let end = buffer
                    .pts()
                    .zip(buffer.duration())
                    .map(|(pts, duration)| pts + duration);
                let flow = self.obj().finish_buffer(buffer);
                self.obj().set_position(end);
                flow
            }
            Ok(Step::Eos) => Err(gst::FlowError::Eos),
            Err(error) => {
                gst::element_imp_error!(self, gst::StreamError::Encode, ("{error}"));
                Err(gst::FlowError::Error)
            }
        }
    }
}
