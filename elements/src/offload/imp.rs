//! Implementation of `msaooffload`.

use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ::offload::cloud::SILENCE;
use broker::FeatureWindow;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::desk::{Desk, Item};
use super::properties::{self, Settings};
use crate::feedback::{self, Feedback};
use crate::lock;

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "msaooffload",
        gst::DebugColorFlags::empty(),
        Some("MSAO decisions"),
    )
});

/// How often the thread looks whether a window has waited too long, at least.
const LOOK: Duration = Duration::from_millis(500);

/// What the streaming thread, the thread that lets windows go, and whoever sends events share.
#[derive(Default)]
struct State {
    desk: Option<Desk>,
    /// The clock that time is read from: never another one later.
    clock: Option<gst::Clock>,
    /// When the first thing happened.
    begun: Option<Duration>,
    /// Something was heard since the thread last looked.
    heard: bool,
    stopping: bool,
}

impl State {
    fn now(&mut self, element: &super::Offload) -> Duration {
        let clock = self
            .clock
            .get_or_insert_with(|| element.clock().unwrap_or_else(gst::SystemClock::obtain));
        clock.time().into()
    }
}

/// Implementation of [`Offload`](super::Offload).
pub struct Offload {
    sink: gst::Pad,
    src: gst::Pad,
    settings: Mutex<Settings>,
    state: Mutex<State>,
    changed: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Offload {
    fn chain(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let window = {
            let bytes = buffer.map_readable().map_err(|error| {
                gst::element_imp_error!(self, gst::ResourceError::Read, ("buffer: {error}"));
                gst::FlowError::Error
            })?;
            FeatureWindow::decode(&bytes)
        };
        let window = window.map_err(|error| {
            gst::element_imp_error!(self, gst::StreamError::Decode, ("{error}"));
            gst::FlowError::Error
        })?;
        let item = Item {
            window,
            times: (buffer.pts(), buffer.duration()),
            bytes: buffer.size(),
        };
        let item = self.at_desk(|desk, now| desk.take(now, item));
        if let Some(item) = item.ok_or(gst::FlowError::Flushing)? {
            self.push(&item)?;
        }
        self.say_when_to_stop();
        // What found no room to wait, or has waited too long.
        self.let_go(Desk::next)
    }

    /// Pushes what `next` gives until it gives nothing. Only with the stream lock of the sink pad.
    fn let_go(
        &self,
        next: fn(&mut Desk, Duration) -> Option<Item>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        while let Some(item) = self.at_desk(next).flatten() {
            self.push(&item)?;
        }
        Ok(gst::FlowSuccess::Ok)
    }

    fn at_desk<T>(&self, work: impl FnOnce(&mut Desk, Duration) -> T) -> Option<T> {
        let mut state = lock(&self.state);
        let now = state.now(&self.obj());
        state.begun.get_or_insert(now);
        state.desk.as_mut().map(|desk| work(desk, now))
    }

    fn push(&self, item: &Item) -> Result<gst::FlowSuccess, gst::FlowError> {
        let bytes = item.window.encode().map_err(|error| {
            gst::element_imp_error!(self, gst::StreamError::Encode, ("{error}"));
            gst::FlowError::Error
        })?;
        let mut buffer = gst::Buffer::from_slice(bytes);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(item.times.0);
            buffer.set_duration(item.times.1);
        }
        self.src.push(buffer)
    }

    /// Tells the draft model when a draft is not worth finishing.
    fn say_when_to_stop(&self) {
        if let Some(stop) = self.at_desk(|desk, now| desk.stop(now)) {
            // Whoever drafts may be there to hear it, or not.
            self.sink.push_event(stop.event());
        }
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Segment(_) => {
                let passed = gst::Pad::event_default(pad, Some(&*self.obj()), event);
                if !self.has_asked() {
                    self.src.push_event(feedback::wanted());
                }
                return passed;
            }
            gst::EventView::Eos(_) => {
                self.await_word();
                // An error of the push is on the bus by now, and the end goes on.
                let _ = self.let_go(Desk::last);
            }
            gst::EventView::FlushStop(_) => {
                self.at_desk(|desk, _| desk.clear());
            }
            _ => {}
        }
        gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    /// Whether downstream knows that what it hears is wanted: the event sticks to the pad.
    fn has_asked(&self) -> bool {
        let stuck = |index| {
            self.src
                .sticky_event::<gst::event::CustomDownstreamSticky>(index)
        };
        (0..)
            .map_while(stuck)
            .any(|event| feedback::is_wanted(&event))
    }

    /// Waits for the cloud's first heartbeats, if windows wait for it: until the element has run for as long as a cloud may
    /// be silent, nobody knows whether there is one.
    fn await_word(&self) {
        let mut state = lock(&self.state);
        loop {
            let now = state.now(&self.obj());
            let begun = *state.begun.get_or_insert(now);
            let left = SILENCE.saturating_sub(now.saturating_sub(begun));
            let waits = (state.desk.as_ref()).is_some_and(|desk| desk.waits_for_word(now));
            if !waits || left.is_zero() || state.stopping {
                return;
            }
            let wait = self.changed.wait_timeout(state, left.min(LOOK));
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn src_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        match Feedback::read(&event) {
            Some(Some(feedback)) => {
                self.at_desk(|desk, now| desk.heard(now, &feedback));
                lock(&self.state).heard = true;
                self.changed.notify_all();
                true
            }
            Some(None) => {
                gst::warning!(CAT, imp = self, "not feedback: {event:?}");
                false
            }
            None => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    /// Lets windows go when something is heard, or when one has waited too long.
    fn work(&self) {
        loop {
            {
                let mut state = lock(&self.state);
                while !state.heard && !state.stopping {
                    let deadline = state.desk.as_ref().and_then(Desk::deadline);
                    let left =
                        deadline.map(|deadline| deadline.saturating_sub(state.now(&self.obj())));
                    if left.is_some_and(|left| left.is_zero()) {
                        break;
                    }
                    let (back, _) = self
                        .changed
                        .wait_timeout(state, left.unwrap_or(LOOK).min(LOOK))
                        .unwrap_or_else(PoisonError::into_inner);
                    state = back;
                }
                if state.stopping {
                    return;
                }
                state.heard = false;
            }
            let _streaming = self.sink.stream_lock();
            if let Err(error) = self.let_go(Desk::next) {
                gst::debug!(
                    CAT,
                    imp = self,
                    "a window that waited was not taken: {error}"
                );
            }
        }
    }

    fn structure(&self) -> gst::Structure {
        let structure = self.at_desk(|desk, now| properties::structure(desk, now));
        structure.unwrap_or_else(|| gst::Structure::new_empty("stats"))
    }
}

#[glib::object_subclass]
impl ObjectSubclass for Offload {
    const NAME: &'static str = "GstMsaoOffload";
    type Type = super::Offload;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        let pad = |name: &str, direction| {
            let builder = match class.pad_template(name) {
                Some(template) => gst::Pad::builder_from_template(&template),
                None => gst::Pad::builder(direction),
            };
            // Caps go through as they come.
            builder.flags(gst::PadFlags::PROXY_CAPS)
        };
        let sink = pad("sink", gst::PadDirection::Sink);
        let src = pad("src", gst::PadDirection::Src);
        Self {
            sink: sink
                .chain_function(|_, parent, buffer| {
                    Self::catch_panic_pad_function(
                        parent,
                        || Err(gst::FlowError::Error),
                        |element| element.chain(&buffer),
                    )
                })
                .event_function(|pad, parent, event| {
                    Self::catch_panic_pad_function(
                        parent,
                        || false,
                        |element| element.sink_event(pad, event),
                    )
                })
                .build(),
            src: src
                .event_function(|pad, parent, event| {
                    Self::catch_panic_pad_function(
                        parent,
                        || false,
                        |element| element.src_event(pad, event),
                    )
                })
                .build(),
            settings: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            thread: Mutex::default(),
        }
    }
}

impl ObjectImpl for Offload {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::properties()
    }

    fn constructed(&self) {
        self.parent_constructed();
        for pad in [&self.sink, &self.src] {
            // The element is new: it has no pad of this name.
            let _ = self.obj().add_pad(pad);
        }
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !crate::may_set(&*self.obj(), pspec) {
            return;
        }
        let settings = {
            let mut settings = lock(&self.settings);
            settings.set(pspec.name(), value);
            *settings
        };
        if let Some(desk) = &mut lock(&self.state).desk {
            desk.settings = settings;
        }
        // Some may have waited long enough by now.
        self.changed.notify_all();
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => self.structure().to_value(),
            name => lock(&self.settings).get(name),
        }
    }
}

impl GstObjectImpl for Offload {}

impl ElementImpl for Offload {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MSAO planner",
                "Filter",
                "Decides whether a window is kept on the edge, verified or captioned in the cloud, or waits for it",
                "The MSAO authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> =
            LazyLock::new(|| crate::in_and_out(&crate::window_caps()));
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => self.start()?,
            gst::StateChange::PausedToReady => {
                lock(&self.state).stopping = true;
                self.changed.notify_all();
            }
            _ => {}
        }
        let changed = self.parent_change_state(transition);
        if transition == gst::StateChange::PausedToReady {
            // The pads are inactive, so it cannot be held up in a push.
            let thread = lock(&self.thread).take();
            let _ = thread.map(JoinHandle::join);
            *lock(&self.state) = State::default();
        }
        changed
    }
}

impl Offload {
    fn start(&self) -> Result<(), gst::StateChangeError> {
        let settings = *lock(&self.settings);
        let desk = Desk::new(settings).map_err(|error| {
            let error = format!("{error}");
            gst::element_imp_error!(self, gst::ResourceError::Settings, ("{error}"));
            gst::StateChangeError
        })?;
        *lock(&self.state) = State {
            desk: Some(desk),
            ..State::default()
        };
        let element = self.obj().downgrade();
        let spawned = std::thread::Builder::new()
            .name("msaooffload".to_owned())
            .spawn(move || {
                if let Some(element) = element.upgrade() {
                    element.imp().work();
                }
            });
        let thread = spawned.map_err(|error| {
            gst::element_imp_error!(
                self,
                gst::ResourceError::Failed,
                ("cannot start a thread: {error}")
            );
            gst::StateChangeError
        })?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }
}
