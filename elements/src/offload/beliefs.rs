//! Speculation across windows: drafts of one scene that say the same rest on one belief, and fall with it.
//!
//! While the cloud's word on a window is outstanding, later windows of the same scene are drafted on. If the cloud then
//! corrects it, every open draft that said the same of the same scene is stale and gets the corrected text as its second
//! draft, and so do drafts to come, until the cloud confirms one. What is sent to be verified stays the model's own
//! draft, so the verified text does not depend on any of this.

use std::collections::VecDeque;

use ::offload::context::{Context, Settings};
use broker::FeatureWindow;

/// Corrections that are remembered.
const REMEMBERED: usize = 32;

/// What a window says of what scene.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    text: String,
    /// Mean of its tokens' features, of length 1.
    scene: Vec<f32>,
}

impl Draft {
    /// `None` of a window without a draft or without tokens.
    pub fn of(window: &FeatureWindow) -> Option<Self> {
        let draft = window.draft.as_ref()?;
        let channels = window.tokens.first()?.feature.len();
        let mut scene = vec![0.0; channels];
        for token in &window.tokens {
            for (sum, value) in scene.iter_mut().zip(&*token.feature) {
                *sum += f32::from(*value) * token.scale;
            }
        }
        let length = scene.iter().map(|v| v * v).sum::<f32>().sqrt();
        if length > 0.0 {
            scene.iter_mut().for_each(|value| *value /= length);
        }
        Some(Self {
            text: draft.text.clone(),
            scene,
        })
    }

    /// Whether both say the same of the same scene.
    fn agrees(&self, other: &Self, near: f32) -> bool {
        let cosine: f32 = (self.scene.iter().zip(&other.scene))
            .map(|(a, b)| a * b)
            .sum();
        self.text == other.text && self.scene.len() == other.scene.len() && cosine >= near
    }
}

struct Open<T> {
    seq: u64,
    draft: Draft,
    /// What it takes to publish it again.
    rest: T,
    /// Its text by now, and the context's revision of it.
    text: String,
    revision: u32,
}

/// The beliefs of one rig.
pub(super) struct Beliefs<T> {
    /// Cosine from which two windows are of one scene; above 1 none are.
    near: f32,
    context: Context,
    open: VecDeque<Open<T>>,
    /// What was corrected, and to what.
    corrected: VecDeque<(Draft, String)>,
}

impl<T> Beliefs<T> {
    pub fn new(near: f32) -> Result<Self, ::offload::Error> {
        Ok(Self {
            near,
            context: Context::new(SETTINGS)?,
            open: VecDeque::new(),
            corrected: VecDeque::new(),
        })
    }

    /// What a correction says of this draft, if there was one of the same words on the same scene.
    pub fn correction(&self, draft: &Draft) -> Option<String> {
        let mut newest_first = self.corrected.iter().rev();
        let same = newest_first.find(|(wrong, _)| wrong.agrees(draft, self.near));
        same.map(|(_, text)| text.clone())
    }

    /// A window was drafted whose last word is to come. Its second draft, if what it rests on was wrong already.
    pub fn drafted(&mut self, seq: u64, draft: Draft, rest: T) -> Option<String> {
        let correction = self.correction(&draft);
        let (open, near) = (&self.open, self.near);
        let reads = |earlier| {
            open.iter()
                .any(|other| other.seq == earlier && other.draft.agrees(&draft, near))
        };
        // Windows come in order; one that comes again is passed over.
        self.context.drafted_reading(seq, reads).ok()?;
        if self.open.len() == SETTINGS.open {
            self.open.pop_front();
        }
        self.open.push_back(Open {
            seq,
            text: draft.text.clone(),
            draft,
            rest,
            revision: 0,
        });
        let correction = correction?;
        self.context.misled(seq).ok()?;
        let second = self.context.redrafted(seq).ok()?;
        let open = self.open.back_mut()?;
        open.revision = second.revision;
        open.text.clone_from(&correction);
        Some(correction)
    }

    /// The cloud's word on a window. Which windows get this text as their second draft, earlier ones first.
    pub fn answered(&mut self, seq: u64, confirmed: bool, text: &str) -> Vec<(u64, &T)> {
        let Some(window) = self.close(seq) else {
            return Vec::new();
        };
        // Nothing stays stale between calls, and the cloud's word is about features: it holds whatever was drafted.
        let stands = confirmed || window.draft.text == text;
        let _ = self.context.answered(seq, window.revision, stands);
        let near = self.near;
        (self.corrected).retain(|(wrong, _)| !wrong.agrees(&window.draft, near));
        if stands {
            return Vec::new();
        }
        if self.corrected.len() == REMEMBERED {
            self.corrected.pop_front();
        }
        (self.corrected).push_back((window.draft, text.to_owned()));
        let stale: Vec<u64> = self.context.again().collect();
        let mut again = Vec::new();
        for seq in stale {
            let Some(open) = self.open.iter_mut().find(|open| open.seq == seq) else {
                continue;
            };
            let Ok(second) = self.context.redrafted(seq) else {
                continue;
            };
            // There is one second draft on the wire: next comes what the cloud says of the window itself.
            if open.revision == 0 {
                text.clone_into(&mut open.text);
                again.push(seq);
            }
            open.revision = second.revision;
        }
        (self.open.iter())
            .filter(|open| again.contains(&open.seq))
            .map(|open| (open.seq, &open.rest))
            .collect()
    }

    /// Nothing more is to come for the window; its text by now.
    pub fn ended(&mut self, seq: u64) -> Option<String> {
        let _ = self.context.kept(seq);
        self.close(seq).map(|open| open.text)
    }

    /// Nothing more is to come for any window.
    pub fn forget(&mut self) {
        for open in self.open.drain(..) {
            let _ = self.context.kept(open.seq);
        }
    }

    fn close(&mut self, seq: u64) -> Option<Open<T>> {
        let at = self.open.iter().position(|open| open.seq == seq)?;
        self.open.remove(at)
    }
}

/// Windows that a draft may rest on: as many as are open at most, as those that wait may be old.
const SETTINGS: Settings = Settings {
    depth: 256,
    live: 256,
    open: 256,
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A draft of a scene in one of four directions.
    fn draft(text: &str, scene: usize) -> Draft {
        let mut direction = vec![0.0; 4];
        direction[scene] = 1.0;
        Draft {
            text: text.to_owned(),
            scene: direction,
        }
    }

    fn beliefs() -> Beliefs<()> {
        Beliefs::new(0.9).unwrap()
    }

    fn again(beliefs: &mut Beliefs<()>, seq: u64, text: &str) -> Vec<u64> {
        let again = beliefs.answered(seq, false, text);
        again.into_iter().map(|(seq, ())| seq).collect()
    }

    #[test]
    fn a_correction_falls_on_what_said_the_same_of_the_same_scene_and_is_open() {
        let mut beliefs = beliefs();
        for (seq, text, scene) in [
            (0, "snow", 0),
            (1, "snow", 0),
            (2, "snow", 1),
            (3, "sand", 0),
            (5, "snow", 0),
            (6, "snow", 0),
        ] {
            assert_eq!(beliefs.drafted(seq, draft(text, scene), ()), None);
        }
        // The answer on 5 came before that on 0.
        assert!(beliefs.answered(5, true, "snow").is_empty());
        assert_eq!(again(&mut beliefs, 0, "a house"), [1, 6]);
        assert_eq!(beliefs.ended(6), Some("a house".to_owned()));
        assert_eq!(beliefs.ended(2), Some("snow".to_owned()));
        // What the cloud says of a window itself is the last word, and comes once.
        assert!(again(&mut beliefs, 1, "a barn").is_empty());
        assert!(again(&mut beliefs, 1, "a barn").is_empty());
        let counts = beliefs.context.counts();
        assert_eq!((counts.redrafted, counts.corrected, counts.open), (2, 2, 1));
    }

    #[test]
    fn drafts_to_come_are_corrected_until_the_cloud_confirms_one() {
        let mut beliefs = beliefs();
        beliefs.drafted(0, draft("snow", 0), ());
        again(&mut beliefs, 0, "a house");
        let house = Some("a house".to_owned());
        assert_eq!(beliefs.correction(&draft("snow", 0)), house);
        assert_eq!(beliefs.correction(&draft("snow", 1)), None);
        assert_eq!(beliefs.drafted(1, draft("snow", 0), ()), house);
        assert_eq!(beliefs.drafted(2, draft("snow", 0), ()), house);
        // There is one second draft, whatever is corrected after it.
        assert!(again(&mut beliefs, 1, "a barn").is_empty());
        assert_eq!(
            beliefs.drafted(3, draft("snow", 0), ()),
            Some("a barn".to_owned())
        );
        beliefs.answered(2, true, "snow");
        assert_eq!(beliefs.drafted(4, draft("snow", 0), ()), None);
    }

    #[test]
    fn memory_is_bounded_and_what_comes_twice_is_passed_over() {
        let mut beliefs = beliefs();
        for seq in 0..1000 {
            beliefs.drafted(seq, draft(&format!("{seq}"), 0), ());
            beliefs.drafted(seq, draft("again", 0), ());
            if seq % 2 == 0 {
                again(&mut beliefs, seq, "other");
            }
        }
        assert_eq!(
            (beliefs.open.len(), beliefs.corrected.len()),
            (256, REMEMBERED)
        );
    }
}
