//! Spans on their way to the collector: OTLP over HTTP, in batches, from a thread of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use cloud_sink::OtlpSection;
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor};

use super::Service;

/// How long one request may take, and the last spans at the end.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer of a collector that is read, in bytes.
const MOST_ANSWERED: u64 = 64 * 1024;

/// Hands spans to the thread. Clones share it.
#[derive(Clone)]
pub struct Exporter {
    processor: Arc<BatchSpanProcessor>,
    endpoint: String,
}

impl Exporter {
    /// An exporter to the endpoint of `section`, or of the environment; none if neither names one.
    ///
    /// # Errors
    /// The endpoint cannot be used.
    pub fn start(section: &OtlpSection, service: &Service<'_>) -> Result<Option<Self>> {
        let env = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok();
        let named = section.endpoint.clone().or(env);
        let Some(endpoint) = named.filter(|endpoint| !endpoint.is_empty()) else {
            return Ok(None);
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new())
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(PATIENCE)
            .build()
            .context("otlp.endpoint, or OTEL_EXPORTER_OTLP_ENDPOINT, is no URL of a collector: give one such as http://127.0.0.1:4318")?;
        let exporter = Telling {
            exporter,
            endpoint: told(&endpoint),
            failed: AtomicBool::new(false),
        };
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        let resource = Resource::builder_empty().with_attributes([
            KeyValue::new("service.name", service.name),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", service.instance.to_owned()),
        ]);
        processor.set_resource(&resource.build());
        Ok(Some(Self {
            processor: Arc::new(processor),
            endpoint: told(&endpoint),
        }))
    }

    /// Says in the log where spans go.
    pub fn say(&self) {
        tracing::info!("windows are traced to {}", self.endpoint);
    }

    /// Takes a span. If the collector is too slow, or away, spans beyond 2,048 are dropped.
    pub fn take(&self, span: SpanData) {
        self.processor.on_end(span);
    }

    /// Sends what is left, for a bounded time.
    pub fn end(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(PATIENCE) {
            tracing::warn!("the last spans were not sent: {error}");
        }
    }
}

/// An exporter that logs when the collector goes, and when it is back.
struct Telling {
    exporter: SpanExporter,
    endpoint: String,
    failed: AtomicBool,
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telling").finish_non_exhaustive()
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        let failed = self.failed.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Err(error) if !failed => tracing::warn!(
                "{spans} spans were not sent to {} ({error}): until it takes them, they are dropped",
                self.endpoint
            ),
            Ok(()) if failed => tracing::info!("{} takes spans again", self.endpoint),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The program's HTTP client. It blocks, which only the exporter's thread feels.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false);
        Self(config.build().into())
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let response = self.0.run(Request::from_parts(parts, body.to_vec()))?;
        let (parts, mut body) = response.into_parts();
        let body = body.with_config().limit(MOST_ANSWERED).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }
}

impl HttpClient for Client {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(std::future::ready(self.send(request)))
    }
}

/// A URL without the user and password that it may hold.
fn told(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{host}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_password_is_not_told() {
        let told = super::told;
        assert_eq!(told("https://u:p@ss@host:4318"), "https://host:4318");
        assert_eq!(told("http://host:4318"), "http://host:4318");
    }
}
