//! What else may be told of a program that runs a worker or an edge. The program tells it: this crate only reads where.

use std::net::SocketAddr;

use broker::Faults;
use serde::Deserialize;

/// Figures for Prometheus, over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSection {
    /// Where `/metrics` and `/healthz` are served, such as `127.0.0.1:9464`; nowhere if left out. They have neither
    /// encryption nor a password.
    pub listen: Option<SocketAddr>,
}

/// Traces of windows, for a collector of OpenTelemetry.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpSection {
    /// The URL of the collector's OTLP over HTTP, such as `http://127.0.0.1:4318`; left out that of the environment variable
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, without which nothing is traced.
    pub endpoint: Option<String>,
    /// Share of windows that are traced, 0 to 1.
    pub ratio: f64,
}

impl OtlpSection {
    /// Notes what is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        faults.range("otlp.ratio", Some(self.ratio), 0.0..=1.0, "");
        let is_url =
            |endpoint: &str| endpoint.starts_with("http://") || endpoint.starts_with("https://");
        // An address may hold a password: it is not repeated.
        faults.ensure(
            self.endpoint.as_deref().is_none_or(is_url),
            "otlp.endpoint",
            "otlp.endpoint is no http:// or https:// URL: give that of a collector's OTLP over HTTP, such as http://127.0.0.1:4318",
        );
    }
}

impl Default for OtlpSection {
    fn default() -> Self {
        Self {
            endpoint: None,
            ratio: 1.0,
        }
    }
}
