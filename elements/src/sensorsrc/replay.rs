//! A recording as buffers.

use super::packer::Packer;
use super::recording::{Error, Recording};
use super::resample::Resampler;

/// Replays a recording, once or again and again. A pass follows the one before by one
/// sample.
#[derive(Debug)]
pub(super) struct Replay {
    recording: Recording,
    resampler: Resampler,
    packer: Packer,
    rate: u32,
    again: bool,
}

impl Replay {
    /// Reads the first row, so that a file without one is known from the start.
    pub fn new(
        mut recording: Recording,
        packer: Packer,
        rate: u32,
        again: bool,
    ) -> Result<Self, Error> {
        let mut resampler = Resampler::new(rate);
        if let Some(row) = recording.row()? {
            resampler.feed(row);
        }
        Ok(Self {
            recording,
            resampler,
            packer,
            rate,
            again,
        })
    }

    /// The next buffer; none at the end.
    pub fn next(&mut self) -> Result<Option<gst::Buffer>, Error> {
        while !self.packer.is_full() {
            if self.resampler.sample(self.packer.values()) {
                continue;
            }
            match self.recording.row()? {
                Some(row) => self.resampler.feed(row),
                None if self.again => {
                    self.recording.rewind()?;
                    self.resampler = Resampler::new(self.rate);
                }
                None => break,
            }
        }
        Ok(self.packer.take())
    }
}
