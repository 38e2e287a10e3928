//! One direction at work: a shaper, the clock that drives it, and who waits for it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use crate::{
    shaper::{Counters, Dropped, OnLoss, Shaper},
    trace::Trace,
};

/// Shared by those who push, the one that [runs](Self::run), and [`Link`](crate::Link).
pub struct Direction<T> {
    shaper: Mutex<Shaper<T>>,
    start: Instant,
    changed: Notify,
    room: Notify,
    cuts: watch::Sender<u64>,
}

/// Both directions: up is from the client to the server.
pub struct Pair<T> {
    pub up: Direction<T>,
    pub down: Direction<T>,
}

impl<T> Pair<T> {
    pub fn is_cut(&self) -> bool {
        self.up.is_cut() || self.down.is_cut()
    }
}

impl<T> Direction<T> {
    pub fn new(trace: Trace, limit: usize, on_loss: OnLoss, seed: u64) -> Self {
        Self {
            shaper: Mutex::new(Shaper::new(trace, limit, on_loss, seed)),
            start: Instant::now(),
            changed: Notify::new(),
            room: Notify::new(),
            cuts: watch::Sender::new(0),
        }
    }

    pub fn push(&self, item: T, bytes: usize) -> Result<(), Dropped> {
        let now = self.now();
        let pushed = self.lock().push(now, item, bytes);
        self.changed.notify_one();
        pushed
    }

    pub fn set(&self, trace: Trace) {
        let now = self.now();
        self.lock().set(now, trace);
        self.changed.notify_one();
    }

    pub fn counters(&self) -> Counters {
        self.lock().counters()
    }

    pub fn is_cut(&self) -> bool {
        let now = self.now();
        let mut shaper = self.lock();
        shaper.advance(now);
        shaper.is_cut()
    }

    /// Changes at every cut.
    pub fn cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }

    /// Waits until the queue takes at least so many bytes, and says how many.
    pub async fn room(&self, least: usize) -> usize {
        loop {
            let freed = self.room.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let room = self.lock().room();
            if room >= least {
                return room;
            }
            freed.await;
        }
    }

    /// Hands on what arrives, when it arrives, without end.
    pub async fn run(&self, mut deliver: impl FnMut(T)) {
        loop {
            let (arrived, next, cuts) = self.arrived();
            arrived.into_iter().for_each(&mut deliver);
            self.cuts.send_if_modified(|seen| {
                let modified = *seen != cuts;
                *seen = cuts;
                modified
            });
            self.room.notify_waiters();
            let until = next.map(|next| self.start + next);
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    fn arrived(&self) -> (Vec<T>, Option<Duration>, u64) {
        let now = self.now();
        let mut shaper = self.lock();
        let arrived = std::iter::from_fn(|| shaper.pop(now)).collect();
        (arrived, shaper.next_event(), shaper.cuts())
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Also after a panic elsewhere: no panic leaves the shaper half changed.
    fn lock(&self) -> MutexGuard<'_, Shaper<T>> {
        self.shaper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
