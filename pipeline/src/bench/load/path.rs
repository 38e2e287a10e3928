//! Windows through MSAO: encoded, handed to a publisher for each rig, taken by a cloud worker whose model is a stub.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::consumer::PullConsumer;
use broker::caption::Verdict;
use broker::connect::AtStart;
use broker::headers::TraceParent;
use broker::{
    ConnectConfig, Connection, FeatureWindow, Message, Publisher, PublisherConfig, Rig,
    StreamsConfig, streams,
};
use cloud_sink::{Config, Fault, Verifier, run_with};
use hdrhistogram::Histogram;
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use super::cpu::Cpu;
use super::sample::{self, Size};
use crate::demo::nats::Server;

/// The consumer's name, of MSAO and of JetStream alone.
pub const DURABLE: &str = "load";
/// How long a window that was published may take to be captioned.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is sent, and how.
#[derive(Clone, Debug)]
pub struct Load {
    /// How large the windows are.
    pub size: Size,
    /// How many rigs send them.
    pub rigs: usize,
    /// Whether a caption of each is published.
    pub captions: bool,
    /// For how long.
    pub length: Duration,
    /// At most so many windows.
    pub windows: u64,
    /// Windows a second of all rigs together; as fast as they go if left out.
    pub rate: Option<f64>,
    /// Messages not acknowledged yet, of all rigs together.
    pub in_flight: usize,
    /// Windows that are published and not taken up yet; fewer than the stream holds.
    pub backlog: usize,
    /// Windows that the worker gives its model at a time.
    pub batch: usize,
    /// Windows that the worker has in hand.
    pub in_hand: usize,
}

impl Load {
    /// The rigs' names.
    pub fn rigs(&self) -> impl Iterator<Item = Rig> + use<> {
        (0..self.rigs).filter_map(|n| format!("rig-{n}").parse().ok())
    }

    /// Messages of one rig that are not acknowledged yet.
    pub fn in_flight(&self) -> usize {
        (self.in_flight / self.rigs).max(1)
    }
}

/// What came of it.
pub struct Passed {
    /// Windows captioned, without the first one of each rig.
    pub windows: u64,
    /// Seconds from when the first of these is due to the last acknowledgement of a window by the worker.
    pub seconds: f64,
    /// Microseconds from when a window is due until the model has it, decoded.
    pub delay: Histogram<u64>,
    /// Microseconds of CPU time a window.
    pub cpu: Cpu,
}

/// What the model's stub has seen.
#[derive(Debug)]
pub struct Seen {
    windows: AtomicU64,
    /// Of each rig, the sum of its windows' numbers: tells that each came once.
    sums: Mutex<Vec<u64>>,
    delay: Mutex<Histogram<u64>>,
    room: Semaphore,
    news: Notify,
}

impl Seen {
    /// Nothing yet.
    ///
    /// # Errors
    /// The histogram cannot be made.
    pub fn new(load: &Load) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            windows: AtomicU64::new(0),
            sums: Mutex::new(vec![0; load.rigs]),
            delay: Mutex::new(Histogram::new_with_bounds(1, 60_000_000, 3)?),
            room: Semaphore::new(load.backlog),
            news: Notify::new(),
        }))
    }

    /// How many windows.
    pub fn windows(&self) -> u64 {
        self.windows.load(Ordering::Relaxed)
    }

    async fn wait_for(&self, count: u64) -> Result<()> {
        while self.windows() < count {
            let more = tokio::time::timeout(PATIENCE, self.news.notified()).await;
            more.with_context(|| format!("of {count} windows {} arrived", self.windows()))?;
        }
        Ok(())
    }

    fn take(&self, window: &FeatureWindow) {
        if window.id.seq > 0 {
            let delay = (now_ns() - window.closed_utc_ns).max(0) as u64 / 1000;
            lock(&self.delay).saturating_record(delay);
        }
        let rig =
            (window.id.rig.as_str().strip_prefix("rig-")).and_then(|n| n.parse::<usize>().ok());
        let mut sums = lock(&self.sums);
        if let Some(sum) = rig.and_then(|rig| sums.get_mut(rig)) {
            *sum += window.id.seq;
        }
        drop(sums);
        self.windows.fetch_add(1, Ordering::Relaxed);
        self.room.add_permits(1);
        self.news.notify_one();
    }
}

/// Takes the model's place: it has seen a window, and takes its draft for right.
struct Stub {
    seen: Arc<Seen>,
    captions: bool,
}

impl Verifier for Stub {
    fn model(&self) -> &str {
        "none"
    }

    fn provider(&self) -> String {
        "none".to_owned()
    }

    fn verify(&mut self, window: &FeatureWindow) -> Result<Option<Verdict>, Fault> {
        self.seen.take(window);
        Ok(self.captions.then(|| sample::verdict(window)).flatten())
    }
}

/// Sends the windows of `load` through MSAO.
///
/// # Errors
/// The server refuses something, or a window was lost or came twice.
pub async fn run(load: &Load, server: &Server, seen: Arc<Seen>) -> Result<Passed> {
    let url = server.url.as_str();
    let mut worker = Config::new("none");
    worker.nats.url = url.to_owned();
    worker.consumer.durable = DURABLE.to_owned();
    worker.batch.max = load.batch;
    worker.consumer.in_hand = Some(load.in_hand);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stub = Stub {
        seen: Arc::clone(&seen),
        captions: load.captions,
    };
    let worker = tokio::spawn(run_with(worker, move || Ok(stub), async {
        // A sender that is gone stops it, too.
        let _ = stopped.await;
    }));
    let connection = connect(url).await?;
    let config = PublisherConfig {
        in_flight: load.in_flight(),
        ..PublisherConfig::default()
    };
    let mut edges = Vec::new();
    for rig in load.rigs() {
        let connection = connect(url).await?;
        let publisher = Publisher::start(connection, StreamsConfig::default(), config)?;
        edges.push((publisher, load.size.window(rig)?));
    }
    let (sending, room) = (load.clone(), Arc::clone(&seen));
    let runs = async {
        // Until the worker is there and the streams are set up.
        for (publisher, window) in &mut edges {
            seen.room.acquire().await?.forget();
            send(publisher, window, now_ns())?;
        }
        let first = edges.len() as u64;
        seen.wait_for(first).await?;
        acknowledged(&connection, first).await?;
        let (begun, before) = (Instant::now(), Cpu::now(server));
        let sender = tokio::task::spawn_blocking(move || send_all(&sending, edges, &room, begun));
        let sent = sender.await.context("the edges panicked")??;
        seen.wait_for(first + sent).await?;
        let done = acknowledged(&connection, first + sent).await?;
        let cpu = Cpu::now(server).a_window_since(before, sent);
        Ok::<_, anyhow::Error>((first, sent, done - begun, cpu))
    };
    let mut worker = std::pin::pin!(worker);
    let (first, windows, time, cpu) = tokio::select! {
        ended = &mut worker => {
            seen.room.close();
            ended.context("the worker panicked")??;
            anyhow::bail!("the worker stopped by itself");
        }
        run = runs => run?,
    };
    drop(stop);
    let summary = worker.await.context("the worker panicked")??;
    let all = first + windows;
    let expected = if load.captions { all } else { 0 };
    ensure!(
        summary.captioned == expected && summary.dead == 0,
        "of {all} windows the worker captioned {}, {} went to the dead letters",
        summary.captioned,
        summary.dead
    );
    let rigs = load.rigs as u64;
    for (rig, sum) in (0..).zip(lock(&seen.sums).iter()) {
        let count = all / rigs + u64::from(rig < all % rigs);
        ensure!(
            *sum == count * count.saturating_sub(1) / 2,
            "rig {rig}: of {count} windows some are missing or came twice"
        );
    }
    let delay = lock(&seen.delay).clone();
    Ok(Passed {
        windows,
        seconds: time.as_secs_f64(),
        delay,
        cpu,
    })
}

/// Encodes and publishes the next window of a rig.
fn send(publisher: &Publisher, window: &mut FeatureWindow, due_ns: i64) -> Result<()> {
    window.closed_utc_ns = due_ns;
    window.drafted_utc_ns = due_ns;
    let payload = window.encode()?;
    publisher.publish(Message::features(window, payload, TraceParent::generate()))?;
    window.id.seq += 1;
    Ok(())
}

/// Sends the rigs' windows in turn, for as long or as many as asked. Returns how many.
fn send_all(
    load: &Load,
    mut edges: Vec<(Publisher, FeatureWindow)>,
    seen: &Seen,
    begun: Instant,
) -> Result<u64> {
    let runtime = Handle::current();
    let mut sent = 0;
    while sent < load.windows && begun.elapsed() < load.length {
        runtime.block_on(seen.room.acquire())?.forget();
        let mut due = now_ns();
        if let Some(rate) = load.rate {
            let early = Duration::from_secs_f64(sent as f64 / rate).saturating_sub(begun.elapsed());
            std::thread::sleep(early);
            let late = begun.elapsed().as_secs_f64() - sent as f64 / rate;
            due = now_ns() - (late * 1e9) as i64;
        }
        let turn = sent as usize % edges.len();
        let (publisher, window) = &mut edges[turn];
        send(publisher, window, due)?;
        sent += 1;
    }
    for (publisher, _) in &edges {
        publisher.flush(PATIENCE)?;
    }
    Ok(sent)
}

/// Waits until the consumer's messages up to the `count`th are acknowledged. Returns when it saw that.
///
/// # Errors
/// The server does not say, or they are not within half a minute.
pub async fn acknowledged(connection: &Connection, count: u64) -> Result<Instant> {
    let begun = Instant::now();
    loop {
        let consumer: PullConsumer = connection
            .jetstream()
            .get_consumer_from_stream(DURABLE, streams::FEATURES)
            .await?;
        let floor = consumer.cached_info().ack_floor.stream_sequence;
        if floor >= count {
            return Ok(Instant::now());
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "{floor} of {count} messages are acknowledged"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A connection of its own.
///
/// # Errors
/// No server answers.
pub async fn connect(url: &str) -> Result<Connection> {
    let config = ConnectConfig {
        url: url.to_owned(),
        ..ConnectConfig::default()
    };
    Ok(Connection::open(&config, AtStart::Fail).await?)
}

fn now_ns() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp_nanos() as i64
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
