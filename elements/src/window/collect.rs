//! What one stream brought to a window, and which of its frames stands for it.

use std::sync::Arc;

use mas::Measurement;

use crate::meta::Measured;

/// A frame counts as worth as much as the best one if it reaches this share of it.
const ABOUT_THE_BEST: f32 = 0.95;

/// One stream within a window.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Frames that entered the gate.
    pub frames_in: u32,
    /// Those that it kept, in order of time.
    pub kept: Vec<Arc<Measured>>,
}

/// The frame that stands for a stream, measured against what has been sent by now.
pub(super) struct Chosen {
    pub frame: Arc<Measured>,
    pub now: Measurement,
}

impl Stream {
    /// Adds a kept frame.
    pub fn keep(&mut self, frame: Arc<Measured>) {
        self.frames_in += 1;
        self.kept.push(frame);
    }

    /// The latest of the kept frames whose worth is about the greatest. Frames whose
    /// change was sent after they were measured are passed over: what made them pass the
    /// gate is known by now. `threshold` is the importance that a position must exceed.
    pub fn choose(&self, threshold: f32) -> Option<Chosen> {
        let exceeds = |m: &Measurement| m.importance().iter().any(|i| *i > threshold);
        let news: Vec<Chosen> = self
            .kept
            .iter()
            .map(|frame| Chosen {
                frame: Arc::clone(frame),
                now: frame.now(),
            })
            .filter(|chosen| exceeds(&chosen.now) || !exceeds(&chosen.frame.measurement))
            .collect();
        let worth = |chosen: &Chosen| chosen.now.mas.worth();
        let best = news.iter().map(worth).fold(0.0, f32::max);
        news.into_iter()
            .rev()
            .find(|chosen| worth(chosen) >= best * ABOUT_THE_BEST)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use mas::{Meter, MeterSettings};
    use ndarray::{Array2, Array3};

    use super::*;
    use crate::meta::Features;

    /// Frames of one stream in which position 1 holds each of `values` in turn.
    fn frames(values: &[f32]) -> Vec<Arc<Measured>> {
        let meter = Arc::new(Mutex::new(Meter::new(MeterSettings::default()).unwrap()));
        let encoder = Arc::new(mllm::EncoderId {
            id: "e".into(),
            sha256: "0".into(),
        });
        let mut frames: Vec<Arc<Measured>> = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let mut grid =
                Array2::from_shape_fn((4, 8), |(p, c)| ((p * 5 + c * 3) % 7) as f32 - 3.0);
            // It stands out from the others, whatever it holds.
            grid.row_mut(1).mapv_inplace(|v| 3.0 * v * value);
            let measurement = Arc::new(crate::lock(&meter).measure(grid.view()));
            frames.push(Arc::new(Measured {
                modality: broker::Modality::Video,
                frame: index as u64,
                t0: 0.0,
                probed: true,
                measurement,
                features: Features::Frame(Arc::new(Array3::zeros((24, 56, 56)))),
                encoder: Arc::clone(&encoder),
                columns: 4,
                meter: Arc::clone(&meter),
                flags: Vec::new(),
            }));
            if index == 0 {
                frames[0].mark_sent(0..4);
            }
        }
        frames
    }

    fn chosen(kept: &[Arc<Measured>]) -> Option<u64> {
        let stream = Stream {
            frames_in: 9,
            kept: kept.to_vec(),
        };
        stream.choose(0.1).map(|chosen| chosen.frame.frame)
    }

    #[test]
    fn the_latest_of_those_about_the_best() {
        let frames = frames(&[1.0, 1.0, -1.0, -1.0, 1.0]);
        assert_eq!(chosen(&frames[1..4]), Some(3));
        assert_eq!(chosen(&frames[1..]), Some(3));
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn a_change_that_was_sent_meanwhile_is_passed_over_but_a_heartbeat_is_not() {
        let frames = frames(&[1.0, 1.0, -1.0, -1.0]);
        frames[2].mark_sent(0..4);
        assert_eq!(chosen(&frames[2..]), None);
        frames[0].mark_sent(0..4);
        assert_eq!(chosen(&frames[1..2]), Some(1));
    }
}
