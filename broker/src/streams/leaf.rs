//! Leaf nodes: an edge box that stores what it publishes by itself, and a hub whose streams take it from there.

use std::time::Duration;

use async_nats::jetstream::{
    kv::{Operation, Store, UpdateErrorKind},
    stream::{Config, External, Source},
};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{CAPTIONS, FEATURES, LATEST, SetUpError, StreamsConfig, refused, set_up};
use crate::{connect::Connection, identity::Rig, subjects};

/// The key of the bucket of latest captions that is there while somebody changes sources: no rig's, for its dot.
const LOCK: &str = "leaf.lock";
/// Whoever has held it for so long is gone.
const GONE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

/// The JetStream domain of a rig's leaf node.
pub fn domain(rig: &Rig) -> String {
    format!("edge-{rig}")
}

/// Has the streams of features and captions at the hub, which `hub` is connected to, take in what the leaf
/// node of `rig` stores of this rig, now and from the beginning; with `wanted` false no longer. Safe to repeat, and from several sides at once.
///
/// # Errors
/// The streams cannot be set up, or the server refuses the change.
pub async fn source(
    hub: &Connection,
    streams: &StreamsConfig,
    rig: &Rig,
    wanted: bool,
) -> Result<(), SetUpError> {
    let bucket = set_up(hub, streams).await?;
    let fail = |reason: String| refused(hub, LATEST, &format!("key {LOCK}: {reason}"));
    let held = lock(&bucket).await.map_err(fail)?;
    let changed = change(hub, rig, wanted).await;
    let freed = bucket.delete_expect_revision(LOCK, Some(held)).await;
    changed?;
    freed.map_err(|error| fail(error.to_string()))
}

/// Waits until nobody else changes sources: the server takes a stream's configuration as a whole, so of two who add a
/// source to the same one the first would lose it.
async fn lock(bucket: &Store) -> Result<u64, String> {
    let mut seen = (None, Instant::now());
    loop {
        let entry = bucket.entry(LOCK).await;
        let entry = entry.map_err(|error| error.to_string())?;
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        if seen.0 != Some(revision) {
            seen = (Some(revision), Instant::now());
        }
        let is_free = entry.is_none_or(|entry| entry.operation != Operation::Put);
        if is_free || seen.1.elapsed() > GONE {
            match bucket.update(LOCK, Bytes::new(), revision).await {
                Ok(held) => return Ok(held),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        sleep(PAUSE).await;
    }
}

async fn change(hub: &Connection, rig: &Rig, wanted: bool) -> Result<(), SetUpError> {
    let prefix = format!("$JS.{}.API", domain(rig));
    for (name, subject) in [
        (FEATURES, subjects::features(rig)),
        (CAPTIONS, subjects::captions(rig)),
    ] {
        let fail = |error: &dyn std::fmt::Display| refused(hub, name, &error.to_string());
        let stream = hub.jetstream().get_stream(name).await;
        let mut config: Config = stream
            .map_err(|error| fail(&error))?
            .cached_info()
            .config
            .clone();
        let mut sources = config.sources.take().unwrap_or_default();
        let is_this = |source: &Source| {
            let external = source.external.as_ref();
            external.is_some_and(|external| external.api_prefix == prefix)
        };
        if sources.iter().any(is_this) == wanted {
            continue;
        }
        sources.retain(|source| !is_this(source));
        if wanted {
            sources.push(Source {
                name: name.to_owned(),
                // Whatever else the box stores.
                filter_subject: Some(subject),
                external: Some(External {
                    api_prefix: prefix.clone(),
                    delivery_prefix: None,
                }),
                ..Source::default()
            });
        }
        config.sources = Some(sources);
        let updated = hub.jetstream().update_stream(&config).await;
        updated.map_err(|error| fail(&error))?;
    }
    Ok(())
}
