//! `[[video]]`, `[[audio]]` and `[[sensor]]`: the streams of a rig.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use broker::Faults;
use serde::Deserialize;

use super::gate::Gate;

/// Highest rate of a sensor, in Hz.
const MOST_RATE: u32 = 100_000;

/// How the path of a camera of this machine begins.
pub const DEVICE: &str = "/dev/video";

/// Schemes of what sends as things happen, and is expected to be there again.
const LIVE: [&str; 6] = ["rtsp", "rtsps", "rtmp", "srt", "rtp", "udp"];

/// How fast a file is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// As it was recorded.
    #[default]
    Realtime,
    /// As fast as it can be worked on.
    Fast,
}

/// A camera.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Video {
    /// A file, a URI such as `rtsp://camera/stream`, or a device such as `/dev/video0`.
    pub source: String,
    /// How fast a file is played; a live source sets its own pace.
    #[serde(default)]
    pub pace: Pace,
    /// What of this stream is let through, where it differs from the rig's `[gate]`.
    #[serde(default)]
    pub gate: Gate,
}

/// A microphone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audio {
    /// A file or a URI (what has a picture, too, may be named in `[[video]]` as well: it is then read once),
    /// or a device: `auto`, `pulse`, `alsa`, `pulse:NAME` or `alsa:NAME`, such as `alsa:hw:1`.
    pub source: String,
    /// How fast a file is played; a live source sets its own pace.
    #[serde(default)]
    pub pace: Pace,
    /// ONNX file of Silero VAD, with which speech is told from other sounds.
    #[serde(default)]
    pub vad: Option<PathBuf>,
    /// What of this stream is let through, where it differs from the rig's `[gate]`.
    #[serde(default)]
    pub gate: Gate,
}

/// Numeric channels, such as an IMU's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensor {
    /// A CSV file whose header is `time,CHANNEL,...`, or `nats:SUBJECT`.
    pub source: String,
    /// How fast a file is replayed.
    #[serde(default)]
    pub pace: Pace,
    /// A file is replayed again and again, until the rig's other streams have ended.
    #[serde(default, rename = "loop")]
    pub again: bool,
    /// Of a file the columns to read, in this order; all if left out. Of a subject the names of the values in its
    /// messages.
    #[serde(default)]
    pub channels: Option<Vec<String>>,
    /// Samples of each channel a second, 1 to 100,000; 100 if left out.
    #[serde(default)]
    pub rate: Option<u32>,
    /// What of this stream is let through, where it differs from the rig's `[gate]`.
    #[serde(default)]
    pub gate: Gate,
}

/// A device that GStreamer records sound from.
pub struct Microphone<'a> {
    /// The source element.
    pub element: &'static str,
    /// The device's name there; the default one if left out.
    pub device: Option<&'a str>,
}

impl Video {
    /// The file, if the source is one.
    pub fn file(&self) -> Option<&Path> {
        file(&self.source).filter(|_| !self.is_device())
    }

    /// Whether the source may come back when it is gone: a camera of this machine, or on the network.
    pub fn is_live(&self) -> bool {
        self.is_device() || is_live_uri(&self.source)
    }

    /// Whether the source is a camera of this machine.
    pub fn is_device(&self) -> bool {
        self.source.starts_with(DEVICE)
    }

    pub(super) fn check(&self, name: &str, faults: &mut Faults) {
        self.gate.check(&format!("{name}.gate"), faults);
    }
}

impl Audio {
    /// The file, if the source is one.
    pub fn file(&self) -> Option<&Path> {
        file(&self.source).filter(|_| self.microphone().is_none())
    }

    /// Whether the source may come back when it is gone: a microphone, of this machine or on the network.
    pub fn is_live(&self) -> bool {
        self.microphone().is_some() || is_live_uri(&self.source)
    }

    /// The microphone, if the source is one.
    pub fn microphone(&self) -> Option<Microphone<'_>> {
        let (kind, device) = match self.source.split_once(':') {
            Some((kind, device)) => (kind, Some(device)),
            None => (self.source.as_str(), None),
        };
        let element = match (kind, device) {
            ("auto", None) => "autoaudiosrc",
            ("pulse", _) => "pulsesrc",
            ("alsa", _) => "alsasrc",
            _ => return None,
        };
        Some(Microphone { element, device })
    }

    pub(super) fn check(&self, name: &str, faults: &mut Faults) {
        let vad = readable("speech model", self.vad.as_deref());
        faults.take(format!("{name}.vad"), vad);
        self.gate.check(&format!("{name}.gate"), faults);
    }
}

impl Sensor {
    /// The subject, if the source is one.
    pub fn subject(&self) -> Option<&str> {
        self.source.strip_prefix("nats:")
    }

    /// The file, if the source is one.
    pub fn file(&self) -> Option<&Path> {
        self.subject()
            .is_none()
            .then(|| Path::new(self.source.as_str()))
    }

    pub(super) fn check(&self, name: &str, faults: &mut Faults) {
        let key = |key: &str| format!("{name}.{key}");
        faults.range(key("rate"), self.rate, 1..=MOST_RATE, "");
        if let Some(subject) = self.subject() {
            let source = &self.source;
            faults.ensure(
                !subject.is_empty() && !subject.starts_with("//"),
                key("source"),
                format!("the sensor's source is {source}: write nats:SUBJECT, and the server's URL under [nats]"),
            );
            faults.ensure(
                self.channels.is_some(),
                name,
                format!(
                    "the sensor {source} needs channels: the names of the values in its messages"
                ),
            );
            faults.ensure(
                !self.again,
                key("loop"),
                format!("the sensor {source} cannot loop: only a file can"),
            );
        }
        if let Some(channels) = &self.channels
            && let Err(problem) = gstmsao::check_channels(channels)
        {
            faults.add(key("channels"), format!("{}: {problem}", key("channels")));
        }
        self.gate.check(&key("gate"), faults);
    }
}

/// `source` without the user and password that a URI may hold.
pub fn redacted(source: &str) -> String {
    let Some((scheme, rest)) = source.split_once("://") else {
        return source.to_owned();
    };
    let host = rest.split('/').next().unwrap_or_default();
    match host.rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => source.to_owned(),
    }
}

fn is_live_uri(source: &str) -> bool {
    let scheme = source.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| LIVE.contains(&scheme))
}

fn file(source: &str) -> Option<&Path> {
    (!source.contains("://")).then(|| Path::new(source))
}

pub(super) fn readable(what: &str, file: Option<&Path>) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let path = file.display();
    match std::fs::metadata(file) {
        Err(error) => bail!("cannot open the {what} {path}: {error}"),
        Ok(data) if data.is_dir() => bail!("the {what} {path} is a folder: name a file in it"),
        Ok(data) if data.len() == 0 => bail!("the {what} {path} is empty"),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_faults, assert_refused};
    use super::*;

    #[test]
    fn users_and_passwords_are_not_told() {
        for (source, told) in [
            ("rtsp://u:p@ss@camera:554/a@b", "rtsp://camera:554/a@b"),
            ("rtsp://camera/1", "rtsp://camera/1"),
            ("a@b.mp4", "a@b.mp4"),
        ] {
            assert_eq!(redacted(source), told);
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_refused(&[("[[audio]]\nsource = 'auto'\nloop = true", "loop")]);
        assert_faults(&[
            ("[[audio]]\nsource = 'auto'\nvad = '/no.onnx'", "/no.onnx"),
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
        ]);
    }
}
