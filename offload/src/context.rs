//! Which drafts a correction makes stale.
//!
//! A draft reads the captions of the [`Settings::depth`] windows before it. While the cloud's word on one of these is
//! outstanding, the draft is a speculation. When a window is corrected, every open draft that read it is stale, and every
//! one that read a stale one. A stale draft within [`Settings::live`] windows of the newest must be drafted again,
//! earlier ones first; an older one stands as it is. The cloud's word on a draft that is stale or was drafted again is
//! passed over: it was about another text in another context.
//!
//! Revisions of a window count up from 0 without gaps; first drafts come in the order of windows; nothing follows the
//! cloud's word. Each window that was drafted is open, or ended in exactly one way ([`Counts`]).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::bounds;

/// Settings of a [`Context`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Windows before it that a draft reads.
    pub depth: u64,
    /// A stale draft is drafted again if fewer windows than this came since.
    pub live: u64,
    /// Open windows at most, 1 or more; the oldest expires.
    pub open: usize,
}

impl Default for Settings {
    /// 4, 8 and 256 windows.
    fn default() -> Self {
        Self {
            depth: 4,
            live: 8,
            open: 256,
        }
    }
}

/// A call that does not fit the state. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Windows are drafted in order.
    #[error("window {seq} comes after window {newest}: windows must be drafted in order")]
    Order {
        /// The window.
        seq: u64,
        /// The newest window.
        newest: u64,
    },
    /// The window was never drafted.
    #[error("window {0} was never drafted: draft it first")]
    Unknown(u64),
    /// The window is not stale.
    #[error("window {0} is not stale: only stale windows are drafted again")]
    Fresh(u64),
    /// It reads a window that must be drafted again first.
    #[error("window {seq} reads window {first}, which is stale: draft that again first")]
    Reads {
        /// The window.
        seq: u64,
        /// The stale one.
        first: u64,
    },
    /// The window is stale.
    #[error("window {0} is stale: draft it again first")]
    Stale(u64),
}

/// What a revision says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The edge's draft.
    Draft,
    /// The cloud agrees. Final.
    Confirmed,
    /// The cloud's text. Final.
    Corrected,
}

/// A revision to send downstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The window.
    pub seq: u64,
    /// Counts up from 0 for each window.
    pub revision: u32,
    /// What it says.
    pub word: Word,
}

/// What became of windows. `drafted` is the sum of `open`, `confirmed`, `corrected`, `kept` and `expired`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Windows drafted.
    pub drafted: u64,
    /// Windows that nothing ended yet.
    pub open: u64,
    /// Windows confirmed by the cloud.
    pub confirmed: u64,
    /// Windows corrected by the cloud.
    pub corrected: u64,
    /// Windows whose draft was final.
    pub kept: u64,
    /// Windows that were given up.
    pub expired: u64,
    /// Drafts made again.
    pub redrafted: u64,
    /// Stale drafts that stand because they were no longer live.
    pub stood: u64,
    /// The cloud's words passed over.
    pub passed_over: u64,
}

#[derive(Debug)]
struct Open {
    seq: u64,
    revision: u32,
    /// Windows that its draft read and that were open then.
    reads: Vec<u64>,
    stale: bool,
}

/// The open windows of one rig.
#[derive(Debug)]
pub struct Context {
    settings: Settings,
    /// In order of seq.
    open: VecDeque<Open>,
    newest: Option<u64>,
    counts: Counts,
}

impl Context {
    /// # Errors
    /// `open` is 0.
    pub fn new(settings: Settings) -> Result<Self, bounds::Error> {
        let open = settings.open as f64;
        bounds::check("open", open, settings.open > 0, "1 window or more")?;
        Ok(Self {
            settings,
            open: VecDeque::new(),
            newest: None,
            counts: Counts::default(),
        })
    }

    /// A window was drafted for the first time. The revision is 0.
    ///
    /// # Errors
    /// [`Error::Order`] if it is not newer than every window before.
    pub fn drafted(&mut self, seq: u64) -> Result<Revision, Error> {
        self.drafted_reading(seq, |_| true)
    }

    /// The same, if it read only those windows of which `reads` says so.
    ///
    /// # Errors
    /// As for [`Self::drafted`].
    pub fn drafted_reading(
        &mut self,
        seq: u64,
        reads: impl Fn(u64) -> bool,
    ) -> Result<Revision, Error> {
        if let Some(newest) = self.newest.filter(|newest| seq <= *newest) {
            return Err(Error::Order { seq, newest });
        }
        self.newest = Some(seq);
        let mut read = self.readable(seq);
        read.retain(|earlier| reads(*earlier));
        self.open.push_back(Open {
            seq,
            revision: 0,
            reads: read,
            stale: false,
        });
        self.counts.drafted += 1;
        if self.open.len() > self.settings.open {
            self.open.pop_front();
            self.counts.expired += 1;
        }
        self.let_stand();
        // It read what is stale: so is it.
        self.spread();
        Ok(revision(seq, 0, Word::Draft))
    }

    /// A stale window was drafted again.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Fresh`] if it is not stale, or ended; [`Error::Reads`] if one that it reads is.
    pub fn redrafted(&mut self, seq: u64) -> Result<Revision, Error> {
        let at = self.find(seq)?.ok_or(Error::Fresh(seq))?;
        if !self.open[at].stale {
            return Err(Error::Fresh(seq));
        }
        let reads = self.readable(seq);
        let stale = |first: &&u64| self.open.iter().any(|o| o.seq == **first && o.stale);
        if let Some(first) = reads.iter().find(stale) {
            return Err(Error::Reads { seq, first: *first });
        }
        let window = &mut self.open[at];
        window.reads = reads;
        window.stale = false;
        window.revision += 1;
        self.counts.redrafted += 1;
        Ok(revision(seq, window.revision, Word::Draft))
    }

    /// What the draft rests on was wrong already when it was written. Whether it is stale now.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn misled(&mut self, seq: u64) -> Result<bool, Error> {
        let Some(at) = self.find(seq)? else {
            return Ok(false);
        };
        self.open[at].stale = true;
        self.spread();
        self.let_stand();
        Ok(self.find(seq)?.is_some_and(|at| self.open[at].stale))
    }

    /// The cloud's word on the draft that went out as `about`: the draft stands, or was corrected. What it makes
    /// stale is in [`Self::again`] from then on. `None` if the word is passed over: the window ended, or the
    /// draft is stale or was made again.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn answered(
        &mut self,
        seq: u64,
        about: u32,
        stands: bool,
    ) -> Result<Option<Revision>, Error> {
        let found = self.find(seq)?;
        let current = |at: &usize| self.open[*at].revision == about && !self.open[*at].stale;
        let Some(window) = found.filter(current).and_then(|at| self.open.remove(at)) else {
            self.counts.passed_over += 1;
            return Ok(None);
        };
        let word = if stands {
            self.counts.confirmed += 1;
            Word::Confirmed
        } else {
            self.counts.corrected += 1;
            for later in &mut self.open {
                later.stale |= later.reads.contains(&seq);
            }
            self.spread();
            self.let_stand();
            Word::Corrected
        };
        Ok(Some(revision(seq, window.revision + 1, word)))
    }

    /// The window's draft is final. Whether it was open.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Stale`] if it must be drafted again.
    pub fn kept(&mut self, seq: u64) -> Result<bool, Error> {
        let Some(at) = self.find(seq)? else {
            return Ok(false);
        };
        if self.open[at].stale {
            return Err(Error::Stale(seq));
        }
        self.open.remove(at);
        self.counts.kept += 1;
        Ok(true)
    }

    /// Nothing more is expected for the window. Whether it was open.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn expired(&mut self, seq: u64) -> Result<bool, Error> {
        let found = self.find(seq)?;
        if let Some(at) = found {
            self.open.remove(at);
            self.counts.expired += 1;
        }
        Ok(found.is_some())
    }

    /// Windows that must be drafted again, in the order in which.
    pub fn again(&self) -> impl Iterator<Item = u64> + '_ {
        self.open
            .iter()
            .filter(|open| open.stale)
            .map(|open| open.seq)
    }

    /// What became of windows so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            open: self.open.len() as u64,
            ..self.counts
        }
    }

    /// Where the window is among the open ones; `None` if it ended.
    fn find(&self, seq: u64) -> Result<Option<usize>, Error> {
        if self.newest.is_none_or(|newest| seq > newest) {
            return Err(Error::Unknown(seq));
        }
        Ok(self.open.binary_search_by_key(&seq, |open| open.seq).ok())
    }

    /// The open windows that a draft of this one reads.
    fn readable(&self, seq: u64) -> Vec<u64> {
        let first = seq.saturating_sub(self.settings.depth);
        let earlier = self.open.iter().map(|open| open.seq);
        earlier.filter(|read| (first..seq).contains(read)).collect()
    }

    /// Marks what read a stale draft. Windows read only earlier ones, so one pass does.
    fn spread(&mut self) {
        let mut stale: Vec<u64> = Vec::new();
        for open in &mut self.open {
            open.stale |= open.reads.iter().any(|read| stale.contains(read));
            if open.stale {
                stale.push(open.seq);
            }
        }
    }

    /// Lets stale drafts stand that are no longer live.
    fn let_stand(&mut self) {
        let newest = self.newest.unwrap_or_default();
        for open in &mut self.open {
            if open.stale && newest - open.seq >= self.settings.live {
                open.stale = false;
                self.counts.stood += 1;
            }
        }
    }
}

fn revision(seq: u64, revision: u32, word: Word) -> Revision {
    Revision {
        seq,
        revision,
        word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(depth: u64, live: u64) -> Context {
        let settings = Settings {
            depth,
            live,
            open: 100,
        };
        Context::new(settings).unwrap()
    }

    fn again(context: &Context) -> Vec<u64> {
        context.again().collect()
    }

    #[test]
    fn a_correction_makes_later_drafts_stale() {
        let mut context = context(1, 10);
        for seq in 0..4 {
            context.drafted(seq).unwrap();
        }
        context.kept(2).unwrap();
        let said = context.answered(0, 0, false).unwrap();
        assert_eq!(said, Some(revision(0, 1, Word::Corrected)));
        // 1 read 0; 2 is final, so 3, which read 2 alone, stands.
        assert_eq!(again(&context), [1]);
        assert_eq!(context.answered(1, 0, true).unwrap(), None);
        assert_eq!(context.redrafted(1).unwrap(), revision(1, 1, Word::Draft));
        assert_eq!(context.answered(1, 0, true).unwrap(), None);
        let said = context.answered(1, 1, true).unwrap();
        assert_eq!(said, Some(revision(1, 2, Word::Confirmed)));
        assert_eq!(context.answered(1, 1, true).unwrap(), None);
    }

    #[test]
    fn stale_drafts_are_drafted_again_in_order() {
        let mut context = context(2, 10);
        for seq in 0..5 {
            context.drafted(seq).unwrap();
        }
        context.answered(1, 0, false).unwrap();
        assert_eq!(again(&context), [2, 3, 4]);
        let error = context.redrafted(3).unwrap_err();
        assert_eq!(error, Error::Reads { seq: 3, first: 2 });
        assert_eq!(context.kept(4).unwrap_err(), Error::Stale(4));
        for seq in 2..5 {
            context.redrafted(seq).unwrap();
        }
        assert_eq!(again(&context), [0_u64; 0]);
        assert_eq!(context.redrafted(4).unwrap_err(), Error::Fresh(4));
    }

    #[test]
    fn a_draft_reads_what_it_says_and_can_be_misled_from_the_start() {
        let mut context = context(9, 10);
        context.drafted(0).unwrap();
        context.drafted(1).unwrap();
        context.drafted_reading(2, |seq| seq == 1).unwrap();
        context.answered(0, 0, false).unwrap();
        // 2 rests on 1, which rests on 0.
        assert_eq!(again(&context), [1, 2]);
        context.redrafted(1).unwrap();
        context.redrafted(2).unwrap();
        context.drafted_reading(3, |_| false).unwrap();
        context.answered(1, 1, false).unwrap();
        assert_eq!(again(&context), [2]);
        context.redrafted(2).unwrap();
        assert_eq!(context.misled(3), Ok(true));
        assert_eq!(again(&context), [3]);
        assert_eq!(context.redrafted(3).unwrap(), revision(3, 1, Word::Draft));
        assert_eq!(context.misled(1), Ok(false), "it ended");
    }

    #[test]
    fn what_is_no_longer_live_stands() {
        let mut context = context(9, 3);
        for seq in 0..6 {
            context.drafted(seq).unwrap();
        }
        context.answered(0, 0, false).unwrap();
        assert_eq!(again(&context), [3, 4, 5]);
        assert_eq!(context.counts().stood, 2);
        let said = context.answered(1, 0, true).unwrap();
        assert_eq!(said, Some(revision(1, 1, Word::Confirmed)));
        // A new window that reads stale ones is stale with them.
        context.drafted(6).unwrap();
        assert_eq!(again(&context), [4, 5, 6]);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut context = context(1, 1);
        assert_eq!(context.answered(0, 0, true), Err(Error::Unknown(0)));
        context.drafted(5).unwrap();
        assert_eq!(context.drafted(5), Err(Error::Order { seq: 5, newest: 5 }));
        assert_eq!(context.kept(9), Err(Error::Unknown(9)));
        assert!(
            Context::new(Settings {
                open: 0,
                ..Settings::default()
            })
            .is_err()
        );
    }
}
