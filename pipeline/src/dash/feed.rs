//! From the broker to the state: captions, statuses and previews, through any loss of the connection.

use std::pin::pin;
use std::time::Duration;

use broker::captions::{self, From};
use broker::status::{self, AnyStatus};
use broker::{Connection, StreamsConfig, latest, preview};
use futures::{Stream, StreamExt};

use super::state::{HEARTBEAT, Shared};

/// Captions read at the start, of all rigs, for whoever looks first.
const BEFORE: u64 = 1024;
/// Rigs whose latest caption is read at the start.
const RIGS: usize = 64;
/// How long to wait before what was refused is tried again.
const PAUSE: Duration = Duration::from_secs(2);
/// How often what changed of rigs is sent.
const CHANGES: Duration = Duration::from_millis(1000);

/// Feeds `shared` without end.
pub async fn run(connection: &Connection, shared: &Shared) {
    tokio::join!(
        captions(connection, shared),
        statuses(connection, shared),
        previews(connection, shared),
        changes(shared),
        heartbeat(connection, shared),
    );
}

async fn captions(connection: &Connection, shared: &Shared) {
    let streams = StreamsConfig::default();
    let mut captions = loop {
        connection.connected().await;
        match captions::subscribe(connection, &streams, None, From::Last(BEFORE)).await {
            Ok(captions) => break captions,
            Err(error) => {
                tracing::warn!("captions cannot be read, trying again: {error}");
                shared.problem(Some(format!("captions cannot be read: {error}")));
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    shared.problem(None);
    // Rigs whose last caption is older than those read below.
    match latest::all(connection, RIGS).await {
        Ok(captions) => captions.iter().for_each(|caption| shared.caption(caption)),
        Err(error) => tracing::warn!("the latest caption of each rig cannot be read: {error}"),
    }
    loop {
        match captions.next().await {
            Ok(caption) => shared.caption(&caption),
            Err(error) => unreadable(shared, &error),
        }
    }
}

async fn statuses(connection: &Connection, shared: &Shared) {
    let subscribed = status::subscribe(connection).await;
    each(shared, subscribed, |status| match status {
        AnyStatus::Edge(status) => shared.edge(status),
        AnyStatus::Cloud(status) => shared.worker(status),
    })
    .await;
}

async fn previews(connection: &Connection, shared: &Shared) {
    let subscribed = preview::subscribe(connection, None).await;
    each(shared, subscribed, |preview| shared.preview(&preview)).await;
}

/// Takes in all items of a subscription, which lasts as long as the client.
async fn each<T, E: std::fmt::Display>(
    shared: &Shared,
    subscribed: Result<impl Stream<Item = Result<T, E>>, impl std::fmt::Display>,
    mut take: impl FnMut(T),
) {
    match subscribed {
        Ok(items) => {
            let mut items = pin!(items);
            while let Some(item) = items.next().await {
                match item {
                    Ok(item) => take(item),
                    Err(error) => unreadable(shared, &error),
                }
            }
        }
        Err(error) => shared.problem(Some(error.to_string())),
    }
}

fn unreadable(shared: &Shared, error: &impl std::fmt::Display) {
    tracing::debug!("a message cannot be read: {error}");
    shared.unreadable();
}

async fn changes(shared: &Shared) {
    let mut ticks = tokio::time::interval(CHANGES);
    loop {
        ticks.tick().await;
        shared.send_changes();
    }
}

async fn heartbeat(connection: &Connection, shared: &Shared) {
    let mut ticks = tokio::time::interval(HEARTBEAT);
    let mut loss = connection.watch_loss();
    loop {
        shared.send_heartbeat(connection.is_connected());
        if connection.is_connected() {
            tokio::select! {
                _ = ticks.tick() => {}
                () = loss.lost() => {}
            }
        } else {
            tokio::select! {
                _ = ticks.tick() => {}
                () = connection.connected() => {}
            }
        }
    }
}
