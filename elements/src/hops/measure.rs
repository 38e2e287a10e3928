//! Encodes and measures the hops of one stream.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use broker::Modality;
use mas::{Meter, MeterSettings};
use mllm::{EncoderId, HopOutput};

use super::cut::Cutter;
use super::settings::{Settings, Stats};
use crate::lock;
use crate::meta::{Features, Measured};
use crate::sensor::length;

/// What a kind of stream brings along: its network, and what to look for in a hop.
pub(crate) trait Hop: Send + 'static {
    const MODALITY: Modality;
    /// How the stream is cut.
    fn shape(&self) -> super::Shape;
    /// How the stream comes.
    fn source(&self) -> Source;
    /// What the network reads of what comes, which is whole samples.
    fn read(&mut self, bytes: &[u8]) -> Result<Vec<f32>, Error>;
    /// The encoder.
    fn encoder(&self) -> &EncoderId;
    /// What runs it.
    fn provider(&self) -> mllm::Provider;
    /// Columns of a hop's positions.
    fn columns(&self) -> usize;
    /// Encodes a hop, with its context before it.
    fn run(&mut self, samples: &[f32]) -> Result<HopOutput, mllm::Error>;
    /// What there is to say of a hop, without its context.
    fn look(&mut self, samples: &[f32]) -> Result<Look, mllm::Error>;
    /// What comes next does not follow what came before.
    fn restart(&mut self) {}
}

/// Why a hop is not measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The encoder, or what looks at the hop beside it, fails.
    #[error(transparent)]
    Network(#[from] mllm::Error),
    /// Sound of this format is not converted.
    #[error(
        "GStreamer does not convert sound of {0}: put audioconvert ! audioresample before this element"
    )]
    Sound(String),
}

/// How a stream comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    /// Bytes of one sample of all channels.
    pub sample: usize,
    /// Samples a second.
    pub rate: u32,
}

/// What there is to say of a hop.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub flags: Vec<&'static str>,
    /// Probability of speech, if it was asked for.
    pub speech: Option<f32>,
}

/// A hop that ended.
pub(super) struct EndedHop {
    pub measured: Arc<Measured>,
    /// Where it starts in the stream.
    pub pts: Option<gst::ClockTime>,
    pub speech: Option<f32>,
}

/// What a buffer came to.
pub(super) struct Ended {
    /// The hops that end in it.
    pub hops: Vec<EndedHop>,
    /// The latest hop of the stream.
    latest: Option<Arc<Measured>>,
}

impl Ended {
    /// The measurements that the buffer carries.
    pub fn carried(&self) -> Vec<Arc<Measured>> {
        if self.hops.is_empty() {
            return self.latest.iter().cloned().collect();
        }
        let hops = self.hops.iter().map(|hop| Arc::clone(&hop.measured));
        hops.collect()
    }
}

/// From the element's start to its stop.
pub(super) struct State<H> {
    network: H,
    encoder: Arc<EncoderId>,
    meter: Arc<Mutex<Meter>>,
    cutter: Cutter,
    /// Samples since the stream began, or began anew: as they came, and as the network reads them.
    came: u64,
    read: u64,
    hops: u64,
    latest: Option<Arc<Measured>>,
}

impl<H: Hop> State<H> {
    pub fn new(network: H, settings: &Settings) -> Result<Self, gst::ErrorMessage> {
        let meter = Meter::new(MeterSettings {
            coverage: settings.coverage,
            seed: settings.seed,
            ..MeterSettings::default()
        });
        let meter =
            meter.map_err(|error| gst::error_msg!(gst::ResourceError::Settings, ("{error}")))?;
        Ok(Self {
            encoder: Arc::new(network.encoder().clone()),
            meter: Arc::new(Mutex::new(meter)),
            cutter: Cutter::new(network.shape()),
            network,
            came: 0,
            read: 0,
            hops: 0,
            latest: None,
        })
    }

    pub fn provider(&self) -> mllm::Provider {
        self.network.provider()
    }

    pub fn network(&mut self) -> &mut H {
        &mut self.network
    }

    /// Later hops are measured with this β.
    pub fn set_beta(&self, beta: f32) {
        lock(&self.meter).set_beta(beta);
    }

    /// Begins a first hop. What was sent stays sent.
    pub fn restart(&mut self, stats: &mut Stats) {
        let given_up = self.cutter.restart();
        if given_up > 0 || self.latest.is_some() {
            stats.restarts += 1;
        }
        stats.given_up += given_up;
        self.network.restart();
        (self.came, self.read) = (0, 0);
        self.latest = None;
    }

    /// Takes a buffer with these bytes, which are whole samples, and measures the hops that end in it.
    pub fn take(
        &mut self,
        buffer: &gst::BufferRef,
        bytes: &[u8],
        stats: &Mutex<Stats>,
    ) -> Result<Ended, Error> {
        if !self.cutter.follows(buffer) {
            self.restart(&mut lock(stats));
        }
        let source = self.network.source();
        let came = (bytes.len() / source.sample) as u64;
        self.cutter.note(buffer.pts(), length(came, source.rate));
        let shape = self.network.shape();
        let samples = |values: &[f32]| (values.len() / shape.channels) as u64;
        let values = self.network.read(bytes)?;
        // The buffer begins here, as the stream counts.
        let begins = length(self.came, source.rate);
        self.came += came;
        self.read += samples(&values);
        let mut hops = Vec::new();
        let mut rest = &*values;
        while !rest.is_empty() {
            rest = self.cutter.fill(rest);
            let Some(hop) = self.cutter.hop() else {
                break;
            };
            let begun = Instant::now();
            let _span = tracing::debug_span!("T1", hop = lock(stats).hops).entered();
            let output = self.network.run(hop)?;
            let look = self.network.look(&hop[shape.context * shape.channels..])?;
            let ends = length(self.read - samples(rest), shape.rate);
            let long = length(shape.hop as u64, shape.rate);
            // What a converter held back ends before the buffer that brings it.
            let end = (buffer.pts()).map(|pts| pts.saturating_add(ends).saturating_sub(begins));
            let measured = Arc::new(self.measured(output, look.flags, end));
            {
                let mut stats = lock(stats);
                stats.time += begun.elapsed();
                stats.hops += 1;
            }
            self.cutter.advance();
            self.latest = Some(Arc::clone(&measured));
            hops.push(EndedHop {
                measured,
                pts: end.map(|end| end.saturating_sub(long)),
                speech: look.speech,
            });
        }
        Ok(Ended {
            hops,
            latest: self.latest.clone(),
        })
    }

    fn measured(
        &mut self,
        output: HopOutput,
        mut flags: Vec<&'static str>,
        end: Option<gst::ClockTime>,
    ) -> Measured {
        let measurement = lock(&self.meter).measure(output.grid.view());
        if measurement.has_non_finite() && !flags.contains(&"non-finite") {
            flags.push("non-finite");
        }
        let frame = self.hops;
        self.hops += 1;
        Measured {
            modality: H::MODALITY,
            frame,
            t0: 1.0,
            probed: true,
            measurement: Arc::new(measurement),
            features: Features::Tokens(Arc::new(output.tokens)),
            encoder: Arc::clone(&self.encoder),
            columns: self.network.columns(),
            meter: Arc::clone(&self.meter),
            end,
            flags,
        }
    }
}
