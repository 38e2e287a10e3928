//! What the edge knows of the link, the cloud and its windows, and what it hears of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use broker::captions::Captions;
use broker::deliver::Observer;
use broker::status::{self, AnyStatus};
use broker::{Caption, Connection};
use futures::StreamExt;
use offload::runtime::Runtime;

use super::super::protocol::{Had, Record};
use super::TICK;

/// How long broker and cloud may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the edge's threads share.
#[derive(Debug)]
pub(super) struct State {
    begun: Instant,
    known: Mutex<Known>,
}

#[derive(Debug)]
pub(super) struct Known {
    pub planner: Runtime,
    /// Windows by number, and when each arrived.
    pub windows: BTreeMap<u64, (Instant, Record)>,
    heartbeats: u64,
    /// The message of a window that waited, until it arrived: they go one at a time, beside what is live.
    pub going: Option<String>,
}

impl State {
    pub fn new(planner: Runtime) -> Self {
        Self {
            begun: Instant::now(),
            known: Mutex::new(Known {
                planner,
                windows: BTreeMap::new(),
                heartbeats: 0,
                going: None,
            }),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn heard(&self, status: &broker::CloudStatus) {
        let queue = u32::try_from(status.queue).unwrap_or(u32::MAX);
        let now = self.now();
        let mut known = self.lock();
        let rate = status.service_rate;
        known.planner.heartbeat(now, &status.worker, queue, rate);
        known.heartbeats += 1;
    }

    /// The cloud's word.
    fn answered(&self, caption: &Caption) {
        let now = self.now();
        let mut known = self.lock();
        let Known {
            planner, windows, ..
        } = &mut *known;
        let seq = caption.id.seq;
        let work = caption.latency_ms.cloud.unwrap_or(0.0).max(0.0) / 1e3;
        let confirmed = caption.status == broker::CaptionStatus::Confirmed;
        planner.answered(now, seq, confirmed, Duration::from_secs_f64(work));
        if let Some((arrived, record)) = windows.get_mut(&seq)
            && record.last.is_none()
        {
            record.last = Some(Had {
                after: arrived.elapsed().as_secs_f64(),
                text: caption.text.clone(),
                tokens: caption.tokens as usize,
            });
            record.accepted = caption.accepted_tokens.map(|tokens| tokens as usize);
            record.cloud = Some(work);
        }
    }
}

impl Observer for State {
    fn sent(&self, id: &str, bytes: usize) {
        let now = self.now();
        self.lock().planner.sent(now, id, bytes as u64);
    }

    fn stored(&self, id: &str) {
        let now = self.now();
        let mut known = self.lock();
        known.planner.acknowledged(now, id);
        known.going.take_if(|going| going == id);
    }

    fn lost(&self, id: &str) {
        let mut known = self.lock();
        known.planner.lost(id);
        known.going.take_if(|going| going == id);
    }
}

/// Takes in what the cloud says.
pub(super) async fn listen(mut captions: Captions, state: Arc<State>) {
    loop {
        match captions.next().await {
            Ok(caption) if caption.latency_ms.cloud.is_some() => state.answered(&caption),
            // The edge's own.
            Ok(_) => {}
            Err(error) => tracing::error!("a caption is passed over: {error}"),
        }
    }
}

pub(super) async fn heartbeats(connection: Connection, state: Arc<State>) {
    let statuses = match status::subscribe(&connection).await {
        Ok(statuses) => statuses,
        Err(error) => return tracing::error!("nothing is heard of the cloud: {error}"),
    };
    let mut statuses = std::pin::pin!(statuses);
    while let Some(status) = statuses.next().await {
        if let Ok(AnyStatus::Cloud(status)) = status {
            state.heard(&status);
        }
    }
}

/// Tells the planner when the connection comes and goes.
pub(super) async fn contact(connection: Connection, state: Arc<State>) {
    let mut before = false;
    let mut tick = tokio::time::interval(TICK);
    loop {
        tick.tick().await;
        let there = connection.is_connected();
        if there != before {
            let now = state.now();
            let mut known = state.lock();
            if there {
                known.planner.connected(now);
            } else {
                known.planner.disconnected(now);
            }
        }
        before = there;
    }
}

pub(super) async fn cloud_is_there(state: &State) -> Result<()> {
    let begun = Instant::now();
    while state.lock().heartbeats == 0 {
        if begun.elapsed() > PATIENCE {
            bail!("no cloud worker was heard of within {PATIENCE:?}: see its messages above");
        }
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}
