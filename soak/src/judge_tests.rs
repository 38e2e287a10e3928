//! The judge can fail: each rule is broken once, and named.

use ulid::Ulid;

use super::*;
use crate::evidence::{Memory, StoredLetter};

const SECOND: i128 = 1_000_000_000;

fn id(seq: u64) -> WindowId {
    WindowId {
        rig: "car".parse().unwrap(),
        epoch: Ulid::from_parts(1, 7),
        seq,
    }
}

fn message(seq: u64, kind: Kind) -> MessageId {
    MessageId {
        window: id(seq),
        kind,
        revision: 0,
    }
}

fn caption(seq: u64, revision: u32) -> StoredCaption {
    let id = id(seq);
    StoredCaption {
        text: match revision {
            LAST => windows::last_text(&id),
            _ => windows::draft_text(&id),
        },
        id,
        revision,
        stored_ns: 0,
        made_ns: 0,
        is_copy: false,
    }
}

fn letter(seq: u64, reason: &str) -> StoredLetter {
    StoredLetter {
        id: Some(id(seq)),
        reason: reason.to_owned(),
        stored_ns: 0,
        is_own: true,
    }
}

/// Windows 0 and 1 as they are to be, and poison under 2.
fn good() -> Evidence {
    let (features, drafts) = ([0, 1], [0, 1]);
    let read = |seq| [(id(seq), 0), (id(seq), LAST)];
    let stored = features.map(|seq| message(seq, Kind::Features));
    Evidence {
        duplicate_window: Duration::from_secs(600),
        handed: [id(0), id(1)].into(),
        acknowledged: (stored.iter().cloned())
            .chain(drafts.map(|seq| message(seq, Kind::Caption)))
            .collect(),
        poison: vec![(id(2), "encoder")],
        features: stored.into(),
        captions: vec![
            caption(0, 0),
            caption(1, 0),
            caption(0, LAST),
            caption(1, LAST),
        ],
        letters: vec![letter(2, "encoder x is not y")],
        recorded: [(id(0), SECOND), (id(1), SECOND)].into(),
        taken: vec![(id(0), 0), (id(1), 0)],
        readers: vec![("live".to_owned(), [read(0), read(1)].concat())],
        memory: vec![Memory {
            who: "edge-0".to_owned(),
            peak: 20 << 20,
            bound: 64 << 20,
        }],
        ..Evidence::default()
    }
}

/// What the judge says when `change` is made to what is right.
fn broken(change: impl FnOnce(&mut Evidence)) -> Vec<Rule> {
    let mut evidence = good();
    change(&mut evidence);
    let violations = judge(&evidence).violations;
    violations.iter().map(|violation| violation.rule).collect()
}

#[test]
fn what_is_right_passes() {
    assert_eq!(broken(|_| {}), []);
    let findings = judge(&good());
    assert_eq!((findings.owed, findings.captioned), (2, 2));
    assert!(findings.stored_again.is_empty() && findings.begun_again == 0);
}

#[test]
fn a_lost_window_is_found_and_named() {
    let mut evidence = good();
    evidence
        .captions
        .retain(|caption| caption.id != id(1) || caption.revision != LAST);
    let found = judge(&evidence).violations;
    assert_eq!(found[0].rule, Rule::Answered);
    assert_eq!(found[0].about, id(1).to_string());
    assert_eq!(
        broken(|evidence| evidence.features.clear()),
        [Rule::FeaturesStored; 2]
    );
    let no_draft = |evidence: &mut Evidence| drop(evidence.captions.remove(0));
    assert_eq!(broken(no_draft), [Rule::CaptionStored]);
    // A copy in its place is none.
    assert_eq!(
        broken(|evidence| evidence.captions[0].is_copy = true),
        [Rule::CaptionStored]
    );
}

#[test]
fn a_window_in_the_dead_letters_is_answered_but_not_twice() {
    let dead = |evidence: &mut Evidence| evidence.letters.push(letter(1, "no verdict"));
    assert_eq!(broken(dead), [Rule::OneAnswer]);
    let mut evidence = good();
    dead(&mut evidence);
    evidence
        .captions
        .retain(|caption| caption.id != id(1) || caption.revision != LAST);
    let findings = judge(&evidence);
    assert!(findings.violations.is_empty(), "{:?}", findings.violations);
    assert_eq!((findings.captioned, findings.buried), (1, 1));
}

#[test]
fn a_doubled_caption_is_found() {
    let doubled = |after_s: i128| {
        let mut evidence = good();
        let again = StoredCaption {
            stored_ns: after_s * SECOND,
            ..caption(0, LAST)
        };
        evidence.captions.push(again);
        judge(&evidence)
    };
    assert_eq!(doubled(300).violations[0].rule, Rule::StoredOnce);
    // Beyond the duplicate window it is allowed, and said.
    let late = doubled(700);
    assert!(late.violations.is_empty());
    assert_eq!(late.stored_again, [id(0)]);
}

#[test]
fn a_window_captioned_again_is_found() {
    let again = |evidence: &mut Evidence| evidence.taken.push((id(0), 20 * SECOND));
    assert_eq!(broken(again), [Rule::CaptionedOnce]);
    let unanswered = |evidence: &mut Evidence| {
        again(evidence);
        evidence.unanswered.insert(id(0));
    };
    assert_eq!(broken(unanswered), []);
}

#[test]
fn what_was_never_sent_is_found() {
    assert_eq!(
        broken(|evidence| evidence.captions.push(caption(9, 0))),
        [Rule::Sent]
    );
    assert_eq!(
        broken(|evidence| evidence.letters.push(letter(9, "encoder"))),
        [Rule::Sent]
    );
    let swapped = |evidence: &mut Evidence| evidence.captions[2].text = "another".to_owned();
    assert_eq!(broken(swapped), [Rule::OwnText]);
}

#[test]
fn a_missing_dead_letter_is_found() {
    assert_eq!(broken(|evidence| evidence.letters.clear()), [Rule::Buried]);
    let other = |evidence: &mut Evidence| evidence.letters[0].reason = "because".to_owned();
    assert_eq!(broken(other), [Rule::Reason]);
}

#[test]
fn revisions_out_of_order_are_found() {
    let swap = |evidence: &mut Evidence| evidence.readers[0].1.swap(0, 1);
    assert_eq!(broken(swap), [Rule::Order, Rule::Read]);
    let twice = |evidence: &mut Evidence| evidence.readers[0].1.insert(1, (id(0), 0));
    assert_eq!(broken(twice), [Rule::Order]);
    let unread = |evidence: &mut Evidence| drop(evidence.readers[0].1.pop());
    assert_eq!(broken(unread), [Rule::Read]);
}

#[test]
fn memory_beyond_its_bound_is_found() {
    let more = |evidence: &mut Evidence| evidence.memory[0].peak = 65 << 20;
    assert_eq!(broken(more), [Rule::Memory]);
}
