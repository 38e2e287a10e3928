//! What is heard of link and cloud goes upstream, if somebody asked for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::captions::{self, From};
use broker::status::{self, AnyStatus};
use broker::{CaptionStatus, Connection, Observer, Rig, StreamsConfig};
use futures::StreamExt;
use gst::glib;
use gst::prelude::*;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::imp::CAT;
use crate::feedback::Feedback;
use crate::lock;

/// Between two tries to subscribe.
const PAUSE: Duration = Duration::from_secs(1);

/// Sends [`Feedback`] upstream.
#[derive(Debug)]
pub(super) struct Reporter {
    pad: glib::WeakRef<gst::Pad>,
    wanted: AtomicBool,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    rig: Mutex<Option<Rig>>,
}

impl Reporter {
    pub fn new(pad: &gst::Pad) -> Arc<Self> {
        Arc::new(Self {
            pad: pad.downgrade(),
            wanted: AtomicBool::new(false),
            tasks: Mutex::default(),
            rig: Mutex::default(),
        })
    }

    /// From here on contact and heartbeats are reported, too.
    pub fn begin(self: &Arc<Self>, connection: &Connection, runtime: &Runtime) {
        if self.wanted.swap(true, Ordering::Relaxed) {
            return;
        }
        let contact = contact(Arc::clone(self), connection.clone());
        let heartbeats = heartbeats(Arc::clone(self), connection.clone());
        lock(&self.tasks).extend([runtime.spawn(contact), runtime.spawn(heartbeats)]);
    }

    /// From here on what the cloud says of the rig's windows is reported, too.
    pub fn listen(self: &Arc<Self>, rig: &Rig, connection: &Connection, runtime: &Runtime) {
        if !self.wanted.load(Ordering::Relaxed) || lock(&self.rig).replace(rig.clone()).is_some() {
            return;
        }
        let answers = answers(Arc::clone(self), connection.clone(), rig.clone());
        lock(&self.tasks).push(runtime.spawn(answers));
    }

    /// What compression left of a window's bytes.
    pub fn compressed(&self, from: usize, to: usize) {
        self.say(&Feedback::Compressed {
            from: from as u64,
            to: to as u64,
        });
    }

    /// Ends all tasks.
    pub fn end(&self) {
        self.wanted.store(false, Ordering::Relaxed);
        lock(&self.tasks).drain(..).for_each(|task| task.abort());
    }

    fn say(&self, feedback: &Feedback) {
        if !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        if let Some(pad) = self.pad.upgrade() {
            pad.push_event(feedback.event());
        }
    }
}

impl Observer for Reporter {
    fn sent(&self, id: &str, bytes: usize) {
        self.say(&Feedback::Sent {
            id: id.to_owned(),
            bytes: bytes as u64,
        });
    }

    fn stored(&self, id: &str) {
        self.say(&Feedback::Stored { id: id.to_owned() });
    }

    fn lost(&self, id: &str) {
        self.say(&Feedback::Lost { id: id.to_owned() });
    }
}

async fn contact(reporter: Arc<Reporter>, connection: Connection) {
    loop {
        let mut loss = connection.watch_loss();
        connection.connected().await;
        reporter.say(&Feedback::Connected);
        loss.lost().await;
        reporter.say(&Feedback::Disconnected);
    }
}

async fn heartbeats(reporter: Arc<Reporter>, connection: Connection) {
    loop {
        let mut statuses = match status::subscribe_cloud(&connection).await {
            Ok(statuses) => Box::pin(statuses),
            Err(error) => {
                gst::warning!(CAT, "no heartbeats of the cloud: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        while let Some(status) = statuses.next().await {
            match status {
                Ok(AnyStatus::Cloud(status)) => {
                    reporter.say(&Feedback::Cloud {
                        worker: status.worker,
                        queue: u32::try_from(status.queue).unwrap_or(u32::MAX),
                        rate: status.service_rate,
                    });
                }
                Ok(AnyStatus::Edge(_)) => {}
                Err(error) => gst::warning!(CAT, "a heartbeat of the cloud: {error}"),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn answers(reporter: Arc<Reporter>, connection: Connection, rig: Rig) {
    let streams = StreamsConfig::default();
    let mut captions = loop {
        connection.connected().await;
        match captions::subscribe(&connection, &streams, Some(&rig), From::Now).await {
            Ok(captions) => break captions,
            Err(error) => {
                gst::warning!(CAT, "nothing is learnt from the cloud's captions: {error}")
            }
        }
        tokio::time::sleep(PAUSE).await;
    };
    loop {
        let caption = match captions.next().await {
            Ok(caption) => caption,
            Err(error) => {
                gst::warning!(CAT, "{error}");
                continue;
            }
        };
        let confirmed = caption.status == CaptionStatus::Confirmed;
        if confirmed || caption.status == CaptionStatus::Corrected {
            reporter.say(&Feedback::Answer {
                id: caption.id.to_string(),
                confirmed,
                work: caption.latency_ms.cloud.unwrap_or(0.0),
                text: caption.text,
            });
        }
    }
}
