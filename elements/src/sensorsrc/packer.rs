//! From samples to buffers of a fixed length.

use crate::sensor::length;

/// Gathers interleaved samples into buffers and times them by counting.
#[derive(Debug)]
pub(super) struct Packer {
    channels: usize,
    rate: u32,
    /// Samples of each channel in a full buffer.
    most: usize,
    /// Time of the first sample, in ns.
    origin: u64,
    /// Samples given out since then.
    given: u64,
    values: Vec<f32>,
    fresh: bool,
}

impl Packer {
    /// Buffers are `duration` long, at least one sample.
    pub fn new(channels: usize, rate: u32, duration: gst::ClockTime) -> Self {
        let samples = u128::from(duration.nseconds()) * u128::from(rate) / 1_000_000_000;
        Self {
            channels,
            rate,
            most: usize::try_from(samples).unwrap_or(usize::MAX).max(1),
            origin: 0,
            given: 0,
            values: Vec::new(),
            fresh: true,
        }
    }

    /// Where the samples go, whole rows of one value a channel.
    pub fn values(&mut self) -> &mut Vec<f32> {
        &mut self.values
    }

    pub fn is_full(&self) -> bool {
        self.samples() >= self.most
    }

    /// The next sample is at `origin` (ns), whatever came before. What is held must have
    /// been taken.
    pub fn restart(&mut self, origin: u64) {
        self.origin = origin;
        self.given = 0;
        self.fresh = true;
    }

    /// A buffer of what is held, if anything is.
    pub fn take(&mut self) -> Option<gst::Buffer> {
        if self.values.is_empty() {
            return None;
        }
        let bytes: Vec<u8> = self.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let start = self.now();
        self.given += self.samples() as u64;
        self.values.clear();
        let mut buffer = gst::Buffer::from_slice(bytes);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(start);
            buffer.set_duration(self.now() - start);
            if self.fresh {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
        }
        self.fresh = false;
        Some(buffer)
    }

    fn samples(&self) -> usize {
        self.values.len() / self.channels
    }

    fn now(&self) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(self.origin) + length(self.given, self.rate)
    }
}
