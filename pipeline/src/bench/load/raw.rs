//! The same bytes by JetStream's client alone: published with as many in flight, pulled and acknowledged.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{Context as JetStream, Message as Delivered, message::PublishMessage};
use broker::headers::{MESSAGE_ID, TraceParent};
use broker::{Caption, LatencyMs, Message, StreamsConfig, streams};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::cpu::Cpu;
use super::path::{DURABLE, Load, acknowledged, connect};
use super::sample;
use crate::demo::nats::Server;

/// A message as the client takes it, but for its id.
#[derive(Clone)]
struct Template {
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
    id: String,
}

impl Template {
    fn new(message: &Message, payload: impl Into<Bytes>) -> Self {
        Self {
            subject: message.subject().to_owned(),
            headers: message.headers().clone(),
            payload: payload.into(),
            id: message.id().to_owned(),
        }
    }

    /// The `n`th of these messages: its id is as long as that of a window.
    fn message(&self, n: u64) -> PublishMessage {
        let mut headers = self.headers.clone();
        headers.insert(MESSAGE_ID, format!("{}/{n}", self.id));
        PublishMessage::build()
            .headers(headers)
            .payload(self.payload.clone())
    }
}

/// Windows a second through JetStream alone, and microseconds of CPU time a window.
///
/// # Errors
/// The server refuses something, or does not answer.
pub async fn run(load: &Load, server: &Server) -> Result<(f64, Cpu)> {
    let url = server.url.as_str();
    let connection = connect(url).await?;
    streams::set_up(&connection, &StreamsConfig::default()).await?;
    let consumer = connection.jetstream().create_consumer_on_stream(
        pull::Config {
            durable_name: Some(DURABLE.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ..pull::Config::default()
        },
        streams::FEATURES,
    );
    let consumer: PullConsumer = consumer.await?;
    let mut rigs = Vec::new();
    for rig in load.rigs() {
        let window = load.size.window(rig)?;
        let payload = window.encode()?;
        let features = Message::features(&window, payload.clone(), TraceParent::generate());
        let caption = sample::verdict(&window).context("the window has no draft")?;
        let caption = Caption::verified(&window, caption, LatencyMs::default());
        let message = Message::caption(&caption, TraceParent::generate())?;
        let caption = Template::new(&message, caption.encode()?);
        rigs.push((
            connect(url).await?,
            Template::new(&features, payload),
            caption,
        ));
    }
    let room = Arc::new(Semaphore::new(load.backlog));
    let captions: Vec<Template> = rigs.iter().map(|(_, _, caption)| caption.clone()).collect();
    let captions = load.captions.then_some(&captions);
    let mut handled = 0;
    let handle = async {
        let messages = consumer.stream().max_messages_per_batch(load.backlog);
        let settle = |n: u64, message: Delivered| {
            let (jetstream, room) = (connection.jetstream(), &room);
            async move {
                if let Some(captions) = captions {
                    let caption = &captions[n as usize % captions.len()];
                    let sent = jetstream.send_publish(caption.subject.clone(), caption.message(n));
                    sent.await?.await?;
                }
                (message.ack().await)
                    .map_err(|error| anyhow::anyhow!("cannot acknowledge: {error}"))?;
                room.add_permits(1);
                Ok::<_, anyhow::Error>(())
            }
        };
        let mut settled = messages
            .messages()
            .await?
            .zip(futures::stream::iter(0..))
            .map(|(message, n)| async move { settle(n, message?).await })
            .buffer_unordered(load.in_hand);
        while let Some(outcome) = settled.next().await {
            outcome?;
            handled += 1;
        }
        bail!("the server gives no more messages")
    };
    let all = async {
        // As in MSAO's run, the first message of each is not counted.
        let first = rigs.len() as u64;
        for (connection, features, _) in &rigs {
            room.acquire().await?.forget();
            let sent = (connection.jetstream())
                .send_publish(features.subject.clone(), features.message(u64::MAX));
            sent.await?.await?;
        }
        acknowledged(&connection, first).await?;
        let (begun, before) = (Instant::now(), Cpu::now(server));
        let mut publishers = JoinSet::new();
        for (connection, features, _) in rigs {
            let (room, load) = (Arc::clone(&room), load.clone());
            publishers.spawn(async move {
                publish(connection.jetstream(), &features, &load, &room, begun).await
            });
        }
        let mut published = 0;
        while let Some(count) = publishers.join_next().await {
            published += count??;
        }
        let done = acknowledged(&connection, first + published).await?;
        let rate = published as f64 / (done - begun).as_secs_f64();
        let cpu = Cpu::now(server).a_window_since(before, published);
        Ok::<_, anyhow::Error>((rate, cpu))
    };
    tokio::select! {
        failed = handle => failed,
        rate = all => rate,
    }
}

/// Publishes as one rig until the time is over. Returns how many messages were stored.
async fn publish(
    jetstream: &JetStream,
    features: &Template,
    load: &Load,
    room: &Semaphore,
    begun: Instant,
) -> Result<u64> {
    let in_flight = Arc::new(Semaphore::new(load.in_flight()));
    let mut stored: JoinSet<Result<()>> = JoinSet::new();
    let mut published = 0;
    while begun.elapsed() < load.length {
        room.acquire().await?.forget();
        let permit = Arc::clone(&in_flight).acquire_owned().await?;
        let sent = jetstream.send_publish(features.subject.clone(), features.message(published));
        let sent = sent.await?;
        stored.spawn(async move {
            sent.await?;
            drop(permit);
            Ok(())
        });
        published += 1;
        while let Some(done) = stored.try_join_next() {
            done??;
        }
    }
    while let Some(done) = stored.join_next().await {
        done??;
    }
    Ok(published)
}
