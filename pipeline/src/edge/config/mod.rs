//! Configuration of an edge: a file for the tables that belong together, and here the whole of it.

mod ask;
mod gate;
mod offload;
mod pictures;
mod queue;
mod rig;
mod streams;
mod window;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use broker::{Compression, ConnectConfig, Faults, Rig};
use cloud_sink::{MetricsSection, OtlpSection};
use mllm::{Provider, TensorRt};
use serde::Deserialize;

pub use ask::Ask;
pub use gate::Gate;
pub use offload::Offload;
pub use pictures::{Keyframe, Payload, Preview};
pub use queue::Queue;
pub use streams::{Audio, DEVICE, Pace, Sensor, Video, redacted};
pub use window::{Draft, Probe, Window};

use super::launch::Stream;

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

    /// Checks all but whether the files of its streams are there.
    ///
    /// # Errors
    /// There is no stream, another file is not there or empty, or a number is out of its range.
    pub fn check_but_files(&self) -> Result<(), Faults> {
        self.faults().result()
    }

    fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        self.check_number(&mut faults);
        if let Some(tensorrt) = &self.tensorrt {
            faults.take("tensorrt", tensorrt.check(self.provider));
        }
        self.check_prompts(&mut faults);
        self.ask.check(&mut faults);
        self.check_streams(&mut faults);
        self.otlp.check(&mut faults);
        self.probe.check(&mut faults);
        self.gate.check("gate", &mut faults);
        self.check_gates(&mut faults);
        self.window.check(&mut faults);
        self.draft.check(&mut faults);
        self.offload.check(&mut faults);
        self.keyframe.check(&mut faults);
        if let Some(preview) = &self.preview {
            preview.check(&mut faults);
        }
        self.queue.check(&mut faults);
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
    use super::*;

    pub const CAMERA: &str = "[[video]]\nsource = 'rtsp://camera/1'\n";

    /// A configuration that has `more` after what must be there, but for streams.
    pub fn parse(more: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(&format!("rig = 'car'\nmodel = 'm'\n{more}"))
    }

    pub fn fault(more: &str) -> String {
        parse(more).unwrap().check().unwrap_err().to_string()
    }

    /// Each text cannot be read, and the error has the word.
    pub fn assert_refused(mistakes: &[(&str, &str)]) {
        for (text, word) in mistakes {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    /// Each text is wrong after a camera, and the fault has the word.
    pub fn assert_faults(mistakes: &[(&str, &str)]) {
        for (text, word) in mistakes {
            let error = fault(&format!("{CAMERA}{text}"));
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_refused(&[
            ("paces = 'fast'", "paces"),
            ("payload = 'pixels'", "expected `features` or `keyframes`"),
            ("compression = 'gzip'", "expected `zstd` or `none`"),
            ("[metrics]\nlisten = 'everywhere'", "invalid socket address"),
        ]);
        assert_faults(&[
            (
                "[tensorrt]\nshapes = { 'p.onnx' = { min = 'x:2', opt = 'x:1', max = 'x:1' } }",
                "tensorrt.shapes",
            ),
            ("[tensorrt]\nengine_cache = ''", "tensorrt.engine_cache"),
            ("[otlp]\nratio = 2", "otlp.ratio is 2"),
            ("[otlp]\nendpoint = 'collector:4318'", "otlp.endpoint"),
            ("[queue]\nmessages = 0", "queue.messages"),
        ]);
        let other = fault(&format!(
            "provider = 'cuda'\n{CAMERA}[tensorrt]\nfp16 = true"
        ));
        assert!(other.contains("leave one out"), "{other}");
    }
}
