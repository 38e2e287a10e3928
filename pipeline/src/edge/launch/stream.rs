//! The streams of a rig, by which their elements in the line are found.

use broker::Modality;

use crate::edge::config::Config;

/// A stream of the rig, by which its elements in the line are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// What it senses.
    pub modality: Modality,
    /// Its place among the streams of this modality.
    pub index: usize,
}

impl Stream {
    /// The name of the element that measures it.
    pub fn mas(self) -> String {
        format!("mas_{}", self.pad())
    }

    /// The name of its gate.
    pub fn gate(self) -> String {
        format!("gate_{}", self.pad())
    }

    /// The name of what its frames go to the gate and to previews from.
    pub fn tee(self) -> String {
        format!("tee_{}", self.pad())
    }

    /// The name of the sink of its previews.
    pub fn preview(self) -> String {
        format!("preview_{}", self.pad())
    }

    /// The name of the element that its data come from.
    pub fn source(self) -> String {
        format!("source_{}", self.pad())
    }

    /// The name of its pad of the window.
    pub fn pad(self) -> String {
        format!("{}_{}", self.modality, self.index)
    }
}

/// The streams of a rig.
pub fn streams(config: &Config) -> Vec<Stream> {
    let of = |modality, count| (0..count).map(move |index| Stream { modality, index });
    of(Modality::Video, config.video.len())
        .chain(of(Modality::Audio, config.audio.len()))
        .chain(of(Modality::Sensor, config.sensor.len()))
        .collect()
}
