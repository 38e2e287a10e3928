//! `/metrics` for Prometheus and `/healthz` for whoever restarts what is not well: the figures of the status messages, over HTTP.

mod cloud;
#[cfg(feature = "edge")]
mod edge;
mod page;
mod process;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::http::{StatusCode, header};
use axum::routing::get;
use axum::{Router, response::IntoResponse};
use cloud_sink::MetricsSection;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::listener::Bounded;

pub use cloud::Cloud;
#[cfg(feature = "edge")]
pub use edge::{Edge, Figures, Planner};

/// Figures older than this are of a program that hangs: they come each second, and a request to NATS may take 5.
const STALE: Duration = Duration::from_secs(15);

/// Connections at a time, and how long each may last: whoever scrapes needs no more, and makes another.
const CONNECTIONS: usize = 16;
const LONGEST: Duration = Duration::from_secs(60);

/// Upper bounds of the buckets of latencies, in seconds.
const SECONDS: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// What can be asked how it is.
pub trait Source: Collector {
    /// Nothing if it is well, otherwise why it is not.
    fn fault(&self) -> Option<String>;
}

/// Serves what `source` tells where `section` says, if it does, for as long as the runtime lives, which it must be called
/// within.
///
/// # Errors
/// Nobody can listen there.
pub async fn serve(section: &MetricsSection, source: Arc<impl Source>) -> Result<()> {
    let Some(address) = section.listen else {
        return Ok(());
    };
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener.with_context(|| {
        format!("cannot serve metrics on {address}: give metrics.listen an address of this machine and a free port")
    })?;
    let address = listener.local_addr()?;
    tracing::info!("metrics on http://{address}/metrics, health on http://{address}/healthz");
    let service = router(source);
    let listener = Bounded::new(listener, CONNECTIONS, Some(LONGEST));
    tokio::spawn(async move {
        // It ends with the runtime only.
        let _ = axum::serve(listener, service).await;
    });
    Ok(())
}

fn router<S: Source>(source: Arc<S>) -> Router {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Arc::clone(&source)));
    let registry = Arc::new(registry);
    let metrics = move || {
        let registry = Arc::clone(&registry);
        async move {
            let mut text = String::new();
            match prometheus_text::encode(&mut text, &registry) {
                Ok(()) => {
                    let kind = [(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)];
                    (kind, text).into_response()
                }
                Err(error) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
                }
            }
        }
    };
    let health = move || {
        let fault = source.fault();
        async move {
            match fault {
                None => (StatusCode::OK, "ok\n".to_owned()),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            }
        }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
}

/// The latest figures, and when they came.
#[derive(Debug)]
struct Latest<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Latest<T> {
    fn set(&self, figures: T) {
        *self.lock() = Some((Instant::now(), figures));
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong by the latest figures: that there are none, or what `judge` says of them.
    fn fault(&self, now: Instant, judge: impl FnOnce(&T) -> Option<String>) -> Option<String> {
        match &*self.lock() {
            None => Some("it is starting".to_owned()),
            Some((at, _)) if now.saturating_duration_since(*at) > STALE => Some(format!(
                "it has not said how it is for {:.0} s",
                now.saturating_duration_since(*at).as_secs_f64()
            )),
            Some((_, figures)) => judge(figures),
        }
    }
}

/// A histogram of latencies.
fn latencies() -> Histogram {
    Histogram::new(SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_not_well() {
        let latest = Latest::default();
        let now = Instant::now();
        let well = |_: &u32| None;
        assert_eq!(latest.fault(now, well), Some("it is starting".to_owned()));
        latest.set(1);
        assert_eq!(latest.fault(now, well), None);
        let late = Instant::now() + STALE + Duration::from_secs(5);
        let fault = latest.fault(late, well).unwrap_or_default();
        assert!(fault.contains("for 20 s"), "{fault}");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_an_error_that_names_it() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let address = taken.as_ref().unwrap().local_addr().unwrap();
        let section = MetricsSection {
            listen: Some(address),
        };
        let error = serve(&section, Arc::new(Cloud::default()))
            .await
            .unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains(&address.to_string()) && error.contains("metrics.listen"),
            "{error}"
        );
    }
}
