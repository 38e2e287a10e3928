//! A model of pictures and text, as exported for Hugging Face, as the verifier: it looks at a window's keyframe.

use std::path::Path;

use broker::{DraftReport, Faults, FeatureWindow, caption::Verdict};
use image::RgbImage;
use mllm::{
    Agreement, Error as ModelError, Frame, Verified,
    hf::{ChatModel, Turn, Variant},
};
use serde::Deserialize;

use crate::{Config, Error, Fault, Verifier, keyframe::picture, prompt};

/// Most tokens of an answer.
const MOST_TOKENS: usize = 4096;

/// How a model of pictures and text is run and asked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChatSection {
    /// Which of the folder's files are run.
    pub variant: Variant,
    /// Tokens of an answer, 1 to 4096; a longer one is cut.
    pub max_tokens: usize,
    /// What it is asked; `{prompt}` in it is the window's.
    pub prompt: String,
}

impl Default for ChatSection {
    fn default() -> Self {
        Self {
            variant: Variant::default(),
            max_tokens: 64,
            prompt: prompt::DEFAULT.to_owned(),
        }
    }
}

impl ChatSection {
    pub(crate) fn check(&self, faults: &mut Faults) {
        let tokens = Some(self.max_tokens);
        faults.range("chat.max_tokens", tokens, 1..=MOST_TOKENS, "");
        prompt::check("chat.prompt", &self.prompt, faults);
    }
}

/// A model of pictures and text, with its rule of agreement.
#[derive(Debug)]
pub struct LookingModel {
    model: ChatModel,
    name: String,
    agreement: Agreement,
    chat: ChatSection,
}

/// A window as the model is shown it.
struct Shown {
    picture: RgbImage,
    prompt: String,
    /// The draft in the model's tokens.
    draft: Option<Vec<u32>>,
}

impl LookingModel {
    /// Loads the model of `config`, which is called as its folder is.
    ///
    /// # Errors
    /// A file is missing, corrupt or does not fit the others; the provider is not there; or the rule needs a factor that
    /// the configuration does not give.
    pub fn load(config: &Config) -> Result<Self, Error> {
        let (folder, options) = config.folder()?;
        let (name, agreement) = Self::rule(config, folder)?;
        let chat = config.chat.clone().unwrap_or_default();
        Ok(Self {
            model: ChatModel::load(folder, chat.variant, options)?,
            name,
            agreement,
            chat,
        })
    }

    /// What the model in `folder` is called, and its rule.
    pub(crate) fn rule(config: &Config, folder: &Path) -> Result<(String, Agreement), Error> {
        if config.encoders.is_some() {
            let reason = "encoders are of a model that reads the edge's features, and this one looks at pictures: leave them out";
            return Err(Error::Config(reason.to_owned()));
        }
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let agreement = config.agreement(&name, None)?;
        Ok((name.into_owned(), agreement))
    }

    /// `None` if there is nothing to be captioned.
    fn shown(&self, window: &FeatureWindow) -> Result<Option<Shown>, Fault> {
        let Some(jpeg) = &window.keyframe else {
            return match window.tokens.is_empty() {
                true => Ok(None),
                false => Err(Fault::Hopeless(format!(
                    "it holds no keyframe, and {} looks at pictures alone: set `payload = \"keyframes\"` in the edge's configuration",
                    self.name
                ))),
            };
        };
        Ok(Some(Shown {
            picture: picture(jpeg).map_err(Fault::Hopeless)?,
            prompt: prompt::asked(&self.chat.prompt, &window.prompt),
            draft: (window.draft.as_ref()).and_then(|draft| self.draft(draft)),
        }))
    }

    /// A draft that this model could have written; any other is answered anew.
    fn draft(&self, draft: &DraftReport) -> Option<Vec<u32>> {
        let tokens = self.model.tokens(&draft.text).ok()?;
        (1..=self.chat.max_tokens)
            .contains(&tokens.len())
            .then_some(tokens)
    }

    fn verdict(&self, window: &FeatureWindow, shown: &Shown, verified: Verified) -> Verdict {
        let Verified {
            caption,
            accepted,
            whole,
        } = verified;
        let draft = window.draft.as_ref();
        let confirmed = whole && draft.is_some_and(|draft| draft.text.trim() == caption.text);
        // Of the edge's tokens, which are others, as large a part.
        let own = shown.draft.as_ref().map_or(0, Vec::len);
        let accepted = |draft: &DraftReport| match own {
            0 => 0,
            own => draft.token_ids.len() * accepted / own,
        };
        Verdict {
            confirmed,
            tokens: caption.token_ids.len() as u32,
            confidence: caption.confidence(),
            accepted_tokens: draft.map(|draft| accepted(draft) as u32),
            text: match draft {
                Some(draft) if confirmed => draft.text.clone(),
                _ => caption.text,
            },
            model: self.name.clone(),
        }
    }
}

impl Verifier for LookingModel {
    fn model(&self) -> &str {
        &self.name
    }

    fn provider(&self) -> String {
        self.model.provider().to_string()
    }

    fn verify(&mut self, window: &FeatureWindow) -> Result<Option<Verdict>, Fault> {
        let mut verdicts = self.verify_all(std::slice::from_ref(window));
        verdicts.pop().unwrap_or(Ok(None))
    }

    fn verify_all(&mut self, windows: &[FeatureWindow]) -> Vec<Result<Option<Verdict>, Fault>> {
        let shown: Vec<Result<Option<Shown>, Fault>> =
            windows.iter().map(|window| self.shown(window)).collect();
        let frames: Vec<Result<Option<[Frame<'_>; 1]>, Fault>> = (shown.iter())
            .map(|shown| {
                let shown = shown.as_ref().map_err(Clone::clone)?;
                shown.as_ref().map(frame).transpose()
            })
            .collect();
        let turns: Vec<Turn<'_>> = (shown.iter().zip(&frames))
            .filter_map(|(shown, frame)| {
                let shown = shown.as_ref().ok()?.as_ref()?;
                Some(Turn {
                    images: frame.as_ref().ok()?.as_ref()?,
                    prompt: &shown.prompt,
                    draft: shown.draft.as_deref(),
                })
            })
            .collect();
        let mut verified = (self.model)
            .verify_all(&turns, self.chat.max_tokens, self.agreement)
            .into_iter();
        let judged: Vec<Result<Option<Verified>, Fault>> = (frames.iter())
            .map(|frame| match frame {
                Ok(Some(_)) => verified.next().transpose().map_err(fault),
                Ok(None) => Ok(None),
                Err(fault) => Err(fault.clone()),
            })
            .collect();
        (windows.iter().zip(&shown).zip(judged))
            .map(|((window, shown), judged)| {
                let Ok(Some(shown)) = shown else {
                    return judged.map(|_| None);
                };
                Ok(judged?.map(|verified| self.verdict(window, shown, verified)))
            })
            .collect()
    }
}

fn frame(shown: &Shown) -> Result<[Frame<'_>; 1], Fault> {
    let picture = &shown.picture;
    let frame = Frame::rgb(picture.width(), picture.height(), picture.as_raw());
    frame.map(|frame| [frame]).map_err(fault)
}

fn fault(error: ModelError) -> Fault {
    match error {
        // The same window would fail the same way.
        ModelError::Frame(_) | ModelError::Prompt(_) | ModelError::Draft(_) => {
            Fault::Hopeless(error.to_string())
        }
        _ => Fault::Passing(error.to_string()),
    }
}
