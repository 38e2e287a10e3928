//! What is sent to the server and what comes back: chat completions.

use base64::{Engine, engine::general_purpose::STANDARD};
use broker::{FeatureWindow, identity::excerpt, limits};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ServerSection;
use crate::prompt;

/// The request about a window with its picture.
pub(super) fn request(server: &ServerSection, window: &FeatureWindow, jpeg: &[u8]) -> Value {
    let mut text = prompt::asked(&server.prompt, &window.prompt);
    if let Some(draft) = &window.draft {
        text += &server.draft.replace("{draft}", &draft.text);
    }
    let picture = format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg));
    let content = json!([
        { "type": "text", "text": text },
        { "type": "image_url", "image_url": { "url": picture } },
    ]);
    let mut request: Map<String, Value> = Map::new();
    request.insert("model".to_owned(), server.model.as_str().into());
    request.insert(
        "messages".to_owned(),
        json!([{ "role": "user", "content": content }]),
    );
    request.insert("max_tokens".to_owned(), server.max_tokens.into());
    request.insert("temperature".to_owned(), 0.into());
    request.insert("logprobs".to_owned(), true.into());
    request.extend(server.request.clone());
    request.into()
}

/// What the server says to a window.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// The text, without spaces and quotes around it.
    pub text: String,
    /// The geometric mean of its tokens' probabilities; `None` if the server gives none.
    pub confidence: Option<f32>,
    /// Tokens read and written; `None` if the server does not count.
    pub usage: Option<Usage>,
}

/// Tokens of a request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub prompt_tokens: u32,
    #[serde(default)]
    pub completion_tokens: u32,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    #[serde(default)]
    content: Option<Vec<Logprob>>,
}

#[derive(Deserialize)]
struct Logprob {
    logprob: f32,
}

/// Reads an answer; the usage that it tells even if there is no text in it.
pub(super) fn answer(body: &[u8]) -> (Result<Answer, String>, Option<Usage>) {
    let completion: Completion = match serde_json::from_slice(body) {
        Ok(completion) => completion,
        Err(error) => {
            let error = excerpt(&error.to_string());
            return (
                Err(format!("its answer is not a chat completion: {error}")),
                None,
            );
        }
    };
    let usage = completion.usage;
    let Some(choice) = completion.choices.into_iter().next() else {
        return (Err("its answer holds no choice".to_owned()), usage);
    };
    let content = choice.message.content.unwrap_or_default();
    let text = content.trim();
    let quoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let text = quoted
        .filter(|inner| !inner.contains('"'))
        .unwrap_or(text)
        .trim();
    if text.is_empty() {
        let reason = choice.finish_reason.unwrap_or_default();
        let mend = match reason.as_str() {
            "length" => ": it thought for too long, raise server.max_tokens",
            _ => "",
        };
        let reason = excerpt(&reason);
        return (
            Err(format!(
                "its answer is empty (finish_reason `{reason}`){mend}"
            )),
            usage,
        );
    }
    if text.len() > limits::TEXT {
        let (bytes, most) = (text.len(), limits::TEXT);
        let problem = format!(
            "its answer has {bytes} bytes, at most {most} are allowed: lower server.max_tokens"
        );
        return (Err(problem), usage);
    }
    let logprobs = choice.logprobs.and_then(|logprobs| logprobs.content);
    let confidence = logprobs.filter(|tokens| !tokens.is_empty()).map(|tokens| {
        let sum: f32 = tokens.iter().map(|token| token.logprob).sum();
        (sum / tokens.len() as f32).exp().clamp(0.0, 1.0)
    });
    let answer = Answer {
        text: text.to_owned(),
        confidence: confidence.filter(|confidence| confidence.is_finite()),
        usage,
    };
    (Ok(answer), usage)
}

#[cfg(test)]
mod tests {
    use broker::DraftReport;

    use super::*;

    fn server() -> ServerSection {
        ServerSection {
            model: "m".to_owned(),
            prompt: "Asked: {prompt}".to_owned(),
            draft: " Draft: {draft}".to_owned(),
            ..ServerSection::default()
        }
    }

    #[test]
    fn a_request_holds_prompt_draft_and_picture() {
        let mut window = crate::model::tests::window();
        let text = |request: &Value| request["messages"][0]["content"][0]["text"].clone();
        let request = request(&server(), &window, b"\xff\xd8");
        assert_eq!(text(&request), "Asked: describe the picture");
        let picture = &request["messages"][0]["content"][1];
        assert_eq!(picture["type"], "image_url");
        assert_eq!(picture["image_url"]["url"], "data:image/jpeg;base64,/9g=");
        let told = (
            &request["model"],
            &request["max_tokens"],
            &request["temperature"],
        );
        assert_eq!(told, (&json!("m"), &json!(200), &json!(0)));

        window.prompt = "How many {draft}?".to_owned();
        window.draft = Some(DraftReport {
            text: "two {prompt}".to_owned(),
            token_ids: vec![1],
            logprobs: vec![-0.1],
            confidence: 0.9,
            model: "d".to_owned(),
        });
        let mut server = server();
        server.request = Map::from_iter([("temperature".to_owned(), json!(0.5))]);
        let request = super::request(&server, &window, b"");
        // What is put in is not looked at again.
        assert_eq!(
            text(&request),
            "Asked: How many {draft}? Draft: two {prompt}"
        );
        assert_eq!(request["temperature"], 0.5);
        server.draft.clear();
        assert_eq!(
            text(&super::request(&server, &window, b"")),
            "Asked: How many {draft}?"
        );
    }

    #[test]
    fn an_answer_is_read_with_and_without_what_servers_leave_out() {
        let full = json!({
            "choices": [{
                "message": { "role": "assistant", "content": " \"A dog.\"\n" },
                "finish_reason": "stop",
                "logprobs": { "content": [{ "token": "A", "logprob": -0.5 }, { "token": "dog", "logprob": -1.5 }] },
            }],
            "usage": { "prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32 },
        });
        let (read, usage) = answer(full.to_string().as_bytes());
        let read = read.unwrap();
        assert_eq!(read.text, "A dog.");
        assert!((read.confidence.unwrap() - (-1.0_f32).exp()).abs() < 1e-6);
        assert_eq!(
            usage.map(|u| (u.prompt_tokens, u.completion_tokens)),
            Some((30, 2))
        );
        let least =
            br#"{"choices":[{"message":{"content":"a \"dog\" and a \"cat\""},"logprobs":null}]}"#;
        let read = answer(least).0.unwrap();
        assert_eq!(
            (read.text.as_str(), read.confidence, read.usage),
            ("a \"dog\" and a \"cat\"", None, None)
        );
        for (body, word) in [
            ("<html>", "not a chat completion"),
            ("{}", "not a chat completion"),
            (r#"{"choices":[]}"#, "no choice"),
            (
                r#"{"choices":[{"message":{"content":null},"finish_reason":"length"}]}"#,
                "server.max_tokens",
            ),
            (
                r#"{"choices":[{"message":{},"finish_reason":"content_filter"}]}"#,
                "content_filter",
            ),
        ] {
            let error = answer(body.as_bytes()).0.unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        let long =
            json!({ "choices": [{ "message": { "content": "x".repeat(limits::TEXT + 1) } }] });
        assert!(
            answer(long.to_string().as_bytes())
                .0
                .unwrap_err()
                .contains("lower server.max_tokens")
        );
    }
}
