//! Rows from a NATS subject as buffers.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use broker::Connection;
use broker::identity::excerpt;
use futures::StreamExt;
use serde::Deserialize;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::packer::Packer;
use super::resample::{Resampler, Row};
use crate::lock;
use crate::nats;
use crate::sensor::MOST_ROW;

/// Most rows that wait; a newer one takes the place of the oldest.
const MOST_WAITING: usize = 1024;
/// Rows further apart (ns) are not joined, and a sender's clock that strays further from
/// the pipeline's is read anew.
const MOST_GAP: u64 = 1_000_000_000;

/// One message, as it came.
#[derive(Debug, PartialEq)]
struct Arrival {
    /// Running time when it came, in ns.
    at: u64,
    /// The sender's time in seconds.
    time: Option<f64>,
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct Message {
    time: Option<f64>,
    values: Vec<Option<f32>>,
}

/// Reads a message: JSON, or else one F32LE value a channel.
pub(super) fn parse(payload: &[u8], channels: usize) -> Result<(Option<f64>, Vec<f32>), String> {
    if payload.len() > MOST_ROW {
        let found = payload.len();
        return Err(format!("{found} bytes: a row has at most {MOST_ROW}"));
    }
    let (time, values): (_, Vec<f32>) = match serde_json::from_slice::<Message>(payload) {
        Ok(Message { time, values }) => {
            let values = values.into_iter().map(|value| value.unwrap_or(f32::NAN));
            (time, values.collect())
        }
        Err(_) if payload.len() == channels * 4 => {
            let (rows, _) = payload.as_chunks::<4>();
            (
                None,
                rows.iter()
                    .map(|bytes| f32::from_le_bytes(*bytes))
                    .collect(),
            )
        }
        Err(error) => {
            let (found, expected) = (payload.len(), channels * 4);
            let error = excerpt(&error.to_string());
            return Err(format!(
                "{found} bytes are neither {{\"time\": seconds, \"values\": [...]}} ({error}) nor a row of {expected} bytes"
            ));
        }
    };
    if values.len() != channels {
        let found = values.len();
        return Err(format!("{found} values for {channels} channels"));
    }
    if values.iter().any(|value| value.is_infinite()) {
        return Err("a value is not finite".to_owned());
    }
    Ok((time, values))
}

/// Counters since the element started.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counters {
    pub messages: u64,
    pub unusable: u64,
    pub dropped: u64,
}

/// Rows on their way from NATS to the streaming thread.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    rows: VecDeque<Arrival>,
    flushing: bool,
    counters: Counters,
}

impl Inbox {
    pub fn counters(&self) -> Counters {
        lock(&self.waiting).counters
    }

    /// While flushing nothing is waited for, and what comes is dropped.
    pub fn set_flushing(&self, flushing: bool) {
        lock(&self.waiting).flushing = flushing;
        self.arrived.notify_all();
    }

    fn put(&self, row: Arrival) {
        let mut waiting = lock(&self.waiting);
        waiting.counters.messages += 1;
        if waiting.flushing {
            waiting.counters.dropped += 1;
            return;
        }
        if waiting.rows.len() >= MOST_WAITING {
            waiting.rows.pop_front();
            waiting.counters.dropped += 1;
        }
        waiting.rows.push_back(row);
        self.arrived.notify_all();
    }

    fn refuse(&self) -> u64 {
        let mut waiting = lock(&self.waiting);
        waiting.counters.messages += 1;
        waiting.counters.unusable += 1;
        waiting.counters.unusable
    }

    /// The next row, waited for; none while flushing.
    fn next(&self) -> Option<Arrival> {
        let mut waiting = self
            .arrived
            .wait_while(lock(&self.waiting), |w| w.rows.is_empty() && !w.flushing)
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.flushing {
            return None;
        }
        waiting.rows.pop_front()
    }
}

/// A subscription that fills an inbox, until it is dropped.
pub(super) struct Subscription {
    pub inbox: Arc<Inbox>,
    pub connection: Connection,
    task: JoinHandle<()>,
}

impl Subscription {
    /// Subscribes. `now` tells the running time (ns), if there is one; `complain` hears of
    /// the first message that cannot be used.
    pub fn new(
        (connection, runtime): (Connection, &'static Runtime),
        subject: &str,
        channels: usize,
        now: impl Fn() -> Option<u64> + Send + 'static,
        complain: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, gst::ErrorMessage> {
        let inbox = Arc::new(Inbox::default());
        let (client, subject) = (connection.client().clone(), subject.to_owned());
        let name = subject.clone();
        let subscribed = nats::wait(runtime, async move { client.subscribe(subject).await })?;
        let mut messages = subscribed.map_err(|error| {
            gst::error_msg!(
                gst::ResourceError::OpenRead,
                ("cannot subscribe to `{name}`: {error}")
            )
        })?;
        let filled = Arc::clone(&inbox);
        let task = runtime.spawn(async move {
            while let Some(message) = messages.next().await {
                match (parse(&message.payload, channels), now()) {
                    (Ok((time, values)), Some(at)) => filled.put(Arrival { at, time, values }),
                    // Before the pipeline plays there is no time.
                    (Ok(_), None) => {}
                    (Err(problem), _) => {
                        if filled.refuse() == 1 {
                            complain(&format!("`{}`: {problem}", message.subject));
                        }
                    }
                }
            }
        });
        Ok(Self {
            inbox,
            connection,
            task,
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Puts rows on the pipeline's running time. A sender's own times space its rows; the
/// first of them counts as the running time when it came.
#[derive(Debug, Default)]
struct Timeline {
    /// A sender's time (s), and what running time (ns) it is.
    anchor: Option<(f64, u64)>,
    last: Option<u64>,
}

#[derive(Debug, PartialEq)]
enum Placed {
    /// Follows the row before.
    Next(Row),
    /// Does not: nothing joins it with what came before.
    Anew(Row),
    /// Is older than the row before.
    Late,
}

impl Timeline {
    fn place(&mut self, row: Arrival) -> Placed {
        let told = row.time.filter(|time| time.is_finite());
        let by_sender = told.zip(self.anchor).map(|(time, (then, at))| {
            let since = ((time - then) * 1e9).round();
            (at as f64 + since).max(0.0) as u64
        });
        let sender = by_sender.filter(|at| at.abs_diff(row.at) <= MOST_GAP);
        let lost = by_sender.is_some() && sender.is_none();
        if let (Some(time), None) = (told, sender) {
            self.anchor = Some((time, row.at));
        }
        let at = sender.unwrap_or(row.at);
        let follows = self
            .last
            .filter(|last| !lost && at.abs_diff(*last) <= MOST_GAP);
        if follows.is_some_and(|last| at < last) {
            return Placed::Late;
        }
        self.last = Some(at);
        let values = row.values;
        match follows {
            Some(_) => Placed::Next(Row { at, values }),
            None => Placed::Anew(Row { at, values }),
        }
    }
}

/// What a subscription brings, as buffers.
pub(super) struct Live {
    subscription: Subscription,
    timeline: Timeline,
    resampler: Resampler,
    packer: Packer,
    rate: u32,
    /// A row that begins anew.
    held: Option<Row>,
}

impl Live {
    pub fn new(subscription: Subscription, packer: Packer, rate: u32) -> Self {
        Self {
            subscription,
            timeline: Timeline::default(),
            resampler: Resampler::new(rate),
            packer,
            rate,
            held: None,
        }
    }

    /// The next buffer, waited for; none while flushing.
    pub fn next(&mut self) -> Option<gst::Buffer> {
        while !self.packer.is_full() {
            if self.resampler.sample(self.packer.values()) {
                continue;
            }
            if let Some(row) = self.held.take() {
                self.packer.restart(row.at);
                self.resampler = Resampler::new(self.rate);
                self.resampler.feed(row);
                continue;
            }
            let arrival = self.subscription.inbox.next()?;
            match self.timeline.place(arrival) {
                Placed::Next(row) => self.resampler.feed(row),
                Placed::Anew(row) => {
                    self.held = Some(row);
                    if let Some(buffer) = self.packer.take() {
                        return Some(buffer);
                    }
                }
                Placed::Late => lock(&self.subscription.inbox.waiting).counters.dropped += 1,
            }
        }
        self.packer.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_raw_rows() {
        assert_eq!(
            parse(br#"{"time": 3.5, "values": [1, -2.5e1]}"#, 2),
            Ok((Some(3.5), vec![1.0, -25.0]))
        );
        let (time, values) = parse(br#" {"values":[null,2]} "#, 2).unwrap();
        assert!(time.is_none() && values[0].is_nan() && values[1] == 2.0);
        // A raw row may begin like JSON.
        let row = [f32::from_le_bytes(*b"{\"va"), -1.5];
        let bytes: Vec<u8> = row.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(parse(&bytes, 2), Ok((None, row.to_vec())));
        for (payload, expected) in [
            (&br#"{"values":[1]}"#[..], "1 values for 2 channels"),
            (br#"{"value":[1,2]}"#, "neither"),
            (b"1,2", "nor a row of 8 bytes"),
            (b"", "0 bytes are neither"),
            (&[0, 0, 128, 127, 0, 0, 0, 0], "not finite"),
            (
                &[b' '; MOST_ROW + 1],
                "65537 bytes: a row has at most 65536",
            ),
            (
                format!("{{\"values\":\"{}\"}}", "x".repeat(9999)).as_bytes(),
                "neither",
            ),
        ] {
            let error = parse(payload, 2).unwrap_err();
            assert!(error.contains(expected) && error.len() < 300, "{error}");
        }
    }

    fn arrival(ms: u64, time: Option<f64>) -> Arrival {
        Arrival {
            at: ms * 1_000_000,
            time,
            values: vec![1.0],
        }
    }

    /// How each of (arrival in ms, sender's time) is placed: how, and when in ms.
    fn placed(rows: &[(u64, Option<f64>)]) -> Vec<(&'static str, u64)> {
        let mut timeline = Timeline::default();
        let place = |(ms, time): &(u64, Option<f64>)| match timeline.place(arrival(*ms, *time)) {
            Placed::Next(row) => ("next", (row.at + 500_000) / 1_000_000),
            Placed::Anew(row) => ("anew", (row.at + 500_000) / 1_000_000),
            Placed::Late => ("late", 0),
        };
        rows.iter().map(place).collect()
    }

    #[test]
    fn a_senders_times_space_rows_that_come_unevenly() {
        let rows = [
            (1000, Some(50.0)),
            (1017, Some(50.01)),
            (1018, Some(50.02)),
            (1019, Some(50.01)),
            (1020, None),
        ];
        let expected = [
            ("anew", 1000),
            ("next", 1010),
            ("next", 1020),
            ("late", 0),
            ("next", 1020),
        ];
        assert_eq!(placed(&rows), expected);
    }

    #[test]
    fn after_a_pause_or_a_jump_of_the_senders_clock_it_begins_anew() {
        let rows = [(0, None), (900, None), (1901, None)];
        assert_eq!(placed(&rows), [("anew", 0), ("next", 900), ("anew", 1901)]);
        let rows = [
            (100, Some(7.0)),
            (110, Some(1e9)),
            (120, Some(1e9 + 0.01)),
            (130, Some(f64::MAX)),
            (140, Some(f64::INFINITY)),
        ];
        let expected = [
            ("anew", 100),
            ("anew", 110),
            ("next", 120),
            ("anew", 130),
            ("next", 140),
        ];
        assert_eq!(placed(&rows), expected);
    }

    #[test]
    fn a_full_inbox_drops_the_oldest_and_counts_it() {
        let inbox = Inbox::default();
        for ms in 0..MOST_WAITING as u64 + 2 {
            inbox.put(arrival(ms, None));
        }
        assert_eq!(inbox.next(), Some(arrival(2, None)));
        assert_eq!(inbox.counters().dropped, 2);
        inbox.set_flushing(true);
        assert_eq!(inbox.next(), None);
        inbox.put(arrival(9999, None));
        assert_eq!(inbox.counters().dropped, 3);
        inbox.set_flushing(false);
        assert_eq!(inbox.next(), Some(arrival(3, None)));
    }
}
