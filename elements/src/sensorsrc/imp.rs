//! Implementation of `msaosensorsrc`.

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;

use super::live::{Inbox, Live, Subscription};
use super::packer::Packer;
use super::properties::{self, Settings};
use super::recording::{Error, Recording};
use super::replay::Replay;
use crate::lock;
use crate::sensor::{SensorFormat, check_names, length};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "msaosensorsrc",
        gst::DebugColorFlags::empty(),
        Some("Source of sensors"),
    )
});

/// Where the samples come from.
enum Source {
    File(Box<Replay>),
    Subject(Box<Live>),
}

/// What is known of a source beside its samples.
struct Started {
    format: SensorFormat,
    /// Of a subject: what is on its way, and the connection.
    live: Option<(Arc<Inbox>, broker::Connection)>,
}

/// Counters since the element started.
#[derive(Debug, Default, Clone, Copy)]
struct Stats {
    buffers: u64,
    samples: u64,
}

/// Implementation of [`SensorSrc`](super::SensorSrc).
#[derive(Default)]
pub struct SensorSrc {
    settings: Mutex<Settings>,
    // Held while the streaming thread waits; what others ask for is in `started`.
    source: Mutex<Option<Source>>,
    started: Mutex<Option<Started>>,
    stats: Mutex<Stats>,
}

/// The element error for a recording.
fn unreadable(error: &Error) -> gst::ErrorMessage {
    match error {
        Error::File { error: cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => {
            gst::error_msg!(gst::ResourceError::NotFound, ("{error}"))
        }
        Error::File { .. } => gst::error_msg!(gst::ResourceError::OpenRead, ("{error}")),
        _ => gst::error_msg!(gst::StreamError::Decode, ("{error}")),
    }
}

fn unusable(problem: &str) -> gst::ErrorMessage {
    gst::error_msg!(gst::ResourceError::Settings, ("{problem}"))
}

impl SensorSrc {
    fn open(&self, settings: &Settings) -> Result<(Source, Started), gst::ErrorMessage> {
        let names = settings.names();
        if let Some(names) = &names {
            check_names(names).map_err(|problem| unusable(&format!("channels: {problem}")))?;
        }
        match (&settings.location, &settings.subject) {
            (Some(location), None) => {
                file(Path::new(location), names, settings).map_err(|error| unreadable(&error))
            }
            (None, Some(subject)) => {
                let names = names.ok_or_else(|| {
                    unusable("subject: name the values of its messages with `channels=a,b,...`")
                })?;
                self.subscribe(subject, names, settings)
            }
            _ => Err(unusable(
                "set either `location`, a CSV file, or `subject`, of NATS",
            )),
        }
    }

    fn subscribe(
        &self,
        subject: &str,
        names: Vec<String>,
        settings: &Settings,
    ) -> Result<(Source, Started), gst::ErrorMessage> {
        let format = format(names, settings);
        let clock = self.obj().downgrade();
        let now = move || Some(clock.upgrade()?.current_running_time()?.nseconds());
        let element = self.obj().downgrade();
        let complain = move |problem: &str| {
            if let Some(element) = element.upgrade() {
                gst::element_warning!(
                    element,
                    gst::StreamError::Decode,
                    ("message dropped, and others like it will be: {problem}")
                );
            }
        };
        let nats = settings.nats.open("msaosensorsrc")?;
        let subscription = Subscription::new(nats, subject, format.channels, now, complain)?;
        gst::info!(
            CAT,
            imp = self,
            "listening at {}",
            subscription.connection.url()
        );
        let live = (
            Arc::clone(&subscription.inbox),
            subscription.connection.clone(),
        );
        let live_source = Live::new(subscription, packer(&format, settings), settings.rate);
        let started = Started {
            format,
            live: Some(live),
        };
        Ok((Source::Subject(Box::new(live_source)), started))
    }

    /// The next buffer, or why there is none.
    fn next(&self) -> Result<Result<gst::Buffer, gst::FlowError>, Error> {
        Ok(match lock(&self.source).as_mut() {
            None => Err(gst::FlowError::Flushing),
            Some(Source::Subject(live)) => live.next().ok_or(gst::FlowError::Flushing),
            Some(Source::File(replay)) => replay.next()?.ok_or(gst::FlowError::Eos),
        })
    }

    fn set_flushing(&self, flushing: bool) {
        if let Some((inbox, _)) = lock(&self.started).as_ref().and_then(|s| s.live.as_ref()) {
            inbox.set_flushing(flushing);
        }
    }

    fn structure(&self) -> gst::Structure {
        let stats = *lock(&self.stats);
        let mut structure = gst::Structure::builder("stats")
            .field("buffers", stats.buffers)
            .field("samples", stats.samples);
        if let Some((inbox, connection)) =
            lock(&self.started).as_ref().and_then(|s| s.live.as_ref())
        {
            let counters = inbox.counters();
            structure = structure
                .field("messages", counters.messages)
                .field("unusable", counters.unusable)
                .field("dropped", counters.dropped)
                .field("connected", connection.is_connected());
        }
        structure.build()
    }
}

fn format(names: Vec<String>, settings: &Settings) -> SensorFormat {
    SensorFormat {
        channels: names.len(),
        rate: settings.rate,
        names: Some(names),
    }
}

fn packer(format: &SensorFormat, settings: &Settings) -> Packer {
    Packer::new(format.channels, format.rate, settings.duration)
}

fn file(
    path: &Path,
    names: Option<Vec<String>>,
    settings: &Settings,
) -> Result<(Source, Started), Error> {
    let recording = Recording::open(path, names.as_deref())?;
    let format = format(recording.names(), settings);
    let packer = packer(&format, settings);
    let replay = Replay::new(recording, packer, settings.rate, settings.again)?;
    let started = Started { format, live: None };
    Ok((Source::File(Box::new(replay)), started))
}

#[glib::object_subclass]
impl ObjectSubclass for SensorSrc {
    const NAME: &'static str = "GstMsaoSensorSrc";
    type Type = super::SensorSrc;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for SensorSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::properties()
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_format(gst::Format::Time);
        self.obj().set_live(lock(&self.settings).is_live());
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !crate::may_set(&*self.obj(), pspec) {
            return;
        }
        let live = {
            let mut settings = lock(&self.settings);
            settings.set(pspec.name(), value);
            settings.is_live()
        };
        self.obj().set_live(live);
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

impl GstObjectImpl for SensorSrc {}

impl ElementImpl for SensorSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MSAO sensor source",
                "Source/Sensor",
                "Replays a recording of numeric channels, or passes on what a NATS subject brings",
                "The MSAO authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let src = gst::PadTemplate::new(
                "src",
                gst::PadDirection::Src,
                gst::PadPresence::Always,
                &SensorFormat::any_caps(),
            );
            src.into_iter().collect()
        });
        &TEMPLATES
    }
}

impl BaseSrcImpl for SensorSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let (source, started) = self.open(&settings)?;
        *lock(&self.stats) = Stats::default();
        *lock(&self.source) = Some(source);
        *lock(&self.started) = Some(started);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let source = lock(&self.source).take();
        let started = lock(&self.started).take();
        drop((source, started));
        Ok(())
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        self.set_flushing(true);
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.set_flushing(false);
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        let caps = match lock(&self.started).as_ref() {
            Some(started) => started.format.to_caps(),
            None => SensorFormat::any_caps(),
        };
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    /// A recording at its own pace: a buffer is there when its last sample was measured.
    fn times(&self, buffer: &gst::BufferRef) -> (Option<gst::ClockTime>, Option<gst::ClockTime>) {
        let settings = lock(&self.settings);
        if !settings.realtime || settings.subject.is_some() {
            return (None, None);
        }
        let end = buffer.pts().zip(buffer.duration());
        (end.map(|(pts, duration)| pts + duration), None)
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        let settings = lock(&self.settings).clone();
        if let gst::QueryViewMut::Latency(latency) = query.view_mut()
            && settings.is_live()
        {
            // A buffer's own length, and as much for messages on their way.
            let lengths = if settings.subject.is_some() { 2 } else { 1 };
            let longest = settings.duration.max(length(1, settings.rate));
            latency.set(true, longest * lengths, gst::ClockTime::NONE);
            return true;
        }
        BaseSrcImplExt::parent_query(self, query)
    }
}

impl PushSrcImpl for SensorSrc {
    fn create(
        &self,
        _buffer: Option<&mut gst::BufferRef>,
    ) -> Result<CreateSuccess, gst::FlowError> {
        let next = self.next();
        let buffer = next.map_err(|error| {
            self.post_error_message(unreadable(&error));
            gst::FlowError::Error
        })??;
        let channels = lock(&self.started)
            .as_ref()
            .map_or(1, |started| started.format.channels);
        let mut stats = lock(&self.stats);
        stats.buffers += 1;
        stats.samples += (buffer.size() / (4 * channels.max(1))) as u64;
        Ok(CreateSuccess::NewBuffer(buffer))
    }
}
