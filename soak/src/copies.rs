//! Duplicate and reordered deliveries: what is stored is published again.

use anyhow::Result;
use async_nats::{HeaderMap, jetstream::message::PublishMessage};
use broker::{Connection, headers, streams};
use rand_core::Rng;
use rand_pcg::Pcg32;

use crate::poison;

/// The header by which the judge knows a copy; workers and readers do not look at it.
pub const COPY: &str = "Soak-Copy";
/// Copies of each stream.
const MANY: u32 = 12;

/// Publishes windows and captions again, chosen and ordered by chance, under ids that the server has not seen. Gives how
/// many were stored: in an outage it may be none.
pub async fn burst(connection: &Connection, seed: u64) -> Result<u32> {
    let mut random = Pcg32::new(seed, 11);
    let mut stored = 0;
    for name in [streams::FEATURES, streams::CAPTIONS] {
        let stream = connection.jetstream().get_stream(name).await?;
        let state = stream.cached_info().state.clone();
        let (first, last) = (state.first_sequence, state.last_sequence);
        for n in 0..MANY {
            if last < first {
                break;
            }
            let sequence = first + u64::from(random.next_u32()) % (last - first + 1);
            let Ok(message) = stream.get_raw_message(sequence).await else {
                continue;
            };
            if message.subject.ends_with(poison::RIG) {
                continue;
            }
            let mut copied = HeaderMap::new();
            copied.insert(headers::MESSAGE_ID, format!("copy/{seed}/{name}/{n}"));
            copied.insert(COPY, "1");
            let publish = PublishMessage::build()
                .headers(copied)
                .payload(message.payload);
            let sent = (connection.jetstream()).send_publish(message.subject, publish);
            if let Ok(sent) = sent.await
                && sent.await.is_ok()
            {
                stored += 1;
            }
        }
    }
    Ok(stored)
}
