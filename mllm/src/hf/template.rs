//! Chat templates: how a question and its pictures are put to the model, as the export says in Jinja.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error as JinjaError, ErrorKind, UndefinedBehavior, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::config::{json as read_json, optional};
use crate::config::{MOST_JSON, excerpt, read};
use crate::{Error, Result};

/// Steps that a template may take: some thousands are usual.
const FUEL: u64 = 1 << 20;
const NAME: &str = "chat";
const TOKENIZER: &str = "tokenizer_config.json";

/// The chat template of a folder.
pub(crate) struct Template {
    environment: Environment<'static>,
    /// Special tokens by the names that templates know them by.
    tokens: Map<String, Json>,
    path: PathBuf,
}

/// `tokenizer_config.json`.
#[derive(Deserialize)]
struct TokenizerFile {
    chat_template: Option<Json>,
    #[serde(flatten)]
    others: Map<String, Json>,
}

#[derive(Deserialize)]
struct TemplateFile {
    chat_template: String,
}

impl Template {
    /// Loads `chat_template.jinja`, `chat_template.json` or what `tokenizer_config.json` says, in this order.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let tokenizer: TokenizerFile = read_json(&folder.join(TOKENIZER))?;
        let (path, source) = source(folder, tokenizer.chat_template)?;
        let broken = |error: JinjaError| {
            let problem = format!("is not a chat template: {}", shown(&error));
            Error::broken(&path, problem)
        };
        // As transformers sets Jinja up.
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        let syntax = syntax.map_err(broken)?;
        environment.set_syntax(syntax);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", raise);
        (environment.add_template_owned(NAME, source)).map_err(broken)?;
        let tokens = (tokenizer.others.into_iter())
            .filter(|(key, _)| key.ends_with("_token"))
            .filter_map(|(key, token)| {
                let text = token.get("content").unwrap_or(&token).as_str()?;
                Some((key, text.into()))
            })
            .collect();
        let template = Self {
            environment,
            tokens,
            path,
        };
        // Most of what can go wrong does so with any question.
        template.render(1, "?").map_err(|error| {
            let problem = format!("fails as a chat template: {error}");
            Error::broken(&template.path, problem)
        })?;
        Ok(template)
    }

    /// What the model reads when a user shows so many pictures and asks `prompt`, up to where its answer begins.
    pub(crate) fn render(&self, pictures: usize, prompt: &str) -> Result<String> {
        let mut content = vec![json!({"type": "image"}); pictures];
        content.push(json!({"type": "text", "text": prompt}));
        let messages = json!([{"role": "user", "content": content}]);
        let (messages, tokens) = (
            Value::from(Serde(messages)),
            Value::from(Serde(&self.tokens)),
        );
        let context = context! { messages, add_generation_prompt => true, ..tokens };
        (self.environment.get_template(NAME))
            .and_then(|template| template.render(context))
            .map_err(|error| Error::Prompt(format!("the chat template fails: {}", shown(&error))))
    }
}

fn source(folder: &Path, in_tokenizer: Option<Json>) -> Result<(PathBuf, String)> {
    let path = folder.join("chat_template.jinja");
    if path.exists() {
        let source = String::from_utf8(read(&path, MOST_JSON)?)
            .map_err(|_| Error::broken(&path, "is not text in UTF-8"))?;
        return Ok((path, source));
    }
    let path = folder.join("chat_template.json");
    if let Some(file) = optional::<TemplateFile>(&path)? {
        return Ok((path, file.chat_template));
    }
    let path = folder.join(TOKENIZER);
    let source = match in_tokenizer {
        Some(Json::String(source)) => Some(source),
        // Several, by name.
        Some(Json::Array(all)) => all
            .iter()
            .find(|one| one["name"] == "default")
            .and_then(|one| one["template"].as_str().map(String::from)),
        _ => None,
    };
    match source {
        Some(source) => Ok((path, source)),
        None => Err(Error::file(
            &path,
            "holds no chat_template, and there is no chat_template.jinja or chat_template.json beside it",
            "add the template that the model was trained with",
        )),
    }
}

fn raise(message: String) -> Result<String, JinjaError> {
    Err(JinjaError::new(ErrorKind::InvalidOperation, message))
}

fn shown(error: &JinjaError) -> String {
    excerpt(&error.to_string())
}
