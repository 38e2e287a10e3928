//! Leaf nodes: an edge box that stores what it publishes by itself, and a hub whose streams take it from there.

use async_nats::jetstream::stream::{Config, External, Source};

use super::{CAPTIONS, FEATURES, SetUpError, StreamsConfig, refused, set_up};
use crate::{connect::Connection, identity::Rig, subjects};

/// The JetStream domain of a rig's leaf node.
pub fn domain(rig: &Rig) -> String {
    format!("edge-{rig}")
}

/// Has the streams of features and captions at the hub, which `hub` is connected to, take in what the leaf
/// node of `rig` stores of this rig, now and from the beginning; with `wanted` false no longer. Safe to repeat.
///
/// # Errors
/// The streams cannot be set up, or the server refuses the change.
pub async fn source(
    hub: &Connection,
    streams: &StreamsConfig,
    rig: &Rig,
    wanted: bool,
) -> Result<(), SetUpError> {
    set_up(hub, streams).await?;
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
