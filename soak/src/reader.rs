//! Readers of captions, as `msao watch` is one.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use broker::{
    Connection, StreamsConfig, WindowId,
    caption::LAST,
    captions::{self, From},
};
use tokio::task::JoinHandle;

/// How long a reader may take to come to a caption that is stored.
const PATIENCE: Duration = Duration::from_secs(30);

/// A reader and what it has read.
pub struct Reader {
    read: Arc<Mutex<Read>>,
    task: JoinHandle<()>,
}

/// What was read, in order, and the windows of which the last word is among it.
#[derive(Debug, Default)]
pub struct Read {
    pub all: Vec<(WindowId, u32)>,
    pub last: HashSet<WindowId>,
    /// What came that is no caption.
    pub faults: Vec<String>,
}

impl Reader {
    /// Reads from the oldest caption on, through whatever outage.
    pub async fn start(connection: &Connection, streams: &StreamsConfig) -> Result<Self> {
        let mut captions = captions::subscribe(connection, streams, None, From::Beginning).await?;
        let read: Arc<Mutex<Read>> = Arc::default();
        let written = Arc::clone(&read);
        let task = tokio::spawn(async move {
            loop {
                let next = captions.next().await;
                let mut read = lock(&written);
                match next {
                    Ok(caption) => {
                        if caption.revision == LAST {
                            read.last.insert(caption.id.clone());
                        }
                        read.all.push((caption.id, caption.revision));
                    }
                    Err(error) => read.faults.push(error.to_string()),
                }
            }
        });
        Ok(Self { read, task })
    }

    /// What it has read so far.
    pub fn read(&self) -> MutexGuard<'_, Read> {
        lock(&self.read)
    }

    /// Waits until it has read the last caption of `marker`.
    pub async fn reaches(&self, marker: &WindowId) -> Result<()> {
        let reached = async {
            while !self.read().last.contains(marker) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        reached
            .with_context(|| format!("a reader does not come to the last caption in {PATIENCE:?}"))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(read: &Mutex<Read>) -> MutexGuard<'_, Read> {
    read.lock().unwrap_or_else(PoisonError::into_inner)
}
