//! Implementation of `msaonatssink`.

use std::sync::{Arc, LazyLock, Mutex};

use broker::features::DEFERRED;
use broker::headers::TraceParent;
use broker::publisher::PublishError;
use broker::{Caption, Connection, FeatureWindow, Message, Publisher, StreamsConfig};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use offload::Action;

use tokio::runtime::Runtime;

use super::preview::Previews;
use super::properties::{self, Payload, Settings};
use super::reporter::Reporter;
use crate::{JPEG_MEDIA_TYPE, feedback, lock};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "msaonatssink",
        gst::DebugColorFlags::empty(),
        Some("MSAO to NATS"),
    )
});

struct Started {
    connection: Connection,
    runtime: &'static Runtime,
    publisher: Publisher,
    reporter: Arc<Reporter>,
}

/// Implementation of [`NatsSink`](super::NatsSink).
#[derive(Default)]
pub struct NatsSink {
    settings: Mutex<Settings>,
    // Shared, so that no lock is held while a thread waits in the publisher.
    started: Mutex<Option<Arc<Started>>>,
    windows: Mutex<u64>,
    /// While what comes in are pictures.
    previews: Mutex<Option<Arc<Previews>>>,
}

impl NatsSink {
    fn started(&self) -> Option<Arc<Started>> {
        lock(&self.started).clone()
    }

    /// Hands a message over. Waiting for room ends when the pipeline pauses, and goes on
    /// when it plays again.
    fn publish(&self, started: &Started, message: &Message) -> Result<(), gst::FlowError> {
        loop {
            match started.publisher.publish(message.clone()) {
                Ok(()) => return Ok(()),
                Err(PublishError::Cancelled) => {
                    self.obj().wait_preroll()?;
                }
                Err(error) => {
                    gst::element_imp_error!(self, gst::ResourceError::Write, ("{error}"));
                    return Err(gst::FlowError::Error);
                }
            }
        }
    }

    fn structure(&self) -> gst::Structure {
        let started = self.started();
        let counters = started.as_ref().map(|started| started.publisher.counters());
        let counters = counters.unwrap_or_default();
        gst::Structure::builder("stats")
            .field("windows", *lock(&self.windows))
            .field("published", counters.published)
            .field("acknowledged", counters.acknowledged)
            .field("retried", counters.retried)
            .field("dropped", counters.dropped)
            .field("pending", counters.pending)
            .field("bytes", counters.bytes_sent)
            .field(
                "previews",
                lock(&self.previews).as_ref().map_or(0, |p| p.sent()),
            )
            .field(
                "connected",
                started.is_some_and(|started| started.connection.is_connected()),
            )
            .build()
    }
}

/// The messages about a window: its draft first, then its features, packed.
fn messages(
    mut window: FeatureWindow,
    bytes: &[u8],
    connection: &Connection,
    pack: impl FnOnce(Vec<u8>) -> Vec<u8>,
) -> Result<Vec<Message>, String> {
    let trace = TraceParent::of_window(&window.id);
    let mut messages = Vec::new();
    if window.decision == Action::Skip {
        return Ok(messages);
    }
    let goes = matches!(window.decision, Action::Verify | Action::Offload);
    let waited = window.flags.iter().any(|flag| flag == DEFERRED);
    // The draft of a window that waited is published already.
    let caption = Caption::draft(&window).filter(|_| !(goes && waited));
    if let Some(caption) = &caption {
        messages.push(Message::caption(caption, trace.child()).map_err(|error| error.to_string())?);
    }
    if !goes {
        return Ok(messages);
    }
    // What the cloud need not read is not sent to it.
    let plan = window.plan.take_if(|_| caption.is_some());
    let draft = (window.draft).take_if(|_| window.decision == Action::Offload);
    let alone = window.send_keyframe_alone();
    // Before the first connection nobody knows the server's bound.
    let bound = connection.max_payload();
    let thinned = bound > 0
        && bytes.len() > bound
        && window.thin(bound).map_err(|error| error.to_string())?;
    let payload = if thinned || alone || plan.is_some() || draft.is_some() {
        window.encode().map_err(|error| error.to_string())?
    } else {
        bytes.to_vec()
    };
    messages.push(Message::features(&window, pack(payload), trace.child()));
    Ok(messages)
}

#[glib::object_subclass]
impl ObjectSubclass for NatsSink {
    const NAME: &'static str = "GstMsaoNatsSink";
    type Type = super::NatsSink;
    type ParentType = gst_base::BaseSink;
}

impl ObjectImpl for NatsSink {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::properties()
    }

    fn constructed(&self) {
        self.parent_constructed();
        // A window is published as soon as it is there.
        self.obj().set_sync(false);
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !crate::may_set(&*self.obj(), pspec) {
            return;
        }
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => self.structure().to_value(),
            name => lock(&self.settings)
                .get(name)
                .unwrap_or_else(|| pspec.default_value().clone()),
        }
    }
}

impl GstObjectImpl for NatsSink {}

impl ElementImpl for NatsSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MSAO NATS sink",
                "Sink/Network",
                "Publishes windows and their draft captions through NATS JetStream",
                "The MSAO authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let sink = gst::PadTemplate::new(
                "sink",
                gst::PadDirection::Sink,
                gst::PadPresence::Always,
                &{
                    let mut caps = crate::window_caps();
                    caps.merge(gst::Caps::new_empty_simple(JPEG_MEDIA_TYPE));
                    caps
                },
            );
            sink.into_iter().collect()
        });
        &TEMPLATES
    }
}

impl BaseSinkImpl for NatsSink {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let (connection, runtime) = settings.nats.open("msaonatssink")?;
        let _within = runtime.enter();
        let reporter = Reporter::new(self.obj().sink_pad());
        let publisher = Publisher::start_observed(
            connection.clone(),
            StreamsConfig::default(),
            settings.publisher(),
            Arc::clone(&reporter) as _,
        )
        .map_err(|error| gst::error_msg!(gst::ResourceError::Settings, ("{error}")))?;
        gst::info!(CAT, imp = self, "publishing to {}", connection.url());
        *lock(&self.windows) = 0;
        *lock(&self.started) = Some(Arc::new(Started {
            connection,
            runtime,
            publisher,
            reporter,
        }));
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let started = lock(&self.started).take();
        if let Some(started) = &started {
            started.reporter.end();
        }
        if let Some(pending) = started
            .map(|started| started.publisher.counters().pending)
            .filter(|n| *n > 0)
        {
            gst::error!(
                CAT,
                imp = self,
                "stopped with {pending} messages not acknowledged"
            );
        }
        Ok(())
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        if let Some(started) = self.started() {
            started.publisher.set_cancelled(true);
        }
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        if let Some(started) = self.started() {
            started.publisher.set_cancelled(false);
        }
        Ok(())
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let settings = lock(&self.settings).clone();
        let previews = crate::is_jpeg(caps)
            .then(|| Previews::new(&settings))
            .transpose();
        let previews = previews.map_err(|error| {
            gst::element_imp_error!(self, gst::ResourceError::Settings, ("{error}"));
            gst::loggable_error!(CAT, "{error}")
        })?;
        *lock(&self.previews) = previews.map(Arc::new);
        self.parent_set_caps(caps)
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let started = self.started().ok_or(gst::FlowError::Flushing)?;
        let previews = lock(&self.previews).clone();
        if let Some(previews) = previews {
            let sent = previews.send(buffer, &started.connection, started.runtime);
            return match sent {
                Ok(()) => Ok(gst::FlowSuccess::Ok),
                Err(error) => {
                    gst::element_imp_error!(self, gst::StreamError::Decode, ("{error}"));
                    Err(gst::FlowError::Error)
                }
            };
        }
        let messages = {
            let bytes = buffer.map_readable().map_err(|error| {
                gst::element_imp_error!(self, gst::ResourceError::Read, ("buffer: {error}"));
                gst::FlowError::Error
            })?;
            let (payload, compression) = {
                let settings = lock(&self.settings);
                (
                    settings.payload,
                    broker::Compression::from(settings.compression),
                )
            };
            let window = FeatureWindow::decode(&bytes).map_err(|error| error.to_string());
            let window = window.and_then(|window| match payload {
                Payload::Features if window.keyframe.is_some() => Err(format!(
                    "window {} holds a picture, which payload=features keeps here: leave it out, or set payload=keyframes",
                    window.id
                )),
                _ => Ok(window),
            });
            window.and_then(|window| {
                let Started {
                    connection,
                    runtime,
                    reporter,
                    ..
                } = &*started;
                reporter.listen(&window.id.rig, connection, runtime);
                let pack = |window: Vec<u8>| {
                    let from = window.len();
                    let packed = compression.pack(window);
                    reporter.compressed(from, packed.len());
                    packed
                };
                messages(window, &bytes, connection, pack)
            })
        };
        let messages = messages.map_err(|error| {
            gst::element_imp_error!(self, gst::StreamError::Decode, ("{error}"));
            gst::FlowError::Error
        })?;
        for message in &messages {
            self.publish(&started, message)?;
        }
        *lock(&self.windows) += 1;
        Ok(gst::FlowSuccess::Ok)
    }

    fn event(&self, event: gst::Event) -> bool {
        if let (gst::EventView::Eos(_), Some(started)) = (event.view(), self.started()) {
            let timeout = lock(&self.settings).flush_timeout;
            if let Err(pending) = started.publisher.flush(timeout.into()) {
                gst::element_imp_warning!(
                    self,
                    gst::ResourceError::Write,
                    ("at the end of the stream {pending}")
                );
            }
        }
        if let Some(started) = self.started().filter(|_| feedback::is_wanted(&event)) {
            (started.reporter).begin(&started.connection, started.runtime);
        }
        self.parent_event(event)
    }
}
