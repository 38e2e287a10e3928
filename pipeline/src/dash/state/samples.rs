//! The counters of an edge over the last minute: what was saved now and since its start, and what was decided when.

use std::collections::VecDeque;
use std::time::Duration;

use broker::Status;
use broker::status::Decisions;
use serde::Serialize;

/// How far back decisions are shown.
const SPAN: Duration = Duration::from_secs(60);
/// Decisions are counted by spans of this many seconds.
const BIN: u64 = 2;
/// What "now" is.
const NOW: Duration = Duration::from_secs(10);
/// Statuses that come faster replace each other.
const APART: Duration = Duration::from_millis(800);

/// Counters at a moment.
#[derive(Clone, Copy)]
struct Sample {
    /// Since the start of the program.
    at: Duration,
    counts: Counts,
    decisions: [u64; 5],
}

/// What there was and what was sent of it.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub frames: u64,
    pub frames_kept: u64,
    pub tokens: u64,
    pub tokens_kept: u64,
    pub bytes: u64,
}

/// The last minute of one epoch.
#[derive(Default)]
pub struct Samples {
    samples: VecDeque<Sample>,
}

/// Counts as the page shows them.
#[derive(Debug, PartialEq, Serialize)]
pub struct Saved {
    pub total: Counts,
    /// Of the last `now_s` seconds.
    pub now: Counts,
    pub now_s: f64,
}

impl Samples {
    /// Takes in a status that came at `at`.
    pub fn add(&mut self, at: Duration, status: &Status) {
        let sample = Sample {
            at,
            counts: Counts {
                frames: status.frames_in,
                frames_kept: status.frames_kept,
                tokens: status.tokens_possible,
                tokens_kept: status.tokens_kept,
                bytes: status.messages.bytes_sent,
            },
            decisions: by_kind(&status.decisions),
        };
        let len = self.samples.len();
        // The last but one, so that a steady stream of fast ones is still sampled.
        if len > 1 && at.saturating_sub(self.samples[len - 2].at) < APART {
            self.samples.pop_back();
        }
        self.samples.push_back(sample);
        while self.samples.len() > 1 && at.saturating_sub(self.samples[1].at) > SPAN {
            self.samples.pop_front();
        }
    }

    /// Forgets everything: the counters begin anew.
    pub fn clear(&mut self) {
        self.samples.clear();
    }

    /// Since the start of the epoch, and now.
    pub fn saved(&self) -> Saved {
        let Some(last) = self.samples.back() else {
            return Saved {
                total: Counts::default(),
                now: Counts::default(),
                now_s: 0.0,
            };
        };
        let begun = last.at.saturating_sub(NOW);
        let before = self.samples.iter().rev().find(|sample| sample.at <= begun);
        let before = before.or(self.samples.front()).unwrap_or(last);
        Saved {
            total: last.counts,
            now: last.counts.since(&before.counts),
            now_s: (last.at - before.at).as_secs_f64(),
        }
    }

    /// Decisions of the last minute up to `now`, oldest first: skip, keep, verify, offload and defer of [`BIN`] seconds each.
    pub fn decisions(&self, now: Duration) -> Vec<[u64; 5]> {
        let count = SPAN.as_secs() / BIN;
        let end = now.as_secs() / BIN;
        let mut bins = vec![[0; 5]; count as usize];
        for (before, sample) in self.samples.iter().zip(self.samples.iter().skip(1)) {
            let age = end.saturating_sub(sample.at.as_secs() / BIN);
            if let Some(bin) = (count - 1).checked_sub(age) {
                for (kind, sum) in bins[bin as usize].iter_mut().enumerate() {
                    *sum += sample.decisions[kind].saturating_sub(before.decisions[kind]);
                }
            }
        }
        bins
    }
}

impl Counts {
    fn since(&self, before: &Self) -> Self {
        Self {
            frames: self.frames.saturating_sub(before.frames),
            frames_kept: self.frames_kept.saturating_sub(before.frames_kept),
            tokens: self.tokens.saturating_sub(before.tokens),
            tokens_kept: self.tokens_kept.saturating_sub(before.tokens_kept),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

/// In the order of [`Samples::decisions`].
pub fn by_kind(decisions: &Decisions) -> [u64; 5] {
    [
        decisions.skip,
        decisions.keep,
        decisions.verify,
        decisions.offload,
        decisions.defer,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(second: u64) -> Status {
        let mut status = Status::new("car".parse().unwrap(), ulid::Ulid::nil(), "CPU");
        status.frames_in = 30 * second;
        status.frames_kept = 3 * second;
        status.tokens_possible = 100 * second;
        status.tokens_kept = 40 * second;
        status.messages.bytes_sent = 1000 * second;
        status.decisions.verify = second;
        status.decisions.keep = second / 10;
        status
    }

    #[test]
    fn totals_are_the_edges_and_now_is_ten_seconds() {
        let mut samples = Samples::default();
        assert_eq!(samples.saved().now_s, 0.0);
        for second in 0..=300 {
            samples.add(Duration::from_secs(second), &status(second));
        }
        let saved = samples.saved();
        assert_eq!(saved.now_s, 10.0);
        assert_eq!((saved.total.frames, saved.now.frames), (9000, 300));
        assert_eq!((saved.total.bytes, saved.now.bytes), (300_000, 10_000));
        assert!(samples.samples.len() <= 62);
    }

    #[test]
    fn decisions_fall_into_their_seconds() {
        let mut samples = Samples::default();
        for second in 0..=100 {
            samples.add(Duration::from_secs(second), &status(second));
        }
        let bins = samples.decisions(Duration::from_secs(101));
        assert_eq!(bins.len(), 30);
        // Two a bin; seconds 100 and 101 are the last bin, and 101 has not come.
        assert_eq!(bins[29][2], 1);
        assert!(bins[1..29].iter().all(|bin| bin[2] == 2), "{bins:?}");
        assert_eq!(bins.iter().map(|bin| bin[1]).sum::<u64>(), 6);
        // The edge fell silent: what it did moves on.
        let later = samples.decisions(Duration::from_secs(131));
        assert_eq!((later[14][2], later[29][2]), (1, 0));
        assert_eq!(
            samples.decisions(Duration::from_secs(1000)),
            vec![[0; 5]; 30]
        );
    }

    #[test]
    fn statuses_that_come_fast_are_bounded_and_a_new_start_counts_from_its_own() {
        let mut samples = Samples::default();
        for tick in 0..100_000_u64 {
            samples.add(Duration::from_millis(10 * tick), &status(tick));
        }
        assert!(samples.samples.len() < 100, "{}", samples.samples.len());
        // Counters that fall do not count below nothing.
        samples.add(Duration::from_secs(1001), &status(0));
        assert_eq!(samples.saved().now.frames, 0);
        samples.clear();
        assert!(
            samples
                .decisions(Duration::from_secs(1001))
                .iter()
                .all(|bin| *bin == [0; 5])
        );
    }
}
