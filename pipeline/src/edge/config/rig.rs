//! The streams of a rig together: what they read, and what is wrong with them.

use broker::{Faults, Modality, limits};

use super::streams::readable;
use super::{Config, Gate};
use crate::edge::launch::{self, Stream};

impl Config {
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

    pub(super) fn check_number(&self, faults: &mut Faults) {
        let streams = self.video.len() + self.audio.len() + self.sensor.len();
        faults.ensure(
            streams > 0,
            "video",
            "the rig has no stream: add a [[video]], [[audio]] or [[sensor]] with a source",
        );
        let most = limits::STREAMS;
        faults.ensure(
            streams <= most,
            "video",
            format!("the rig has {streams} streams; it may have {most}"),
        );
    }

    /// Notes gates that would not start though each number is in its range. What is the rig's is told once.
    pub(super) fn check_gates(&self, faults: &mut Faults) {
        let mut told = Vec::new();
        for (Stream { modality, index }, gate) in launch::gates(self) {
            let own = match modality {
                Modality::Video => &self.video[index].gate,
                Modality::Audio => &self.audio[index].gate,
                Modality::Sensor => &self.sensor[index].gate,
            };
            let table = match *own == Gate::default() {
                true => "gate".to_owned(),
                false => format!("{modality}[{index}].gate"),
            };
            let Some((key, reason)) = gate.contradiction(&table) else {
                continue;
            };
            if !told.contains(&key) {
                faults.add(&key, reason);
                told.push(key);
            }
        }
    }

    pub(super) fn check_streams(&self, faults: &mut Faults) {
        for (index, video) in self.video.iter().enumerate() {
            let name = format!("video[{index}]");
            video.check(&name, faults);
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
            audio.check(&format!("audio[{index}]"), faults);
        }
        for (index, sensor) in self.sensor.iter().enumerate() {
            sensor.check(&format!("sensor[{index}]"), faults);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::streams::Pace;
    use super::super::tests::{CAMERA, assert_faults, fault, parse};

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
    fn mistakes_are_named() {
        assert_faults(&[
            (
                "[[video]]\nsource = '/dev/video0'\n[[video]]\nsource = '/dev/video0'",
                "/dev/video0 is named twice",
            ),
            (
                "[[video]]\nsource = '/nowhere.mp4'",
                "the video /nowhere.mp4",
            ),
            ("[[video]]\nsource = '/'", "is a folder"),
            (
                "[[audio]]\nsource = '/nowhere.wav'",
                "the sound /nowhere.wav",
            ),
            (
                "[[sensor]]\nsource = '/nowhere.csv'",
                "the recording /nowhere.csv",
            ),
        ]);
    }
}
