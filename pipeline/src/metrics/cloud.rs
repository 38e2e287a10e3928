//! The figures of a cloud worker.

use std::fmt;
use std::time::Instant;

use broker::{CloudStatus, LatencyMs};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::histogram::Histogram;

use super::page::Page;
use super::{Latest, Source, latencies};

/// What is known of a worker: its latest status, and how long its windows took.
#[derive(Debug)]
pub struct Cloud {
    latest: Latest<(CloudStatus, bool)>,
    uplink: Histogram,
    queue: Histogram,
    work: Histogram,
    all: Histogram,
}

impl Default for Cloud {
    fn default() -> Self {
        Self {
            latest: Latest::default(),
            uplink: latencies(),
            queue: latencies(),
            work: latencies(),
            all: latencies(),
        }
    }
}

impl cloud_sink::Observer for Cloud {
    fn captioned(&self, latency: &LatencyMs) {
        let parts = [
            (&self.uplink, latency.uplink),
            (&self.queue, latency.queue),
            (&self.work, latency.cloud),
        ];
        let mut all = latency.edge;
        for (histogram, ms) in parts {
            if let Some(ms) = ms {
                histogram.observe(ms / 1e3);
                all += ms;
            }
        }
        self.all.observe(all / 1e3);
    }

    fn beat(&self, status: &CloudStatus, connected: bool) {
        self.latest.set((status.clone(), connected));
    }
}

impl Source for Cloud {
    fn fault(&self) -> Option<String> {
        self.latest.fault(Instant::now(), |(_, connected)| {
            (!connected).then(|| "NATS is not connected".to_owned())
        })
    }
}

impl Collector for Cloud {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let latest = self.latest.lock();
        let Some((_, (status, connected))) = &*latest else {
            return Ok(());
        };
        let own = [("worker", status.worker.as_str())];
        let mut page = Page::new(encoder, &own);
        page.info(
            "msao_cloud_info",
            "Always 1: the worker's version, model and what runs it",
            &[
                ("version", env!("CARGO_PKG_VERSION")),
                ("model", &status.model),
                ("provider", &status.provider),
            ],
        )?;
        page.gauge(
            "msao_cloud_connected",
            "Whether NATS is connected",
            f64::from(u8::from(*connected)),
        )?;
        page.counters(
            "msao_cloud_windows",
            "Windows captioned, by what became of their draft",
            [
                ("confirmed", status.confirmed),
                ("corrected", status.corrected),
            ]
            .map(|(verdict, count)| (Some(("verdict", verdict)), count)),
        )?;
        page.counter(
            "msao_cloud_duplicate_windows",
            "Windows that had been captioned before and were passed over",
            status.duplicates,
        )?;
        page.counter(
            "msao_cloud_dead_letters",
            "Messages that could not be handled and went to the dead letters",
            status.dead,
        )?;
        page.gauge(
            "msao_cloud_queue_windows",
            "Windows that wait, in the broker for any worker and in this one for the model",
            status.queue as f64,
        )?;
        page.gauge(
            "msao_cloud_capacity_windows_per_second",
            "Windows a second that the worker can serve, from its time of work alone; 0 before the first",
            status.service_rate,
        )?;
        page.histogram(
            "msao_cloud_uplink_seconds",
            "From a window's draft, by the edge's clock, to its arrival in the broker",
            &self.uplink,
        )?;
        page.histogram(
            "msao_cloud_queue_seconds",
            "From a window's arrival in the broker to when the worker took it up",
            &self.queue,
        )?;
        page.histogram(
            "msao_cloud_work_seconds",
            "From when the worker took a window up to its verdict",
            &self.work,
        )?;
        page.histogram(
            "msao_cloud_caption_seconds",
            "From a window's end to its last caption",
            &self.all,
        )?;
        super::process::write(&mut page)
    }
}
