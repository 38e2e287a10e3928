//! Properties of speculation across windows, on any order of events.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use offload::context::{Context, Counts, Revision, Settings, Word};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Event {
    Drafted(u64),
    Redrafted(u64),
    Answered(u64, u32, bool),
    Kept(u64),
    Expired(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let seq = || 0_u64..40;
    prop_oneof![
        4 => (1_u64..3).prop_map(Event::Drafted),
        3 => seq().prop_map(Event::Redrafted),
        4 => (seq(), 0_u32..3, any::<bool>()).prop_map(|(s, r, stands)| Event::Answered(s, r, stands)),
        1 => seq().prop_map(Event::Kept),
        1 => seq().prop_map(Event::Expired),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    (0_u64..5, 1_u64..10, 1_usize..20).prop_map(|(depth, live, open)| Settings {
        depth,
        live,
        open,
    })
}

/// What the context is told, and all that it says.
struct Run {
    context: Context,
    newest: Option<u64>,
    said: Vec<Revision>,
}

impl Run {
    fn new(settings: Settings) -> Self {
        Self {
            context: Context::new(settings).unwrap(),
            newest: None,
            said: Vec::new(),
        }
    }

    fn tell(&mut self, event: &Event) {
        let said = match *event {
            Event::Drafted(step) => {
                let seq = self.newest.map_or(0, |newest| newest + step);
                self.newest = Some(seq);
                Some(self.context.drafted(seq).unwrap())
            }
            Event::Redrafted(seq) => self.context.redrafted(seq).ok(),
            Event::Answered(seq, about, stands) => {
                self.context.answered(seq, about, stands).ok().flatten()
            }
            Event::Kept(seq) => {
                let _ = self.context.kept(seq);
                None
            }
            Event::Expired(seq) => {
                let _ = self.context.expired(seq);
                None
            }
        };
        self.said.extend(said);
    }

    fn again(&self) -> Vec<u64> {
        self.context.again().collect()
    }
}

fn assert_conserved(counts: Counts) {
    let ended = counts.confirmed + counts.corrected + counts.kept + counts.expired;
    assert_eq!(counts.drafted, counts.open + ended, "{counts:?}");
}

proptest! {
    #[test]
    fn windows_are_conserved_and_bounded(settings in settings(), events in prop::collection::vec(event(), 0..200)) {
        let mut run = Run::new(settings);
        for event in &events {
            run.tell(event);
            let counts = run.context.counts();
            assert_conserved(counts);
            prop_assert!(counts.open <= settings.open as u64);
        }
    }

    #[test]
    fn revisions_are_never_out_of_order(settings in settings(), events in prop::collection::vec(event(), 0..200)) {
        let mut run = Run::new(settings);
        for event in &events {
            run.tell(event);
        }
        let mut next: BTreeMap<u64, u32> = BTreeMap::new();
        let mut ended = BTreeSet::new();
        let mut newest = None;
        for revision in run.said {
            let expected = next.entry(revision.seq).or_default();
            prop_assert_eq!(revision.revision, *expected);
            *expected += 1;
            prop_assert!(!ended.contains(&revision.seq), "{:?} after its end", revision);
            if revision.word != Word::Draft {
                ended.insert(revision.seq);
            }
            if revision.revision == 0 {
                prop_assert!(newest < Some(revision.seq));
                newest = Some(revision.seq);
            }
        }
    }

    #[test]
    fn what_must_be_drafted_again_is_live_and_can_be(settings in settings(), events in prop::collection::vec(event(), 0..200)) {
        let mut run = Run::new(settings);
        for event in &events {
            run.tell(event);
            let again = run.again();
            prop_assert!(again.is_sorted());
            let newest = run.newest.unwrap_or_default();
            prop_assert!(again.iter().all(|seq| newest - seq < settings.live), "{again:?}");
        }
        for seq in run.again() {
            prop_assert!(run.context.redrafted(seq).is_ok());
        }
        prop_assert!(run.again().is_empty());
    }

    /// With nothing but first drafts and one correction, stale is what read the corrected window, directly or through
    /// others: here, all that follow it without a gap of more than `depth`, as far as it is live.
    #[test]
    fn a_correction_makes_stale_what_rests_on_it(
        depth in 1_u64..5,
        live in 1_u64..30,
        steps in prop::collection::vec(1_u64..8, 2..20),
        which in any::<prop::sample::Index>(),
    ) {
        let mut run = Run::new(Settings { depth, live, open: 100 });
        for step in &steps {
            run.tell(&Event::Drafted(*step));
        }
        let seqs: Vec<u64> = run.said.iter().map(|revision| revision.seq).collect();
        let corrected = which.index(seqs.len());
        run.context.answered(seqs[corrected], 0, false).unwrap().unwrap();
        let mut rests = vec![seqs[corrected]];
        for seq in &seqs[corrected + 1..] {
            if rests.iter().any(|earlier| seq - earlier <= depth) {
                rests.push(*seq);
            }
        }
        let newest = *seqs.last().unwrap();
        let expected: Vec<u64> = rests[1..].iter().copied().filter(|seq| newest - seq < live).collect();
        prop_assert_eq!(run.again(), expected);
    }

    /// The cloud's word on a draft in a context that no longer holds never goes out.
    #[test]
    fn a_stale_draft_is_never_confirmed(settings in settings(), events in prop::collection::vec(event(), 0..200)) {
        let mut run = Run::new(settings);
        for event in &events {
            let stale = run.again();
            let before = run.said.len();
            run.tell(event);
            let said = &run.said[before..];
            prop_assert!(said.iter().all(|r| r.word == Word::Draft || !stale.contains(&r.seq)));
        }
    }
}
