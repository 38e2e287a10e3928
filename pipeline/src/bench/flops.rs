//! Floating-point operations in the cloud, by what was really run there; those of each part are counted from the models' graphs by
//! `bench/flops.py`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::protocol::Record;

/// What that writes.
#[derive(Clone, Debug, Deserialize)]
pub struct Flops {
    /// The image encoder, a picture.
    vision: f64,
    /// The full model's projectors, a token.
    projector: Projectors,
    /// Its linear layers, a token.
    token: f64,
    /// Its attention, for each token that a token looks at.
    attention: f64,
    /// Tokens of a picture.
    picture: usize,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Projectors {
    video: f64,
    audio: f64,
    sensor: f64,
}

impl Flops {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let at = || format!("operations of the models, {}", path.display());
        let text = std::fs::read_to_string(path).with_context(at)?;
        serde_json::from_str(&text).with_context(at)
    }

    /// Of one window, as if it had been alone in its batch; the prompt is `prompt` tokens long. A window of which no
    /// answer came has none.
    pub fn of(&self, record: &Record, prompt: usize) -> f64 {
        let (Some(_), Some(last)) = (record.cloud, &record.last) else {
            return 0.0;
        };
        let sent = |name: &str| record.tokens.get(name).copied().unwrap_or(0);
        let video = if record.keyframe {
            self.picture
        } else {
            sent("video")
        };
        let (audio, sensor) = (sent("audio"), sent("sensor"));
        let encoder = if record.keyframe { self.vision } else { 0.0 };
        let projected = video as f64 * self.projector.video
            + audio as f64 * self.projector.audio
            + sensor as f64 * self.projector.sensor;
        let prefix = video + audio + sensor + prompt;
        let (pass, from) = match (record.verified, &record.draft) {
            // All of the draft in one pass; then one step for each token behind what was accepted.
            (true, Some(draft)) => (prefix + draft.tokens, prefix + record.accepted.unwrap_or(0)),
            _ => (prefix, prefix),
        };
        let until = (prefix + last.tokens).max(from);
        let reads = pass + until - from;
        let looks = sum(pass) + sum(until) - sum(from);
        encoder + projected + reads as f64 * self.token + looks * self.attention
    }
}

/// 1 + 2 + … + n.
fn sum(n: usize) -> f64 {
    n as f64 * (n as f64 + 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::protocol::Had;

    fn had(tokens: usize) -> Had {
        Had {
            after: 0.1,
            text: String::new(),
            tokens,
        }
    }

    #[test]
    fn what_was_run_is_counted() {
        let flops = Flops {
            vision: 1e6,
            projector: Projectors {
                video: 100.0,
                audio: 10.0,
                sensor: 1.0,
            },
            token: 1000.0,
            attention: 1.0,
            picture: 4,
        };
        let mut record = Record {
            item: 0,
            arrived: 0.0,
            decision: "offload".to_owned(),
            deferred: false,
            draft: None,
            last: Some(had(3)),
            accepted: None,
            tokens: BTreeMap::from([("video".to_owned(), 0), ("audio".to_owned(), 2)]),
            keyframe: true,
            verified: false,
            bytes: 0,
            cloud: Some(0.1),
        };
        // 4 + 2 + 4 tokens before the answer, 3 of it.
        let captioned = flops.of(&record, 4);
        assert_eq!(captioned, 1e6 + 400.0 + 20.0 + 13_000.0 + 91.0);
        record.keyframe = false;
        assert_eq!(flops.of(&record, 4), 20.0 + 9000.0 + 45.0);
        // Verified: 6 + 5 in one pass, then the 8th and 9th of what stands at the end.
        record.verified = true;
        record.draft = Some(had(5));
        record.accepted = Some(1);
        assert_eq!(flops.of(&record, 4), 20.0 + 13_000.0 + 66.0 + 8.0 + 9.0);
        // A draft that stood.
        (record.accepted, record.last) = (Some(5), Some(had(5)));
        assert_eq!(flops.of(&record, 4), 20.0 + 11_000.0 + 66.0);
        record.cloud = None;
        assert_eq!(flops.of(&record, 4), 0.0);
    }
}
