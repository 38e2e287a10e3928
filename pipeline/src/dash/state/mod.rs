//! What the page shows: bounded, whatever comes.

mod decision;
mod latency;
mod rig;
mod samples;
mod window;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use base64::{Engine, engine::general_purpose::STANDARD};
use broker::{Caption, CloudStatus, Preview, Rig, Status, WindowId};
use serde::Serialize;
use time::OffsetDateTime;

use super::hub::{Full, Hub, Mailbox, Next};
use rig::RigState;
use window::unix_ms;

/// Rigs shown; of more the one that was silent longest goes.
const RIGS: usize = 64;
/// Cloud workers shown, likewise.
const WORKERS: usize = 64;
/// A viewer hears so often at least.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// The state and who looks at it: what is shown and what is sent are always of one moment.
pub struct Shared(Mutex<Inner>);

struct Inner {
    begun: Instant,
    hub: Hub,
    rigs: BTreeMap<Rig, RigState>,
    workers: BTreeMap<String, Worker>,
    nats: Nats,
    /// The last heartbeat, as an event.
    heartbeat: Option<Bytes>,
}

/// A cloud worker and when it was heard, UTC, milliseconds of the Unix epoch.
#[derive(Serialize)]
struct Worker {
    #[serde(flatten)]
    status: CloudStatus,
    heard_ms: i64,
}

/// How the program itself is.
#[derive(Clone, Default, Serialize)]
struct Nats {
    url: String,
    connected: bool,
    /// What it cannot do, if anything.
    problem: Option<String>,
    /// Messages that could not be read.
    unreadable: u64,
}

#[derive(Serialize)]
struct Heartbeat<'a> {
    #[serde(flatten)]
    nats: &'a Nats,
    viewers: usize,
    now_ms: i64,
}

#[derive(Serialize)]
struct Snapshot<'a> {
    server: Heartbeat<'a>,
    rigs: Vec<rig::Whole<'a>>,
    workers: Vec<&'a Worker>,
}

#[derive(Serialize)]
struct WindowOf<'a> {
    rig: &'a Rig,
    window: window::Shown<'a>,
}

#[derive(Serialize)]
struct Gone<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rig: Option<&'a Rig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
}

#[derive(Serialize)]
struct Picture<'a> {
    rig: &'a Rig,
    stream: &'a str,
    time_ms: i64,
    mas: f32,
    rows: u8,
    columns: u8,
    /// Base64 of a byte a position, row by row.
    importance: String,
    /// Base64.
    jpeg: String,
}

impl Shared {
    /// Nothing is known yet; `run` tells this run of the program from others, `url` is where it is connected.
    pub fn new(run: String, url: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            begun: Instant::now(),
            hub: Hub::new(run),
            rigs: BTreeMap::new(),
            workers: BTreeMap::new(),
            nats: Nats {
                url: url.to_owned(),
                ..Nats::default()
            },
            heartbeat: None,
        })))
    }

    /// Takes in a caption.
    pub fn caption(&self, caption: &Caption) {
        let mut inner = self.lock();
        let Inner {
            rigs, hub, begun, ..
        } = &mut *inner;
        let state = rig_state(rigs, hub, &caption.id.rig, begun.elapsed());
        if let Some(window) = state.caption(caption) {
            let rig = &caption.id.rig;
            hub.send("window", &WindowOf { rig, window });
        }
    }

    /// Takes in the status of an edge.
    pub fn edge(&self, status: Status) {
        let mut inner = self.lock();
        let Inner {
            rigs, hub, begun, ..
        } = &mut *inner;
        let at = begun.elapsed();
        rig_state(rigs, hub, &status.rig.clone(), at).status(status, at, now_ms());
    }

    /// Takes in the status of a cloud worker.
    pub fn worker(&self, status: CloudStatus) {
        let mut inner = self.lock();
        let Inner { workers, hub, .. } = &mut *inner;
        if workers.len() >= WORKERS && !workers.contains_key(&status.worker) {
            let silent = workers.iter().min_by_key(|(_, worker)| worker.heard_ms);
            if let Some(worker) = silent.map(|(name, _)| name.clone()) {
                workers.remove(&worker);
                let gone = Gone {
                    rig: None,
                    worker: Some(&worker),
                };
                hub.send("gone", &gone);
            }
        }
        let heard_ms = now_ms();
        let worker = Worker { status, heard_ms };
        hub.send("worker", &worker);
        workers.insert(worker.status.worker.clone(), worker);
    }

    /// Takes in a preview.
    pub fn preview(&self, preview: &Preview) {
        // Outside the lock: it is the most work.
        let picture = Picture {
            rig: &preview.rig,
            stream: &preview.stream,
            time_ms: unix_ms(preview.time),
            mas: preview.mas,
            rows: preview.rows,
            columns: preview.columns,
            importance: STANDARD.encode(&preview.importance),
            jpeg: STANDARD.encode(&preview.jpeg),
        };
        let mut inner = self.lock();
        let Inner {
            rigs, hub, begun, ..
        } = &mut *inner;
        let state = rig_state(rigs, hub, &preview.rig, begun.elapsed());
        if state.has_room(&preview.stream) {
            let event = hub.send_latest(&key(&preview.rig, &preview.stream), "preview", &picture);
            state.preview(&preview.stream, event);
        }
    }

    /// A message came that cannot be read.
    pub fn unreadable(&self) {
        self.lock().nats.unreadable += 1;
    }

    /// What cannot be done now, if anything.
    pub fn problem(&self, problem: Option<String>) {
        self.lock().nats.problem = problem;
    }

    /// Sends what changed of rigs since the last call.
    pub fn send_changes(&self) {
        let mut inner = self.lock();
        let Inner {
            rigs, hub, begun, ..
        } = &mut *inner;
        let now = begun.elapsed();
        for state in rigs.values_mut() {
            if std::mem::take(&mut state.changed) {
                hub.send("rig", &state.shown(now));
            }
        }
    }

    /// Tells viewers that the program lives, and whether it is connected.
    pub fn send_heartbeat(&self, connected: bool) {
        let mut inner = self.lock();
        let Inner {
            nats,
            hub,
            heartbeat,
            ..
        } = &mut *inner;
        nats.connected = connected;
        let viewers = hub.viewers();
        *heartbeat = Some(hub.send_latest("server", "server", &Heartbeat::new(nats, viewers)));
    }

    /// Lets a viewer in, who saw the event `last` if this is a return.
    ///
    /// # Errors
    /// There are as many as may be.
    pub fn join(&self, last: Option<&str>) -> Result<Arc<Mailbox>, Full> {
        let mut inner = self.lock();
        let Inner {
            rigs,
            hub,
            heartbeat,
            ..
        } = &mut *inner;
        let keyed = rigs.iter().flat_map(|(rig, state)| {
            let of = move |(stream, event)| (key(rig, stream), event);
            state.previews().map(of)
        });
        let heartbeat = heartbeat.clone().map(|event| ("server".to_owned(), event));
        hub.join(last, heartbeat.into_iter().chain(keyed))
    }

    /// Waits for the next event for a viewer.
    pub async fn next(&self, mailbox: &Mailbox) -> Bytes {
        loop {
            match mailbox.take() {
                Next::Event(event) => return event,
                Next::Snapshot => return self.snapshot(mailbox),
                Next::Nothing => mailbox.arrived().await,
            }
        }
    }

    /// All that is known of a window, as JSON, if it is known.
    pub fn detail(&self, id: &WindowId) -> Option<String> {
        let inner = self.lock();
        let window = inner.rigs.get(&id.rig)?.window(id)?;
        serde_json::to_string(&window.detail()).ok()
    }

    /// The whole state; what waited before it is in it.
    fn snapshot(&self, mailbox: &Mailbox) -> Bytes {
        let inner = self.lock();
        mailbox.forget_ordered();
        let now = inner.begun.elapsed();
        inner.hub.snapshot(&Snapshot {
            server: Heartbeat::new(&inner.nats, inner.hub.viewers()),
            rigs: inner.rigs.values().map(|rig| rig.whole(now)).collect(),
            workers: inner.workers.values().collect(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Heartbeat<'a> {
    fn new(nats: &'a Nats, viewers: usize) -> Self {
        Self {
            nats,
            viewers,
            now_ms: now_ms(),
        }
    }
}

/// The state of a rig that something came of just now.
fn rig_state<'a>(
    rigs: &'a mut BTreeMap<Rig, RigState>,
    hub: &mut Hub,
    rig: &Rig,
    at: Duration,
) -> &'a mut RigState {
    if rigs.len() >= RIGS && !rigs.contains_key(rig) {
        let silent = rigs.iter().min_by_key(|(_, state)| state.touched);
        if let Some(silent) = silent.map(|(rig, _)| rig.clone()) {
            rigs.remove(&silent);
            let gone = Gone {
                rig: Some(&silent),
                worker: None,
            };
            hub.send("gone", &gone);
        }
    }
    let state = rigs
        .entry(rig.clone())
        .or_insert_with(|| RigState::new(rig.clone()));
    state.touched = at;
    state
}

/// Names have no '/'.
fn key(rig: &Rig, stream: &str) -> String {
    format!("{rig}/{stream}")
}

fn now_ms() -> i64 {
    unix_ms(OffsetDateTime::now_utc())
}

#[cfg(test)]
mod tests {
    use super::rig::WINDOWS;
    use super::*;
    use serde_json::{Value, json};

    fn caption(rig: &str, seq: u64, revision: u32, text: &str) -> Caption {
        let at = |second: u64| format!("2026-11-30T12:{:02}:{:02}Z", second / 60 % 60, second % 60);
        let status = if revision == 2 { "corrected" } else { "draft" };
        let mas: Vec<Value> = (0..3)
            .map(|stream| json!({ "modality": "video", "stream": format!("s{}", 3 * seq + stream), "rho": 0, "gamma": 0, "beta": 1, "mas": 0.5 }))
            .collect();
        let json = json!({
            "schema": "caption/1.1", "id": format!("{rig}/01M8PXAGB3FH422T1MA4PMRR6B/{seq}"), "revision": revision,
            "status": status, "text": text, "tokens": 3, "confidence": 0.5, "start": at(seq), "end": at(seq + 1),
            "start_running_ns": 0, "end_running_ns": 0, "time": at(seq + 2), "mas": mas, "model": "m",
            "latency_ms": { "edge": 1.0 }
        });
        Caption::decode(json.to_string().as_bytes()).unwrap()
    }

    fn snapshot(shared: &Shared) -> Value {
        let mailbox = shared.join(None).unwrap();
        let event = shared.snapshot(&mailbox);
        let text = std::str::from_utf8(&event).unwrap();
        let data = text.lines().find_map(|line| line.strip_prefix("data: "));
        serde_json::from_str(data.unwrap()).unwrap()
    }

    #[test]
    fn whatever_comes_the_state_is_bounded_and_keeps_what_is_newest() {
        let shared = Shared::new("r".to_owned(), "nats://here");
        for rig in 0..2 * RIGS {
            shared.caption(&caption(&format!("rig-{rig}"), 0, 0, "a"));
        }
        for seq in 0..300 {
            shared.caption(&caption("rig-127", seq, 0, &"long ".repeat(3000)));
        }
        for worker in 0..2 * WORKERS {
            shared.worker(CloudStatus::new(format!("worker-{worker}"), "m", "CPU"));
        }
        let state = snapshot(&shared);
        let rigs = state["rigs"].as_array().unwrap();
        assert_eq!(rigs.len(), RIGS);
        assert_eq!(state["workers"].as_array().unwrap().len(), WORKERS);
        let rig = rigs.iter().find(|rig| rig["rig"] == "rig-127").unwrap();
        assert!(
            rigs.iter().all(|rig| rig["rig"] != "rig-0"),
            "it was silent longest"
        );
        let windows = rig["windows"].as_array().unwrap();
        assert_eq!(windows.len(), WINDOWS);
        assert!(
            windows.last().unwrap()["id"]
                .as_str()
                .unwrap()
                .ends_with("/299")
        );
        assert!(windows[0]["draft"]["text"].as_str().unwrap().len() < 2100);
        assert_eq!(
            rig["streams"].as_array().unwrap().len(),
            broker::limits::STREAMS
        );
    }

    #[test]
    fn the_order_in_which_revisions_come_does_not_matter() {
        let revisions = [
            caption("car", 3, 0, "a red car"),
            caption("car", 3, 1, "a blue car"),
            caption("car", 3, 2, "a blue van"),
        ];
        let orders = [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]];
        let shown = orders.map(|order| {
            let shared = Shared::new("r".to_owned(), "nats://here");
            for place in order {
                shared.caption(&revisions[place]);
                shared.caption(&revisions[place]);
            }
            snapshot(&shared)["rigs"][0]["windows"].take()
        });
        assert_eq!(shown[0].as_array().unwrap().len(), 1);
        assert_eq!(shown[0][0]["draft"]["text"], "a blue car");
        assert_eq!(
            shown[0][0]["diff"][1],
            json!({ "change": "struck", "text": "car" })
        );
        assert!(shown.iter().all(|windows| *windows == shown[0]));
    }

    #[test]
    fn a_window_older_than_all_that_are_kept_is_passed_over() {
        let shared = Shared::new("r".to_owned(), "nats://here");
        for seq in 10..10 + WINDOWS as u64 {
            shared.caption(&caption("car", seq, 0, "new"));
        }
        shared.caption(&caption("car", 1, 0, "old"));
        let state = snapshot(&shared).to_string();
        assert!(!state.contains("old"), "{state}");
        let id = |seq: u64| {
            format!("car/01M8PXAGB3FH422T1MA4PMRR6B/{seq}")
                .parse()
                .unwrap()
        };
        assert!(shared.detail(&id(1)).is_none() && shared.detail(&id(12)).is_some());
    }
}
