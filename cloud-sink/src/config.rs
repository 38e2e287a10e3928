//! Configuration of a cloud worker.

use std::{path::PathBuf, time::Duration};

use broker::{ConnectConfig, StreamsConfig, consumer::ConsumerConfig, limits, subjects};
use mllm::{Agreement, Provider};
use serde::Deserialize;

use crate::{ChatSection, Error, thread::Batching};

/// Most threads of a model.
const MOST_THREADS: usize = 1024;
/// Most times to wait between tries.
const MOST_BACKOFFS: usize = 64;
/// Most windows that a worker may have in hand.
const MOST_IN_HAND: usize = 1024;

/// When the full model agrees with a token of a draft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// When it is the model's own choice.
    Exact,
    /// When its probability is within a factor of the model's choice.
    #[default]
    Margin,
}

/// A cloud worker.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of the full model: ours, or one of pictures and text as exported for Hugging Face.
    pub model: PathBuf,
    /// How one of pictures and text is run and asked.
    #[serde(default)]
    pub chat: Option<ChatSection>,
    /// Folder of the edge model, whose vision encoder reads keyframes; without it a window with one is a dead letter.
    #[serde(default)]
    pub encoders: Option<PathBuf>,
    /// What runs it.
    #[serde(default)]
    pub provider: Provider,
    /// CPU threads within an operator; 0 is one for each core.
    #[serde(default = "one")]
    pub threads: usize,
    /// The worker's name in its status: 1 to 64 of `A-Z a-z 0-9 _ -`.
    #[serde(default = "default_worker")]
    pub worker: String,
    /// When the model agrees with a token of a draft.
    #[serde(default)]
    pub agreement: Rule,
    /// The factor of [`Rule::Margin`], above 0 and at most 1; the model's calibrated one by default.
    #[serde(default)]
    pub margin: Option<f32>,
    /// How to reach the broker.
    #[serde(default)]
    pub nats: ConnectConfig,
    /// Bounds of what the broker stores.
    #[serde(default)]
    pub streams: StreamsConfig,
    /// How windows are taken from the broker.
    #[serde(default)]
    pub consumer: ConsumerSection,
    /// Which windows are verified together.
    #[serde(default)]
    pub batch: BatchSection,
}

/// Which windows are verified together.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSection {
    /// At most so many: 1 to 64.
    pub max: usize,
    /// Milliseconds, 0 to 1000, that an idle model waits at most for windows that are on their way. A window behind which
    /// no other waits in the broker goes at once.
    pub wait_ms: f64,
}

impl Default for BatchSection {
    fn default() -> Self {
        Self {
            max: 4,
            wait_ms: 5.0,
        }
    }
}

impl BatchSection {
    /// Windows in hand at a time: a batch, and the next one, so that the model finds it when it is done.
    fn in_hand(&self) -> usize {
        if self.max == 1 { 1 } else { 2 * self.max }
    }

    pub(crate) fn batching(&self) -> Batching {
        Batching {
            max: self.max,
            wait: Duration::from_secs_f64(self.wait_ms / 1e3),
        }
    }
}

fn one() -> usize {
    1
}

fn default_worker() -> String {
    "cloud".to_owned()
}

/// How windows are taken from the broker.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerSection {
    /// The name under which the broker keeps what was done; workers of one name share the work.
    pub durable: String,
    /// Seconds without a sign of life after which a window goes to another worker, at least 0.1.
    pub ack_wait_s: f64,
    /// After this many failed tries a window goes to the dead letters, at least 1.
    pub max_deliver: u32,
    /// Windows in hand at a time, 1 to 1024; left out: two batches, or one window where a batch is one. More hide a link with a
    /// long round trip from a fast model, and keep windows from other workers.
    pub in_hand: Option<usize>,
    /// Seconds to wait after the 1st, 2nd, ... failed try; the last holds for all further ones.
    pub backoff_s: Vec<f64>,
    /// Seconds that the window in hand may still take when the worker is stopped.
    pub grace_s: f64,
}

impl Default for ConsumerSection {
    fn default() -> Self {
        let default = ConsumerConfig::default();
        Self {
            durable: default.durable,
            ack_wait_s: default.ack_wait.as_secs_f64(),
            max_deliver: default.max_deliver,
            in_hand: None,
            backoff_s: default.backoff.iter().map(Duration::as_secs_f64).collect(),
            grace_s: default.grace.as_secs_f64(),
        }
    }
}

impl Config {
    /// A worker with the model in `model` and the defaults for everything else.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            chat: None,
            encoders: None,
            provider: Provider::default(),
            threads: one(),
            worker: default_worker(),
            agreement: Rule::default(),
            margin: None,
            nats: ConnectConfig::default(),
            streams: StreamsConfig::default(),
            consumer: ConsumerSection::default(),
            batch: BatchSection::default(),
        }
    }

    /// Checks what does not need the model, and gives the consumer's part in the broker's terms.
    ///
    /// # Errors
    /// A value is out of its range, or contradicts another.
    pub fn check(&self) -> Result<ConsumerConfig, Error> {
        let fail = |reason: String| Err(Error::Config(reason));
        if let Err(error) = subjects::cloud_status(&self.worker) {
            return fail(error.to_string());
        }
        if self.margin.is_some() && self.agreement == Rule::Exact {
            return fail("margin is given, but agreement is `exact`: leave one out".to_owned());
        }
        if self
            .margin
            .is_some_and(|margin| !(margin > 0.0 && margin <= 1.0))
        {
            return fail("margin is not above 0 and at most 1".to_owned());
        }
        if let Some(chat) = &self.chat {
            chat.check()?;
        }
        if self.threads > MOST_THREADS {
            let threads = self.threads;
            return fail(format!("threads is {threads}, not 0 to {MOST_THREADS}"));
        }
        if !(1..=64).contains(&self.batch.max) {
            return fail(format!("batch.max is {}, not 1 to 64", self.batch.max));
        }
        if !(0.0..=1000.0).contains(&self.batch.wait_ms) {
            let wait = self.batch.wait_ms;
            return fail(format!("batch.wait_ms is {wait}, not 0 to 1000"));
        }
        let ConsumerSection {
            durable,
            ack_wait_s,
            max_deliver,
            in_hand,
            backoff_s,
            grace_s,
        } = &self.consumer;
        if durable.len() > limits::NAME {
            let bytes = durable.len();
            return fail(format!(
                "consumer.durable has {bytes} bytes, at most {} are allowed",
                limits::NAME
            ));
        }
        if backoff_s.len() > MOST_BACKOFFS {
            let times = backoff_s.len();
            return fail(format!(
                "consumer.backoff_s has {times} times, at most {MOST_BACKOFFS} are allowed"
            ));
        }
        if *max_deliver == 0 {
            return fail("consumer.max_deliver is 0; it is at least 1".to_owned());
        }
        let at_once = in_hand.unwrap_or_else(|| self.batch.in_hand());
        if !(1..=MOST_IN_HAND).contains(&at_once) {
            return fail(format!(
                "consumer.in_hand is {at_once}, not 1 to {MOST_IN_HAND}"
            ));
        }
        let seconds = |name: &str, value: f64, least: f64| {
            if (least..=86_400.0).contains(&value) {
                return Ok(Duration::from_secs_f64(value));
            }
            Err(Error::Config(format!(
                "consumer.{name} is {value}, not {least} to 86400 seconds"
            )))
        };
        Ok(ConsumerConfig {
            durable: durable.clone(),
            ack_wait: seconds("ack_wait_s", *ack_wait_s, 0.1)?,
            max_deliver: *max_deliver,
            backoff: backoff_s
                .iter()
                .map(|&s| seconds("backoff_s", s, 0.0))
                .collect::<Result<_, _>>()?,
            at_once,
            grace: seconds("grace_s", *grace_s, 0.0)?,
        })
    }

    /// The rule for a model called `name` whose calibrated factor is `calibrated`.
    pub(crate) fn agreement(
        &self,
        name: &str,
        calibrated: Option<f32>,
    ) -> Result<Agreement, Error> {
        match self.agreement {
            Rule::Exact => Ok(Agreement::Exact),
            Rule::Margin => self
                .margin
                .or(calibrated)
                .map(Agreement::Margin)
                .ok_or_else(|| {
                    Error::Config(format!(
                        "model {name} has no agreement_margin: set margin, or agreement = \"exact\""
                    ))
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_and_a_short_one_are_read() {
        let full = r#"
            model = "models/msao-cloud"
            encoders = "models/msao-edge"
            provider = "cpu"
            threads = 2
            worker = "gpu0"
            agreement = "margin"
            margin = 0.5
            [nats]
            url = "nats://hub:4222"
            user = "cloud"
            password = "env:CLOUD"
            [streams]
            features = { max_bytes = 1073741824, max_age_s = 3600 }
            [consumer]
            durable = "verify"
            ack_wait_s = 20
            max_deliver = 3
            in_hand = 7
            backoff_s = [0.5, 2]
            [batch]
            max = 1
        "#;
        let full: Config = toml::from_str(full).unwrap();
        assert_eq!(full.encoders, Some("models/msao-edge".into()));
        let consumer = full.check().unwrap();
        assert_eq!(
            (
                consumer.durable.as_str(),
                consumer.max_deliver,
                consumer.at_once
            ),
            ("verify", 3, 7)
        );
        assert_eq!(
            consumer.backoff,
            [Duration::from_millis(500), Duration::from_secs(2)]
        );
        assert_eq!(
            full.agreement("m", Some(0.3)).unwrap(),
            Agreement::Margin(0.5)
        );

        let short: Config = toml::from_str("model = 'm'").unwrap();
        assert_eq!(short, Config::new("m"));
        let defaults = ConsumerConfig {
            at_once: 8,
            ..ConsumerConfig::default()
        };
        assert_eq!(short.check().unwrap(), defaults);
        assert_eq!(
            short.agreement("m", Some(0.25)).unwrap(),
            Agreement::Margin(0.25)
        );
        assert!(
            short
                .agreement("m", None)
                .unwrap_err()
                .to_string()
                .contains("agreement_margin")
        );
    }

    #[test]
    fn mistakes_are_named() {
        let unknown = toml::from_str::<Config>("model = 'm'\nmodle = 'x'")
            .unwrap_err()
            .to_string();
        assert!(unknown.contains("modle"), "{unknown}");
        let backoff = format!("consumer = {{ backoff_s = {:?} }}", [1; 65]);
        let durable = format!("consumer = {{ durable = '{}' }}", "d".repeat(65));
        for (text, word) in [
            ("worker = 'a.b'", "a.b"),
            ("agreement = 'exact'\nmargin = 0.5", "leave one out"),
            ("margin = 1.5", "margin"),
            ("batch = { max = 0 }", "batch.max"),
            ("batch = { wait_ms = nan }", "batch.wait_ms"),
            ("consumer = { max_deliver = 0 }", "max_deliver"),
            ("consumer = { in_hand = 0 }", "consumer.in_hand is 0"),
            ("consumer = { ack_wait_s = 0 }", "ack_wait_s"),
            ("consumer = { backoff_s = [-1] }", "backoff_s"),
            (backoff.as_str(), "65 times"),
            ("threads = 1025", "threads is 1025"),
            ("chat = { max_tokens = 0 }", "chat.max_tokens is 0"),
            ("chat = { prompt = 'say' }", "{prompt}"),
            (durable.as_str(), "consumer.durable has 65 bytes"),
        ] {
            let config: Config = toml::from_str(&format!("model = 'm'\n{text}")).unwrap();
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
