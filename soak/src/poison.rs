//! Messages that no worker can handle, and what their dead letters must say.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use broker::{
    Connection, FeatureWindow, Message, StreamsConfig, WindowId, deliver::Deliverer,
    headers::TraceParent,
};
use tokio::task::JoinSet;
use ulid::Ulid;

use crate::windows::{FAILS, KILLS, Kind, window};

/// The rig that poison comes from.
pub const RIG: &str = "poison";
/// Of each kind of poison, a word of the reason.
const WORDS: [&str; 5] = [
    "not a features message",
    "features/9.1",
    "encoder",
    "failed",
    "no verdict",
];

/// A window, and a word of the reason for which it is to die.
pub type Doomed = (WindowId, &'static str);

/// Who sends it.
pub struct Poison {
    deliverer: Arc<Deliverer>,
    epoch: Ulid,
    sent: u64,
    /// What the broker has acknowledged.
    stored: Arc<Mutex<Vec<Doomed>>>,
    sending: JoinSet<()>,
}

impl Poison {
    /// Nothing is sent yet.
    pub fn new(connection: Connection, streams: StreamsConfig) -> Self {
        Self {
            deliverer: Arc::new(Deliverer::new(connection, streams)),
            epoch: Ulid::generate(),
            sent: 0,
            stored: Arc::default(),
            sending: JoinSet::new(),
        }
    }

    /// Sends one of each kind, through whatever outage.
    pub fn burst(&mut self) -> Result<()> {
        for word in WORDS {
            let id = WindowId {
                rig: RIG.parse()?,
                epoch: self.epoch,
                seq: self.sent,
            };
            self.sent += 1;
            let message = message(&id, word)?;
            let (deliverer, stored) = (Arc::clone(&self.deliverer), Arc::clone(&self.stored));
            self.sending.spawn(async move {
                if deliverer.deliver(&message).await.is_ok() {
                    let mut stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
                    stored.push((id, word));
                }
            });
        }
        Ok(())
    }

    /// Waits until all of it is stored.
    pub async fn settled(&mut self) {
        while self.sending.join_next().await.is_some() {}
    }

    /// What is stored by now.
    pub fn stored(&self) -> Vec<Doomed> {
        let stored = self.stored.lock();
        stored.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn message(id: &WindowId, word: &str) -> Result<Message> {
    let mut window: FeatureWindow = window(id.clone(), Kind::Offload, 4);
    match word {
        "encoder" => window.modalities[0].encoder = "unknown-v9".to_owned(),
        "failed" => window.flags.push(FAILS.to_owned()),
        "no verdict" => window.flags.push(KILLS.to_owned()),
        _ => {}
    }
    let mut bytes = window.encode()?;
    match word {
        "not a features message" => bytes = b"\xff\xd8 is no window".to_vec(),
        "features/9.1" => {
            let name = b"features/1.";
            let at = bytes.windows(name.len()).position(|part| part == name);
            let at = at.context("the schema's name is not in the message")?;
            bytes[at + name.len() - 2] = b'9';
        }
        _ => {}
    }
    Ok(Message::features(&window, bytes, TraceParent::generate()))
}
