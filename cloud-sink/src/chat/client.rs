//! HTTP to the server: one request, its tries, and what each failure means.

use std::{io::Read, sync::atomic::Ordering, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use serde::Deserialize;
use serde_json::Value;
use ureq::{
    Agent,
    http::{HeaderMap, HeaderValue, StatusCode, header},
};

use super::{Counters, ServerSection};
use crate::{Error, Fault, tls};

/// Longest answer of a server, in bytes.
const LONGEST_ANSWER: u64 = 1 << 20;
/// Longest excerpt of what a server says about a failure, in characters.
const LONGEST_EXCERPT: usize = 200;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait between two tries. A server that asks for more is not tried again for this delivery of a window.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A server, and the way to it.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    server: ServerSection,
    key: Option<Key>,
}

struct Key {
    text: String,
    header: HeaderValue,
    /// Where it is, for errors.
    place: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.place)
    }
}

/// Why a try failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub fault: Fault,
    /// Whether another try may succeed now.
    again: bool,
    /// How long the server asks to wait before it.
    wait: Option<Duration>,
    status: Option<StatusCode>,
}

impl Failure {
    fn new(fault: Fault, again: bool) -> Self {
        Self {
            fault,
            again,
            wait: None,
            status: None,
        }
    }

    fn passing(reason: String, again: bool) -> Self {
        Self::new(Fault::Passing(reason), again)
    }

    fn hopeless(reason: String, again: bool) -> Self {
        Self::new(Fault::Hopeless(reason), again)
    }
}

impl Client {
    /// # Errors
    /// The key cannot be read or sent.
    pub fn new(server: &ServerSection) -> Result<Self, Error> {
        let key = (server.api_key.as_ref()).map(|secret| {
            let text = secret.reveal("server.api_key")?;
            let mut header = HeaderValue::try_from(format!("Bearer {text}")).map_err(|_| {
                Error::Config(format!(
                    "server.api_key: {secret} holds more than one line of text"
                ))
            })?;
            header.set_sensitive(true);
            let place = secret.to_string();
            Ok::<_, Error>(Key {
                text,
                header,
                place,
            })
        });
        let tls = tls::trust(server.tls_ca.as_deref())
            .map_err(|problem| Error::Config(format!("server.tls_ca: {problem}")))?;
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(server.timeout()))
            .max_idle_connections_per_host(server.concurrency)
            .user_agent(concat!("msao/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self {
            agent,
            server: server.clone(),
            key: key.transpose()?,
        })
    }

    /// Sends `body` to a function of the server, again if that may help, until `read` makes something of the answer.
    pub fn post<T>(
        &self,
        path: &str,
        body: &Value,
        counters: &Counters,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let url = self.server.at(path);
        let body = body.to_string();
        let answer = self.tries(counters, || {
            let request = self
                .agent
                .post(&url)
                .header(header::CONTENT_TYPE, "application/json");
            let answer = self.answer(self.with_key(request).send(&body))?;
            read(&answer).map_err(|problem| Failure::hopeless(self.says(&problem), true))
        });
        answer.map_err(|failure| self.without_key(failure))
    }

    /// A failure of the key's is one of all windows. A server may forbid a single one, for what is in its picture: then it
    /// still gives the list of models for the key.
    fn without_key(&self, failure: Failure) -> Failure {
        let listed = || {
            self.answer(
                self.with_key(self.agent.get(self.server.at("models")))
                    .call(),
            )
        };
        let is = |failure: &Failure, code: StatusCode| failure.status == Some(code);
        let of_key = match &failure {
            failure if is(failure, StatusCode::UNAUTHORIZED) => true,
            failure if is(failure, StatusCode::FORBIDDEN) => listed().is_err_and(|other| {
                is(&other, StatusCode::UNAUTHORIZED) || is(&other, StatusCode::FORBIDDEN)
            }),
            _ => false,
        };
        match of_key {
            true => Failure {
                fault: Fault::Stopping(failure.fault.to_string()),
                ..failure
            },
            false => failure,
        }
    }

    /// The models that the server names; `None` if it has no list of them.
    pub fn models(&self) -> Result<Option<Vec<String>>, Error> {
        #[derive(Deserialize)]
        struct List {
            data: Vec<Model>,
        }
        #[derive(Deserialize)]
        struct Model {
            id: String,
        }
        let url = self.server.at("models");
        let asked = || self.answer(self.with_key(self.agent.get(&url)).call());
        let list = match self.tries(&Counters::default(), asked) {
            Ok(body) => serde_json::from_slice::<List>(&body).ok(),
            Err(Failure {
                status: Some(status),
                ..
            }) if matches!(status.as_u16(), 404 | 405 | 501) => None,
            Err(failure) => return Err(Error::Server(failure.fault.to_string())),
        };
        Ok(list.map(|list| list.data.into_iter().map(|model| model.id).collect()))
    }

    fn tries<T>(
        &self,
        counters: &Counters,
        once: impl Fn() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(self.server.retries)
            .with_jitter()
            .build();
        loop {
            counters.requests.fetch_add(1, Ordering::Relaxed);
            let failure = match once() {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let Some(pause) = pauses.next().filter(|_| failure.again) else {
                counters.failures.fetch_add(1, Ordering::Relaxed);
                return Err(failure);
            };
            let pause = pause.max(failure.wait.unwrap_or_default());
            tracing::debug!(?pause, "{}: tried again", failure.fault);
            std::thread::sleep(pause);
            counters.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn with_key<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.key {
            Some(key) => request.header(header::AUTHORIZATION, key.header.clone()),
            None => request,
        }
    }

    fn answer(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Vec<u8>, Failure> {
        let broken = |error: &dyn std::fmt::Display| {
            let problem = format!("its answer broke off: {error}");
            Failure::passing(self.says(&problem), true)
        };
        let answer = answer.map_err(|error| self.unreached(error))?;
        let (status, wait) = (answer.status(), retry_after(answer.headers()));
        let mut body = Vec::new();
        let reader = answer.into_body().into_reader();
        let read = reader.take(LONGEST_ANSWER + 1).read_to_end(&mut body);
        if status != StatusCode::OK {
            // What came of it is enough to tell why.
            return Err(self.refused(status, wait, &body));
        }
        if let Err(error) = read {
            return Err(broken(&error));
        }
        if body.len() as u64 > LONGEST_ANSWER {
            let problem = format!("its answer is longer than {LONGEST_ANSWER} bytes");
            return Err(Failure::hopeless(self.says(&problem), true));
        }
        Ok(body)
    }

    fn unreached(&self, error: ureq::Error) -> Failure {
        let untrusted = tls::is_untrusted(&error);
        let again = !untrusted && !matches!(error, ureq::Error::Tls(_) | ureq::Error::Rustls(_));
        let mend = match error {
            _ if untrusted => {
                "set server.tls_ca to the PEM file of the authority that signed its certificate, or correct the host's name in server.url"
            }
            ureq::Error::Timeout(_) => "raise server.timeout_s if it is only slow",
            _ => "is it running, and is server.url right?",
        };
        Failure::passing(self.says(&format!("{error}; {mend}")), again)
    }

    fn refused(&self, status: StatusCode, wait: Option<Duration>, body: &[u8]) -> Failure {
        let said = self.excerpt(body);
        let failure = |fault: Fault, again: bool| Failure {
            fault,
            again,
            wait,
            status: Some(status),
        };
        let say = |mend: &str| {
            let colon = if said.is_empty() { "" } else { ": " };
            self.says(&format!("it answers {status}{colon}{said}; {mend}"))
        };
        match status.as_u16() {
            401 | 403 => {
                let mend = match &self.key {
                    Some(key) => format!(
                        "put a key that it takes into {} (server.api_key)",
                        key.place
                    ),
                    None => "set server.api_key to the place of a key".to_owned(),
                };
                failure(Fault::Passing(say(&mend)), false)
            }
            404 => {
                let mend = format!(
                    "correct server.model (`{}`), or server.url",
                    self.server.model
                );
                failure(Fault::Passing(say(&mend)), false)
            }
            400 | 413 | 415 | 422 => {
                let mend = "has it a model of this name that sees pictures of this size?";
                failure(Fault::Hopeless(say(mend)), false)
            }
            408 | 425 | 429 | 500..=599 => {
                let what = wait.map_or_else(
                    || "it may pass".to_owned(),
                    |wait| format!("it asks to wait {} s", wait.as_secs()),
                );
                let soon = wait.is_none_or(|wait| wait <= LONGEST_PAUSE);
                failure(Fault::Passing(say(&what)), soon)
            }
            300..=399 => failure(Fault::Passing(say("correct server.url")), false),
            _ => failure(Fault::Passing(say("see the server's documentation")), false),
        }
    }

    /// What the server says of a failure, without the key.
    fn excerpt(&self, body: &[u8]) -> String {
        #[derive(Deserialize)]
        struct Told {
            error: Message,
        }
        #[derive(Deserialize)]
        struct Message {
            message: String,
        }
        let told = serde_json::from_slice::<Told>(body);
        let text = told.map_or_else(
            |_| String::from_utf8_lossy(body).into_owned(),
            |told| told.error.message,
        );
        let text = match &self.key {
            Some(key) => text.replace(&key.text, "(the key)"),
            None => text,
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        words
            .join(" ")
            .chars()
            .filter(|c| !c.is_control())
            .take(LONGEST_EXCERPT)
            .collect()
    }

    /// A problem, and whose it is.
    fn says(&self, problem: &str) -> String {
        format!("model server {}: {problem}", self.server.url)
    }
}

/// How long an answer asks to wait before another try, if in seconds; the form with a date is rare, and needs clocks that agree.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}
