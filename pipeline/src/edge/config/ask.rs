//! `prompt`, `prompts` and `[ask]`: what is asked, and how it is answered.

use broker::{Faults, limits};
use serde::Deserialize;

use super::Config;

/// Most standing prompts: each costs a pass of the model.
const MOST_PROMPTS: usize = 64;

/// How questions are answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    /// An answer of the edge with at least this confidence is final and nothing of it is sent; 0 to 1, or above 1 for
    /// never.
    pub sure: f64,
    /// The standing `prompts` are asked of each so many-th drafted window, at least 1.
    pub every: u64,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            sure: 0.9,
            every: 5,
        }
    }
}

impl Ask {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.range("ask.sure", Some(self.sure), 0.0..=2.0, "");
        faults.ensure(
            self.every >= 1,
            "ask.every",
            "ask.every is 0; it is at least 1",
        );
    }
}

impl Config {
    pub(super) fn check_prompts(&self, faults: &mut Faults) {
        let prompt = self.prompt.as_ref().map_or(0, String::len);
        let most = limits::QUESTION;
        faults.ensure(
            prompt <= most,
            "prompt",
            format!("prompt has {prompt} bytes; it has at most {most}"),
        );
        let standing = self.prompts.len();
        faults.ensure(
            standing <= MOST_PROMPTS,
            "prompts",
            format!("there are {standing} prompts; at most {MOST_PROMPTS} can stand"),
        );
        for (index, prompt) in self.prompts.iter().enumerate() {
            let bytes = prompt.len();
            faults.ensure(
                (1..=most).contains(&bytes),
                format!("prompts[{index}]"),
                format!("one of prompts has {bytes} bytes; it has 1 to {most}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fault;
    use super::{MOST_PROMPTS, limits};

    #[test]
    fn mistakes_are_named() {
        let long = "a".repeat(limits::QUESTION + 1);
        let camera = "video = [{ source = 'rtsp://camera/1' }]";
        for (text, word) in [
            (format!("prompt = '{long}'"), "prompt has"),
            (format!("prompts = ['{long}']"), "one of prompts has"),
            ("prompts = ['']".to_owned(), "one of prompts has 0 bytes"),
            (
                format!("prompts = [{}]", "'a', ".repeat(MOST_PROMPTS + 1)),
                "can stand",
            ),
            ("ask = { sure = 3 }".to_owned(), "ask.sure is 3"),
            ("ask = { every = 0 }".to_owned(), "ask.every is 0"),
        ] {
            let error = fault(&format!("{camera}\n{text}"));
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
