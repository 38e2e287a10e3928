//! The judge: what was promised, against what is there.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    time::Duration,
};

use broker::{MessageId, WindowId, caption::LAST, message::Kind};

use crate::{
    evidence::{Evidence, StoredCaption},
    windows,
};

/// How long after the record of its last caption a window may still come to a model: it was looked up before, and then
/// waited behind a batch, or in a worker that was stopped.
const SLACK: Duration = Duration::from_secs(6);

/// What waits through an outage is stored sooner than this after it was made.
const OFF_CLOCK: Duration = Duration::from_secs(30);

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Features that were acknowledged are stored.
    FeaturesStored,
    /// A caption that was acknowledged is stored.
    CaptionStored,
    /// A window whose features were acknowledged has a last caption or a dead letter.
    Answered,
    /// It has not both.
    OneAnswer,
    /// The last caption is stored once within the duplicate window.
    StoredOnce,
    /// No model begins with a window of which it is recorded that it is captioned.
    CaptionedOnce,
    /// Captions and dead letters are of windows that were sent.
    Sent,
    /// A caption says what its window was given.
    OwnText,
    /// Poison is among the dead letters.
    Buried,
    /// The dead letter says why.
    Reason,
    /// A reader gets the revisions of a window in order, and none twice.
    Order,
    /// A reader gets every last caption.
    Read,
    /// Memory is within its bound.
    Memory,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FeaturesStored => "features were acknowledged and are not stored",
            Self::CaptionStored => "a caption was acknowledged and is not stored",
            Self::Answered => "neither a last caption nor a dead letter",
            Self::OneAnswer => "both a last caption and a dead letter",
            Self::StoredOnce => "the last caption is stored twice within the duplicate window",
            Self::CaptionedOnce => "captioned again after it was recorded as captioned",
            Self::Sent => "a caption or dead letter of a window that was never sent",
            Self::OwnText => "the caption is another window's",
            Self::Buried => "poison without a dead letter",
            Self::Reason => "a dead letter with another reason",
            Self::Order => "a reader got revisions twice or out of order",
            Self::Read => "a reader did not get the last caption",
            Self::Memory => "more memory than its bound",
        })
    }
}

/// A rule that was broken, and by what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub rule: Rule,
    pub about: String,
}

/// What the judge found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub violations: Vec<Violation>,
    /// Windows whose features were acknowledged.
    pub owed: usize,
    /// Of these, those with a last caption.
    pub captioned: usize,
    /// Of these, those in the dead letters: their workers were killed too often.
    pub buried: usize,
    /// Last captions stored again after the duplicate window: what `docs/wire.md` allows, and readers do not see.
    pub stored_again: Vec<WindowId>,
    /// Windows that a model began with more than once.
    pub begun_again: usize,
    /// Captions made by a clock that was stepped.
    pub off_clock: usize,
}

/// Judges.
pub fn judge(evidence: &Evidence) -> Findings {
    let mut findings = Findings::default();
    let last = last_words(evidence);
    stored(evidence, &mut findings);
    answers(evidence, &last, &mut findings);
    once(evidence, &last, &mut findings);
    origin(evidence, &mut findings);
    poison(evidence, &mut findings);
    readers(evidence, &last, &mut findings);
    let off = |caption: &&StoredCaption| {
        (caption.stored_ns - caption.made_ns).abs() > OFF_CLOCK.as_nanos() as i128
    };
    findings.off_clock = evidence.captions.iter().filter(off).count();
    for memory in &evidence.memory {
        if memory.peak > memory.bound {
            let (peak, bound) = (memory.peak >> 20, memory.bound >> 20);
            findings.add(
                Rule::Memory,
                &format!("{}: {peak} MiB, at most {bound}", memory.who),
            );
        }
    }
    findings.violations.sort();
    findings
}

impl Findings {
    fn add(&mut self, rule: Rule, about: &dyn fmt::Display) {
        let about = about.to_string();
        self.violations.push(Violation { rule, about });
    }
}

/// The last captions of each window, in the order of storage, without copies.
fn last_words(evidence: &Evidence) -> BTreeMap<&WindowId, Vec<&StoredCaption>> {
    let mut words: BTreeMap<&WindowId, Vec<&StoredCaption>> = BTreeMap::new();
    let last = (evidence.captions.iter()).filter(|c| c.revision == LAST && !c.is_copy);
    for caption in last {
        words.entry(&caption.id).or_default().push(caption);
    }
    words
}

fn stored(evidence: &Evidence, findings: &mut Findings) {
    let captions: HashSet<(&WindowId, u32)> = (evidence.captions.iter())
        .filter(|caption| !caption.is_copy)
        .map(|caption| (&caption.id, caption.revision))
        .collect();
    for message in &evidence.acknowledged {
        let (rule, is_stored) = match message.kind {
            Kind::Features => (Rule::FeaturesStored, evidence.features.contains(message)),
            _ => (
                Rule::CaptionStored,
                captions.contains(&(&message.window, message.revision)),
            ),
        };
        if !is_stored {
            findings.add(rule, message);
        }
    }
}

fn answers(
    evidence: &Evidence,
    last: &BTreeMap<&WindowId, Vec<&StoredCaption>>,
    findings: &mut Findings,
) {
    let own = evidence.letters.iter().filter(|letter| letter.is_own);
    let buried: HashMap<&WindowId, i128> = own
        .filter_map(|letter| Some((letter.id.as_ref()?, letter.stored_ns)))
        .collect();
    let owed: HashSet<&WindowId> = (evidence.acknowledged.iter())
        .filter(|message| message.kind == Kind::Features)
        .map(|MessageId { window, .. }| window)
        .collect();
    findings.owed = owed.len();
    for window in owed {
        match (last.contains_key(window), buried.contains_key(window)) {
            (true, _) => findings.captioned += 1,
            (false, true) => findings.buried += 1,
            (false, false) => findings.add(Rule::Answered, window),
        }
    }
    for (window, stored_ns) in &buried {
        if let Some(caption) = last.get(window).and_then(|captions| captions.first()) {
            let later = (stored_ns - caption.stored_ns) as f64 / 1e9;
            let about = format!("{window}: the letter {later:+.3} s after the caption");
            findings.add(Rule::OneAnswer, &about);
        }
    }
}

fn once(
    evidence: &Evidence,
    last: &BTreeMap<&WindowId, Vec<&StoredCaption>>,
    findings: &mut Findings,
) {
    // The server's bookkeeping of ids goes by its own timers.
    let window = evidence.duplicate_window.as_nanos() as i128 * 9 / 10;
    for (id, captions) in last {
        if captions.len() > 1 {
            findings.stored_again.push((*id).clone());
        }
        let early = |pair: &[&StoredCaption]| pair[1].stored_ns - pair[0].stored_ns < window;
        if captions.windows(2).any(early) {
            findings.add(Rule::StoredOnce, id);
        }
    }
    let mut begun: HashMap<&WindowId, u32> = HashMap::new();
    for (id, at) in &evidence.taken {
        *begun.entry(id).or_default() += 1;
        let recorded = evidence.recorded.get(id);
        let late = recorded.is_some_and(|recorded| at - recorded > SLACK.as_nanos() as i128);
        if late && !evidence.unanswered.contains(id) {
            findings.add(Rule::CaptionedOnce, id);
        }
    }
    findings.begun_again = begun.values().filter(|times| **times > 1).count();
}

fn origin(evidence: &Evidence, findings: &mut Findings) {
    let poison: HashSet<&WindowId> = evidence.poison.iter().map(|(id, _)| id).collect();
    let is_sent = |id: &WindowId| {
        (evidence.handed.contains(id) && windows::Kind::of(id.seq).is_sent()) || poison.contains(id)
    };
    for caption in &evidence.captions {
        let id = &caption.id;
        let (known, text) = if caption.revision == LAST {
            (is_sent(id), windows::last_text(id))
        } else {
            (evidence.handed.contains(id), windows::draft_text(id))
        };
        if !known {
            findings.add(Rule::Sent, id);
        } else if caption.text != text {
            findings.add(Rule::OwnText, id);
        }
    }
    for letter in &evidence.letters {
        match &letter.id {
            Some(id) if is_sent(id) => {}
            other => findings.add(Rule::Sent, &format!("{other:?}: {}", letter.reason)),
        }
    }
}

fn poison(evidence: &Evidence, findings: &mut Findings) {
    for (id, word) in &evidence.poison {
        let mut letters = (evidence.letters.iter())
            .filter(|letter| letter.id.as_ref() == Some(id))
            .peekable();
        if letters.peek().is_none() {
            findings.add(Rule::Buried, &format!("{id} ({word})"));
        }
        for letter in letters.filter(|letter| !letter.reason.contains(word)) {
            // Workers that die of other messages may have had it in hand each time.
            if !letter.reason.contains("no verdict") {
                findings.add(Rule::Reason, &format!("{id}: {}", letter.reason));
            }
        }
    }
}

fn readers(
    evidence: &Evidence,
    last: &BTreeMap<&WindowId, Vec<&StoredCaption>>,
    findings: &mut Findings,
) {
    for (name, read) in &evidence.readers {
        let mut newest: HashMap<&WindowId, u32> = HashMap::new();
        for (id, revision) in read {
            let before = newest.insert(id, *revision);
            if before.is_some_and(|before| before >= *revision) {
                findings.add(Rule::Order, &format!("{id} ({name})"));
            }
        }
        for id in last.keys().filter(|id| newest.get(*id) != Some(&LAST)) {
            findings.add(Rule::Read, &format!("{id} ({name})"));
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
