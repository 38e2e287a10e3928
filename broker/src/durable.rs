//! The durable consumer of feature windows: made by whoever comes first, checked by all others.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::{self, AckPolicy, Consumer, DeliverPolicy, PullConsumer, pull},
    context::ConsumerInfoErrorKind,
    stream::ConsumerCreateStrictErrorKind,
};

use crate::{
    connect::Connection,
    consumer::ConsumerConfig,
    streams::{self, SetUpError},
};

/// Opens the consumer, and makes it if there is none. Of what is there nothing is changed: workers of different
/// configurations would change it back and forth, and take windows from each other that are worked on.
pub(crate) async fn open(
    connection: &Connection,
    config: &ConsumerConfig,
) -> Result<PullConsumer, SetUpError> {
    let jetstream = connection.jetstream();
    let refused = |reason: String| SetUpError::Refused {
        stream: format!("{} (consumer {})", streams::FEATURES, config.durable),
        url: connection.url().to_owned(),
        reason,
    };
    let stream = jetstream.get_stream(streams::FEATURES).await;
    let stream = stream.map_err(|error| refused(error.to_string()))?;
    let info = match stream.consumer_info(&config.durable).await {
        Ok(info) => info,
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
            match stream.create_consumer_strict(wanted(config)).await {
                Ok(made) => made.cached_info().clone(),
                // Another worker came between.
                Err(error) if error.kind() == ConsumerCreateStrictErrorKind::AlreadyExists => {
                    let info = stream.consumer_info(&config.durable).await;
                    info.map_err(|error| refused(error.to_string()))?
                }
                Err(error) => return Err(refused(error.to_string())),
            }
        }
        Err(error) => return Err(refused(error.to_string())),
    };
    // What the server echoes shows whether it took what it was asked for.
    compare(config, &info.config)?;
    Ok(Consumer::new(wanted(config), info, jetstream.clone()))
}

fn wanted(config: &ConsumerConfig) -> pull::Config {
    pull::Config {
        durable_name: Some(config.durable.clone()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: config.ack_wait,
        // The client counts: the server would only stop delivering, and the message would be forgotten.
        max_deliver: -1,
        ..pull::Config::default()
    }
}

/// What handling rests on. Bounds that only hold workers back, such as `max_ack_pending`, are the operator's.
fn compare(config: &ConsumerConfig, found: &consumer::Config) -> Result<(), SetUpError> {
    let name = format!("{} {}", streams::FEATURES, config.durable);
    let conflict = |field, found: String, expected: String, mend: String| {
        if found == expected {
            return Ok(());
        }
        Err(SetUpError::Consumer {
            consumer: config.durable.clone(),
            field,
            found,
            expected,
            mend,
        })
    };
    let wait = config.ack_wait;
    conflict(
        "ack_wait",
        format!("{:?}", found.ack_wait),
        format!("{wait:?}"),
        format!(
            "give all its workers the same consumer.ack_wait_s, or change it with `nats consumer edit {name} --wait {wait:?}`"
        ),
    )?;
    conflict(
        "max_deliver",
        found.max_deliver.to_string(),
        "-1".to_owned(),
        format!(
            "workers count themselves; change it with `nats consumer edit {name} --max-deliver=-1`"
        ),
    )?;
    let other = || {
        format!(
            "take another consumer.durable, or remove it with `nats consumer rm {name}`: it is made again"
        )
    };
    let filters = [
        found.filter_subject.as_str(),
        &found.filter_subjects.join(","),
    ]
    .concat();
    for (field, found, expected) in [
        (
            "deliver_subject",
            found.deliver_subject.clone().unwrap_or_default(),
            String::new(),
        ),
        (
            "ack_policy",
            format!("{:?}", found.ack_policy),
            format!("{:?}", AckPolicy::Explicit),
        ),
        (
            "deliver_policy",
            format!("{:?}", found.deliver_policy),
            format!("{:?}", DeliverPolicy::All),
        ),
        ("filter_subjects", filters, String::new()),
        (
            "headers_only",
            found.headers_only.to_string(),
            false.to_string(),
        ),
        // They would count in place of ack_wait.
        (
            "backoff",
            format!("{:?}", found.backoff),
            format!("{:?}", Vec::<Duration>::new()),
        ),
    ] {
        conflict(field, found, expected, other())?;
    }
    Ok(())
}
