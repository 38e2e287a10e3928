//! What a window may hold. Checked when it is written and when it is read.

use super::{DraftReport, FeatureWindow, ModalityReport, Token};
use crate::{
    identity::{WindowId, excerpt, is_name},
    limits,
};

/// A window holds a value that the schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("window {id}: {what}")]
pub struct InvalidWindow {
    /// The window.
    pub id: WindowId,
    /// The field, its value, and what is allowed.
    pub what: String,
}

impl FeatureWindow {
    /// Whether every value is within what the schema allows.
    pub(super) fn check(&self) -> Result<(), InvalidWindow> {
        self.violation().map_or(Ok(()), |what| {
            Err(InvalidWindow {
                id: self.id.clone(),
                what,
            })
        })
    }

    fn violation(&self) -> Option<String> {
        if self.end_utc_ns < self.start_utc_ns || self.end_running_ns < self.start_running_ns {
            return Some("it ends before it starts".to_owned());
        }
        if self.frames_kept > self.frames_in {
            return Some(format!(
                "frames_kept {} exceeds frames_in {}",
                self.frames_kept, self.frames_in
            ));
        }
        let plan = self.plan.as_ref().map_or(0, String::len);
        too_long("prompt", self.prompt.len(), limits::TEXT)
            .or_else(|| too_long("plan", plan, limits::TEXT))
            .or_else(|| too_long("modalities", self.modalities.len(), limits::STREAMS))
            .or_else(|| too_long("flags", self.flags.len(), limits::FLAGS))
            .or_else(|| self.flags.iter().find_map(|flag| not_a_name("flag", flag)))
            .or_else(|| self.modalities.iter().find_map(report_violation))
            .or_else(|| self.draft.as_ref().and_then(draft_violation))
            .or_else(|| self.tokens_violation())
            .or_else(|| self.keyframe_violation())
    }

    fn keyframe_violation(&self) -> Option<String> {
        let jpeg = self.keyframe.as_ref()?;
        if jpeg.is_empty() {
            return Some("its keyframe is empty".to_owned());
        }
        too_long("keyframe", jpeg.len(), limits::KEYFRAME)
    }

    fn tokens_violation(&self) -> Option<String> {
        let channels = self.tokens.first().map_or(1, |token| token.feature.len());
        if channels == 0 {
            return Some("a token's feature is empty".to_owned());
        }
        if self.tokens.len() > self.tokens_possible as usize {
            let (tokens, possible) = (self.tokens.len(), self.tokens_possible);
            return Some(format!("{tokens} tokens of {possible} possible"));
        }
        too_long("tokens", self.tokens.len(), limits::TOKENS)
            .or_else(|| too_long("feature", channels, limits::CHANNELS))
            .or_else(|| {
                self.tokens
                    .iter()
                    .find_map(|token| self.token_violation(token, channels))
            })
    }

    fn token_violation(&self, token: &Token, channels: usize) -> Option<String> {
        let reported = |report: &ModalityReport| {
            report.modality == token.modality && report.stream == *token.stream
        };
        if token.feature.len() != channels {
            return Some(format!(
                "features of {channels} and of {} channels",
                token.feature.len()
            ));
        }
        if !self.modalities.iter().any(reported) {
            let stream = excerpt(&token.stream);
            return Some(format!(
                "a token of {} stream '{stream}', which has no report",
                token.modality
            ));
        }
        not_at_least_zero("importance", token.importance)
            .or_else(|| not_at_least_zero("scale", token.scale))
    }
}

fn report_violation(report: &ModalityReport) -> Option<String> {
    not_a_name("stream", &report.stream)
        .or_else(|| too_long("encoder", report.encoder.len(), limits::SHORT_TEXT))
        .or_else(|| {
            too_long(
                "encoder_sha256",
                report.encoder_sha256.len(),
                limits::SHORT_TEXT,
            )
        })
        .or_else(|| not_a_share("rho", report.rho))
        .or_else(|| not_a_share("gamma", report.gamma))
        .or_else(|| not_a_share("beta", report.beta))
        .or_else(|| not_a_share("mas", report.mas))
}

fn draft_violation(draft: &DraftReport) -> Option<String> {
    let (tokens, logprobs) = (draft.token_ids.len(), draft.logprobs.len());
    if logprobs != tokens && logprobs != tokens + 1 {
        return Some(format!(
            "{logprobs} log-probabilities for {tokens} draft tokens"
        ));
    }
    if let Some(logprob) = draft.logprobs.iter().find(|logprob| !logprob.is_finite()) {
        return Some(format!("a log-probability of {logprob}"));
    }
    too_long("draft text", draft.text.len(), limits::TEXT)
        .or_else(|| too_long("draft token_ids", tokens, limits::DRAFT_TOKENS))
        .or_else(|| too_long("draft model", draft.model.len(), limits::SHORT_TEXT))
        .or_else(|| not_a_share("confidence", draft.confidence))
}

fn too_long(field: &'static str, len: usize, max: usize) -> Option<String> {
    let checked = limits::check(field, len, max);
    checked.err().map(|error| error.to_string())
}

fn not_a_name(field: &str, value: &str) -> Option<String> {
    (!is_name(value)).then(|| {
        format!(
            "{field} '{}' is not 1 to 64 of A-Z, a-z, 0-9, '_' and '-'",
            excerpt(value)
        )
    })
}

fn not_a_share(field: &str, value: f32) -> Option<String> {
    (!(0.0..=1.0).contains(&value)).then(|| format!("{field} is {value}, not within 0 and 1"))
}

fn not_at_least_zero(field: &str, value: f32) -> Option<String> {
    (!(value.is_finite() && value >= 0.0))
        .then(|| format!("{field} is {value}, not a number of at least 0"))
}
