//! Implementation of `msaowindow`.

use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;

use super::encode::Encoder;
use super::feed::When;
use super::gather::{Closed, Gather, Moment, Step};
use super::properties::{self, Settings, Stats};
use crate::beta::{self, Betas};
use crate::latency::Latency;
use crate::{JPEG_MEDIA_TYPE, lock, sensor::SENSOR_MEDIA_TYPE};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "msaowindow",
        gst::DebugColorFlags::empty(),
        Some("MSAO windows"),
    )
});

/// How often a paused element looks whether it plays again.
const LOOK: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// Implementation of [`Window`](super::Window).
#[derive(Default)]
pub struct Window {
    settings: Mutex<Settings>,
    gather: Mutex<Gather>,
    encoder: Mutex<Option<Encoder>>,
    betas: Mutex<Option<Betas>>,
    stats: Mutex<Stats>,
    latency: Latency,
}

impl Window {
    fn pads(&self) -> Vec<gst_base::AggregatorPad> {
        let pads = self.obj().sink_pads().into_iter();
        pads.filter_map(|pad| pad.downcast().ok()).collect()
    }

    /// The running time while it goes on: in PAUSED only the clock does.
    fn now(&self) -> Option<gst::ClockTime> {
        let plays = self.obj().current_state() == gst::State::Playing;
        (self.obj().current_running_time()).filter(|_| plays)
    }

    /// What the moment is like; `latency` is what the deadlines below are later by.
    fn moment(&self, latency: gst::ClockTime) -> Moment {
        Moment {
            now: self.now(),
            latency,
            timeout: lock(&self.settings).stall_timeout,
        }
    }

    /// A buffer comes in on the pad's own thread; whether it is of the window and was taken.
    fn arrive(&self, pad: &gst_base::AggregatorPad, buffer: &gst::Buffer) -> bool {
        self.introduce(pad);
        let when = when(pad, buffer.pts());
        let now = self.now();
        lock(&self.gather).arrive(pad, buffer, when, now, &self.stats)
    }

    /// The first time, asks whether what comes on the pad comes at its own pace.
    fn introduce(&self, pad: &gst_base::AggregatorPad) {
        if !lock(&self.gather).introduced(&pad.name()) {
            let live = is_live(pad);
            lock(&self.gather).introduce(pad, live);
        }
    }

    /// A seek is for upstream: windows have their times in running time, whatever part of the streams they are of.
    fn count_in_running_time(&self) {
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        self.obj().update_segment(&segment);
    }

    fn warn_of_unusable(&self) {
        let mut stats = lock(&self.stats);
        if stats.unusable > 0 && !std::mem::replace(&mut stats.warned, true) {
            gst::warning!(
                CAT,
                imp = self,
                "a buffer without MAS is left out. Is msaovideomas, msaoaudiomas or msaosensormas upstream?"
            );
        }
    }
}

/// Whether what comes on a pad comes at its own pace.
fn is_live(pad: &gst_base::AggregatorPad) -> bool {
    let mut query = gst::query::Latency::new();
    pad.peer_query(&mut query) && query.result().0
}

/// When something is by the segment that the pad's stream is in now. The pad's own segment
/// is what its queue has come to.
fn when(pad: &gst_base::AggregatorPad, pts: Option<gst::ClockTime>) -> Option<When> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    When::of(event.segment(), pts)
}

#[glib::object_subclass]
impl ObjectSubclass for Window {
    const NAME: &'static str = "GstMsaoWindow";
    type Type = super::Window;
    type ParentType = gst_base::Aggregator;
}

impl ObjectImpl for Window {
    fn constructed(&self) {
        self.parent_constructed();
        // So that it is asked when to wake up, although no source is live: a stream may stall.
        self.obj().set_force_live(true);
    }

    fn properties() -> &'static [glib::ParamSpec] {
        properties::properties()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !crate::may_set(&*self.obj(), pspec) {
            return;
        }
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => lock(&self.stats).structure().to_value(),
            "epoch" => lock(&self.encoder)
                .as_ref()
                .map(|encoder| encoder.epoch.to_string())
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
            let any = |media: &str| gst::Caps::builder(media).any_features().build();
            let sink = |name: &str, caps: gst::Caps| {
                let (direction, presence) = (gst::PadDirection::Sink, gst::PadPresence::Request);
                gst::PadTemplate::with_gtype(name, direction, presence, &caps, pad)
            };
            let src = gst::PadTemplate::with_gtype(
                "src",
                gst::PadDirection::Src,
                gst::PadPresence::Always,
                &crate::window_caps(),
                pad,
            );
            [
                sink("video_%u", {
                    let mut caps = any("video/x-raw");
                    caps.merge(gst::Caps::new_empty_simple(JPEG_MEDIA_TYPE));
                    caps
                }),
                sink("audio_%u", any("audio/x-raw")),
                sink("sensor_%u", any(SENSOR_MEDIA_TYPE)),
                src,
            ]
            .into_iter()
            .flatten()
            .collect()
        });
        &TEMPLATES
    }

    fn release_pad(&self, pad: &gst::Pad) {
        let name = pad.name();
        self.parent_release_pad(pad);
        lock(&self.gather).remove(&name);
    }
}

impl AggregatorImpl for Window {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let encoder = Encoder::new(&settings)?;
        gst::info!(
            CAT,
            imp = self,
            "epoch {}, trunk runs on {}",
            encoder.epoch,
            encoder.provider()
        );
        *lock(&self.stats) = Stats {
            provider: Some(encoder.provider()),
            ..Stats::default()
        };
        *lock(&self.encoder) = Some(encoder);
        *lock(&self.gather) = Gather::new(settings.duration);
        *lock(&self.betas) = None;
        self.latency.reset();
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.encoder) = None;
        lock(&self.gather).flush();
        Ok(())
    }

    fn flush(&self) -> Result<gst::FlowSuccess, gst::FlowError> {
        lock(&self.gather).flush();
        self.count_in_running_time();
        Ok(gst::FlowSuccess::Ok)
    }

    /// Only metas are read, so pictures may lie in memory as they like.
    fn propose_allocation(
        &self,
        _pad: &gst_base::AggregatorPad,
        _decided: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        query.add_allocation_meta::<gst_video::VideoMeta>(None);
        Ok(())
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
        let pad: gst_base::AggregatorPad =
            gst::PadBuilder::from_template(template).name(name).build();
        let element = self.obj().downgrade();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let (Some(element), Some(gst::PadProbeData::Buffer(buffer))) =
                (element.upgrade(), &info.data)
            else {
                return gst::PadProbeReturn::Ok;
            };
            match element.imp().arrive(pad, buffer) {
                true => gst::PadProbeReturn::Handled,
                false => gst::PadProbeReturn::Ok,
            }
        });
        Some(pad)
    }

    /// A gap of the window is taken on the pad's own thread, as buffers are.
    fn sink_event_pre_queue(
        &self,
        pad: &gst_base::AggregatorPad,
        event: gst::Event,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        if let gst::EventView::Gap(gap) = event.view() {
            self.introduce(pad);
            let (pts, length) = gap.get();
            let times = (when(pad, Some(pts)), length);
            let now = self.now();
            if lock(&self.gather).arrive_gap(pad, times, now, &self.stats) {
                return Ok(gst::FlowSuccess::Ok);
            }
        }
        self.parent_sink_event_pre_queue(pad, event)
    }

    /// β comes from the draft model, downstream; it goes on to what measures MAS.
    fn src_event(&self, event: gst::Event) -> bool {
        if let Some(betas) = beta::read(&event) {
            *lock(&self.betas) = Some(betas);
        }
        let seeks = event.type_() == gst::EventType::Seek;
        let done = self.parent_src_event(event);
        if seeks {
            self.count_in_running_time();
        }
        done
    }

    /// A window's first frame waits until the window is over and encoded. Whether the streams come at
    /// their own pace is for them to say.
    fn src_query(&self, query: &mut gst::QueryRef) -> bool {
        if !self.parent_src_query(query) {
            return false;
        }
        if let gst::QueryViewMut::Latency(latency) = query.view_mut() {
            let (_, min, _) = latency.result();
            let live = self.pads().iter().any(is_live);
            let own = lock(&self.settings).duration + self.latency.told();
            latency.set(live, min + own, None);
        }
        true
    }

    /// The deadline is this plus the latency of upstream and the element's own.
    fn next_time(&self) -> Option<gst::ClockTime> {
        // The latency may not be asked for here: it is added by the caller.
        let moment = self.moment(gst::ClockTime::ZERO);
        let next = lock(&self.gather).wake(&self.pads(), moment, &self.stats);
        if moment.now.is_some() || next == Some(gst::ClockTime::ZERO) {
            return next;
        }
        let now = self.obj().current_running_time()?;
        Some(now.saturating_add(LOOK))
    }

    fn aggregate(&self, _timeout: bool) -> Result<gst::FlowSuccess, gst::FlowError> {
        let moment = self.moment(self.obj().latency().unwrap_or_default());
        let step = lock(&self.gather).step(&self.pads(), moment, &self.stats);
        self.warn_of_unusable();
        let closed = match step {
            Step::NeedData => return Err(gst_base::AGGREGATOR_FLOW_NEED_DATA),
            Step::Skipped => return Ok(gst::FlowSuccess::Ok),
            Step::Eos => return Err(gst::FlowError::Eos),
            Step::Closed(closed) => closed,
        };
        let flow = self.send(closed);
        // Meanwhile a stream could not be heard if its way here was blocked.
        let after = self.now();
        if let Some((before, after)) = moment.now.zip(after) {
            lock(&self.gather).excuse(after.saturating_sub(before));
        }
        flow
    }
}

impl Window {
    /// Makes the window and pushes it.
    fn send(&self, closed: Closed) -> Result<gst::FlowSuccess, gst::FlowError> {
        let settings = lock(&self.settings).clone();
        let betas = lock(&self.betas).unwrap_or(beta::UNKNOWN);
        let end = closed.end;
        let begun = Instant::now();
        let window = {
            let mut encoder = lock(&self.encoder);
            let encoder = encoder.as_mut().ok_or(gst::FlowError::Flushing)?;
            encoder.window(closed, &settings, &betas, &self.stats)
        };
        match window {
            Ok(Some(buffer)) => {
                self.latency.note(&*self.obj(), begun.elapsed());
                let flow = self.obj().finish_buffer(buffer);
                self.obj().set_position(end);
                flow
            }
            Ok(None) => Ok(gst::FlowSuccess::Ok),
            Err(error) => {
                gst::element_imp_error!(self, gst::StreamError::Encode, ("{error}"));
                Err(gst::FlowError::Error)
            }
        }
    }
}
