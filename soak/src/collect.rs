//! Reads what the broker holds and what processes left behind.

use std::{collections::HashSet, path::Path};

use anyhow::{Context, Result};
use async_nats::jetstream::{
    consumer::PullConsumer, message::StreamMessage, stream::LastRawMessageErrorKind,
};
use broker::{Caption, Connection, FeatureWindow, MessageId, WindowId, headers, streams};

use crate::{
    copies::COPY,
    evidence::{Evidence, StoredCaption, StoredLetter},
    ledger,
};

/// The name of the workers' consumer.
pub const DURABLE: &str = "msao-cloud";

/// What is stored, into `evidence`.
pub async fn broker(connection: &Connection, evidence: &mut Evidence) -> Result<()> {
    let features = stored(connection, streams::FEATURES).await?;
    let ids = features.iter().filter_map(|m| MessageId::of(&m.headers));
    evidence.features = ids.collect();
    for message in stored(connection, streams::CAPTIONS).await? {
        let caption = Caption::decode(&message.payload)?;
        evidence.captions.push(StoredCaption {
            id: caption.id,
            revision: caption.revision,
            text: caption.text,
            made_ns: caption.time.unix_timestamp_nanos(),
            stored_ns: message.time.unix_timestamp_nanos(),
            is_copy: message.headers.get(COPY).is_some(),
        });
    }
    for message in stored(connection, streams::DEAD).await? {
        let named = MessageId::of(&message.headers);
        let reason = message.headers.get(headers::REASON);
        let decoded = || FeatureWindow::decode(&message.payload).ok();
        evidence.letters.push(StoredLetter {
            is_own: named.is_some(),
            stored_ns: message.time.unix_timestamp_nanos(),
            id: (named.map(|named| named.window)).or_else(|| decoded().map(|window| window.id)),
            reason: reason.map_or_else(String::new, ToString::to_string),
        });
    }
    Ok(())
}

/// What an edge wrote down, into `evidence`.
pub fn edge(path: &Path, evidence: &mut Evidence) -> Result<()> {
    for (what, about, _) in ledger::read(path, 0) {
        match what.as_str() {
            ledger::HANDED => drop(evidence.handed.insert(about.parse()?)),
            ledger::STORED => drop(evidence.acknowledged.insert(about.parse()?)),
            _ => {}
        }
    }
    Ok(())
}

/// What a worker wrote down and logged, into `evidence`.
pub fn worker(path: &Path, log: &Path, evidence: &mut Evidence) -> Result<()> {
    for (what, about, at) in ledger::read(path, 0) {
        if what == ledger::TAKEN {
            evidence.taken.push((about.parse()?, at.parse()?));
        }
    }
    evidence.unanswered.extend(unanswered(log));
    Ok(())
}

/// Windows of which a worker logged that the broker did not say whether they are captioned.
fn unanswered(log: &Path) -> HashSet<WindowId> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let about = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("whether ")?;
        rest.split_once(" is captioned")?.0.parse().ok()
    });
    about.collect()
}

/// Windows that wait in the broker, and that are with a worker.
pub async fn left(connection: &Connection) -> Result<(u64, usize)> {
    let consumer = connection.jetstream();
    let consumer = consumer.get_consumer_from_stream(DURABLE, streams::FEATURES);
    let consumer: PullConsumer = consumer.await?;
    let info = consumer.cached_info();
    Ok((info.num_pending, info.num_ack_pending))
}

async fn stored(connection: &Connection, name: &str) -> Result<Vec<StreamMessage>> {
    let stream = connection.jetstream().get_stream(name).await?;
    let state = stream.cached_info().state.clone();
    let mut messages = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        match stream.get_raw_message(sequence).await {
            Ok(message) => messages.push(message),
            // What is owed and not there is found by its id.
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
            Err(error) => return Err(error).with_context(|| format!("{name} {sequence}")),
        }
    }
    Ok(messages)
}
