//! From a stream's source to what measures it, and through its gate.

use std::path::Path;

use broker::Modality;

use super::stream::{Stream, streams};
use super::text::{nanoseconds, nats, option, quote};
use crate::edge::config::{Audio, Config, Gate, Pace, Sensor, Video};

/// Frames sooner than this after a kept one are dropped: a window encodes one of those it gets, and four a second are
/// enough to choose from.
const VIDEO_INTERVAL_S: f64 = 0.25;

/// From so many cameras on two frames at a time cost less, in time and in memory, than a session for each camera.
pub(super) const MANY_CAMERAS: usize = 4;

/// What differs between the branches of streams.
pub(super) struct Branch {
    /// From the source to what the meter reads.
    pub head: String,
    pub meter: &'static str,
    pub options: String,
    pub gate: Gate,
    /// Buffers that may wait for the window: some seconds of them.
    pub queue: u32,
}

pub(super) fn branches(config: &Config) -> Vec<(Stream, Branch)> {
    streams(config)
        .into_iter()
        .map(|stream| {
            let branch = match stream.modality {
                Modality::Video => video(config, stream, &config.video[stream.index]),
                Modality::Audio => audio(config, stream, &config.audio[stream.index]),
                Modality::Sensor => sensor(config, stream, &config.sensor[stream.index]),
            };
            (stream, branch)
        })
        .collect()
}

fn video(config: &Config, stream: Stream, video: &Video) -> Branch {
    let name = stream.source();
    let shared = config.sounds_of(stream.index).is_some();
    let head = if video.is_device() {
        let device = quote(&video.source);
        format!("  v4l2src device={device} ! decodebin name={name} ! videoconvert")
    } else {
        let wanted = if shared {
            Wanted::Both
        } else {
            Wanted::Pictures
        };
        let decoded = decoded(&video.source, video.file(), &name, wanted);
        let link = if shared {
            format!("  {name}.")
        } else {
            String::new()
        };
        format!("{decoded}{link} ! videoconvert")
    };
    let mut options = String::new();
    let wait = config.probe.wait_ms.map(|ms| nanoseconds(ms / 1e3));
    let many = config.video.len() >= MANY_CAMERAS;
    option(
        &mut options,
        "batch",
        config.probe.batch.or(many.then_some(2)),
    );
    option(&mut options, "batch-wait", wait);
    let mut gate = video.gate.or(&config.gate);
    let between = *gate.min_interval_s.get_or_insert(VIDEO_INTERVAL_S);
    let interval = config.probe.interval_s.unwrap_or(between);
    option(&mut options, "probe-interval", Some(nanoseconds(interval)));
    Branch {
        head: paced(head, video.pace, video.file()),
        meter: "msaovideomas",
        options,
        gate,
        queue: 32,
    }
}

fn audio(config: &Config, stream: Stream, audio: &Audio) -> Branch {
    let name = stream.source();
    let camera =
        (0..config.video.len()).find(|video| config.sounds_of(*video) == Some(stream.index));
    let source = match (audio.microphone(), camera) {
        (Some(microphone), _) => {
            let mut source = format!("  {} name={name}", microphone.element);
            option(&mut source, "device", microphone.device.map(quote));
            source
        }
        (None, Some(index)) => {
            let modality = Modality::Video;
            format!("  {}.", Stream { modality, index }.source())
        }
        (None, None) => decoded(&audio.source, audio.file(), &name, Wanted::Sound),
    };
    // Any rate is measured; other formats than the meter reads are converted.
    let head = format!("{source} ! audioconvert");
    let mut options = String::new();
    let vad = audio.vad.as_ref().map(|path| path.to_string_lossy());
    option(&mut options, "vad-model", vad.as_deref().map(quote));
    Branch {
        head: paced(head, audio.pace, audio.file()),
        meter: "msaoaudiomas",
        options,
        gate: hops(&audio.gate, config),
        queue: 256,
    }
}

fn sensor(config: &Config, stream: Stream, sensor: &Sensor) -> Branch {
    let mut head = format!("  msaosensorsrc name={}", stream.source());
    if let Some(file) = sensor.file() {
        option(&mut head, "location", Some(quote(&file.to_string_lossy())));
        option(&mut head, "loop", sensor.again.then_some(true));
        let fast = sensor.pace == Pace::Fast;
        option(&mut head, "realtime", fast.then_some(false));
    }
    if let Some(subject) = sensor.subject() {
        option(&mut head, "subject", Some(quote(subject)));
        nats(&mut head, &config.nats);
    }
    let channels = sensor.channels.as_ref().map(|names| names.join(","));
    option(&mut head, "channels", channels.as_deref().map(quote));
    option(&mut head, "rate", sensor.rate);
    Branch {
        head,
        meter: "msaosensormas",
        options: String::new(),
        gate: hops(&sensor.gate, config),
        queue: 256,
    }
}

/// The gate of a stream whose buffers are parts of hops: those of one hop follow each other at once, so the interval
/// that the rig has for frames is not for them.
fn hops(own: &Gate, config: &Config) -> Gate {
    Gate {
        min_interval_s: own.min_interval_s,
        ..own.or(&config.gate)
    }
}

/// What of a clip is decoded.
#[derive(Clone, Copy)]
enum Wanted {
    Pictures,
    Sound,
    Both,
}

impl Wanted {
    fn caps(self) -> &'static str {
        match self {
            Self::Pictures => "video/x-raw(ANY)",
            Self::Sound => "audio/x-raw(ANY)",
            Self::Both => "video/x-raw(ANY);audio/x-raw(ANY)",
        }
    }
}

/// Of a file only what is wanted is decoded: what else is in it would cost its time for nothing, and GStreamer 1.22's
/// decodebin now and then never ends with a stream that goes nowhere. A camera's streams come one by one, and one that is
/// not wanted would be an error.
fn decoded(source: &str, file: Option<&Path>, name: &str, wanted: Wanted) -> String {
    let source = quote(source);
    match file {
        Some(_) => {
            let caps = quote(wanted.caps());
            format!(
                "  filesrc location={source} ! decodebin name={name} caps={caps} expose-all-streams=false"
            )
        }
        None => format!("  uridecodebin name={name} uri={source}"),
    }
}

fn paced(head: String, pace: Pace, file: Option<&Path>) -> String {
    match (pace, file) {
        (Pace::Realtime, Some(_)) => format!("{head} ! clocksync"),
        _ => head,
    }
}
