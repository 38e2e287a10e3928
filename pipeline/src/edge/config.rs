//! Configuration of an edge.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use broker::{Compression, ConnectConfig, Faults, Modality, OnFull, Rig, limits};
use cloud_sink::{MetricsSection, OtlpSection};
use mllm::{Provider, TensorRt};
use serde::Deserialize;

use super::launch::{self, Stream};
use super::pictures::{Keyframe, Preview};
use super::streams::{Audio, Sensor, Video, readable};

/// Most standing prompts: each costs a pass of the model.
const MOST_PROMPTS: usize = 64;

/// An edge: the rig's streams, what is kept of them, and where it goes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The rig's name, one token of a NATS subject.
    pub rig: Rig,
    /// Folder of the edge model.
    pub model: PathBuf,
    /// What runs it.
    #[serde(default)]
    pub provider: Provider,
    /// How TensorRT runs it, if that may.
    #[serde(default)]
    pub tensorrt: Option<TensorRt>,
    /// What the models are asked; the model's own default prompt if left out.
    #[serde(default)]
    pub prompt: Option<String>,
    /// Questions that are asked of every n-th window, by `ask.every`.
    #[serde(default)]
    pub prompts: Vec<String>,
    /// The cameras. Of cameras, microphones and sensors together there is at least one.
    #[serde(default)]
    pub video: Vec<Video>,
    /// The microphones.
    #[serde(default)]
    pub audio: Vec<Audio>,
    /// The sensors.
    #[serde(default)]
    pub sensor: Vec<Sensor>,
    /// How the cameras share the probe.
    #[serde(default)]
    pub probe: Probe,
    /// What of a stream is let through.
    #[serde(default)]
    pub gate: Gate,
    /// How long windows are and how much of them is sent.
    #[serde(default)]
    pub window: Window,
    /// What is drafted at once.
    #[serde(default)]
    pub draft: Draft,
    /// What becomes of a window after its draft.
    #[serde(default)]
    pub offload: Offload,
    /// What of the streams may leave the box with a window; features and captions if left out.
    #[serde(default)]
    pub payload: Payload,
    /// How windows travel.
    #[serde(default)]
    pub compression: Compression,
    /// The picture of a window, with `payload = "keyframes"`.
    #[serde(default)]
    pub keyframe: Keyframe,
    /// Pictures for people who watch; none if left out.
    #[serde(default)]
    pub preview: Option<Preview>,
    /// How questions are answered.
    #[serde(default)]
    pub ask: Ask,
    /// How to reach the broker.
    #[serde(default)]
    pub nats: ConnectConfig,
    /// What waits for the broker.
    #[serde(default)]
    pub queue: Queue,
    /// Where the figures of the edge are served.
    #[serde(default)]
    pub metrics: MetricsSection,
    /// Where windows are traced.
    #[serde(default)]
    pub otlp: OtlpSection,
}

/// How the cameras share the probe.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Frames of several cameras that one session looks at together, 1 to 64; 1: a session for each camera. If left
    /// out, 2 for four cameras or more, otherwise 1.
    pub batch: Option<u32>,
    /// Milliseconds that a frame waits for those of other cameras, 0 to 1,000; 0 if left out.
    pub wait_ms: Option<f64>,
    /// Seconds between two looks at what changes where it changed before, 0 to 60; those between two frames that the
    /// gate keeps if left out.
    pub interval_s: Option<f64>,
}

/// What of a stream is let through. Values left out are the defaults of `msaogate`, but for `min_interval_s`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The gate opens when the share worth sending, 1 - MAS, reaches this; 0 to 1.
    pub threshold: Option<f32>,
    /// It shuts this much below the threshold.
    pub hysteresis: Option<f32>,
    /// Seconds; frames sooner than this after a kept one are dropped; 0.25 for video and 0 for others if left out.
    pub min_interval_s: Option<f64>,
    /// Seconds; a frame this long after the last kept one goes on whatever its MAS; 0 for never.
    pub max_gap_s: Option<f64>,
    /// What becomes of what is not worth sending.
    pub mode: Option<GateMode>,
    /// Seconds between the buffers that go on while the gate is shut, in mode `thin`.
    pub thin_interval_s: Option<f64>,
    /// Buffers a second that may go on, averaged; 0 for any number.
    pub budget: Option<f64>,
}

impl Display for GateMode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drop => "drop",
            Self::Thin => "thin",
            Self::Flag => "flag",
        })
    }
}

/// What becomes of what is not worth sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateMode {
    /// It is dropped.
    Drop,
    /// A little of it goes on.
    Thin,
    /// All of it goes on, marked.
    Flag,
}

/// How long windows are and how much of them is sent. Values left out are the defaults of `msaowindow`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Seconds, above 0.
    pub duration_s: Option<f64>,
    /// A position is kept if its importance is greater; 0 to 1.
    pub threshold: Option<f32>,
    /// Tokens kept of a window at least, of all its streams together.
    pub min_tokens: Option<u32>,
    /// Tokens kept of a window at most, of all its streams together.
    pub max_tokens: Option<u32>,
    /// Seconds after which a stream that stalls does not hold the others; 0 for never.
    pub stall_timeout_s: Option<f64>,
}

/// What is drafted at once. Values left out are the defaults of `msaodraft`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Seconds between two measurements of each modality's contribution (beta); 0 for never.
    pub beta_interval_s: Option<f64>,
    /// Seconds that such a measurement may take; longer ones are made less often.
    pub beta_budget_s: Option<f64>,
    /// Tokens of a window that go on to the cloud at most, those that the draft looked at most.
    pub keep_tokens: Option<u32>,
}

/// What of the streams may leave the box with a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// Features, captions and figures; no pixel and no sample of sound.
    #[default]
    Features,
    /// A picture in place of the features of video, for a cloud whose model looks at pictures.
    Keyframes,
}

impl Display for Payload {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Features => "features",
            Self::Keyframes => "keyframes",
        })
    }
}

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

/// What becomes of a window after its draft. Values left out are the defaults of `msaooffload`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offload {
    /// Whether anything is decided; if not, every window is verified. True if left out.
    pub enabled: Option<bool>,
    /// Share of windows that may be kept on the edge though the cloud would change their draft; 0 to 1.
    pub target_risk: Option<f64>,
    /// Seconds from a window's decision to its final caption.
    pub target_latency_s: Option<f64>,
    /// Price of a second of the link and of the cloud, in seconds of latency.
    pub lambda_bytes: Option<f64>,
    /// The same of the cloud.
    pub lambda_cloud: Option<f64>,
    /// Tokens of a window that are sent at least.
    pub min_tokens: Option<u32>,
    /// Tokens of a window that are sent at most; 0 for all.
    pub max_tokens: Option<u32>,
    /// Share of the windows that would teach nothing that is verified all the same; above 0, at most 1.
    pub audit: Option<f64>,
    /// Bytes a second that the link is taken to carry until it was measured.
    pub bandwidth: Option<f64>,
    /// Windows that may wait for the cloud.
    pub defer_windows: Option<u32>,
    /// Seconds that a window may wait for the cloud.
    pub defer_age_s: Option<f64>,
}

impl Offload {
    /// Whether anything is decided.
    pub fn is_on(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    fn check(&self, faults: &mut Faults) {
        let zero_to = |most| 0.0..=most;
        faults.range("offload.target_risk", self.target_risk, zero_to(1.0), "");
        seconds(
            faults,
            "offload.target_latency_s",
            self.target_latency_s,
            0.001,
        );
        faults.range("offload.lambda_bytes", self.lambda_bytes, zero_to(1e3), "");
        faults.range("offload.lambda_cloud", self.lambda_cloud, zero_to(1e3), "");
        tokens(faults, "offload.min_tokens", self.min_tokens);
        tokens(faults, "offload.max_tokens", self.max_tokens);
        let most = self.max_tokens.filter(|most| *most > 0);
        least_and_most(faults, "offload", self.min_tokens, most);
        faults.range("offload.audit", self.audit, 1e-6..=1.0, "");
        faults.range("offload.bandwidth", self.bandwidth, 100.0..=1e11, "");
        faults.range("offload.defer_windows", self.defer_windows, 0..=4096, "");
        seconds(faults, "offload.defer_age_s", self.defer_age_s, 0.0);
    }
}

/// What waits for the broker. Values left out are the defaults of `msaonatssink`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Most messages that wait.
    pub messages: Option<u32>,
    /// Most bytes that wait.
    pub bytes: Option<u64>,
    /// What to do when the queue is full.
    pub on_full: Option<OnFull>,
}

impl Config {
    /// Checks what can be checked without opening anything but the file system.
    ///
    /// # Errors
    /// As for [`check_but_files`](Self::check_but_files), or a file is not there or empty.
    pub fn check(&self) -> Result<(), Faults> {
        let mut faults = self.faults();
        for (stream, problem) in self.unreadable() {
            let Stream { modality, index } = stream;
            faults.add(format!("{modality}[{index}].source"), problem);
        }
        faults.result()
    }

    /// The streams whose file is not there or empty, and what is wrong.
    pub fn unreadable(&self) -> Vec<(Stream, anyhow::Error)> {
        let problem = |stream: Stream| {
            let readable = match stream.modality {
                Modality::Video => readable("video", self.video[stream.index].file()),
                Modality::Audio => readable("sound", self.audio[stream.index].file()),
                Modality::Sensor => readable("recording", self.sensor[stream.index].file()),
            };
            Some((stream, readable.err()?))
        };
        launch::streams(self)
            .into_iter()
            .filter_map(problem)
            .collect()
    }

    /// Whether `stream` comes from something live that may come back: on the network, or a device of this machine.
    pub fn is_live(&self, stream: Stream) -> bool {
        match stream.modality {
            Modality::Video => self.video[stream.index].is_live(),
            Modality::Audio => self.audio[stream.index].is_live(),
            Modality::Sensor => self.sensor[stream.index].subject().is_some(),
        }
    }

    /// Checks all but whether the files of its streams are there.
    ///
    /// # Errors
    /// There is no stream, another file is not there or empty, or a number is out of its range.
    pub fn check_but_files(&self) -> Result<(), Faults> {
        self.faults().result()
    }

    fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        let streams = self.video.len() + self.audio.len() + self.sensor.len();
        faults.ensure(
            streams > 0,
            "video",
            "the rig has no stream: add a [[video]], [[audio]] or [[sensor]] with a source",
        );
        faults.ensure(
            streams <= limits::STREAMS,
            "video",
            format!(
                "the rig has {streams} streams; it may have {}",
                limits::STREAMS
            ),
        );
        if let Some(tensorrt) = &self.tensorrt {
            faults.take("tensorrt", tensorrt.check(self.provider));
        }
        let prompt = self.prompt.as_ref().map_or(0, String::len);
        faults.ensure(
            prompt <= limits::QUESTION,
            "prompt",
            format!(
                "prompt has {prompt} bytes; it has at most {}",
                limits::QUESTION
            ),
        );
        faults.ensure(
            self.prompts.len() <= MOST_PROMPTS,
            "prompts",
            format!(
                "there are {} prompts; at most {MOST_PROMPTS} can stand",
                self.prompts.len()
            ),
        );
        for (index, prompt) in self.prompts.iter().enumerate() {
            let bytes = prompt.len();
            faults.ensure(
                (1..=limits::QUESTION).contains(&bytes),
                format!("prompts[{index}]"),
                format!(
                    "one of prompts has {bytes} bytes; it has 1 to {}",
                    limits::QUESTION
                ),
            );
        }
        faults.range("ask.sure", Some(self.ask.sure), 0.0..=2.0, "");
        faults.ensure(
            self.ask.every >= 1,
            "ask.every",
            "ask.every is 0; it is at least 1",
        );
        for (index, video) in self.video.iter().enumerate() {
            let name = format!("video[{index}]");
            video.check(&name, &mut faults);
            let before = &self.video[..index];
            let again = before.iter().any(|other| other.source == video.source);
            faults.ensure(
                !(again && video.is_device()),
                format!("{name}.source"),
                format!("{} is named twice: a device can be read once", video.source),
            );
            let audio = self.sounds_of(index).map(|audio| &self.audio[audio]);
            faults.ensure(
                audio.is_none_or(|audio| audio.pace == video.pace),
                name,
                format!(
                    "{} is named in [[video]] and [[audio]] with two paces: give both the same",
                    video.source
                ),
            );
        }
        for (index, audio) in self.audio.iter().enumerate() {
            audio.check(&format!("audio[{index}]"), &mut faults);
        }
        for (index, sensor) in self.sensor.iter().enumerate() {
            sensor.check(&format!("sensor[{index}]"), &mut faults);
        }
        self.otlp.check(&mut faults);
        faults.range("probe.batch", self.probe.batch, 1..=64, "");
        faults.range("probe.wait_ms", self.probe.wait_ms, 0.0..=1000.0, "");
        faults.range("probe.interval_s", self.probe.interval_s, 0.0..=60.0, "");
        self.gate.check("gate", &mut faults);
        let (window, draft) = (&self.window, &self.draft);
        let faults_of = &mut faults;
        faults_of.range("window.threshold", window.threshold, 0.0..=1.0, "");
        seconds(faults_of, "window.duration_s", window.duration_s, 0.001);
        let stall = window.stall_timeout_s;
        seconds(faults_of, "window.stall_timeout_s", stall, 0.0);
        tokens(faults_of, "window.min_tokens", window.min_tokens);
        tokens(faults_of, "window.max_tokens", window.max_tokens);
        seconds(
            faults_of,
            "draft.beta_interval_s",
            draft.beta_interval_s,
            0.0,
        );
        seconds(faults_of, "draft.beta_budget_s", draft.beta_budget_s, 0.0);
        tokens(faults_of, "draft.keep_tokens", draft.keep_tokens);
        least_and_most(&mut faults, "window", window.min_tokens, window.max_tokens);
        self.offload.check(&mut faults);
        self.keyframe.check(&mut faults);
        if let Some(preview) = &self.preview {
            preview.check(&mut faults);
        }
        for (key, none) in [
            ("queue.messages", self.queue.messages == Some(0)),
            ("queue.bytes", self.queue.bytes == Some(0)),
        ] {
            faults.ensure(!none, key, format!("{key} is 0; it is at least 1"));
        }
        faults
    }

    /// Checks that the model hears and feels what the rig does.
    ///
    /// # Errors
    /// The model cannot be read, or lacks an encoder.
    pub fn check_model(&self) -> Result<()> {
        let sound = !self.audio.is_empty();
        check_senses(&self.model, sound, !self.sensor.is_empty())
    }

    /// The microphone that is of the same source as camera `video`, so that both are read once.
    pub fn sounds_of(&self, video: usize) -> Option<usize> {
        let source = &self.video[video].source;
        let first = self.video.iter().position(|other| other.source == *source);
        let audio = self.audio.iter().position(|audio| audio.source == *source);
        audio.filter(|_| first == Some(video))
    }

    /// What `stream` reads, as it is configured.
    pub fn source_of(&self, stream: Stream) -> &str {
        match stream.modality {
            Modality::Video => &self.video[stream.index].source,
            Modality::Audio => &self.audio[stream.index].source,
            Modality::Sensor => &self.sensor[stream.index].source,
        }
    }

    /// The file that `stream` reads, if it is one.
    pub fn file_of(&self, stream: Stream) -> Option<String> {
        let file = match stream.modality {
            Modality::Video => self.video[stream.index].file(),
            Modality::Audio => self.audio[stream.index].file(),
            Modality::Sensor => self.sensor[stream.index].file(),
        };
        file.map(|file| file.display().to_string())
    }

    /// What its streams read, in words.
    pub fn sources(&self) -> String {
        let video = self.video.iter().map(|stream| &stream.source);
        let audio = self.audio.iter().map(|stream| &stream.source);
        let sensor = self.sensor.iter().map(|stream| &stream.source);
        let mut sources: Vec<&str> = video
            .chain(audio)
            .chain(sensor)
            .map(String::as_str)
            .collect();
        sources.dedup();
        sources.join(", ")
    }
}

impl Gate {
    /// `self`, and where it says nothing what `rig` says.
    pub fn or(&self, rig: &Self) -> Self {
        Self {
            threshold: self.threshold.or(rig.threshold),
            hysteresis: self.hysteresis.or(rig.hysteresis),
            min_interval_s: self.min_interval_s.or(rig.min_interval_s),
            max_gap_s: self.max_gap_s.or(rig.max_gap_s),
            mode: self.mode.or(rig.mode),
            thin_interval_s: self.thin_interval_s.or(rig.thin_interval_s),
            budget: self.budget.or(rig.budget),
        }
    }

    /// Notes what is wrong with it; `table` is what it is called.
    pub(super) fn check(&self, table: &str, faults: &mut Faults) {
        let name = |key: &str| format!("{table}.{key}");
        faults.range(name("threshold"), self.threshold, 0.0..=1.0, "");
        faults.range(name("hysteresis"), self.hysteresis, 0.0..=1.0, "");
        seconds(faults, &name("min_interval_s"), self.min_interval_s, 0.0);
        seconds(faults, &name("max_gap_s"), self.max_gap_s, 0.0);
        seconds(faults, &name("thin_interval_s"), self.thin_interval_s, 0.0);
        let unit = "buffers a second";
        faults.range(name("budget"), self.budget, 0.0..=1e6, unit);
    }
}

/// Checks that the model in `folder` hears, if there is sound, and feels, if there are sensors.
///
/// # Errors
/// The model cannot be read, or lacks an encoder.
pub fn check_senses(folder: &Path, sound: bool, sensors: bool) -> Result<()> {
    let model = mllm::Config::load(folder)?;
    let lacks = |key: &str, does: &str, table: &str| {
        format!(
            "the model {} in {} does not {does}: it has no {key}; name one under `model` that has, or leave out [[{table}]]",
            model.name,
            folder.display()
        )
    };
    ensure!(
        !sound || model.audio_encoder.is_some(),
        lacks("audio_encoder", "hear", "audio")
    );
    ensure!(
        !sensors || model.sensor_encoder.is_some(),
        lacks("sensor_encoder", "feel", "sensor")
    );
    Ok(())
}

fn seconds(faults: &mut Faults, key: &str, value: Option<f64>, least: f64) {
    faults.range(key, value, least..=3600.0, "seconds");
}

fn least_and_most(faults: &mut Faults, table: &str, least: Option<u32>, most: Option<u32>) {
    if let Some((least, most)) = least.zip(most) {
        let key = format!("{table}.min_tokens");
        let reason = format!("{key} is {least}, more than {table}.max_tokens, {most}");
        faults.ensure(least <= most, key, reason);
    }
}

fn tokens(faults: &mut Faults, key: &str, value: Option<u32>) {
    faults.range(key, value, 0..=65_535, "");
}

#[cfg(test)]
mod tests {
    use super::super::streams::Pace;
    use super::*;

    const SHORT: &str = "rig = 'car'\nmodel = 'm'\n";
    const CAMERA: &str = "[[video]]\nsource = 'rtsp://camera/1'\n";

    fn parse(more: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(&format!("{SHORT}{more}"))
    }

    fn fault(more: &str) -> String {
        parse(more).unwrap().check().unwrap_err().to_string()
    }

    #[test]
    fn one_stream_of_any_kind_is_enough() {
        let config = parse(CAMERA).unwrap();
        assert_eq!(config.rig.to_string(), "car");
        assert_eq!(config.video[0].pace, Pace::Realtime);
        config.check().unwrap();
        parse("[[audio]]\nsource = 'auto'")
            .unwrap()
            .check()
            .unwrap();
        let subject = "[[sensor]]\nsource = 'nats:rig.imu'\nchannels = ['a', 'b']";
        parse(subject).unwrap().check().unwrap();
        let none = fault("");
        assert!(
            none.contains("[[video]], [[audio]] or [[sensor]]"),
            "{none}"
        );
    }

    #[test]
    fn a_streams_gate_goes_before_the_rigs() {
        let text = "[[audio]]\nsource = 'auto'\ngate = { threshold = 0.5 }\n[gate]\nthreshold = 0.1\nmax_gap_s = 3";
        let config = parse(text).unwrap();
        let gate = config.audio[0].gate.or(&config.gate);
        assert_eq!((gate.threshold, gate.max_gap_s), (Some(0.5), Some(3.0)));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("paces = 'fast'", "paces"),
            ("payload = 'pixels'", "expected `features` or `keyframes`"),
            ("compression = 'gzip'", "expected `zstd` or `none`"),
            ("[[audio]]\nsource = 'auto'\nloop = true", "loop"),
            (
                "[[sensor]]\nsource = 'a.csv'\ngate = { treshold = 1 }",
                "treshold",
            ),
            ("[gate]\nmode = 'shut'", "shut"),
            ("[offload]\nrisk = 0.1", "risk"),
            ("[metrics]\nlisten = 'everywhere'", "invalid socket address"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        for (text, word) in [
            (
                "[tensorrt]\nshapes = { 'p.onnx' = { min = 'x:2', opt = 'x:1', max = 'x:1' } }",
                "tensorrt.shapes",
            ),
            ("[tensorrt]\nengine_cache = ''", "tensorrt.engine_cache"),
            ("[probe]\nbatch = 0", "probe.batch is 0"),
            ("[probe]\nwait_ms = 2000", "probe.wait_ms is 2000"),
            ("[gate]\nthreshold = 1.5", "gate.threshold is 1.5"),
            ("[gate]\nmax_gap_s = -1", "gate.max_gap_s is -1"),
            ("[gate]\nthin_interval_s = nan", "gate.thin_interval_s"),
            ("[gate]\nbudget = -1", "gate.budget is -1"),
            ("[window]\nduration_s = 0", "window.duration_s"),
            ("[window]\nstall_timeout_s = 4000", "window.stall_timeout_s"),
            (
                "[window]\nmin_tokens = 50\nmax_tokens = 16",
                "window.min_tokens is 50, more than window.max_tokens, 16",
            ),
            (
                "[offload]\nmin_tokens = 50\nmax_tokens = 16",
                "offload.min_tokens is 50",
            ),
            (
                "[[video]]\nsource = '/dev/video0'\n[[video]]\nsource = '/dev/video0'",
                "/dev/video0 is named twice",
            ),
            ("[draft]\nbeta_interval_s = -1", "draft.beta_interval_s"),
            ("[draft]\nkeep_tokens = 70000", "draft.keep_tokens"),
            ("[offload]\ntarget_risk = 5", "offload.target_risk is 5"),
            ("[offload]\naudit = 0", "offload.audit is 0"),
            ("[offload]\nbandwidth = nan", "offload.bandwidth is NaN"),
            ("[offload]\ndefer_windows = 5000", "offload.defer_windows"),
            ("[otlp]\nratio = 2", "otlp.ratio is 2"),
            ("[otlp]\nendpoint = 'collector:4318'", "otlp.endpoint"),
            ("[queue]\nmessages = 0", "queue.messages"),
            (
                "[[video]]\nsource = '/nowhere.mp4'",
                "the video /nowhere.mp4",
            ),
            ("[[video]]\nsource = '/'", "is a folder"),
            (
                "[[audio]]\nsource = '/nowhere.wav'",
                "the sound /nowhere.wav",
            ),
            ("[[audio]]\nsource = 'auto'\nvad = '/no.onnx'", "/no.onnx"),
            (
                "[[audio]]\nsource = 'auto'\ngate = { threshold = 2 }",
                "audio[0].gate.threshold",
            ),
            (
                "[[sensor]]\nsource = '/nowhere.csv'",
                "the recording /nowhere.csv",
            ),
            ("[[sensor]]\nsource = 'nats:imu'", "needs channels"),
            (
                "[[sensor]]\nsource = 'nats://hub/imu'\nchannels = ['a']",
                "write nats:SUBJECT",
            ),
            (
                "[[sensor]]\nsource = 'nats:imu'\nchannels = ['a']\nloop = true",
                "cannot loop",
            ),
            (
                "[[sensor]]\nsource = 'nats:imu'\nchannels = ['a,b']",
                "sensor[0].channels",
            ),
            (
                "[[sensor]]\nsource = 'nats:imu'\nchannels = ['a']\nrate = 0",
                "sensor[0].rate",
            ),
        ] {
            let error = fault(&format!("{CAMERA}{text}"));
            assert!(error.contains(word), "{word}: {error}");
        }
        let other = fault(&format!(
            "provider = 'cuda'\n{CAMERA}[tensorrt]\nfp16 = true"
        ));
        assert!(other.contains("leave one out"), "{other}");
    }
}
