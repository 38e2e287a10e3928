//! The table `[server]`: an OpenAI-compatible server as the cloud's model.

use std::{path::PathBuf, time::Duration};

use broker::{Faults, connect::Secret, limits};
use serde::Deserialize;
use serde_json::{Map, Value};
use ureq::http::Uri;

use crate::{prompt, tls};

/// An OpenAI-compatible server as the cloud's model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSection {
    /// Base of its API, such as `http://127.0.0.1:8000/v1`.
    pub url: String,
    /// The name under which it has the model.
    pub model: String,
    /// Where its key is; left out: it asks for none.
    pub api_key: Option<Secret>,
    /// PEM file of the authorities that sign its certificate; left out: those that browsers trust.
    pub tls_ca: Option<PathBuf>,
    /// Seconds for an answer, from the connection to its last byte, 0.1 to 3600.
    pub timeout_s: f64,
    /// Further tries after one that may succeed another time, 0 to 10.
    pub retries: usize,
    /// Windows that it is asked about at once, 1 to 64.
    pub concurrency: usize,
    /// Tokens of an answer at most, 1 to 4096.
    pub max_tokens: u32,
    /// What it is asked of a picture; `{prompt}` stands for the window's prompt.
    pub prompt: String,
    /// What is added of a window with a draft, for which `{draft}` stands; empty: the draft is not shown.
    pub draft: String,
    /// How much alike the answer and the draft must be to confirm it, above 0 and at most 1; 1: the same words.
    pub similarity: f64,
    /// What it costs.
    pub price: Price,
    /// Further fields of each request, before those of the same name that it has anyway.
    pub request: Map<String, Value>,
}

/// Price of a million tokens, in any currency; at least 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// Of those that it reads.
    pub input: f64,
    /// Of those that it writes.
    pub output: f64,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            url: String::new(),
            model: String::new(),
            api_key: None,
            tls_ca: None,
            timeout_s: 60.0,
            retries: 3,
            concurrency: 4,
            max_tokens: 200,
            prompt: prompt::DEFAULT.to_owned(),
            draft: "\nA first answer: {draft}\nIf the first answer is right, reply with OK alone. If it is not, reply with a better one.".to_owned(),
            similarity: 1.0,
            price: Price::default(),
            request: Map::new(),
        }
    }
}

impl ServerSection {
    /// Notes values that are missing or out of their ranges.
    pub(crate) fn check(&self, faults: &mut Faults) {
        if let Some(problem) = self.problem_of_url() {
            faults.add("server.url", format!("server.url {problem}"));
        }
        if let Some(ca) = &self.tls_ca {
            faults.ensure(
                !self.url.starts_with("http://"),
                "server.tls_ca",
                "there is server.tls_ca, but server.url is not of https: leave one out, or correct the other",
            );
            let read = tls::trust(Some(ca)).map(drop);
            faults.take(
                "server.tls_ca",
                read.map_err(|problem| format!("server.tls_ca: {problem}")),
            );
        }
        let most = limits::SHORT_TEXT;
        faults.ensure(
            (1..=most).contains(&self.model.len()),
            "server.model",
            format!(
                "server.model is empty or longer than {most} bytes: set it to the model's name at the server"
            ),
        );
        let timeout = Some(self.timeout_s);
        faults.range("server.timeout_s", timeout, 0.1..=3600.0, "seconds");
        faults.range("server.retries", Some(self.retries), 0..=10, "");
        faults.range("server.concurrency", Some(self.concurrency), 1..=64, "");
        faults.range("server.max_tokens", Some(self.max_tokens), 1..=4096, "");
        let similarity = self.similarity;
        faults.ensure(
            similarity > 0.0 && similarity <= 1.0,
            "server.similarity",
            format!("server.similarity is {similarity}, not above 0 and at most 1"),
        );
        let Price { input, output } = self.price;
        faults.range("server.price.input", Some(input), 0.0..=1e6, "");
        faults.range("server.price.output", Some(output), 0.0..=1e6, "");
        for (key, text) in [
            ("server.prompt", &self.prompt),
            ("server.draft", &self.draft),
        ] {
            let (bytes, most) = (text.len(), limits::TEXT);
            let reason = format!("{key} has {bytes} bytes, at most {most} are allowed");
            faults.ensure(bytes <= most, key, reason);
        }
        prompt::check("server.prompt", &self.prompt, faults);
        faults.ensure(
            self.draft.is_empty() || self.draft.contains("{draft}"),
            "server.draft",
            "server.draft lacks {draft}, which stands for the draft; leave it empty to show none",
        );
    }

    /// What is wrong with the URL, which is not repeated: there may be a key in it.
    fn problem_of_url(&self) -> Option<&'static str> {
        let uri: Option<Uri> = self.url.parse().ok();
        let base = uri.as_ref().filter(|uri| uri.host().is_some());
        let Some(base) = base.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
        else {
            return Some(
                "is not a URL of http or https: set it to the base of the server's API, such as http://127.0.0.1:8000/v1",
            );
        };
        if base.authority().is_some_and(|a| a.as_str().contains('@')) || base.query().is_some() {
            return Some("holds a user or a query: name the key's place in server.api_key");
        }
        let whole = base.path().ends_with("/chat/completions");
        whole.then_some("ends in /chat/completions: set it to what is before that")
    }

    /// The URL of one of its functions.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.url.trim_end_matches('/'))
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = "url = 'http://localhost:8000/v1/'\nmodel = 'm'";

    fn checked(server: &ServerSection) -> Result<(), Faults> {
        let mut faults = Faults::default();
        server.check(&mut faults);
        faults.result()
    }

    #[test]
    fn a_short_table_is_enough_and_a_full_one_is_read() {
        let short: ServerSection = toml::from_str(SHORT).unwrap();
        checked(&short).unwrap();
        assert_eq!(short.at("models"), "http://localhost:8000/v1/models");
        let full = r#"
            url = "https://models.example/v1"
            model = "large"
            api_key = "env:KEY"
            timeout_s = 5
            retries = 0
            concurrency = 8
            max_tokens = 50
            prompt = "{prompt}"
            draft = ""
            similarity = 0.8
            price = { input = 0.15, output = 0.6 }
            request = { temperature = 0.2, chat_template_kwargs = { enable_thinking = false } }
        "#;
        let full: ServerSection = toml::from_str(full).unwrap();
        checked(&full).unwrap();
        assert_eq!(full.api_key, Some(Secret::Env("KEY".to_owned())));
        assert_eq!(full.request["temperature"], 0.2);
        assert_eq!(
            full.request["chat_template_kwargs"]["enable_thinking"],
            false
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("url = ''", "not a URL"),
            ("url = 'ftp://host/v1'", "not a URL"),
            ("url = 'localhost'", "not a URL"),
            ("url = 'http://me:hunter2@host/v1'", "server.api_key"),
            ("url = 'http://host/v1?key=hunter2'", "server.api_key"),
            ("url = 'http://host/v1/chat/completions'", "before that"),
            ("tls_ca = '/no/such.pem'", "server.tls_ca: /no/such.pem"),
            ("tls_ca = 'ca.pem'", "not of https"),
            ("model = ''", "server.model"),
            ("timeout_s = 0", "server.timeout_s"),
            ("timeout_s = nan", "server.timeout_s"),
            ("retries = 11", "server.retries is 11"),
            ("concurrency = 0", "server.concurrency is 0"),
            ("max_tokens = 0", "server.max_tokens is 0"),
            ("similarity = 0", "above 0"),
            ("price = { input = -1 }", "server.price.input is -1"),
            ("prompt = 'describe'", "{prompt}"),
            ("draft = 'is it right?'", "{draft}"),
        ] {
            let key = text.split(' ').next().unwrap();
            let rest: Vec<&str> = SHORT
                .lines()
                .filter(|line| !line.starts_with(key))
                .collect();
            let text = format!("{text}\n{}", rest.join("\n"));
            let server: ServerSection = toml::from_str(&text).unwrap();
            let error = checked(&server).unwrap_err().to_string();
            assert!(
                error.contains(word) && !error.contains("hunter2"),
                "{error}"
            );
        }
        let plain = toml::from_str::<ServerSection>(&format!("{SHORT}\napi_key = 'sk-hunter2'"));
        let error = plain.unwrap_err().message().to_owned();
        assert!(
            error.contains("env:NAME") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
