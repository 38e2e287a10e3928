//! Implementation of `msaocaptionsrc`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use broker::captions::{self, Captions, From};
use broker::{Connection, Rig, StreamsConfig};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;
use tokio::task::JoinHandle;

use super::properties::{self, Settings};
use super::screen::Screen;
use crate::{lock, nats};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "msaocaptionsrc",
        gst::DebugColorFlags::empty(),
        Some("Source of captions"),
    )
});

/// How long to wait before the streams are asked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the reader and the streaming thread share.
#[derive(Default)]
struct Shared {
    settings: Mutex<Settings>,
    screen: Mutex<Screen>,
    unreadable: AtomicU64,
}

/// A reader of captions, until it is dropped.
struct Reader {
    connection: Connection,
    task: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The streaming thread's wait for the clock.
#[derive(Default)]
struct Wait {
    id: Option<gst::SingleShotClockId>,
    flushing: bool,
}

/// Implementation of [`CaptionSrc`](super::CaptionSrc).
#[derive(Default)]
pub struct CaptionSrc {
    shared: Arc<Shared>,
    reader: Mutex<Option<Reader>>,
    wait: Mutex<Wait>,
    /// Running time of the next buffer; none before the first.
    next: Mutex<Option<gst::ClockTime>>,
}

impl CaptionSrc {
    fn open(&self) -> Result<Reader, gst::ErrorMessage> {
        let settings = lock(&self.shared.settings).clone();
        let unusable =
            |problem: String| gst::error_msg!(gst::ResourceError::Settings, ("{problem}"));
        let rig = settings.rig.ok_or_else(|| {
            unusable("rig: say whose captions, as in the `rig` of its msaowindow".to_owned())
        })?;
        let rig: Rig = rig
            .parse()
            .map_err(|error| unusable(format!("rig: {error}")))?;
        let (connection, runtime) = settings.nats.open("msaocaptionsrc")?;
        let streams = StreamsConfig::default();
        // Without a server the reader asks until there is one.
        let opened = if connection.is_connected() {
            let opened = captions::subscribe(&connection, &streams, Some(&rig), From::Now);
            let opened = nats::wait(runtime, opened)?;
            Some(
                opened
                    .map_err(|error| gst::error_msg!(gst::ResourceError::OpenRead, ("{error}")))?,
            )
        } else {
            None
        };
        let (reading, shared) = (connection.clone(), Arc::clone(&self.shared));
        let task = runtime.spawn(async move {
            let captions = match opened {
                Some(captions) => captions,
                None => subscribe(&reading, &rig).await,
            };
            read(captions, &shared).await;
        });
        Ok(Reader { connection, task })
    }

    /// Waits until the running time is `until`; false while flushing.
    fn wait_for(&self, until: gst::ClockTime) -> bool {
        let element = self.obj();
        let (Some(clock), Some(base)) = (element.clock(), element.base_time()) else {
            return true;
        };
        let id = clock.new_single_shot_id(base + until);
        {
            let mut wait = lock(&self.wait);
            if wait.flushing {
                return false;
            }
            wait.id = Some(id.clone());
        }
        let (result, _) = id.wait();
        lock(&self.wait).id = None;
        result != Err(gst::ClockError::Unscheduled)
    }

    fn structure(&self) -> gst::Structure {
        let counters = lock(&self.shared.screen).counters;
        let connected = (lock(&self.reader).as_ref()).is_some_and(|r| r.connection.is_connected());
        gst::Structure::builder("stats")
            .field("shown", counters.shown)
            .field("replaced", counters.replaced)
            .field("late", counters.late)
            .field("unreadable", self.shared.unreadable.load(Ordering::Relaxed))
            .field("connected", connected)
            .build()
    }
}

/// The captions from now on, asked for until there are some.
async fn subscribe(connection: &Connection, rig: &Rig) -> Captions {
    loop {
        connection.connected().await;
        let streams = StreamsConfig::default();
        match captions::subscribe(connection, &streams, Some(rig), From::Now).await {
            Ok(captions) => return captions,
            Err(error) => gst::warning!(CAT, "no captions yet, trying again: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read(mut captions: Captions, shared: &Shared) {
    loop {
        match captions.next().await {
            Ok(caption) => {
                let (lines, marks) = {
                    let settings = lock(&shared.settings);
                    (settings.lines as usize, settings.marks)
                };
                lock(&shared.screen).put(&caption, lines, marks, Instant::now());
            }
            Err(error) => {
                shared.unreadable.fetch_add(1, Ordering::Relaxed);
                gst::warning!(CAT, "passed over: {error}");
            }
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for CaptionSrc {
    const NAME: &'static str = "GstMsaoCaptionSrc";
    type Type = super::CaptionSrc;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for CaptionSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::properties()
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_format(gst::Format::Time);
        self.obj().set_live(true);
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !crate::may_set(&*self.obj(), pspec) {
            return;
        }
        lock(&self.shared.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => self.structure().to_value(),
            name => lock(&self.shared.settings)
                .get(name)
                .unwrap_or_else(|| pspec.default_value().clone()),
        }
    }
}

impl GstObjectImpl for CaptionSrc {}

impl ElementImpl for CaptionSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MSAO caption source",
                "Source/Text",
                "The captions of a rig as text; a correction takes the place of its draft",
                "The MSAO authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::builder("text/x-raw").field("format", "utf8");
            let src = gst::PadTemplate::new(
                "src",
                gst::PadDirection::Src,
                gst::PadPresence::Always,
                &caps.build(),
            );
            src.into_iter().collect()
        });
        &TEMPLATES
    }
}

impl BaseSrcImpl for CaptionSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.shared.screen) = Screen::default();
        self.shared.unreadable.store(0, Ordering::Relaxed);
        *lock(&self.next) = None;
        *lock(&self.reader) = Some(self.open()?);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let reader = lock(&self.reader).take();
        drop(reader);
        Ok(())
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        let id = {
            let mut wait = lock(&self.wait);
            wait.flushing = true;
            wait.id.take()
        };
        if let Some(id) = id {
            id.unschedule();
        }
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        lock(&self.wait).flushing = false;
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }

    /// A buffer is there when its time begins.
    fn query(&self, query: &mut gst::QueryRef) -> bool {
        if let gst::QueryViewMut::Latency(latency) = query.view_mut() {
            latency.set(true, gst::ClockTime::ZERO, gst::ClockTime::NONE);
            return true;
        }
        BaseSrcImplExt::parent_query(self, query)
    }
}

impl PushSrcImpl for CaptionSrc {
    fn create(
        &self,
        _buffer: Option<&mut gst::BufferRef>,
    ) -> Result<CreateSuccess, gst::FlowError> {
        let interval = lock(&self.shared.settings).interval;
        let now = self.obj().current_running_time().unwrap_or_default();
        // After a pause the times in between are left out.
        let next = lock(&self.next).filter(|next| *next + interval > now);
        let at = next.unwrap_or(now);
        if !self.wait_for(at) {
            return Err(gst::FlowError::Flushing);
        }
        *lock(&self.next) = Some(at + interval);
        let hold = lock(&self.shared.settings).hold;
        let text = lock(&self.shared.screen).text(hold.into(), Instant::now());
        let empty = text.is_empty();
        let mut buffer = gst::Buffer::from_slice(text.into_bytes());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(at);
            buffer.set_duration(interval);
            if empty {
                buffer.set_flags(gst::BufferFlags::GAP);
            }
        }
        Ok(CreateSuccess::NewBuffer(buffer))
    }
}
