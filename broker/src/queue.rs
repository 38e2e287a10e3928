//! The publisher's bounded queue: threads put messages in, one task takes them out.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    message::Message,
    publisher::{Counters, OnFull, PublishError},
};

pub(crate) struct Queue {
    max_messages: usize,
    max_bytes: usize,
    on_full: OnFull,
    state: Mutex<State>,
    /// Something left the queue, or blocked threads are to give up.
    changed: Condvar,
    /// Something entered the queue.
    entered: Notify,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    bytes: usize,
    cancelled: bool,
    /// Threads that wait for a change: telling nobody is a call of the system, too.
    waiting: usize,
    counters: Counters,
}

impl Queue {
    pub fn new(max_messages: usize, max_bytes: usize, on_full: OnFull) -> Self {
        Self {
            max_messages,
            max_bytes,
            on_full,
            state: Mutex::default(),
            changed: Condvar::new(),
            entered: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `message` in, making room as the policy says.
    pub fn push(&self, message: Message) -> Result<(), PublishError> {
        let bytes = message.wire_len();
        if bytes > self.max_bytes {
            return Err(PublishError::TooLarge {
                id: message.id,
                bytes,
                max: self.max_bytes,
            });
        }
        let mut state = self.lock();
        while !self.fits(&state, bytes) {
            match self.on_full {
                OnFull::Block if state.cancelled => return Err(PublishError::Cancelled),
                OnFull::Block => {
                    state.waiting += 1;
                    state = (self.changed.wait(state)).unwrap_or_else(PoisonError::into_inner);
                    state.waiting -= 1;
                }
                OnFull::DropNewest => {
                    state.counters.published += 1;
                    state.drop_one(&message, "the queue is full, on-full=drop-newest");
                    return Ok(());
                }
                OnFull::DropOldest => {
                    // Never empty here: an empty queue has room for any message within max_bytes.
                    let Some(oldest) = state.messages.pop_front() else {
                        break;
                    };
                    state.bytes -= oldest.wire_len();
                    state.counters.pending -= 1;
                    state.drop_one(&oldest, "the queue is full, on-full=drop-oldest");
                }
            }
        }
        state.counters.published += 1;
        state.counters.pending += 1;
        state.bytes += bytes;
        state.messages.push_back(message);
        drop(state);
        self.entered.notify_one();
        Ok(())
    }

    /// Lets go of the state, and tells those who wait.
    fn change(&self, state: MutexGuard<'_, State>) {
        let somebody = state.waiting > 0;
        drop(state);
        if somebody {
            self.changed.notify_all();
        }
    }

    fn fits(&self, state: &State, bytes: usize) -> bool {
        state.messages.len() < self.max_messages && state.bytes + bytes <= self.max_bytes
    }

    /// Takes the oldest message out; it stays pending until it is settled. For one task.
    pub async fn pop(&self) -> Message {
        loop {
            if let Some(message) = self.take() {
                return message;
            }
            self.entered.notified().await;
        }
    }

    fn take(&self) -> Option<Message> {
        let mut state = self.lock();
        let message = state.messages.pop_front()?;
        state.bytes -= message.wire_len();
        self.change(state);
        Some(message)
    }

    pub fn retried(&self) {
        self.lock().counters.retried += 1;
    }

    pub fn acknowledged(&self, message: &Message) {
        let mut state = self.lock();
        state.counters.pending -= 1;
        state.counters.acknowledged += 1;
        state.counters.bytes_sent += message.wire_len() as u64;
        self.change(state);
    }

    /// A message that was taken out will never be acknowledged.
    pub fn lost(&self, message: &Message, reason: &str) {
        let mut state = self.lock();
        state.counters.pending -= 1;
        state.drop_one(message, reason);
        self.change(state);
    }

    pub fn counters(&self) -> Counters {
        self.lock().counters.clone()
    }

    pub fn set_cancelled(&self, cancelled: bool) {
        let mut state = self.lock();
        state.cancelled = cancelled;
        self.change(state);
    }

    /// Blocks until nothing is pending. Returns what is still pending after `timeout`, or when cancelled.
    pub fn wait_empty(&self, timeout: Duration) -> u64 {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        while state.counters.pending > 0 && !state.cancelled {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.waiting += 1;
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        state.counters.pending
    }
}

impl State {
    fn drop_one(&mut self, message: &Message, reason: &str) {
        self.counters.dropped += 1;
        tracing::error!(
            id = message.id,
            subject = message.subject,
            "message dropped: {reason}"
        );
    }
}
