//! Cuts a stream of samples into hops.

/// Times that differ from what was expected by no more than this are jitter.
const JITTER: gst::ClockTime = gst::ClockTime::from_mseconds(40);

/// Of how many samples what consists, and how fast they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Values of one sample.
    pub channels: usize,
    /// Samples a second.
    pub rate: u32,
    /// Samples of a hop.
    pub hop: usize,
    /// Samples before the hop that belong to its input; zeros at the start.
    pub context: usize,
}

/// Gathers samples, interleaved where there are several channels.
#[derive(Debug)]
pub(super) struct Cutter {
    shape: Shape,
    /// The context and what there is of the hop.
    held: Vec<f32>,
    /// Where the next buffer begins if the stream goes on.
    expected: Option<gst::ClockTime>,
}

impl Cutter {
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            held: vec![0.0; shape.context * shape.channels],
            expected: None,
        }
    }

    /// Begins anew. Returns how many samples of a hop are given up.
    pub fn restart(&mut self) -> u64 {
        let given_up = self.held.len() / self.shape.channels - self.shape.context;
        *self = Self::new(self.shape);
        given_up as u64
    }

    /// Whether a buffer goes on where the one before ended. One without a time does.
    pub fn follows(&self, buffer: &gst::BufferRef) -> bool {
        if buffer.flags().contains(gst::BufferFlags::DISCONT) {
            return false;
        }
        let times = buffer.pts().zip(self.expected);
        times.is_none_or(|(pts, expected)| pts.absdiff(expected) <= JITTER)
    }

    /// Notes where a buffer of this length ends.
    pub fn note(&mut self, pts: Option<gst::ClockTime>, length: gst::ClockTime) {
        let start = pts.or(self.expected);
        self.expected = start.map(|start| start.saturating_add(length));
    }

    /// Takes values up to the end of the hop; returns what is left of them.
    pub fn fill<'a>(&mut self, values: &'a [f32]) -> &'a [f32] {
        let missing = self.whole() - self.held.len();
        let (taken, rest) = values.split_at(missing.min(values.len()));
        self.held.extend(taken);
        rest
    }

    /// The hop with its context, once all of it is there.
    pub fn hop(&self) -> Option<&[f32]> {
        (self.held.len() == self.whole()).then_some(&self.held)
    }

    /// Goes on to the next hop.
    pub fn advance(&mut self) {
        let context = self.shape.context * self.shape.channels;
        self.held.drain(..self.held.len() - context);
    }

    fn whole(&self) -> usize {
        (self.shape.context + self.shape.hop) * self.shape.channels
    }
}
