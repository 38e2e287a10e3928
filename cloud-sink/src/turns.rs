//! One at a time for each window.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{Mutex, PoisonError},
};

use broker::WindowId;
use tokio::sync::Notify;

/// Which windows have their turn.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    taken: Mutex<HashSet<WindowId>>,
    given_back: Notify,
}

/// A window's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    id: WindowId,
}

impl Turns {
    /// Waits until nobody else has the turn of `id`.
    pub async fn take(&self, id: &WindowId) -> Turn<'_> {
        loop {
            let mut given_back = pin!(self.given_back.notified());
            // From here on no call is missed.
            given_back.as_mut().enable();
            if self.insert(id) {
                return Turn {
                    turns: self,
                    id: id.clone(),
                };
            }
            given_back.await;
        }
    }

    fn insert(&self, id: &WindowId) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(id.clone())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let taken = &self.turns.taken;
        (taken.lock().unwrap_or_else(PoisonError::into_inner)).remove(&self.id);
        self.turns.given_back.notify_waiters();
    }
}
