//! The decision on a window, with all that it rests on.
//!
//! Of all actions that are possible and whose risk is within the limit, the one of least cost, in seconds:
//!
//! `cost(a) = latency(a) + lambda_bytes * link(a) + lambda_cloud * cloud(a)`
//!
//! | action | latency | risk | possible |
//! | --- | --- | --- | --- |
//! | skip | 0 | 0 | nothing happened in the window |
//! | keep | rest of the draft | that of the draft | risk within the limit |
//! | verify | rest of the draft + round trip + link + wait + work | 0 | contact, cloud available |
//! | offload | round trip + link + wait + work | 0 | contact, cloud available |
//! | defer | as verify, and as long again as contact or cloud have been away, at least 1 s | 0 | one of them is away |
//!
//! Link is (bytes in flight + bytes of the action) / bandwidth: the time until the link is free again. Work, and
//! `cloud(a)`, is what the cloud is expected to take; of verify it rises with risk. How long an absence lasts is taken to be as long as it has
//! lasted (Gott, *Implications of the Copernican principle for our future prospects*, 1993). What is sent is part of the choice:
//! features, of which so many tokens as the latency limit allows, or the window's keyframe. Features are priced at the bytes
//! that they may have, at most one token more than they have, so that rounding never makes a slower link look cheaper. Of
//! equal costs the earlier action in the table wins.
//!
//! A window that would be kept, or offloaded without its draft, teaches nothing about drafts; a share
//! [`Settings::audit`] of these, drawn by seed, is verified all the same, or deferred if the cloud is away.

use serde::{Deserialize, Serialize};

use crate::bounds::{Error, LONGEST, check, rounded, seconds, within};
use crate::budget::{self, bandwidth};
use crate::risk::Risk;
use crate::thresholds::Limits;
use crate::{Action, audit, cloud, edge, link};

/// Settings of a [`Planner`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Price of a second of the link, seconds, from 0 to 1000.
    pub lambda_bytes: f64,
    /// Price of a second of the cloud, seconds, from 0 to 1000.
    pub lambda_cloud: f64,
    /// Tokens that a window has at least when it is sent, whatever the link.
    pub min_tokens: u32,
    /// Share of the windows that teach nothing that is verified all the same, in (0, 1\].
    pub audit: f64,
    /// Seed of the draw.
    pub seed: u64,
}

impl Default for Settings {
    /// Prices of 1, 16 tokens, 15 %, seed 0.
    fn default() -> Self {
        Self {
            lambda_bytes: 1.0,
            lambda_cloud: 1.0,
            min_tokens: 16,
            audit: 0.15,
            seed: 0,
        }
    }
}

/// What it is worth that a window has a caption while the cloud's is awaited, seconds.
const FIRST_CAPTION: f64 = 0.1;

/// A window that is to be decided on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its number within the epoch.
    pub seq: u64,
    /// Nothing happened: the gate kept nothing.
    pub empty: bool,
    /// Confidence of its draft, or what it is expected to be, in \[0, 1\].
    pub confidence: f64,
    /// Work that is left to do on the draft, seconds on an idle edge; 0 when it is there.
    pub draft_left: f64,
    /// Tokens that are worth sending.
    pub tokens: u32,
    /// Bytes of a token on the wire.
    pub token_bytes: u32,
    /// Bytes of the window beside its tokens.
    pub fixed_bytes: u32,
    /// Bytes of its draft's caption, sent before it is verified.
    pub caption_bytes: u32,
    /// Bytes of a keyframe that the cloud can caption instead of features, if there is one.
    pub keyframe_bytes: Option<u32>,
}

/// All that a decision rests on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// The window.
    pub window: Window,
    /// The link.
    pub link: link::State,
    /// The edge.
    pub edge: edge::State,
    /// The cloud.
    pub cloud: cloud::State,
    /// The chance that the cloud would change the draft ([`Risk::estimate`]), in \[0, 1\].
    pub risk: f64,
    /// The thresholds.
    pub limits: Limits,
}

impl Inputs {
    /// The same with every number within its range; what is not a number is the worst of it.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.window.confidence = within(self.window.confidence, 0.0, 1.0, 0.0);
        self.window.draft_left = seconds(self.window.draft_left);
        self.link.bandwidth = bandwidth(&self.link);
        self.link.rtt = seconds(self.link.rtt);
        self.link.away = seconds(self.link.away);
        self.edge.stages = self.edge.stages.map(seconds);
        self.edge.budget = within(self.edge.budget, 1e-3, LONGEST, 1e-3);
        self.edge.load = within(self.edge.load, 0.0, 1.0, 1.0);
        self.cloud.away = seconds(self.cloud.away);
        self.cloud.wait = seconds(self.cloud.wait);
        self.cloud.confirmed = seconds(self.cloud.confirmed);
        self.cloud.corrected = seconds(self.cloud.corrected);
        self.cloud.captioned = seconds(self.cloud.captioned);
        self.risk = within(self.risk, 0.0, 1.0, 1.0);
        self.limits.risk = within(self.limits.risk, 0.0, 1.0, 0.0);
        self.limits.latency = within(self.limits.latency, 0.0, LONGEST, 0.0);
        self
    }

    /// The same with four significant digits of every number.
    #[must_use]
    pub(crate) fn rounded(mut self) -> Self {
        for value in [
            &mut self.window.confidence,
            &mut self.window.draft_left,
            &mut self.link.bandwidth,
            &mut self.link.rtt,
            &mut self.link.away,
            &mut self.edge.budget,
            &mut self.edge.load,
            &mut self.cloud.away,
            &mut self.cloud.wait,
            &mut self.cloud.confirmed,
            &mut self.cloud.corrected,
            &mut self.cloud.captioned,
            &mut self.risk,
            &mut self.limits.risk,
            &mut self.limits.latency,
        ]
        .into_iter()
        .chain(&mut self.edge.stages)
        {
            *value = rounded(*value);
        }
        self
    }

    pub(crate) fn reachable(&self) -> bool {
        self.link.contact && self.cloud.available
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// Nothing.
    Nothing,
    /// So many of the window's tokens.
    Features {
        /// Tokens.
        tokens: u32,
    },
    /// The keyframe.
    Keyframe,
}

/// Why an action is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Something happened in the window.
    Happened,
    /// Its risk is above the limit.
    Risk,
    /// There is no contact.
    NoContact,
    /// The cloud is not available.
    CloudAway,
    /// The cloud can be had now.
    Reachable,
}

/// An action as it was weighed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Considered {
    /// The action.
    pub action: Action,
    /// What it would send.
    pub payload: Payload,
    /// Bytes that it is priced at.
    pub bytes: f64,
    /// Expected time to the final caption, seconds.
    pub latency: f64,
    /// Time until the link is free again, seconds; 0 of what is not sent.
    pub link: f64,
    /// Time that the cloud works on it, seconds.
    pub cloud: f64,
    /// The chance that the final caption is not the cloud's, in \[0, 1\].
    pub risk: f64,
    /// What it costs, seconds.
    pub cost: f64,
    /// Why it is not possible; `None` if it is.
    pub refused: Option<Refusal>,
}

/// A decision, and all that it rests on. It is stored without the actions that were weighed: they follow from settings
/// and inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Record")]
pub struct Decision {
    /// The planner's settings.
    pub settings: Settings,
    /// What it was decided from.
    pub inputs: Inputs,
    /// Every action that was weighed.
    #[serde(skip_serializing)]
    pub considered: Vec<Considered>,
    /// What becomes of the window.
    pub action: Action,
    /// What is sent.
    pub payload: Payload,
    /// What was best, if the window is verified, or deferred, only to learn from it.
    pub audit_of: Option<Action>,
    /// The chance with which this window was to be verified, in \[0, 1\]; what [`Risk::learn`] asks for.
    pub propensity: f64,
}

/// A decision as it is stored.
#[derive(Deserialize)]
struct Record {
    settings: Settings,
    inputs: Inputs,
    action: Action,
    payload: Payload,
    audit_of: Option<Action>,
    propensity: f64,
}

impl From<Record> for Decision {
    fn from(record: Record) -> Self {
        let settings = record.settings;
        let inputs = record.inputs.bounded();
        Self {
            settings,
            inputs,
            considered: Planner { settings }.consider(&inputs),
            action: record.action,
            payload: record.payload,
            audit_of: record.audit_of,
            propensity: record.propensity,
        }
    }
}

impl Decision {
    /// The estimated risk of a window that is kept on the edge, 0 of any other.
    #[must_use]
    pub fn kept_risk(&self) -> f64 {
        match self.action {
            Action::Keep => self.inputs.risk,
            _ => 0.0,
        }
    }

    /// The action as it was weighed.
    #[must_use]
    pub fn chosen(&self) -> Option<&Considered> {
        self.considered
            .iter()
            .find(|option| option.action == self.action && option.payload == self.payload)
    }
}

/// Decides on windows. It has no state: the same inputs give the same decision.
#[derive(Debug, Clone, Copy)]
pub struct Planner {
    settings: Settings,
}

impl Planner {
    /// # Errors
    /// A setting is out of its range.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let prices = 0.0..=1000.0;
        let range = "from 0 to 1000 s";
        let bytes = settings.lambda_bytes;
        check("lambda_bytes", bytes, prices.contains(&bytes), range)?;
        let cloud = settings.lambda_cloud;
        check("lambda_cloud", cloud, prices.contains(&cloud), range)?;
        let share = settings.audit;
        check(
            "audit",
            share,
            share > 0.0 && share <= 1.0,
            "above 0, at most 1",
        )?;
        Ok(Self { settings })
    }

    /// Decides on a window.
    #[must_use]
    pub fn decide(&self, inputs: Inputs) -> Decision {
        let inputs = inputs.bounded();
        let considered = self.consider(&inputs);
        let best = cheapest(&considered, |_| true);
        let labels = |action| matches!(action, Action::Verify | Action::Defer);
        let teaches = best.is_none_or(|best| labels(best.action) || best.action == Action::Skip);
        let Settings { audit, seed, .. } = self.settings;
        let audited = if !teaches && audit::drawn(seed, inputs.window.seq, audit) {
            cheapest(&considered, labels)
        } else {
            None
        };
        let chosen = audited.or(best);
        Decision {
            settings: self.settings,
            action: chosen.map_or(Action::Defer, |option| option.action),
            payload: chosen.map_or(Payload::Nothing, |option| option.payload),
            audit_of: audited.and(best).map(|option| option.action),
            propensity: if teaches { 1.0 } else { audit },
            inputs,
            considered,
        }
    }

    /// The decision for an action that was chosen elsewhere: of its ways the cheapest, possible or not.
    #[must_use]
    pub fn only(&self, inputs: Inputs, action: Action) -> Decision {
        let inputs = inputs.bounded();
        let considered = self.consider(&inputs);
        let ways = considered.iter().filter(|option| option.action == action);
        let way = ways.min_by(|a, b| a.cost.total_cmp(&b.cost));
        Decision {
            settings: self.settings,
            action,
            payload: way.map_or(Payload::Nothing, |way| way.payload),
            audit_of: None,
            propensity: 1.0,
            inputs,
            considered,
        }
    }

    /// How many tokens a window may send so that its final caption comes within the latency limit if it is verified.
    /// From [`Settings::min_tokens`] to what the window has, and never less on a faster link.
    #[must_use]
    pub fn token_budget(&self, inputs: &Inputs) -> u32 {
        self.features(&inputs.bounded(), true).0
    }

    /// The confidence below which a draft is better stopped and the window offloaded at once; 0 if none is: the cloud is
    /// not to be had, or stopping saves less than the first caption is worth, which a stopped draft leaves out.
    #[must_use]
    pub fn stop_below(&self, inputs: &Inputs, risk: &Risk) -> f64 {
        let mut inputs = inputs.bounded();
        inputs.risk = inputs.limits.risk;
        if !inputs.reachable() {
            return 0.0;
        }
        let considered = self.consider(&inputs);
        let cost = |action| {
            let option = cheapest(&considered, |other| other == action);
            option.map_or(f64::INFINITY, |option| option.cost)
        };
        if cost(Action::Offload) + FIRST_CAPTION < cost(Action::Verify) {
            risk.confidence(inputs.limits.risk)
        } else {
            0.0
        }
    }

    fn consider(&self, inputs: &Inputs) -> Vec<Considered> {
        let Inputs {
            window,
            link,
            edge,
            cloud,
            ..
        } = inputs;
        let draft = edge.takes(window.draft_left);
        let away = if !link.contact {
            Some(Refusal::NoContact)
        } else if !cloud.available {
            Some(Refusal::CloudAway)
        } else {
            None
        };
        let stays = |action, latency, risk, refused| {
            self.price(Considered {
                action,
                payload: Payload::Nothing,
                bytes: 0.0,
                latency,
                link: 0.0,
                cloud: 0.0,
                risk,
                cost: 0.0,
                refused,
            })
        };
        let goes = |action, payload, bytes: f64, before: f64, work, refused| {
            let link_time = seconds((link.in_flight as f64 + bytes) / link.bandwidth);
            self.price(Considered {
                action,
                payload,
                bytes,
                latency: seconds(before + link.rtt + link_time + cloud.wait + work),
                link: link_time,
                cloud: work,
                risk: 0.0,
                cost: 0.0,
                refused,
            })
        };
        let happened = (!window.empty).then_some(Refusal::Happened);
        let risky = (inputs.risk > inputs.limits.risk).then_some(Refusal::Risk);
        let work = cloud.verified(inputs.risk);
        let (tokens, bytes) = self.features(inputs, true);
        let features = Payload::Features { tokens };
        let back = link.away.max(cloud.away).max(1.0);
        let reachable = inputs.reachable().then_some(Refusal::Reachable);
        let mut considered = vec![
            stays(Action::Skip, 0.0, 0.0, happened),
            stays(Action::Keep, draft, inputs.risk, risky),
            goes(Action::Verify, features, bytes, draft, work, away),
        ];
        let (tokens, bytes_alone) = self.features(inputs, false);
        let alone = Payload::Features { tokens };
        let captioned = cloud.captioned;
        considered.push(goes(
            Action::Offload,
            alone,
            bytes_alone,
            0.0,
            captioned,
            away,
        ));
        if let Some(bytes) = window.keyframe_bytes {
            let (payload, bytes) = (Payload::Keyframe, f64::from(bytes));
            considered.push(goes(Action::Offload, payload, bytes, 0.0, captioned, away));
        }
        considered.push(goes(
            Action::Defer,
            features,
            bytes,
            draft + back,
            work,
            reachable,
        ));
        considered
    }

    /// Tokens of a window that is verified with its draft, or captioned without; and bytes, not rounded to tokens.
    fn features(&self, inputs: &Inputs, with_draft: bool) -> (u32, f64) {
        let Inputs { window, cloud, .. } = inputs;
        let (elsewhere, caption) = if with_draft {
            let draft = inputs.edge.takes(window.draft_left);
            (draft + cloud.verified(inputs.risk), window.caption_bytes)
        } else {
            (cloud.captioned, 0)
        };
        let fixed = f64::from(window.fixed_bytes) + f64::from(caption);
        let least = self.settings.min_tokens.min(window.tokens);
        let of = |tokens| fixed + f64::from(tokens) * f64::from(window.token_bytes);
        let room = budget::bytes(&inputs.link, inputs.limits.latency, elsewhere + cloud.wait);
        let range = (least, window.tokens);
        let tokens = budget::tokens(room, fixed, window.token_bytes, range);
        (tokens, room.clamp(of(least), of(window.tokens)))
    }

    fn price(&self, mut option: Considered) -> Considered {
        let Settings {
            lambda_bytes,
            lambda_cloud,
            ..
        } = self.settings;
        option.cost = option.latency + lambda_bytes * option.link + lambda_cloud * option.cloud;
        option
    }
}

/// Of the possible actions that are asked for, the first of least cost.
fn cheapest(considered: &[Considered], asked: impl Fn(Action) -> bool) -> Option<&Considered> {
    considered
        .iter()
        .filter(|option| option.refused.is_none() && asked(option.action))
        .min_by(|a, b| a.cost.total_cmp(&b.cost))
}
