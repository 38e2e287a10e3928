//! The page, its parts, and the events that keep it up to date.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header::{self, HeaderMap};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use broker::WindowId;
use futures::stream;
use serde::Deserialize;

use super::guard::{Guard, guard};
use super::state::Shared;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The page's files: path, media type, content.
const FILES: [(&str, &str, &str); 10] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/dash.css", CSS, include_str!("page/dash.css")),
    ("/icon.svg", SVG, include_str!("page/icon.svg")),
    ("/main.js", SCRIPT, include_str!("page/main.js")),
    ("/state.js", SCRIPT, include_str!("page/state.js")),
    ("/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/rig.js", SCRIPT, include_str!("page/rig.js")),
    ("/streams.js", SCRIPT, include_str!("page/streams.js")),
    ("/chart.js", SCRIPT, include_str!("page/chart.js")),
    ("/detail.js", SCRIPT, include_str!("page/detail.js")),
];

/// All that is served, to whom `guarded` lets in.
pub fn router(shared: Arc<Shared>, guarded: Guard) -> Router {
    let mut router = Router::new()
        .route("/events", get(events))
        .route("/window", get(window));
    for (path, kind, content) in FILES {
        router = router.route(path, get(move || async move { file(kind, content) }));
    }
    router
        .layer(middleware::from_fn_with_state(Arc::new(guarded), guard))
        .with_state(shared)
}

fn file(kind: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], content)
}

/// Server-sent events, from the one after `Last-Event-ID`, or with the whole state first.
async fn events(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").map(HeaderValue::to_str);
    let last = last.and_then(Result::ok);
    let mailbox = match shared.join(last) {
        Ok(mailbox) => mailbox,
        Err(full) => {
            let again = [(header::RETRY_AFTER, "5")];
            return (StatusCode::SERVICE_UNAVAILABLE, again, full.to_string()).into_response();
        }
    };
    // The viewer's place is free again when this stream is dropped.
    let retry = Bytes::from_static(b"retry: 1000\n\n");
    let events = stream::unfold(Some(retry), move |first| {
        let (shared, mailbox) = (Arc::clone(&shared), Arc::clone(&mailbox));
        async move {
            let event = match first {
                Some(first) => first,
                None => shared.next(&mailbox).await,
            };
            Some((Ok::<_, Infallible>(event), None))
        }
    });
    (
        [(header::CONTENT_TYPE, "text/event-stream")],
        Body::from_stream(events),
    )
        .into_response()
}

#[derive(Deserialize)]
struct Which {
    id: WindowId,
}

/// All that is known of a window, as JSON.
async fn window(State(shared): State<Arc<Shared>>, Query(which): Query<Which>) -> Response {
    match shared.detail(&which.id) {
        Some(detail) => ([(header::CONTENT_TYPE, "application/json")], detail).into_response(),
        None => {
            let why = "Of this window nothing is kept here any more.\n";
            (StatusCode::NOT_FOUND, why).into_response()
        }
    }
}
