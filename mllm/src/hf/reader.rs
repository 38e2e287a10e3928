//! What a model reads: pictures and a question, as text, tokens, places and pixels.

use std::path::Path;

use ndarray::{ArrayD, IxDyn};
use tokenizers::Tokenizer;

use super::config::{Architecture, Model};
use super::networks::Places;
use super::picture::{Layout, Seen, rgb};
use super::qwen2_vl::Patcher;
use super::smolvlm::Tiler;
use super::template::Template;
use crate::config::{files, tokenizer};
use crate::{Error, Frame, Result};

/// Longest question, in bytes.
const MOST_PROMPT: usize = 1 << 16;

/// What a model reads of a [`Turn`](super::Turn) before it answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// The chat template's text, each picture being one token in it.
    pub text: String,
    /// Token ids, with as many for each picture as it has embeddings.
    pub token_ids: Vec<u32>,
    /// Each picture.
    pub pictures: Vec<Seen>,
    /// Time, row and column of each token; the three are the same for Idefics3.
    pub positions: Vec<[i64; 3]>,
    /// What the answer's first token has for all three.
    pub next: i64,
}

/// How pictures are seen.
#[derive(Debug)]
enum Eye {
    Tiles(Tiler),
    Patches(Patcher),
}

/// Reads pictures and questions for a model.
pub(crate) struct Reader {
    pub model: Model,
    eye: Eye,
    template: Template,
    tokenizer: Tokenizer,
    /// What text must not contain: tokens that are more than text.
    special: Vec<String>,
    /// The text of the image token.
    image: String,
}

impl Reader {
    /// Loads all that is not a network.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let model = Model::load(folder)?;
        let eye = match model.architecture {
            Architecture::Smolvlm => Eye::Tiles(Tiler::load(folder)?),
            Architecture::Qwen2Vl => Eye::Patches(Patcher::load(folder)?),
        };
        let template = Template::load(folder)?;
        let path = folder.join(files::TOKENIZER);
        let tokenizer = tokenizer(&path)?;
        let added = tokenizer.get_added_tokens_decoder().into_values();
        let special = added.filter(|token| token.special);
        let special = special.map(|token| token.content).collect();
        let image = tokenizer.id_to_token(model.image_token).ok_or_else(|| {
            let problem = format!("has no token {}, the image token", model.image_token);
            Error::broken(&path, problem)
        })?;
        Ok(Self {
            model,
            eye,
            template,
            tokenizer,
            special,
            image,
        })
    }

    /// Whether the tokenizer and the ids that are named fit a model with so many tokens.
    pub(crate) fn check(&self, folder: &Path, vocabulary: usize) -> Result<()> {
        let path = folder.join(files::TOKENIZER);
        let size = self.tokenizer.get_vocab_size(true);
        if size > vocabulary {
            let problem = format!("has {size} tokens, but the model knows {vocabulary}");
            return Err(Error::broken(&path, problem));
        }
        let mut named = self.model.ends.iter().chain(&self.model.suppressed);
        if let Some(id) = named.find(|&&id| id as usize >= vocabulary) {
            let problem = format!("names token {id}, but the vocabulary ends at {vocabulary}");
            return Err(Error::broken(&folder.join(files::CONFIG), problem));
        }
        Ok(())
    }

    /// How many numbers a place has.
    pub(crate) fn places(&self) -> Places {
        match &self.eye {
            Eye::Tiles(_) => Places::Plain,
            Eye::Patches(_) => Places::Three,
        }
    }

    /// The shape of the vision encoder's pixels; -1 where it is open.
    pub(crate) fn pixels(&self) -> Vec<i64> {
        match &self.eye {
            Eye::Tiles(tiler) => {
                let side = tiler.side() as i64;
                vec![-1, -1, 3, side, side]
            }
            Eye::Patches(patcher) => vec![-1, patcher.patch_values() as i64],
        }
    }

    /// A picture of one tile or one embedding.
    pub(crate) fn smallest(&self) -> Seen {
        let (shape, layout) = match &self.eye {
            Eye::Tiles(tiler) => {
                let (rows, columns) = (0, 0);
                let shape = vec![1, 3, tiler.side(), tiler.side()];
                (shape, Layout::Tiles { rows, columns })
            }
            Eye::Patches(patcher) => {
                let merge = patcher.merge();
                let shape = vec![merge * merge, patcher.patch_values()];
                (shape, Layout::Grid([1, merge, merge]))
            }
        };
        // Exports leave tiles out that are all 0.
        let pixels = ArrayD::from_elem(IxDyn(&shape), 0.5);
        Seen { pixels, layout }
    }

    /// The token ids of `text`, an answer, as a draft to verify.
    pub(crate) fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        if let Some(token) = self.special_in(text) {
            return Err(Error::Draft(format!("holds `{token}`, which is not text")));
        }
        let text = text.trim();
        if text.is_empty() {
            return Ok(Vec::new());
        }
        // Where the template ends in a word the answer goes on after a space.
        let rendered = self.template.render(0, "?")?;
        let space = match rendered.ends_with(char::is_whitespace) {
            true => "",
            false => " ",
        };
        let encoding = (self.tokenizer.encode_fast(format!("{space}{text}"), false))
            .map_err(|error| Error::Draft(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of an answer's tokens, as in [`Caption::text`].
    pub(crate) fn text(&self, token_ids: &[u32]) -> Result<String> {
        match self.tokenizer.decode(token_ids, true) {
            Ok(text) => Ok(text.trim().to_string()),
            Err(error) => Err(Error::Draft(format!("cannot be decoded: {error}"))),
        }
    }

    /// What the model reads when it is asked `prompt` about `images`.
    pub(crate) fn read(&self, images: &[Frame<'_>], prompt: &str) -> Result<Read> {
        if prompt.len() > MOST_PROMPT {
            let length = prompt.len();
            let problem = format!("is {length} bytes long, at most {MOST_PROMPT} are read");
            return Err(Error::Prompt(problem));
        }
        if let Some(token) = self.special_in(prompt) {
            let problem = format!("holds `{token}`, which is not text for this model");
            return Err(Error::Prompt(problem));
        }
        let mut pictures = Vec::with_capacity(images.len());
        let mut embeddings = 0;
        for image in images {
            let picture = rgb(image)?;
            let seen = match &self.eye {
                Eye::Tiles(tiler) => tiler.see(&picture)?,
                Eye::Patches(patcher) => patcher.see(&picture)?,
            };
            embeddings += self.embeddings(seen.layout);
            self.fits(embeddings)?;
            pictures.push(seen);
        }
        let text = self.template.render(images.len(), prompt)?;
        let token_ids = self.encoded(&text, &pictures)?;
        self.fits(token_ids.len())?;
        let (positions, next) = match &self.eye {
            Eye::Tiles(_) => {
                let length = token_ids.len() as i64;
                ((0..length).map(|at| [at; 3]).collect(), length)
            }
            Eye::Patches(patcher) => {
                let grids: Vec<_> = (pictures.iter())
                    .filter_map(|seen| match seen.layout {
                        Layout::Grid(grid) => Some(grid),
                        Layout::Tiles { .. } => None,
                    })
                    .collect();
                patcher.positions(&token_ids, self.model.image_token, &grids)
            }
        };
        Ok(Read {
            text,
            token_ids,
            pictures,
            positions,
            next,
        })
    }

    /// Embeddings of a picture.
    pub(crate) fn embeddings(&self, layout: Layout) -> usize {
        match (&self.eye, layout) {
            (Eye::Tiles(tiler), Layout::Tiles { rows, columns }) => tiler.tokens(rows, columns),
            (Eye::Patches(patcher), Layout::Grid(grid)) => patcher.tokens(grid),
            _ => 0,
        }
    }

    /// The ids of the template's `text`, each picture in it as long as its embeddings are many.
    fn encoded(&self, text: &str, pictures: &[Seen]) -> Result<Vec<u32>> {
        let image = self.image.as_str();
        let mut parts = text.split(image);
        let mut long = parts.next().unwrap_or_default().to_string();
        let shown = text.matches(image).count();
        if shown != pictures.len() {
            let given = pictures.len();
            let problem = format!("the chat template shows {shown} pictures of {given}");
            return Err(Error::Prompt(problem));
        }
        for (part, seen) in parts.zip(pictures) {
            match (&self.eye, seen.layout) {
                (Eye::Tiles(tiler), Layout::Tiles { rows, columns }) => {
                    long += &tiler.text(rows, columns, image);
                }
                (Eye::Patches(patcher), Layout::Grid(grid)) => {
                    long += &image.repeat(patcher.tokens(grid));
                }
                _ => {}
            }
            long += part;
        }
        let encoding = (self.tokenizer.encode_fast(long, true))
            .map_err(|error| Error::Prompt(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    pub(crate) fn fits(&self, tokens: usize) -> Result<()> {
        let most = self.model.longest;
        if tokens > most {
            return Err(Error::Prompt(format!(
                "pictures, prompt and answer are {tokens} tokens long, the model reads {most}: show fewer or smaller pictures"
            )));
        }
        Ok(())
    }

    fn special_in(&self, text: &str) -> Option<&str> {
        let mut special = self.special.iter().map(String::as_str);
        special.find(|token| text.contains(token))
    }
}
