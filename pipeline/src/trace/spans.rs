//! Spans of `tracing` about windows as spans of OpenTelemetry, each in its window's trace.

use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::WindowId;
use broker::headers::TraceParent;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::export::Exporter;

/// A layer that hears spans with the target of [`broker::trace`].
pub struct Spans {
    /// Of 2^63 traces so many are recorded.
    share: u64,
    exporter: Exporter,
    scope: InstrumentationScope,
}

impl Spans {
    /// Records the share `ratio`, 0 to 1, of all traces: every program the same ones.
    pub fn new(ratio: f64, exporter: Exporter) -> Self {
        Self {
            share: share(ratio),
            exporter,
            scope: InstrumentationScope::builder("msao").build(),
        }
    }
}

fn share(ratio: f64) -> u64 {
    (ratio * (1_u64 << 63) as f64) as u64
}

/// Whether the trace is among the recorded ones: the low half of its id is as good as random.
fn is_recorded(trace: TraceId, share: u64) -> bool {
    let bytes = trace.to_bytes();
    let low = bytes[8..]
        .iter()
        .fold(0, |n, byte| n << 8 | u64::from(*byte));
    low >> 1 < share
}

/// A span that is recorded, kept with it until it closes.
struct Recorded {
    context: SpanContext,
    parent: SpanId,
    begun: SystemTime,
    fields: Fields,
}

/// What is told of a span.
#[derive(Default)]
struct Fields {
    window: Option<String>,
    own: Option<TraceParent>,
    traceparent: Option<TraceParent>,
    begun_ns: Option<i64>,
    attributes: Vec<KeyValue>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<opentelemetry::Value>) {
        let name = format!("msao.{}", field.name());
        self.attributes.push(KeyValue::new(name, value.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "own" => self.own = value.parse().ok(),
            "traceparent" => self.traceparent = value.parse().ok(),
            name => {
                if name == "window" {
                    self.window = Some(value.to_owned());
                }
                self.add(field, value.to_owned());
            }
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match field.name() {
            "begun_ns" => self.begun_ns = Some(value),
            _ => self.add(field, value),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record_i64(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let Some(id_of_window) = fields
            .window
            .as_deref()
            .and_then(|id| id.parse::<WindowId>().ok())
        else {
            return;
        };
        let root = TraceParent::of_window(&id_of_window);
        let named = fields.own.or(fields.traceparent).unwrap_or(root);
        let trace = TraceId::from(named.trace_id());
        if !is_recorded(trace, self.share) {
            return;
        }
        let Some(span) = context.span(id) else { return };
        let within = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            let context = &extensions.get::<Recorded>()?.context;
            (context.trace_id() == trace).then(|| context.span_id())
        });
        let own = fields.own.unwrap_or_else(|| named.child());
        let parent = match within {
            Some(parent) => parent,
            None if own == root => SpanId::INVALID,
            None => SpanId::from(fields.traceparent.unwrap_or(root).span_id()),
        };
        let own = SpanId::from(own.span_id());
        let now = SystemTime::now();
        let begun = fields.begun_ns.and_then(|ns| u64::try_from(ns).ok());
        let begun = begun.map(|ns| UNIX_EPOCH + Duration::from_nanos(ns));
        span.extensions_mut().insert(Recorded {
            context: SpanContext::new(
                trace,
                own,
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent,
            // A recording that is played faster than it was made is ahead of the clock.
            begun: begun.unwrap_or(now).min(now),
            fields,
        });
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let Some(recorded) = span.extensions_mut().remove::<Recorded>() else {
            return;
        };
        self.exporter.take(SpanData {
            span_context: recorded.context,
            parent_span_id: recorded.parent,
            parent_span_is_remote: false,
            span_kind: match span.name() {
                "publish" => SpanKind::Producer,
                "queue" => SpanKind::Consumer,
                _ => SpanKind::Internal,
            },
            name: span.name().into(),
            start_time: recorded.begun,
            end_time: SystemTime::now(),
            attributes: recorded.fields.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_of_traces_is_recorded_and_of_each_ratio_the_same() {
        let id = |seq: u64| -> WindowId {
            format!("car/01J00000000000000000000000/{seq}")
                .parse()
                .unwrap()
        };
        let trace = |seq| TraceId::from(TraceParent::of_window(&id(seq)).trace_id());
        let of = |ratio: f64| (0..1000).filter(move |seq| is_recorded(trace(*seq), share(ratio)));
        assert_eq!((of(0.0).count(), of(1.0).count()), (0, 1000));
        let tenth: Vec<u64> = of(0.1).collect();
        assert!((70..130).contains(&tenth.len()), "{}", tenth.len());
        let half: Vec<u64> = of(0.5).collect();
        assert!(tenth.iter().all(|seq| half.contains(seq)));
    }
}
