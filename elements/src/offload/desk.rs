//! Decisions carried out: what goes on at once, what waits for the cloud, and when that goes on.

use std::collections::VecDeque;
use std::time::Duration;

use ::offload::edge::Stage;
use ::offload::planner::{self, Payload};
use ::offload::runtime::Runtime;
use ::offload::{Action, Error};
use broker::features::{CAPTION_BYTES, DEFERRED, TOKEN_BYTES};
use broker::message::Kind;
use broker::status::Decisions;
use broker::{FeatureWindow, MessageId, Modality, Token, WindowId};
use gst::ClockTime;

use super::amend::{amend, betas, second, strip};
use super::beliefs::{Beliefs, Draft};
use super::properties::Settings;
use crate::feedback::{Feedback, Stop};
use crate::keep::keep;

/// PTS and duration of a window's buffer.
pub(super) type Times = (Option<ClockTime>, Option<ClockTime>);

/// A window on its way.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub window: FeatureWindow,
    pub times: Times,
    /// Its length when it came in, but for the tokens that its keyframe went in place of since.
    pub bytes: usize,
}

impl Item {
    /// Bytes of a token of it.
    fn token(&self) -> usize {
        let channels = self.window.tokens.first().map_or(0, |t| t.feature.len());
        TOKEN_BYTES + channels
    }

    /// Leaves out what its keyframe, if it has one, goes in place of.
    fn send_keyframe_alone(&mut self) {
        let (token, before) = (self.token(), self.window.tokens.len());
        self.window.send_keyframe_alone();
        let left_out = before - self.window.tokens.len();
        self.bytes = self.bytes.saturating_sub(token * left_out);
    }
}

struct Waiting {
    since: Duration,
    item: Item,
}

/// Where windows are decided on.
pub(super) struct Desk {
    runtime: Runtime,
    /// Of these only what waits, how long, and the most tokens may change.
    pub settings: Settings,
    waiting: VecDeque<Waiting>,
    /// The message of a window that waited, until it arrived: they go one at a time, beside what is live.
    going: Option<String>,
    /// The latest window.
    latest: Option<(WindowId, planner::Window)>,
    beliefs: Beliefs<Item>,
    /// Second drafts that are to be published.
    again: VecDeque<Item>,
    pub windows: u64,
    pub redrafted: u64,
    decisions: Decisions,
}

impl Desk {
    pub fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            runtime: Runtime::new(settings.runtime())?,
            settings,
            waiting: VecDeque::new(),
            going: None,
            latest: None,
            beliefs: Beliefs::new(settings.same_scene as f32)?,
            again: VecDeque::new(),
            windows: 0,
            redrafted: 0,
            decisions: Decisions::default(),
        })
    }

    /// Decides on a window that comes in; gives what goes on.
    pub fn take(&mut self, now: Duration, mut item: Item) -> Option<Item> {
        self.windows += 1;
        self.going = None;
        let window = &item.window;
        let nanoseconds = window.end_running_ns - window.start_running_ns;
        self.runtime
            .windows_last(Duration::from_nanos(nanoseconds.max(1)));
        if window.draft.is_some() {
            let took = window.drafted_utc_ns.saturating_sub(window.closed_utc_ns);
            let took = Duration::from_nanos(u64::try_from(took).unwrap_or(0));
            self.runtime.took(Stage::Draft, took);
        }
        let weighed = self.weigh(&item);
        self.latest = Some((window.id.clone(), weighed));
        // Of all its tokens, before some are left out.
        let draft = Draft::of(window);
        self.decide(now, weighed, &mut item);
        if let Some(draft) = draft {
            self.believe(draft, &mut item);
        }
        match item.window.decision {
            Action::Skip => None,
            Action::Defer => {
                let mut waits = item.clone();
                waits.window.plan = None;
                waits.window.flags.push(DEFERRED.to_owned());
                self.waiting.push_back(Waiting {
                    since: now,
                    item: waits,
                });
                // Until it goes, only its draft is published.
                strip(&mut item.window);
                Some(item)
            }
            _ => Some(item),
        }
    }

    fn second_draft(&mut self) -> Option<Item> {
        let again = self.again.pop_front()?;
        self.redrafted += 1;
        Some(again)
    }

    /// Notes what the window's draft rests on, and amends it where that was corrected.
    fn believe(&mut self, draft: Draft, item: &mut Item) {
        match item.window.decision {
            Action::Skip => {}
            Action::Keep => {
                if let Some(text) = self.beliefs.correction(&draft) {
                    amend(&mut item.window, text);
                    self.redrafted += 1;
                }
            }
            Action::Verify | Action::Offload | Action::Defer => {
                let mut rest = item.clone();
                strip(&mut rest.window);
                rest.window.plan = None;
                rest.window.decision = Action::Defer;
                let text = self
                    .beliefs
                    .drafted(item.window.id.seq, draft, rest.clone());
                self.again.extend(text.map(|text| second(&rest, &text)));
            }
        }
    }

    /// Takes note of what the sink heard.
    pub fn heard(&mut self, now: Duration, feedback: &Feedback) {
        let runtime = &mut self.runtime;
        match feedback {
            Feedback::Connected => runtime.connected(now),
            Feedback::Disconnected => {
                runtime.disconnected(now);
                self.going = None;
            }
            Feedback::Sent { id, bytes } => runtime.sent(now, id, *bytes),
            Feedback::Compressed { from, to } => runtime.compressed(*from, *to),
            Feedback::Stored { id } => {
                runtime.acknowledged(now, id);
                self.going.take_if(|going| going == id);
            }
            Feedback::Lost { id } => {
                runtime.lost(id);
                self.going.take_if(|going| going == id);
            }
            Feedback::Cloud {
                worker,
                queue,
                rate,
            } => runtime.heartbeat(now, worker, *queue, *rate),
            Feedback::Answer {
                id,
                confirmed,
                work,
                text,
            } => {
                let id = id.parse::<WindowId>().ok();
                let ours = |id: &WindowId| {
                    (self.latest.as_ref()).is_some_and(|(latest, _)| latest.epoch == id.epoch)
                };
                if let Some(id) = id.filter(ours) {
                    let work = Duration::try_from_secs_f64(work / 1e3).unwrap_or_default();
                    runtime.answered(now, id.seq, *confirmed, work);
                    let again = self.beliefs.answered(id.seq, *confirmed, text);
                    let again = again.into_iter().map(|(_, item)| second(item, text));
                    self.again.extend(again);
                }
            }
        }
    }

    /// The next window that waits no longer: it may go, or has waited too long.
    pub fn next(&mut self, now: Duration) -> Option<Item> {
        if let Some(again) = self.second_draft() {
            return Some(again);
        }
        while let Some(oldest) = self.waiting.front() {
            let old = now.saturating_sub(oldest.since) >= self.settings.patience;
            let room = self.going.is_none() && self.runtime.has_room(now);
            if !old && !room && self.waiting.len() <= self.settings.waiting {
                return None;
            }
            let item = self.waiting.pop_front()?.item;
            if let Some(item) = self.leave(now, item, room) {
                return Some(item);
            }
        }
        None
    }

    /// The same, at the end of the stream: nothing waits any longer.
    pub fn last(&mut self, now: Duration) -> Option<Item> {
        if let Some(again) = self.second_draft() {
            return Some(again);
        }
        while let Some(Waiting { item, .. }) = self.waiting.pop_front() {
            let reachable = self.runtime.is_reachable(now);
            if let Some(item) = self.leave(now, item, reachable) {
                return Some(item);
            }
        }
        None
    }

    /// Whether windows wait, and the cloud cannot be had.
    pub fn waits_for_word(&self, now: Duration) -> bool {
        !self.waiting.is_empty() && !self.runtime.is_reachable(now)
    }

    /// Gives up what waits, second drafts included, as after a flush: nothing of what came before goes on.
    pub fn clear(&mut self) {
        self.decisions.dropped += self.waiting.len() as u64;
        self.waiting.clear();
        self.again.clear();
        self.beliefs.forget();
    }

    /// Until when the oldest may wait.
    pub fn deadline(&self) -> Option<Duration> {
        let oldest = self.waiting.front()?.since;
        Some(oldest.saturating_add(self.settings.patience))
    }

    /// When a draft of a window like the latest is better stopped.
    pub fn stop(&self, now: Duration) -> Stop {
        let (audit, seed) = self.settings.audits();
        let Some((_, mut window)) = self.latest else {
            return Stop::default();
        };
        // Where it is stopped, about half of it is left.
        let inputs = self.runtime.inputs(now, window);
        window.draft_left = inputs.edge.stages[Stage::Draft as usize] / 2.0;
        Stop {
            below: self.runtime.stop_below(now, window),
            audit,
            seed,
        }
    }

    pub fn decisions(&self) -> Decisions {
        Decisions {
            waiting: self.waiting.len() as u64,
            ..self.decisions
        }
    }

    /// What is known at this time.
    pub fn known(&self, now: Duration) -> planner::Inputs {
        let window = self.latest.as_ref().map(|(_, window)| *window);
        self.runtime.inputs(now, window.unwrap_or(NOTHING))
    }

    /// A window stops waiting: it is decided on again if the cloud can be had, or its draft is final.
    fn leave(&mut self, now: Duration, mut item: Item, reachable: bool) -> Option<Item> {
        if reachable {
            let weighed = self.weigh(&item);
            self.decide(now, weighed, &mut item);
            if matches!(item.window.decision, Action::Verify | Action::Offload) {
                let id = MessageId {
                    window: item.window.id.clone(),
                    kind: Kind::Features,
                    revision: 0,
                };
                self.going = Some(id.to_string());
            } else {
                self.end(&mut item.window);
            }
            return Some(item);
        }
        if item.window.draft.is_none() {
            self.decisions.dropped += 1;
            gst::warning!(
                super::imp::CAT,
                "window {} waited too long for the cloud and has no draft: dropped",
                item.window.id
            );
            return None;
        }
        gst::info!(
            super::imp::CAT,
            "window {} waited too long for the cloud: its draft is final",
            item.window.id
        );
        self.decisions.stale += 1;
        self.decisions.keep += 1;
        item.window.decision = Action::Keep;
        item.window.plan = None;
        self.end(&mut item.window);
        strip(&mut item.window);
        Some(item)
    }

    /// A window that waited is kept, with its draft as it is by now.
    fn end(&mut self, window: &mut FeatureWindow) {
        let text = self.beliefs.ended(window.id.seq);
        let first = window.draft.as_ref().map(|draft| &draft.text);
        if let Some(text) = text.filter(|text| Some(text) != first) {
            amend(window, text);
        }
    }

    fn decide(&mut self, now: Duration, weighed: planner::Window, item: &mut Item) {
        let decision = if weighed.empty || item.window.draft.is_some() {
            self.runtime.decide(now, weighed)
        } else {
            self.runtime.decide_undrafted(now, weighed)
        };
        let count = match decision.action {
            Action::Skip => &mut self.decisions.skip,
            Action::Keep => &mut self.decisions.keep,
            Action::Verify => &mut self.decisions.verify,
            Action::Offload => &mut self.decisions.offload,
            Action::Defer => &mut self.decisions.defer,
        };
        *count += 1;
        if decision.audit_of.is_some() && decision.action == Action::Verify {
            self.decisions.audits += 1;
        }
        gst::debug!(super::imp::CAT, "{decision}");
        item.send_keyframe_alone();
        let window = &mut item.window;
        window.decision = decision.action;
        window.plan = serde_json::to_string(&decision).ok();
        match (decision.action, decision.payload) {
            (Action::Skip | Action::Keep, _) => strip(window),
            (Action::Verify | Action::Offload, Payload::Features { tokens })
                if window.tokens.len() > tokens as usize =>
            {
                let betas = betas(window);
                keep(window, tokens as usize, None, &betas);
            }
            _ => {}
        }
    }

    /// The window as the planner sees it.
    fn weigh(&self, item: &Item) -> planner::Window {
        let window = &item.window;
        let token = item.token();
        let on_link = |bytes: usize| self.runtime.on_link(bytes as u64) as u32;
        let bare = item.bytes.saturating_sub(token * window.tokens.len());
        // A keyframe goes in place of video tokens, and is among the fixed bytes.
        let goes = |token: &&Token| window.keyframe.is_none() || token.modality != Modality::Video;
        let tokens = window.tokens.iter().filter(goes).count();
        let most = match self.settings.max_tokens {
            0 => u32::MAX,
            most => most,
        };
        planner::Window {
            seq: window.id.seq,
            empty: window.tokens.is_empty() && window.keyframe.is_none(),
            confidence: (window.draft.as_ref()).map_or(0.0, |draft| draft.confidence.into()),
            draft_left: 0.0,
            tokens: most.min(tokens as u32),
            token_bytes: on_link(token),
            fixed_bytes: on_link(bare).saturating_add(CAPTION_BYTES),
            // Whatever is decided, the draft's caption goes: it is among the fixed bytes.
            caption_bytes: 0,
            keyframe_bytes: None,
        }
    }
}

const NOTHING: planner::Window = planner::Window {
    seq: 0,
    empty: true,
    confidence: 0.0,
    draft_left: 0.0,
    tokens: 0,
    token_bytes: 1,
    fixed_bytes: 0,
    caption_bytes: 0,
    keyframe_bytes: None,
};
