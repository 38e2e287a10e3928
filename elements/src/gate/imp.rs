//! Implementation of `msaogate`.

use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use mas::gate;

use super::Mode;
use super::properties::{self, Settings, Stats};
use crate::meta::MasMeta;
use crate::shut::Shut;
use crate::{lock, running_time};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("msaogate", gst::DebugColorFlags::empty(), Some("MAS gate"))
});

/// Sound and sensors come so long without MAS, with some to spare, until their first hop ends.
const FIRST_HOP: gst::ClockTime = gst::ClockTime::from_seconds(1);

#[derive(Default)]
struct State {
    gate: gate::Gate,
    stats: Stats,
    /// When the first buffer came that cannot be decided on.
    unmeasured: Option<gst::ClockTime>,
    /// Somebody was told of it.
    warned: bool,
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
            "stats" => lock(&self.state).stats.structure().to_value(),
            name => lock(&self.settings).get(name),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        // Silence is decided on like anything else.
        self.obj().set_gap_aware(true);
    }
}

impl GstObjectImpl for Gate {}

impl ElementImpl for Gate {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MSAO gate",
                "Filter",
                "Passes on buffers that are worth sending, by their MAS, and drops, thins or flags the others",
                "The MSAO authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> =
            LazyLock::new(|| crate::in_and_out(&gst::Caps::new_any()));
        &TEMPLATES
    }
}

impl BaseTransformImpl for Gate {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    // Buffers are marked in mode flag, which may be set at any time.
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).gate();
        settings
            .check()
            .map_err(|error| gst::error_msg!(gst::ResourceError::Settings, ("{error}")))?;
        *lock(&self.state) = State::default();
        Ok(())
    }

    /// After a flush it begins anew; what it counted stays.
    fn sink_event(&self, event: gst::Event) -> bool {
        if event.type_() == gst::EventType::FlushStop {
            lock(&self.state).gate = gate::Gate::default();
        }
        self.parent_sink_event(event)
    }

    fn propose_allocation(
        &self,
        _decided: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        crate::allocate_as_downstream(&*self.obj(), query)
    }

    fn transform_ip(
        &self,
        buffer: &mut gst::BufferRef,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let settings = *lock(&self.settings);
        // More than one where several hops end in the buffer: the best of them decides.
        let measured = MasMeta::all(buffer);
        // What was sent since they were measured counts.
        let worths = measured.iter().map(|sample| sample.now().mas.worth());
        let running = running_time(&*self.obj(), buffer);
        let Some((worth, running)) = worths.reduce(f32::max).zip(running) else {
            self.pass(running);
            return Ok(gst::FlowSuccess::Ok);
        };
        let decision = {
            let mut state = lock(&self.state);
            let decision = state.gate.decide(&settings.gate(), running.into(), worth);
            state.stats.count(decision, settings.mode);
            decision
        };
        gst::trace!(CAT, imp = self, "{running}: {decision:?}");
        if settings.mode == Mode::Flag {
            mark(buffer, !decision.keeps());
        } else if !decision.keeps() {
            if let Some(pts) = buffer.pts() {
                let gap = gst::event::Gap::builder(pts)
                    .duration(buffer.duration())
                    .build();
                self.obj().src_pad().push_event(gap);
            }
            return Ok(gst_base::BASE_TRANSFORM_FLOW_DROPPED);
        }
        let interval = settings.gate().min_interval;
        if decision.keeps() && settings.mode != Mode::Flag && !interval.is_zero() {
            let interval = gst::ClockTime::try_from(interval).unwrap_or(gst::ClockTime::MAX);
            let shut = Shut {
                from: running,
                until: running.saturating_add(interval),
            };
            self.obj().sink_pad().push_event(shut.event());
        }
        if decision.keeps() && settings.mark_sent {
            for sample in &measured {
                sample.mark_sent(0..sample.measurement.s.len());
            }
        }
        Ok(gst::FlowSuccess::Ok)
    }
}

impl Gate {
    /// Notes a buffer that cannot be decided on: it goes on.
    fn pass(&self, running: Option<gst::ClockTime>) {
        let tell = {
            let state = &mut *lock(&self.state);
            state.stats.pass();
            let strange = running.is_none_or(|running| {
                let since = *state.unmeasured.get_or_insert(running);
                running >= since.saturating_add(FIRST_HOP)
            });
            strange && !std::mem::replace(&mut state.warned, true)
        };
        if tell {
            gst::warning!(
                CAT,
                imp = self,
                "a buffer without MAS or without a time: it goes on. Is an element that measures upstream?"
            );
        }
    }
}

/// Says on the buffer whether it can be left out.
fn mark(buffer: &mut gst::BufferRef, droppable: bool) {
    if droppable {
        buffer.set_flags(gst::BufferFlags::DROPPABLE);
    } else {
        buffer.unset_flags(gst::BufferFlags::DROPPABLE);
    }
}
