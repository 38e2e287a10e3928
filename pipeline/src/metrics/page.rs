//! Writing figures that are kept elsewhere.

use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;

/// A label and its value.
pub type Label<'a> = (&'a str, &'a str);

/// The figures of one program, each with the labels that tell it from others.
pub struct Page<'a, 'b> {
    encoder: DescriptorEncoder<'a>,
    own: &'b [Label<'b>],
}

impl<'a, 'b> Page<'a, 'b> {
    /// A page on which every figure has the labels `own`.
    pub fn new(encoder: DescriptorEncoder<'a>, own: &'b [Label<'b>]) -> Self {
        Self { encoder, own }
    }

    /// A counter; `_total` is added to its name.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        self.counters(name, help, [(None, value)])
    }

    /// A counter for each value of a label.
    pub fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Option<Label<'l>>, u64)>,
    ) -> Result<(), Error> {
        let values = values
            .into_iter()
            .map(|(label, value)| (label, ConstCounter::new(value)));
        self.family(name, help, MetricType::Counter, values)
    }

    /// A gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        self.gauges(name, help, [(None, value)])
    }

    /// A gauge for each value of a label.
    pub fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Option<Label<'l>>, f64)>,
    ) -> Result<(), Error> {
        let values = values
            .into_iter()
            .map(|(label, value)| (label, ConstGauge::new(value)));
        self.family(name, help, MetricType::Gauge, values)
    }

    /// A histogram.
    pub fn histogram(&mut self, name: &str, help: &str, value: &Histogram) -> Result<(), Error> {
        let mut metric = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        value.encode(metric.encode_family(&self.own)?)
    }

    /// A gauge that is 1, whose labels say what cannot be counted.
    pub fn info(&mut self, name: &str, help: &str, about: &[Label<'_>]) -> Result<(), Error> {
        let labels = [self.own, about].concat();
        let mut metric = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(1_u64).encode(metric.encode_family(&labels)?)
    }

    fn family<'l, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl Iterator<Item = (Option<Label<'l>>, M)>,
    ) -> Result<(), Error> {
        let mut metric = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (label, value) in values {
            let labels: Vec<Label<'_>> = self.own.iter().copied().chain(label).collect();
            value.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
