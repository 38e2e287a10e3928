//! The log, and spans about windows to a collector of OpenTelemetry, where one is configured.

mod export;
mod spans;

use anstream::{AutoStream, ColorChoice};
use anyhow::Result;
use cloud_sink::OtlpSection;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use export::Exporter;
use spans::Spans;

/// Who is traced.
pub struct Service<'a> {
    /// `service.name`.
    pub name: &'static str,
    /// `service.instance.id`: the rig or the worker.
    pub instance: &'a str,
}

/// Sends the last spans when it is dropped.
#[must_use]
pub struct Tracing {
    exporter: Option<Exporter>,
}

impl Drop for Tracing {
    fn drop(&mut self) {
        if let Some(exporter) = &self.exporter {
            exporter.end();
        }
    }
}

/// Begins to log to standard error, and nothing else.
pub fn log() {
    tracing_subscriber::fmt()
        .with_env_filter(log_filter())
        .with_writer(std::io::stderr)
        .with_ansi(is_coloured())
        .init();
}

/// Begins to log to standard error, and to trace windows where `section` says, or the environment variable
/// `OTEL_EXPORTER_OTLP_ENDPOINT`.
///
/// # Errors
/// The section cannot be used.
pub fn init(section: &OtlpSection, service: &Service<'_>) -> Result<Tracing> {
    let Some(exporter) = Exporter::start(section, service)? else {
        log();
        return Ok(Tracing { exporter: None });
    };
    let spans = Spans::new(section.ratio, exporter.clone());
    let only = Targets::new().with_target(broker::trace::TARGET, LevelFilter::INFO);
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(is_coloured());
    tracing_subscriber::registry()
        .with(log.with_filter(log_filter()))
        .with(spans.with_filter(only))
        .init();
    exporter.say();
    Ok(Tracing {
        exporter: Some(exporter),
    })
}

fn is_coloured() -> bool {
    AutoStream::choice(&std::io::stderr()) != ColorChoice::Never
}

fn log_filter() -> EnvFilter {
    EnvFilter::try_from_env("MSAO_LOG").unwrap_or_else(|_| {
        let asked = std::env::var_os("GST_DEBUG").is_some();
        let gst = if asked {
            ",gstreamer=trace,gstmsao=trace"
        } else {
            ""
        };
        EnvFilter::new(format!("warn,pipeline=info,cloud_sink=info{gst}"))
    })
}
