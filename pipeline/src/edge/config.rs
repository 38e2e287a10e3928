//! Configuration of an edge.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use broker::{ConnectConfig, OnFull, Rig};
use mllm::Provider;
use serde::{Deserialize, Serialize};

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
    /// What the models are asked; the model's own default prompt if left out.
    #[serde(default)]
    pub prompt: Option<String>,
    /// The cameras, at least one.
    pub video: Vec<Video>,
    /// What of a stream is let through.
    #[serde(default)]
    pub gate: Gate,
    /// How long windows are and how much of them is sent.
    #[serde(default)]
    pub window: Window,
    /// How to reach the broker.
    #[serde(default)]
    pub nats: ConnectConfig,
    /// What waits for the broker.
    #[serde(default)]
    pub queue: Queue,
}

/// A camera.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Video {
    /// A file, a URI such as `rtsp://camera/stream`, or a device such as `/dev/video0`.
    pub source: String,
    /// How fast a file is played; a live source sets its own pace.
    #[serde(default)]
    pub pace: Pace,
}

/// How fast a file is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// As a camera would give it.
    #[default]
    Realtime,
    /// As fast as it can be worked on.
    Fast,
}

/// What of a stream is let through. Values left out are the defaults of `msaogate`, but for `min_interval_s`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// The gate opens when the share worth sending, 1 - MAS, reaches this; 0 to 1.
    pub threshold: Option<f32>,
    /// It shuts this much below the threshold.
    pub hysteresis: Option<f32>,
    /// Seconds; frames sooner than this after a kept one are dropped. A window encodes one frame of those it
    /// gets: four a second are enough to choose from.
    pub min_interval_s: Option<f64>,
    /// Seconds; a frame this long after the last kept one goes on whatever its MAS; 0 for never.
    pub max_gap_s: Option<f64>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            threshold: None,
            hysteresis: None,
            min_interval_s: Some(0.25),
            max_gap_s: None,
        }
    }
}

/// How long windows are and how much of them is sent. Values left out are the defaults of `msaowindow`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Seconds, above 0.
    pub duration_s: Option<f64>,
    /// A position is kept if its importance is greater; 0 to 1.
    pub threshold: Option<f32>,
    /// Tokens kept of a stream in a window at least.
    pub min_tokens: Option<u32>,
    /// Tokens kept of a stream in a window at most.
    pub max_tokens: Option<u32>,
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
    /// There is no camera, a file is not there or empty, or a number is out of its range.
    pub fn check(&self) -> Result<()> {
        ensure!(
            !self.video.is_empty(),
            "the rig has no camera: add a [[video]] with a source"
        );
        for video in &self.video {
            if let Some(file) = video.file() {
                match std::fs::metadata(file) {
                    Err(error) => bail!("cannot open the video {}: {error}", file.display()),
                    Ok(data) if data.is_dir() => bail!(
                        "the video {} is a folder: name a file in it",
                        file.display()
                    ),
                    Ok(data) if data.len() == 0 => bail!("the video {} is empty", file.display()),
                    Ok(_) => {}
                }
            }
        }
        let unit = |name: &str, value: Option<f32>| {
            ensure!(
                value.is_none_or(|v| (0.0..=1.0).contains(&v)),
                "{name} is {value:?}; it is 0 to 1"
            );
            Ok(())
        };
        unit("gate.threshold", self.gate.threshold)?;
        unit("gate.hysteresis", self.gate.hysteresis)?;
        unit("window.threshold", self.window.threshold)?;
        let seconds = |name: &str, value: Option<f64>, least: f64| {
            ensure!(
                value.is_none_or(|v| (least..=3600.0).contains(&v)),
                "{name} is {value:?}; it is {least} to 3600 seconds"
            );
            Ok(())
        };
        seconds("gate.min_interval_s", self.gate.min_interval_s, 0.0)?;
        seconds("gate.max_gap_s", self.gate.max_gap_s, 0.0)?;
        seconds("window.duration_s", self.window.duration_s, 0.001)?;
        ensure!(
            self.window.min_tokens.unwrap_or(0) <= 65_535,
            "window.min_tokens is above 65535"
        );
        ensure!(
            self.window.max_tokens.unwrap_or(0) <= 65_535,
            "window.max_tokens is above 65535"
        );
        ensure!(
            self.queue.messages != Some(0),
            "queue.messages is 0; it is at least 1"
        );
        ensure!(
            self.queue.bytes != Some(0),
            "queue.bytes is 0; it is at least 1"
        );
        Ok(())
    }
}

impl Video {
    /// The file, if the source is one.
    pub fn file(&self) -> Option<&Path> {
        let other = self.source.contains("://") || self.is_device();
        (!other).then(|| Path::new(&self.source))
    }

    /// Whether the source is a camera of this machine.
    pub fn is_device(&self) -> bool {
        self.source.starts_with("/dev/video")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = "rig = 'car'\nmodel = 'm'\n[[video]]\nsource = 'rtsp://camera/1'\n";

    fn parse(more: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(&format!("{SHORT}{more}"))
    }

    #[test]
    fn a_short_file_is_enough() {
        let config = parse("").unwrap();
        assert_eq!(config.rig.to_string(), "car");
        assert_eq!(config.video[0].pace, Pace::Realtime);
        config.check().unwrap();
    }

    #[test]
    fn mistakes_are_named() {
        let unknown = parse("paces = 'fast'").unwrap_err().to_string();
        assert!(unknown.contains("paces"), "{unknown}");
        for (text, word) in [
            ("[gate]\nthreshold = 1.5", "gate.threshold"),
            ("[gate]\nmax_gap_s = -1", "gate.max_gap_s"),
            ("[window]\nduration_s = 0", "window.duration_s"),
            ("[queue]\nmessages = 0", "queue.messages"),
            (
                "[[video]]\nsource = '/nowhere/street.mp4'",
                "/nowhere/street.mp4",
            ),
            ("[[video]]\nsource = '/'", "is a folder"),
        ] {
            let error = parse(text).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
