//! Events to viewers, each of whom may be slow: what waits for one is bounded, and nobody waits for anybody.
//!
//! Two kinds of events. Ordered ones count up and come all, in order; a viewer who falls behind by more than
//! [`QUEUE`] of them gets the whole state instead. Of keyed ones, such as previews, only the latest of each key waits, behind all that is
//! ordered: they are what a slow viewer misses first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::Notify;

/// Ordered events that may wait for a viewer.
pub const QUEUE: usize = 256;
/// Ordered events kept for viewers who come back after a short loss.
const KEPT: usize = 1024;
/// Most viewers at a time.
pub const VIEWERS: usize = 64;

/// As many look as may.
#[derive(Debug, thiserror::Error)]
#[error("{VIEWERS} viewers are looking already: close one")]
pub struct Full;

/// The number of an event: of this run of the program, and within it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct EventId {
    run: String,
    number: u64,
}

/// All viewers, and the last events.
pub struct Hub {
    run: String,
    number: u64,
    kept: VecDeque<Bytes>,
    viewers: Vec<Weak<Mailbox>>,
}

/// What waits for one viewer.
#[derive(Default)]
pub struct Mailbox {
    mail: Mutex<Mail>,
    arrived: Notify,
}

#[derive(Default)]
struct Mail {
    /// The whole state is to be sent, in place of what is ordered.
    behind: bool,
    ordered: VecDeque<Bytes>,
    keyed: HashMap<String, Bytes>,
    /// Keys of `keyed` in the order in which they came.
    order: VecDeque<String>,
}

/// What is next for a viewer.
pub enum Next {
    /// This event.
    Event(Bytes),
    /// The whole state.
    Snapshot,
    /// Nothing yet.
    Nothing,
}

impl Hub {
    /// Nobody looks, and nothing happened; `run` tells this run of the program from others.
    pub fn new(run: String) -> Self {
        Self {
            run,
            number: 0,
            kept: VecDeque::new(),
            viewers: Vec::new(),
        }
    }

    /// Sends an ordered event to all.
    pub fn send(&mut self, kind: &str, data: &impl Serialize) {
        self.number += 1;
        let event = event(kind, Some(&self.id()), data);
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(event.clone());
        self.each(|mail| {
            if mail.behind {
                return;
            }
            if mail.ordered.len() == QUEUE {
                mail.ordered.clear();
                mail.behind = true;
            } else {
                mail.ordered.push_back(event.clone());
            }
        });
    }

    /// Sends an event to all that replaces what waits of the same key. Returns it as it is sent.
    pub fn send_latest(&mut self, key: &str, kind: &str, data: &impl Serialize) -> Bytes {
        let event = event(kind, None, data);
        self.each(|mail| mail.replace(key, event.clone()));
        event
    }

    /// Lets a viewer in, who saw the event `last` if this is a return. Returns what waits for it: the events since then,
    /// or the whole state, and then `latest`, by key.
    ///
    /// # Errors
    /// There are as many as may be.
    pub fn join(
        &mut self,
        last: Option<&str>,
        latest: impl Iterator<Item = (String, Bytes)>,
    ) -> Result<Arc<Mailbox>, Full> {
        self.viewers.retain(|viewer| viewer.strong_count() > 0);
        if self.viewers.len() >= VIEWERS {
            return Err(Full);
        }
        let mut mail = Mail::default();
        match last.and_then(|last| self.since(last)) {
            Some(events) => mail.ordered.extend(events),
            None => mail.behind = true,
        }
        for (key, event) in latest {
            mail.replace(&key, event);
        }
        let mailbox = Arc::new(Mailbox {
            mail: Mutex::new(mail),
            arrived: Notify::new(),
        });
        self.viewers.push(Arc::downgrade(&mailbox));
        Ok(mailbox)
    }

    /// The whole state as an event with the number of the last one.
    pub fn snapshot(&self, data: &impl Serialize) -> Bytes {
        event("snapshot", Some(&self.id()), data)
    }

    /// How many look.
    pub fn viewers(&self) -> usize {
        let looking = |viewer: &&Weak<Mailbox>| viewer.strong_count() > 0;
        self.viewers.iter().filter(looking).count()
    }

    fn id(&self) -> EventId {
        EventId {
            run: self.run.clone(),
            number: self.number,
        }
    }

    /// The events after that of the id `last`, if they are kept and few enough to wait.
    fn since(&self, last: &str) -> Option<impl Iterator<Item = Bytes> + '_> {
        let (run, number) = last.rsplit_once('-')?;
        let missed = self.number.checked_sub(number.parse().ok()?)?;
        let missed = usize::try_from(missed).ok()?;
        let here = run == self.run && missed <= self.kept.len().min(QUEUE);
        here.then(|| self.kept.iter().skip(self.kept.len() - missed).cloned())
    }

    fn each(&mut self, mut put: impl FnMut(&mut Mail)) {
        self.viewers.retain(|viewer| match viewer.upgrade() {
            Some(viewer) => {
                put(&mut viewer.lock());
                viewer.arrived.notify_one();
                true
            }
            None => false,
        });
    }
}

impl Mailbox {
    /// Takes what is next; the whole state until [`forget_ordered`](Self::forget_ordered) says that it is sent.
    pub fn take(&self) -> Next {
        let mut mail = self.lock();
        if mail.behind {
            return Next::Snapshot;
        }
        if let Some(event) = mail.ordered.pop_front() {
            return Next::Event(event);
        }
        let key = mail.order.pop_front();
        match key.and_then(|key| mail.keyed.remove(&key)) {
            Some(event) => Next::Event(event),
            None => Next::Nothing,
        }
    }

    /// The whole state is sent, with all that is ordered and waits: to be called while nothing can be sent.
    pub fn forget_ordered(&self) {
        let mut mail = self.lock();
        mail.behind = false;
        mail.ordered.clear();
    }

    /// Waits until there may be something to take.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mail {
    fn replace(&mut self, key: &str, event: Bytes) {
        if self.keyed.insert(key.to_owned(), event).is_none() {
            self.order.push_back(key.to_owned());
        }
    }
}

/// An event as it goes over the line. JSON has no line breaks of its own.
fn event(kind: &str, id: Option<&EventId>, data: &impl Serialize) -> Bytes {
    let id = id.map_or_else(String::new, |id| format!("id: {}-{}\n", id.run, id.number));
    let data = match serde_json::to_string(data) {
        Ok(data) => data,
        Err(error) => {
            tracing::error!("an event of kind {kind} cannot be written: {error}");
            "null".to_owned()
        }
    };
    Bytes::from(format!("{id}event: {kind}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(mailbox: &Mailbox) -> String {
        match mailbox.take() {
            Next::Event(event) => String::from_utf8(event.to_vec()).unwrap(),
            Next::Snapshot => {
                mailbox.forget_ordered();
                "snapshot".to_owned()
            }
            Next::Nothing => "nothing".to_owned(),
        }
    }

    fn join(hub: &mut Hub, last: Option<&str>) -> Arc<Mailbox> {
        hub.join(last, std::iter::empty()).unwrap()
    }

    #[test]
    fn a_new_viewer_gets_the_whole_state_and_then_what_happens_in_order() {
        let mut hub = Hub::new("r".to_owned());
        hub.send("window", &1);
        let viewer = join(&mut hub, None);
        hub.send("window", &"in the whole state, too");
        assert_eq!(next(&viewer), "snapshot");
        hub.send_latest("a", "preview", &"old");
        hub.send_latest("b", "preview", &"other");
        hub.send_latest("a", "preview", &"new");
        for number in [3, 4] {
            hub.send("window", &number);
        }
        assert_eq!(next(&viewer), "id: r-3\nevent: window\ndata: 3\n\n");
        assert_eq!(next(&viewer), "id: r-4\nevent: window\ndata: 4\n\n");
        assert_eq!(next(&viewer), "event: preview\ndata: \"new\"\n\n");
        assert_eq!(next(&viewer), "event: preview\ndata: \"other\"\n\n");
        assert_eq!(next(&viewer), "nothing");
    }

    #[test]
    fn who_comes_back_gets_what_it_missed_or_the_whole_state() {
        let mut hub = Hub::new("r".to_owned());
        for number in 1..=3 {
            hub.send("window", &number);
        }
        let back = join(&mut hub, Some("r-1"));
        assert_eq!(next(&back), "id: r-2\nevent: window\ndata: 2\n\n");
        assert_eq!(next(&back), "id: r-3\nevent: window\ndata: 3\n\n");
        assert_eq!(next(&back), "nothing");
        // Of another run, of the future, no number, and too long ago.
        for last in ["s-1", "r-4", "r", "r-x", "", "-1"] {
            assert_eq!(next(&join(&mut hub, Some(last))), "snapshot", "{last}");
        }
        for number in 0..QUEUE as u64 {
            hub.send("window", &number);
        }
        assert_eq!(next(&join(&mut hub, Some("r-1"))), "snapshot");
        assert_eq!(
            next(&join(&mut hub, Some("r-4"))),
            "id: r-5\nevent: window\ndata: 1\n\n"
        );
    }

    #[test]
    fn a_slow_viewer_is_bounded_misses_previews_first_and_gets_the_state_whole() {
        let mut hub = Hub::new("r".to_owned());
        let (slow, fast) = (join(&mut hub, None), join(&mut hub, None));
        assert_eq!(
            (next(&slow), next(&fast)),
            ("snapshot".into(), "snapshot".into())
        );
        // Previews alone take the place of their like.
        for number in 0..1000 {
            hub.send_latest("camera", "preview", &number);
            assert_eq!(next(&fast), format!("event: preview\ndata: {number}\n\n"));
        }
        assert_eq!(slow.lock().keyed.len(), 1);
        for number in 1..=1000 {
            hub.send("window", &number);
            assert_eq!(
                next(&fast),
                format!("id: r-{number}\nevent: window\ndata: {number}\n\n")
            );
            assert!(slow.lock().ordered.len() <= QUEUE);
        }
        assert_eq!(next(&slow), "snapshot");
        assert_eq!(next(&slow), "event: preview\ndata: 999\n\n");
        hub.send("window", &1001);
        assert_eq!(next(&slow), "id: r-1001\nevent: window\ndata: 1001\n\n");
        assert_eq!(next(&slow), "nothing");
    }

    #[test]
    fn viewers_are_bounded_and_leave_room_when_they_go() {
        let mut hub = Hub::new("r".to_owned());
        let mut viewers: Vec<_> = (0..VIEWERS).map(|_| join(&mut hub, None)).collect();
        assert!(hub.join(None, std::iter::empty()).is_err());
        viewers.pop();
        assert_eq!(hub.viewers(), VIEWERS - 1);
        assert!(hub.join(None, std::iter::empty()).is_ok());
    }
}
