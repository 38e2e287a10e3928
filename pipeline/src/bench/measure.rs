//! Figures of one method on one link.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::answers;
use super::judge::stayed;
use super::protocol::Record;
use super::windows::Item;

/// A window that arrives in an outage is to have a caption after so many seconds.
const AT_ONCE: f64 = 1.0;

/// Times of captions after their windows' arrival, seconds. Those that did not come count as infinite, which is null in JSON.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// Of half of the windows.
    pub p50: f64,
    /// Of 95 %.
    pub p95: f64,
}

/// Figures of one method on one link.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The method.
    pub method: &'static str,
    /// The link.
    pub link: &'static str,
    /// Windows.
    pub windows: usize,
    /// Windows without a last word when the patience ended.
    pub missing: usize,
    /// Share of questions answered rightly, by the last word.
    pub accuracy: Option<f64>,
    /// How many questions.
    pub questions: usize,
    /// CIDEr-D of the captions, by the last word.
    pub cider: Option<f64>,
    /// Tokens of last words over the seconds from arrival to last word.
    pub tokens_per_second: f64,
    /// To the first caption.
    pub first: Times,
    /// To the last word.
    pub last: Times,
    /// Bytes that went up the link, a window: as [`link::Counters`] has them.
    pub bytes_up: f64,
    /// Bytes of the messages that were published, headers included, a window.
    pub message_bytes: f64,
    /// Operations in the cloud, a window, if they were counted.
    pub cloud_flops: Option<f64>,
    /// Tokens sent, a window that was sent.
    pub tokens_sent: f64,
    /// Windows by what was decided.
    pub decisions: BTreeMap<String, usize>,
    /// Of verified drafts, the share that stood whole.
    pub stood: Option<f64>,
    /// Share of all windows that stayed on the edge though the cloud would have changed their drafts.
    pub risk: Option<f64>,
    /// What happened in and after each outage.
    pub outages: Vec<Outage>,
}

/// An outage, and how it was got over.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Outage {
    /// When nothing passed, seconds.
    pub from: f64,
    /// Until when.
    pub until: f64,
    /// Windows that arrived in it.
    pub windows: usize,
    /// Of these, with a caption within a second.
    pub captioned: usize,
    /// Seconds after the link's return from which on windows that are sent are answered as fast as before the first
    /// outage: within what 95 % took then, in the median of each second. `None` if too few were sent to tell.
    pub recovered: Option<f64>,
}

/// What is known of a run beside its records.
pub struct Context<'a> {
    /// All items.
    pub items: &'a [Item],
    /// Whether the cloud would have changed the draft of an item that stayed, where it was judged.
    pub changed: Option<&'a HashMap<usize, bool>>,
    /// Bytes up the link.
    pub bytes_up: u64,
    /// Outages of the link.
    pub outages: &'a [(f64, f64)],
    /// Operations of each record.
    pub flops: Option<Vec<f64>>,
}

/// Whether each question was answered rightly, in order of windows.
pub fn right(records: &[Record], items: &[Item]) -> Vec<bool> {
    let questions = records.iter().filter(|r| !items[r.item].is_caption());
    questions
        .map(|record| answers::right(text(record), &items[record.item].right))
        .collect()
}

/// CIDEr-D of the captions.
pub fn cider(records: &[Record], items: &[Item]) -> Option<f64> {
    let captions = records.iter().filter(|r| items[r.item].is_caption());
    let pairs: Vec<(&str, &[String])> = captions
        .map(|record| (text(record), items[record.item].right.as_slice()))
        .collect();
    answers::cider(&pairs)
}

/// The last word that there is.
fn text(record: &Record) -> &str {
    let last = record.last.as_ref().or(record.draft.as_ref());
    last.map_or("", |had| &had.text)
}

/// The share of what is true.
pub fn share(of: &[bool]) -> Option<f64> {
    let count = of.iter().filter(|is| **is).count();
    (!of.is_empty()).then(|| count as f64 / of.len() as f64)
}

fn first(record: &Record) -> f64 {
    let first = record.draft.as_ref().or(record.last.as_ref());
    first.map_or(f64::INFINITY, |had| had.after)
}

fn last(record: &Record) -> f64 {
    (record.last.as_ref()).map_or(f64::INFINITY, |had| had.after)
}

/// The least value that the share `q` is not above; infinite for none.
fn quantile(values: impl IntoIterator<Item = f64>, q: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * q).ceil() as usize;
    let value = values.get(rank.saturating_sub(1));
    value.copied().unwrap_or(f64::INFINITY)
}

fn times(records: &[Record], of: fn(&Record) -> f64) -> Times {
    Times {
        p50: quantile(records.iter().map(of), 0.5),
        p95: quantile(records.iter().map(of), 0.95),
    }
}

/// The figures.
pub fn cell(
    (method, link): (&'static str, &'static str),
    records: &[Record],
    context: &Context<'_>,
) -> Cell {
    let windows = records.len();
    let a_window = |sum: f64| sum / windows.max(1) as f64;
    let right = right(records, context.items);
    let done: Vec<_> = records.iter().filter_map(|r| r.last.as_ref()).collect();
    let tokens: usize = done.iter().map(|had| had.tokens).sum();
    let seconds: f64 = done.iter().map(|had| had.after).sum();
    let mut decisions = BTreeMap::new();
    for record in records {
        *decisions.entry(record.decision.clone()).or_default() += 1;
        if record.deferred {
            *decisions.entry("had been deferred".to_owned()).or_default() += 1;
        }
    }
    let sent: Vec<usize> = records
        .iter()
        .map(|record| record.tokens.values().sum())
        .filter(|tokens| *tokens > 0)
        .collect();
    let stood: Vec<bool> = records
        .iter()
        .filter(|record| record.verified && record.cloud.is_some())
        .filter_map(|record| {
            let (draft, last) = (record.draft.as_ref()?, record.last.as_ref()?);
            Some(draft.text == last.text)
        })
        .collect();
    let wrong = |changed: &HashMap<usize, bool>| {
        let wrong = records.iter().filter(|record| stayed(record));
        let wrong = wrong.filter(|record| changed.get(&record.item) == Some(&true));
        a_window(wrong.count() as f64)
    };
    Cell {
        method,
        link,
        windows,
        missing: windows - done.len(),
        accuracy: share(&right),
        questions: right.len(),
        cider: cider(records, context.items),
        tokens_per_second: if seconds > 0.0 {
            tokens as f64 / seconds
        } else {
            0.0
        },
        first: times(records, first),
        last: times(records, last),
        bytes_up: a_window(context.bytes_up as f64),
        message_bytes: a_window(records.iter().map(|r| r.bytes as f64).sum()),
        cloud_flops: (context.flops.as_ref()).map(|flops| a_window(flops.iter().sum())),
        tokens_sent: sent.iter().sum::<usize>() as f64 / sent.len().max(1) as f64,
        decisions,
        stood: share(&stood),
        risk: context.changed.map(wrong),
        outages: outages(records, context.outages),
    }
}

fn outages(records: &[Record], outages: &[(f64, f64)]) -> Vec<Outage> {
    let Some((begin, _)) = outages.first() else {
        return Vec::new();
    };
    let sent: Vec<&Record> = records.iter().filter(|r| !stayed(r)).collect();
    let before = sent.iter().filter(|r| r.arrived < *begin);
    let usual = quantile(before.map(|record| last(record)), 0.95);
    let ends = outages.iter().skip(1).map(|(from, _)| *from);
    let ends = ends.chain([f64::INFINITY]);
    let outage = |((from, until), end): (&(f64, f64), f64)| {
        let inside = |record: &&Record| (*from..*until).contains(&record.arrived);
        let inside: Vec<&Record> = records.iter().filter(inside).collect();
        let captioned = inside.iter().filter(|record| first(record) <= AT_ONCE);
        let mut seconds: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for record in sent.iter().filter(|r| (*until..end).contains(&r.arrived)) {
            let second = (record.arrived - until) as u64;
            seconds.entry(second).or_default().push(last(record));
        }
        let slow = |(_, times): &(&u64, &Vec<f64>)| quantile(times.iter().copied(), 0.5) > usual;
        let last_slow = seconds
            .iter()
            .filter(slow)
            .map(|(second, _)| second + 1)
            .max();
        let told = usual.is_finite() && !seconds.is_empty();
        Outage {
            from: *from,
            until: *until,
            windows: inside.len(),
            captioned: captioned.count(),
            recovered: told.then(|| last_slow.unwrap_or(0) as f64),
        }
    };
    outages.iter().zip(ends).map(outage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::protocol::Had;

    fn record(arrived: f64, draft: Option<f64>, last: Option<f64>) -> Record {
        let had = |after| Had {
            after,
            text: "a".to_owned(),
            tokens: 2,
        };
        Record {
            item: 0,
            arrived,
            decision: "verify".to_owned(),
            deferred: false,
            draft: draft.map(had),
            last: last.map(had),
            accepted: None,
            tokens: BTreeMap::new(),
            keyframe: false,
            verified: false,
            bytes: 10,
            cloud: None,
        }
    }

    fn context(outages: &[(f64, f64)]) -> Context<'_> {
        Context {
            items: &[],
            changed: None,
            bytes_up: 100,
            outages,
            flops: None,
        }
    }

    #[test]
    fn what_did_not_come_is_infinitely_late() {
        assert_eq!(quantile([3.0, 1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile([1.0, f64::INFINITY], 0.95), f64::INFINITY);
        assert_eq!(quantile([], 0.5), f64::INFINITY);
    }

    #[test]
    fn an_outage_is_got_over_when_answers_are_as_fast_as_before() {
        let mut records: Vec<Record> = (0..10)
            .map(|n| record(f64::from(n) * 0.2, Some(0.1), Some(0.3)))
            .collect();
        // Two without a first caption at once in the outage; slow in the first second after it.
        records.push(record(2.0, None, Some(2.5)));
        records.push(record(2.5, Some(0.1), Some(2.0)));
        records.extend((0..5).map(|n| record(3.0 + f64::from(n) * 0.2, Some(0.1), Some(0.9))));
        records.extend((0..5).map(|n| record(4.0 + f64::from(n) * 0.2, Some(0.1), Some(0.3))));
        let found = outages(&records, &[(2.0, 3.0)]);
        assert_eq!((found[0].windows, found[0].captioned), (2, 1));
        assert_eq!(found[0].recovered, Some(1.0));
    }

    #[test]
    fn what_stayed_is_no_answer_of_the_cloud() {
        let mut kept: Vec<Record> = (0..4)
            .map(|n| record(f64::from(n), Some(0.1), Some(0.1)))
            .collect();
        kept.iter_mut().for_each(|r| r.decision = "keep".to_owned());
        assert_eq!(outages(&kept, &[(1.0, 2.0)])[0].recovered, None);
    }

    #[test]
    fn the_sums_of_a_cell() {
        let records = [record(0.0, None, Some(0.5)), record(0.2, Some(0.1), None)];
        let items = [
            serde_json::from_str(r#"{"prompt": "?", "kind": "heard", "right": ["A"]}"#).unwrap(),
        ];
        let cell = cell(
            ("m", "l"),
            &records,
            &Context {
                items: &items,
                changed: Some(&HashMap::from([(0, true)])),
                ..context(&[])
            },
        );
        assert_eq!((cell.windows, cell.missing, cell.questions), (2, 1, 2));
        assert_eq!(cell.accuracy, Some(1.0));
        assert_eq!(cell.tokens_per_second, 4.0);
        assert_eq!((cell.bytes_up, cell.message_bytes), (50.0, 10.0));
        assert_eq!((cell.first.p50, cell.first.p95), (0.1, 0.5));
        assert_eq!(cell.last.p95, f64::INFINITY);
        assert_eq!(cell.risk, Some(0.0), "none of them stayed");
    }
}
