//! Configuration of a cloud worker.

mod consumer;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use broker::{ConnectConfig, Faults, StreamsConfig, consumer::ConsumerConfig, subjects};
use mllm::{Agreement, Options, Provider, TensorRt, tensorrt};
use serde::Deserialize;

use crate::{
    ChatSection, Error, LookingModel, ServerSection,
    telemetry::{MetricsSection, OtlpSection},
    thread::Batching,
};
pub use consumer::{BatchSection, ConsumerSection};

/// Most threads of a model.
const MOST_THREADS: usize = 1024;

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
    /// Folder of the full model, ours or one of pictures and text as exported for Hugging Face; left out if it is behind
    /// a `server`.
    #[serde(default)]
    pub model: Option<PathBuf>,
    /// The server that has the full model, in place of a folder.
    #[serde(default)]
    pub server: Option<ServerSection>,
    /// How one of pictures and text is run and asked.
    #[serde(default)]
    pub chat: Option<ChatSection>,
    /// Folder of the edge model, whose vision encoder reads keyframes; without it a window with one is a dead letter.
    #[serde(default)]
    pub encoders: Option<PathBuf>,
    /// What runs it.
    #[serde(default)]
    pub provider: Provider,
    /// How TensorRT runs it, if that may.
    #[serde(default)]
    pub tensorrt: Option<TensorRt>,
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
    /// Where the figures of the worker are served.
    #[serde(default)]
    pub metrics: MetricsSection,
    /// Where windows are traced.
    #[serde(default)]
    pub otlp: OtlpSection,
}

fn one() -> usize {
    1
}

fn default_worker() -> String {
    "cloud".to_owned()
}

impl Config {
    /// A worker with the model in `model` and the defaults for everything else.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self {
            model: Some(model.into()),
            server: None,
            chat: None,
            encoders: None,
            provider: Provider::default(),
            tensorrt: None,
            threads: one(),
            worker: default_worker(),
            agreement: Rule::default(),
            margin: None,
            nats: ConnectConfig::default(),
            streams: StreamsConfig::default(),
            consumer: ConsumerSection::default(),
            batch: BatchSection::default(),
            metrics: MetricsSection::default(),
            otlp: OtlpSection::default(),
        }
    }

    /// Checks what does not need the model, and gives the consumer's part in the broker's terms.
    ///
    /// # Errors
    /// A value is out of its range, or contradicts another.
    pub fn check(&self) -> Result<ConsumerConfig, Error> {
        self.faults().result()?;
        Ok(self.consumer.in_the_brokers_terms(self.in_hand()))
    }

    /// All that is wrong with it, as far as it can be told without the model and the broker.
    pub fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        self.otlp.check(&mut faults);
        faults.take("worker", subjects::cloud_status(&self.worker).map(drop));
        faults.ensure(
            self.margin.is_none() || self.agreement != Rule::Exact,
            "margin",
            "margin is given, but agreement is `exact`: leave one out",
        );
        faults.ensure(
            self.margin
                .is_none_or(|margin| margin > 0.0 && margin <= 1.0),
            "margin",
            "margin is not above 0 and at most 1",
        );
        self.check_server(&mut faults);
        if let Some(chat) = &self.chat {
            chat.check(&mut faults);
        }
        if let Some(tensorrt) = &self.tensorrt {
            faults.take("tensorrt", tensorrt.check(self.provider));
        }
        faults.range("threads", Some(self.threads), 0..=MOST_THREADS, "");
        self.batch.check(&mut faults);
        self.consumer.check(&mut faults);
        faults
    }

    /// Checks what the folders of the models say of themselves, without loading a network.
    ///
    /// # Errors
    /// A folder is no model's, or the agreement needs a factor that the model does not have.
    pub fn check_model(&self) -> Result<(), Error> {
        match &self.model {
            Some(folder) if mllm::hf::is_known(folder) => {
                LookingModel::rule(self, folder)?;
            }
            Some(folder) => {
                let model = mllm::Config::load(folder)?;
                self.agreement(&model.name, model.agreement_margin)?;
            }
            None => {}
        }
        if let Some(folder) = &self.encoders {
            mllm::Config::load(folder)?;
        }
        Ok(())
    }

    fn check_server(&self, faults: &mut Faults) {
        let Some(server) = &self.server else {
            faults.ensure(
                self.model.is_some(),
                "model",
                "there is no model: set `model` to a folder, or add a table [server]",
            );
            return;
        };
        faults.ensure(
            self.model.is_none(),
            "model",
            "there are both `model` and [server]: leave one out",
        );
        let default = Self::new("");
        let untouched = self.encoders.is_none()
            && self.chat.is_none()
            && self.tensorrt.is_none()
            && self.margin.is_none()
            && (self.provider, self.threads) == (default.provider, default.threads)
            && (self.agreement, self.batch) == (default.agreement, default.batch);
        faults.ensure(
            untouched,
            "server",
            "encoders, chat, provider, tensorrt, threads, agreement, margin and [batch] are of a model folder: leave them out beside [server], which has `similarity` and `concurrency`",
        );
        server.check(faults);
    }

    /// Which windows are judged together.
    pub(crate) fn batching(&self) -> Batching {
        match &self.server {
            // What waits is asked at once; there is nothing to be gained by waiting for more.
            Some(server) => Batching {
                max: server.concurrency,
                wait: Duration::ZERO,
            },
            None => Batching {
                max: self.batch.max,
                wait: Duration::from_secs_f64(self.batch.wait_ms / 1e3),
            },
        }
    }

    /// Windows in hand at a time: a batch, and the next one, so that the model finds it when it is done.
    fn in_hand(&self) -> usize {
        match self.batching().max {
            1 => 1,
            most => 2 * most,
        }
    }

    /// The model's folder, and how its networks run; what `[tensorrt]` says holds from now on.
    pub(crate) fn folder(&self) -> Result<(&Path, Options), Error> {
        let folder = self.model.as_deref().ok_or_else(|| {
            Error::Config("there is no model: set `model` to a folder".to_owned())
        })?;
        if let Some(settings) = self.tensorrt.clone() {
            tensorrt::configure(settings)?;
        }
        let options = Options {
            provider: self.provider,
            threads: self.threads,
        };
        Ok((folder, options))
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
            [metrics]
            listen = "127.0.0.1:9464"
        "#;
        let full: Config = toml::from_str(full).unwrap();
        assert_eq!(full.encoders, Some("models/msao-edge".into()));
        assert_eq!(full.metrics.listen, Some("127.0.0.1:9464".parse().unwrap()));
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
            ("provider = 'cuda'\ntensorrt = {}", "leave one out"),
            (
                "tensorrt = { shapes = { 'd.onnx' = { min = 'a', opt = 'a:1', max = 'a:1' } } }",
                "input:1x3x224x224",
            ),
            (
                "server = { url = 'http://h/v1', model = 'm' }",
                "leave one out",
            ),
            ("chat = { max_tokens = 0 }", "chat.max_tokens is 0"),
            ("chat = { prompt = 'say' }", "{prompt}"),
            (durable.as_str(), "consumer.durable has 65 bytes"),
            ("consumer = { durable = '' }", "consumer.durable is ''"),
            (
                "consumer = { durable = 'gpu.a' }",
                "consumer.durable is 'gpu.a'",
            ),
        ] {
            let config: Config = toml::from_str(&format!("model = 'm'\n{text}")).unwrap();
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let error = |text: &str| {
            let config: Config = toml::from_str(text).unwrap();
            config.check().unwrap_err().to_string()
        };
        assert!(error("").contains("set `model` to a folder, or add a table [server]"));
        let server = "[server]\nurl = 'http://h/v1'\nmodel = 'm'\n";
        for key in [
            "encoders = 'e'",
            "threads = 2",
            "margin = 0.5",
            "tensorrt = {}",
            "batch = { max = 2 }",
        ] {
            let error = error(&format!("{key}\n{server}"));
            assert!(error.contains("of a model folder"), "{key}: {error}");
        }
        assert!(error(&format!("{server}retries = 11")).contains("server.retries"));
    }

    #[test]
    fn a_server_has_as_many_windows_in_hand_as_it_is_asked_about_and_as_many_again() {
        let text = "[server]\nurl = 'http://h/v1'\nmodel = 'm'\nconcurrency = 16";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.check().unwrap().at_once, 32);
        assert_eq!(config.batching().max, 16);
    }
}
