//! What one stream brought to a window, and which of its samples stand for it.

use std::sync::Arc;

use broker::Modality;
use gst::ClockTime;
use mas::Measurement;

use crate::meta::Measured;

/// A frame counts as worth as much as the best one if it reaches this share of it.
const ABOUT_THE_BEST: f32 = 0.95;
/// Kept frames of a stream that a window holds at most: those worth least go first.
const MOST_FRAMES: usize = 64;

/// A hop, and the running time that counts as its end.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    pub end: ClockTime,
    pub measured: Arc<Measured>,
}

/// One stream within a window.
#[derive(Debug)]
pub(super) struct Stream {
    pub modality: Modality,
    /// Frames that entered the gate; of video alone.
    pub frames_in: u32,
    /// Those that it kept.
    pub frames_kept: u32,
    frames: Vec<Frame>,
    hops: Vec<Hop>,
}

/// A kept frame.
#[derive(Debug)]
struct Frame {
    running: ClockTime,
    measured: Arc<Measured>,
    jpeg: Option<gst::Buffer>,
}

/// A frame, or a hop, that stands for its stream, measured against what has been sent by now.
pub(super) struct Sample {
    /// Which hop of the window it is; 0 for a frame.
    pub t: u16,
    pub measured: Arc<Measured>,
    pub now: Measurement,
    /// The frame itself, where frames come as JPEG pictures.
    pub jpeg: Option<gst::Buffer>,
}

impl Stream {
    pub fn new(modality: Modality) -> Self {
        Self {
            modality,
            frames_in: 0,
            frames_kept: 0,
            frames: Vec::new(),
            hops: Vec::new(),
        }
    }

    /// Adds a kept frame, with its picture if that came as JPEG.
    pub fn keep(&mut self, running: ClockTime, measured: Arc<Measured>, jpeg: Option<gst::Buffer>) {
        self.frames_in += 1;
        self.frames_kept += 1;
        if self.frames.len() >= MOST_FRAMES {
            let worth = |frame: &Measured| frame.measurement.mas.worth();
            let (mut least, mut worst) = (0, f32::INFINITY);
            for (index, frame) in self.frames.iter().enumerate() {
                if worth(&frame.measured) < worst {
                    (least, worst) = (index, worth(&frame.measured));
                }
            }
            self.frames.remove(least);
        }
        self.frames.push(Frame {
            running,
            measured,
            jpeg,
        });
    }

    /// Adds a hop.
    pub fn hop(&mut self, hop: Hop) {
        self.hops.push(hop);
    }

    /// What stands for the stream in the window that begins at `start`: one frame, or at most
    /// `hops` hops of `length` each, in order of time. `threshold` is the importance that a
    /// position must exceed.
    ///
    /// A sample whose change was sent after it was measured is passed over: what made it
    /// pass the gate is known by now.
    pub fn samples(
        mut self,
        start: ClockTime,
        length: ClockTime,
        hops: usize,
        threshold: f32,
    ) -> Vec<Sample> {
        let exceeds = |m: &Measurement| m.importance().iter().any(|i| *i > threshold);
        let news = |t: u16, measured: Arc<Measured>, jpeg| {
            let now = measured.now();
            let new = exceeds(&now) || !exceeds(&measured.measurement);
            new.then_some(Sample {
                t,
                measured,
                now,
                jpeg,
            })
        };
        if self.modality != Modality::Video {
            self.hops.sort_by_key(|hop| hop.end);
            let over = self.hops.len().saturating_sub(hops);
            let latest = self.hops.split_off(over);
            let places = places(&latest, start, length, hops);
            let placed = places.into_iter().zip(latest);
            return placed
                .filter_map(|(t, hop)| news(t, hop.measured, None))
                .collect();
        }
        // They may have come by two ways: through the pad's queue and past it.
        self.frames.sort_by_key(|frame| frame.running);
        let frames = self.frames.into_iter();
        let samples: Vec<Sample> = frames
            .filter_map(|frame| news(0, frame.measured, frame.jpeg))
            .collect();
        let worth = |sample: &Sample| sample.now.mas.worth();
        let best = samples.iter().map(worth).fold(0.0, f32::max);
        let mut samples = samples.into_iter().rev();
        let chosen = samples.find(|sample| worth(sample) >= best * ABOUT_THE_BEST);
        chosen.into_iter().collect()
    }
}

/// Which hop of the window each is, of at most `count`, in order of time: by where it ends,
/// moved by one where two would share a place because they do not end where the window's do.
fn places(hops: &[Hop], start: ClockTime, length: ClockTime, count: usize) -> Vec<u16> {
    let mut places: Vec<usize> = Vec::new();
    for (index, hop) in hops.iter().enumerate() {
        let into = hop.end.saturating_sub(start).nseconds().saturating_sub(1);
        let place = (into / length.nseconds().max(1)) as usize;
        // Room for those after it, and after those before it.
        let most = count - (hops.len() - index);
        let least = places.last().map_or(0, |before| before + 1);
        places.push(place.min(most).max(least));
    }
    places.into_iter().map(|place| place as u16).collect()
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
                modality: Modality::Video,
                frame: index as u64,
                t0: 0.0,
                probed: true,
                measurement,
                features: Features::Frame(Arc::new(Array3::zeros((24, 56, 56)))),
                encoder: Arc::clone(&encoder),
                columns: 4,
                meter: Arc::clone(&meter),
                end: None,
                flags: Vec::new(),
            }));
            if index == 0 {
                frames[0].mark_sent(0..4);
            }
        }
        frames
    }

    fn ms(ms: u64) -> ClockTime {
        ClockTime::from_mseconds(ms)
    }

    fn stream(kept: impl IntoIterator<Item = Arc<Measured>>) -> Stream {
        let mut stream = Stream::new(Modality::Video);
        for frame in kept {
            stream.keep(ms(frame.frame), frame, None);
        }
        stream
    }

    fn chosen(kept: impl IntoIterator<Item = Arc<Measured>>) -> Option<u64> {
        let samples = stream(kept).samples(ms(0), ms(500), 2, 0.1);
        samples.first().map(|sample| sample.measured.frame)
    }

    #[test]
    fn the_latest_of_those_about_the_best() {
        let frames = frames(&[1.0, 1.0, -1.0, -1.0, 1.0]);
        assert_eq!(chosen(frames[1..4].to_vec()), Some(3));
        assert_eq!(chosen(frames[1..].to_vec()), Some(3));
        assert_eq!(chosen(frames[1..4].iter().rev().cloned()), Some(3));
        assert_eq!(chosen([]), None);
    }

    #[test]
    fn a_change_that_was_sent_meanwhile_is_passed_over_but_a_heartbeat_is_not() {
        let frames = frames(&[1.0, 1.0, -1.0, -1.0]);
        frames[2].mark_sent(0..4);
        assert_eq!(chosen(frames[2..].to_vec()), None);
        frames[0].mark_sent(0..4);
        assert_eq!(chosen(frames[1..2].to_vec()), Some(1));
    }

    #[test]
    fn of_too_many_frames_those_worth_least_go() {
        let mut values = vec![1.0; 2 * MOST_FRAMES];
        values[1] = -1.0;
        let stream = stream(frames(&values));
        assert_eq!(stream.frames_kept as usize, 2 * MOST_FRAMES);
        assert_eq!(stream.frames.len(), MOST_FRAMES);
        let mut kept = stream.frames.iter().map(|frame| frame.measured.frame);
        assert!(kept.any(|frame| frame == 1));
    }

    #[test]
    fn hops_have_their_place_in_the_window_by_where_they_end() {
        let one = &frames(&[1.0])[0];
        let placed = |ends: &[u64]| {
            let hop = |end: &u64| Hop {
                end: ms(10_000 + end),
                measured: Arc::clone(one),
            };
            let hops: Vec<Hop> = ends.iter().map(hop).collect();
            places(&hops, ms(10_000), ms(500), 2)
        };
        assert_eq!(placed(&[500, 1_000]), [0, 1]);
        assert_eq!(placed(&[300, 800]), [0, 1]);
        assert_eq!(placed(&[500]), [0]);
        assert_eq!(placed(&[501]), [1]);
        assert_eq!(placed(&[1_000]), [1]);
        // Jitter put both into one half.
        assert_eq!(placed(&[510, 990]), [0, 1]);
        assert_eq!(placed(&[10, 490]), [0, 1]);
    }
}
