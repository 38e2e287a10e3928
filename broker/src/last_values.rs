//! The last messages of many subjects of a stream in one request: JetStream's batched direct get.

use std::{collections::HashMap, time::Duration};

use async_nats::{Request, StatusCode, jetstream};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;

/// Subjects that the server takes in one request.
pub(crate) const MOST: usize = 512;
/// The status of the message after the last answer.
const END: u16 = 204;
const PATIENCE: Duration = Duration::from_secs(5);

/// The last message of a subject.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    pub payload: Bytes,
    /// Its sequence in the stream, from 1.
    pub sequence: u64,
}

/// The last message of each of `subjects`, at most [`MOST`], that `stream` holds one of.
pub(crate) async fn last_values(
    jetstream: &jetstream::Context,
    stream: &str,
    subjects: &[String],
) -> Result<HashMap<String, Last>, String> {
    let client = jetstream.client();
    let inbox = client.new_inbox();
    let subscribed = client.subscribe(inbox.clone()).await;
    let mut answers = subscribed.map_err(|error| error.to_string())?;
    let wanted = json!({ "multi_last": subjects }).to_string();
    let request = Request::new().inbox(inbox).payload(wanted.into());
    let sent = jetstream.send_request(format!("DIRECT.GET.{stream}"), request);
    sent.await.map_err(|error| error.to_string())?;
    let read = async {
        let mut found = HashMap::new();
        while let Some(message) = answers.next().await {
            match message.status {
                None | Some(StatusCode::OK) => {
                    let headers = message.headers.unwrap_or_default();
                    let subject = headers
                        .get("Nats-Subject")
                        .ok_or("an answer names no subject")?;
                    let sequence = headers.get("Nats-Sequence");
                    let last = Last {
                        payload: message.payload,
                        sequence: sequence
                            .and_then(|sequence| sequence.as_str().parse().ok())
                            .ok_or("an answer has no sequence")?,
                    };
                    found.insert(subject.to_string(), last);
                }
                // The end, or none of them is there.
                Some(status)
                    if [END, StatusCode::NOT_FOUND.as_u16()].contains(&status.as_u16()) =>
                {
                    return Ok(found);
                }
                Some(status) => {
                    let why = message.description.unwrap_or_default();
                    return Err(format!("status {status} {why}"));
                }
            }
        }
        Err("the subscription ended".to_owned())
    };
    let answered = tokio::time::timeout(PATIENCE, read).await;
    answered.map_err(|_| format!("no answer within {PATIENCE:?}"))?
}
