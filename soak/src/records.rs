//! When workers first recorded that a window has its last caption: the bucket itself keeps the latest record of each alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use broker::{Connection, WindowId, streams};
use futures::StreamExt;
use tokio::task::JoinHandle;

use crate::ledger::now_ns;

/// Hears the records as they are published.
pub struct Records {
    first: Arc<Mutex<HashMap<WindowId, i128>>>,
    task: JoinHandle<()>,
}

impl Records {
    /// Listens from now on, through whatever outage.
    pub async fn start(connection: &Connection) -> Result<Self> {
        let prefix = format!("$KV.{}.", streams::DONE);
        let mut records = connection.client().subscribe(format!("{prefix}>")).await?;
        let first: Arc<Mutex<HashMap<WindowId, i128>>> = Arc::default();
        let written = Arc::clone(&first);
        let task = tokio::spawn(async move {
            while let Some(record) = records.next().await {
                // What is only decided on may come to a model again.
                let is_stored = record.payload.first().is_some_and(u8::is_ascii_digit);
                let key = record.subject.strip_prefix(&prefix).unwrap_or_default();
                if is_stored && let Ok(id) = key.replace('.', "/").parse() {
                    let mut first = written.lock().unwrap_or_else(PoisonError::into_inner);
                    first.entry(id).or_insert_with(now_ns);
                }
            }
        });
        Ok(Self { first, task })
    }

    /// When each window was first recorded, on the machine's monotonic clock.
    pub fn first(&self) -> HashMap<WindowId, i128> {
        let first = self.first.lock();
        first.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.task.abort();
    }
}
