//! A window's trace, from its frames to its last caption, as a collector of OpenTelemetry gets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use broker::headers::TraceParent;
use broker::{MessageId, WindowId};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::common::{finished, media};
use crate::process::Process;
use crate::world::{World, until};

/// A span, and the service and instance that it is of.
type Told = (String, String, Span);

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Told>>>);

impl Collector {
    /// Takes traces; gives its URL.
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::clone(&self.0);
        let take = move |body: Bytes| {
            let spans = Arc::clone(&spans);
            async move {
                let request = ExportTraceServiceRequest::decode(body).unwrap();
                for resource in request.resource_spans {
                    let about = resource.resource.unwrap().attributes;
                    let named = |name| text(&about, name).unwrap();
                    let own = (named("service.name"), named("service.instance.id"));
                    for span in resource
                        .scope_spans
                        .into_iter()
                        .flat_map(|scope| scope.spans)
                    {
                        let told = (own.0.clone(), own.1.clone(), span);
                        spans.lock().unwrap().push(told);
                    }
                }
                StatusCode::OK
            }
        };
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn spans(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// Service, name and, of messages, kind.
fn kind((service, _, span): &Told) -> String {
    let kind = text(&span.attributes, "msao.message").map(|id| {
        let id: MessageId = id.parse().unwrap();
        format!(" {}", id.kind)
    });
    format!("{service} {}{}", span.name, kind.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_windows_trace_is_of_edge_and_cloud() {
    let world = World::new();
    let collector = Collector::default();
    let url = collector.serve().await;
    let cloud = format!("worker = 'w1'\notlp = {{ endpoint = '{url}' }}");
    let mut worker = world.cloud(&cloud);
    worker.env("OTEL_BSP_SCHEDULE_DELAY", "100");
    let _worker = Process::start(worker);
    let edge = format!(
        "video = [{{ source = '{}', pace = 'fast' }}]\noffload = {{ enabled = false }}",
        media("bikes.mp4").display()
    );
    let mut edge = world.edge(&edge);
    finished(edge.env("OTEL_EXPORTER_OTLP_ENDPOINT", &url));

    // The edge has told all it has by its end, the worker tells as it goes.
    let of_edge = collector.spans();
    let windows: BTreeSet<String> = of_edge
        .iter()
        .filter_map(|(_, _, span)| text(&span.attributes, "msao.window"))
        .collect();
    assert!(windows.len() >= 4, "{windows:?}");
    let captioned = || {
        let spans = collector.spans();
        spans
            .iter()
            .filter(|told| kind(told) == "msao-cloud publish caption")
            .count()
    };
    until("all are captioned", async || captioned() >= windows.len()).await;

    let mut by_trace: BTreeMap<Vec<u8>, Vec<Told>> = BTreeMap::new();
    for told in collector.spans() {
        by_trace
            .entry(told.2.trace_id.clone())
            .or_default()
            .push(told);
    }
    assert_eq!(by_trace.len(), windows.len());
    for (trace, spans) in &by_trace {
        let ids: BTreeSet<String> = spans
            .iter()
            .filter_map(|(_, _, span)| text(&span.attributes, "msao.window"))
            .collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        let id: WindowId = ids.first().unwrap().parse().unwrap();
        let told = TraceParent::of_window(&id);
        assert_eq!(*trace, told.trace_id().to_be_bytes());
        let root = told.span_id().to_be_bytes();

        let find = |wanted: &str| {
            let mut of = spans.iter().filter(|told| kind(told) == wanted);
            let found = of.next();
            &found.unwrap_or_else(|| panic!("{id} has no {wanted}")).2
        };
        let window = find("msao-edge window");
        assert!(window.span_id == root && window.parent_span_id.is_empty());
        let steps = [
            window,
            find("msao-edge draft"),
            find("msao-edge publish features"),
            find("msao-cloud queue"),
            find("msao-cloud verify"),
            find("msao-cloud publish caption"),
        ];
        let (draft, t2) = (find("msao-edge publish caption"), find("msao-edge T2"));
        let [_, drafted, sent, cloud @ ..] = steps;
        for span in [drafted, sent, draft, t2] {
            assert_eq!(span.parent_span_id, root, "{}", span.name);
        }
        for span in cloud {
            assert_eq!(span.parent_span_id, sent.span_id, "{}", span.name);
        }
        for (_, instance, span) in spans {
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
            assert!(["car", "w1"].contains(&instance.as_str()));
            assert!(span.span_id == window.span_id || span.span_id != root);
        }
        // One machine, one clock: each step begins no sooner than the one before.
        let begun = steps.map(|span| span.start_time_unix_nano);
        assert!(begun.is_sorted(), "{begun:?}");
        assert!(t2.start_time_unix_nano >= window.start_time_unix_nano);
        assert!(t2.end_time_unix_nano <= window.end_time_unix_nano);
    }

    // Messages say the same.
    let connection = world.connect().await;
    for name in ["MSAO_FEATURES", "MSAO_CAPTIONS"] {
        let stream = connection.jetstream().get_stream(name).await.unwrap();
        let last = stream.cached_info().state.last_sequence;
        assert!(last >= windows.len() as u64);
        for sequence in 1..=last {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let id = MessageId::of(&message.headers).unwrap();
            let told = TraceParent::of(&message.headers).unwrap();
            let spans = &by_trace[told.trace_id().to_be_bytes().as_slice()];
            let own = told.span_id().to_be_bytes();
            let mut of = spans.iter().filter(|(_, _, span)| span.span_id == own);
            let span = &of.next().unwrap().2;
            assert_eq!(text(&span.attributes, "msao.message"), Some(id.to_string()));
        }
    }
}
