//! A window: its draft, its last word, and how they differ.

use broker::caption::{LAST, StreamMas};
use broker::{Caption, CaptionStatus, WindowId};
use offload::planner::Decision;
use serde::Serialize;

use crate::dash::diff::{self, Part};

/// Longest text that is shown, in characters.
const SHOWN: usize = 2000;

/// What was said about a window so far.
pub struct Window {
    pub id: WindowId,
    /// Its end, UTC, milliseconds of the Unix epoch.
    pub end_ms: i64,
    start_running_ns: u64,
    end_running_ns: u64,
    question: Option<String>,
    mas: Vec<StreamMas>,
    draft: Option<Said>,
    last: Option<Said>,
    pub decision: Option<Decision>,
    uplink_ms: Option<f64>,
    queue_ms: Option<f64>,
    cloud_ms: Option<f64>,
    edge_ms: f64,
}

/// One revision.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    #[serde(skip)]
    revision: u32,
    status: CaptionStatus,
    #[serde(rename = "final")]
    is_final: bool,
    redrafted: bool,
    pub text: String,
    /// From the window's end, milliseconds.
    pub ms: u64,
    pub tokens: u32,
    pub accepted: Option<u32>,
    confidence: f32,
    model: String,
}

/// A window in the timeline of its rig.
#[derive(Serialize)]
pub struct Shown<'a> {
    id: &'a WindowId,
    end_ms: i64,
    question: Option<&'a str>,
    draft: Option<&'a Said>,
    last: Option<&'a Said>,
    /// How the last text differs from the draft's, if both are there and differ.
    diff: Option<Vec<Part>>,
}

/// All that is known of a window.
#[derive(Serialize)]
pub struct Detail<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    start_running_s: f64,
    end_running_s: f64,
    mas: &'a [StreamMas],
    edge_ms: f64,
    uplink_ms: Option<f64>,
    queue_ms: Option<f64>,
    cloud_ms: Option<f64>,
    decision: Option<super::decision::Shown>,
}

impl Window {
    /// A window of which nothing was said yet but that `caption` is about it.
    pub fn new(caption: &Caption) -> Self {
        Self {
            id: caption.id.clone(),
            end_ms: unix_ms(caption.end),
            start_running_ns: caption.start_running_ns,
            end_running_ns: caption.end_running_ns,
            question: None,
            mas: Vec::new(),
            draft: None,
            last: None,
            decision: None,
            uplink_ms: None,
            queue_ms: None,
            cloud_ms: None,
            edge_ms: 0.0,
        }
    }

    /// Takes in a revision. Returns it, or `None` if one as new is there.
    pub fn add(&mut self, caption: &Caption) -> Option<&Said> {
        let is_last = caption.is_final || caption.revision >= LAST;
        let place = if is_last {
            &mut self.last
        } else {
            &mut self.draft
        };
        if place
            .as_ref()
            .is_some_and(|there| there.revision >= caption.revision)
        {
            return None;
        }
        self.question = caption.question.as_deref().map(clipped);
        self.mas.clone_from(&caption.mas);
        self.edge_ms = caption.latency_ms.edge;
        self.uplink_ms = caption.latency_ms.uplink.or(self.uplink_ms);
        self.queue_ms = caption.latency_ms.queue.or(self.queue_ms);
        self.cloud_ms = caption.latency_ms.cloud.or(self.cloud_ms);
        // A record of another version cannot be put into words.
        let decision = caption
            .plan
            .clone()
            .map(serde_json::from_value)
            .and_then(Result::ok);
        if decision.is_some() {
            self.decision = decision;
        }
        Some(place.insert(Said::new(caption)))
    }

    /// Whether nothing was said of it yet.
    pub fn is_new(&self) -> bool {
        self.draft.is_none() && self.last.is_none()
    }

    /// As the timeline shows it.
    pub fn shown(&self) -> Shown<'_> {
        let both = self.draft.as_ref().zip(self.last.as_ref());
        let changed = both.filter(|(draft, last)| draft.text != last.text);
        Shown {
            id: &self.id,
            end_ms: self.end_ms,
            question: self.question.as_deref(),
            draft: self.draft.as_ref(),
            last: self.last.as_ref(),
            diff: changed.map(|(draft, last)| diff::words(&draft.text, &last.text)),
        }
    }

    /// All of it.
    pub fn detail(&self) -> Detail<'_> {
        Detail {
            shown: self.shown(),
            start_running_s: self.start_running_ns as f64 / 1e9,
            end_running_s: self.end_running_ns as f64 / 1e9,
            mas: &self.mas,
            edge_ms: self.edge_ms,
            uplink_ms: self.uplink_ms,
            queue_ms: self.queue_ms,
            cloud_ms: self.cloud_ms,
            decision: self.decision.as_ref().map(super::decision::Shown::new),
        }
    }

    /// The last word and the draft's number of tokens.
    pub fn verdict(&self) -> Option<(CaptionStatus, Option<u32>, Option<u32>)> {
        let last = self.last.as_ref()?;
        let drafted = self.draft.as_ref().map(|draft| draft.tokens);
        Some((last.status, last.accepted, drafted))
    }
}

impl Said {
    fn new(caption: &Caption) -> Self {
        let ms = (caption.time - caption.end).whole_milliseconds();
        Self {
            revision: caption.revision,
            status: caption.status,
            is_final: caption.is_final,
            redrafted: caption.redrafted,
            text: clipped(&caption.text),
            ms: ms.clamp(0, i128::from(u32::MAX)) as u64,
            tokens: caption.tokens,
            accepted: caption.accepted_tokens,
            confidence: caption.confidence,
            model: caption.model.clone(),
        }
    }

    /// Whether nothing more comes.
    pub fn is_last(&self) -> bool {
        self.is_final || self.revision >= LAST
    }

    /// Whether it is the first word on its window.
    pub fn is_first(&self) -> bool {
        self.revision == 0
    }
}

/// `text` without its end, if it is too long to be shown.
fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

pub fn unix_ms(time: time::OffsetDateTime) -> i64 {
    (time.unix_timestamp_nanos() / 1_000_000) as i64
}
