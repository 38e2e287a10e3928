//! The worker: window in, caption out, acknowledged.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use broker::{
    Caption, CloudStatus, Connection, FeatureWindow, LatencyMs, Message, WindowId,
    answers::{Answer, Answers},
    caption::Verdict,
    connect::AtStart,
    consumer::{Consumer, Delivery, Outcome, backlog},
    deliver::Deliverer,
    headers::TraceParent,
    seen::Seen,
    status, subjects, trace,
};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tracing::Instrument;

use crate::{
    Config, Error, Fault, FullModel, LookingModel, Observer, ServerModel, Verifier,
    service::Service, thread::Judge, turns::Turns,
};

/// The revision of a caption that the cloud publishes.
const REVISION: u32 = broker::caption::LAST;
/// How many captions a worker remembers itself, to pass over windows that are delivered again.
const REMEMBERED: usize = 16_384;
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What a worker did until it was stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Windows captioned.
    pub captioned: u64,
    /// Of these, drafts that stood whole.
    pub confirmed: u64,
    /// Of these, texts that replaced a draft or had none.
    pub corrected: u64,
    /// Windows that had been captioned before and were passed over.
    pub duplicates: u64,
    /// Messages that went to the dead letters.
    pub dead: u64,
}

/// Runs a worker with the model of `config` until `shutdown` completes; the windows in hand are
/// finished first. Must be called within a tokio runtime.
///
/// # Errors
/// The configuration cannot be used, the broker is not there or refuses, or the model cannot be
/// loaded or its thread ends.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<Summary, Error> {
    run_observed(config, (), shutdown).await
}

/// As [`run`], with somebody who hears how the worker is.
///
/// # Errors
/// As for [`run`].
pub async fn run_observed(
    config: Config,
    observer: impl Observer,
    shutdown: impl Future<Output = ()>,
) -> Result<Summary, Error> {
    if let Some(server) = config.server.clone() {
        return work(
            config,
            move || ServerModel::open(&server),
            observer,
            shutdown,
        )
        .await;
    }
    let model = config.clone();
    if config.model.as_deref().is_some_and(mllm::hf::is_known) {
        let load = move || LookingModel::load(&model);
        return work(config, load, observer, shutdown).await;
    }
    work(config, move || FullModel::load(&model), observer, shutdown).await
}

/// As [`run`], with the verifier that `load` makes: it is made and used on a thread of its own.
///
/// # Errors
/// As for [`run`].
pub async fn run_with<V: Verifier>(
    config: Config,
    load: impl FnOnce() -> Result<V, Error> + Send + 'static,
    shutdown: impl Future<Output = ()>,
) -> Result<Summary, Error> {
    work(config, load, (), shutdown).await
}

async fn work<V: Verifier>(
    config: Config,
    load: impl FnOnce() -> Result<V, Error> + Send + 'static,
    observer: impl Observer,
    shutdown: impl Future<Output = ()>,
) -> Result<Summary, Error> {
    let mut shutdown = pin!(shutdown);
    let durable = config.consumer.durable.clone();
    let (connection, judge, mut consumer, answers) = tokio::select! {
        started = start(&config, load) => started?,
        () = &mut shutdown => return Ok(Summary::default()),
    };
    let status = CloudStatus::new(&config.worker, &judge.model, &judge.provider);
    tracing::info!(
        worker = config.worker,
        model = judge.model,
        provider = judge.provider,
        "waiting for windows"
    );
    let worker = Worker {
        connection,
        judge,
        status: Mutex::new(status),
        service: Mutex::default(),
        seen: Mutex::new(Seen::new(REMEMBERED)),
        answers,
        dead: consumer.dead_letters(),
        turns: Turns::default(),
        broken: Mutex::default(),
        stop: Notify::new(),
        observer: &observer,
    };
    let stopped = async {
        tokio::select! {
            () = &mut shutdown => {}
            () = worker.stop.notified() => {}
        }
    };
    {
        let mut heartbeat = pin!(worker.heartbeat(&durable));
        tokio::select! {
            () = consumer.run(stopped, |delivery| worker.handle(delivery)) => {}
            () = &mut heartbeat => {}
        }
    }
    if let Some(error) = lock(&worker.broken).take() {
        return Err(error);
    }
    Ok(worker.summary())
}

/// Connects first: a broker that is not there is found sooner than a model is loaded.
async fn start<V: Verifier>(
    config: &Config,
    load: impl FnOnce() -> Result<V, Error> + Send + 'static,
) -> Result<(Connection, Judge, Consumer, Arc<Answers>), Error> {
    let consumer = config.check()?;
    let connection = Connection::open(&config.nats, AtStart::Fail).await?;
    let deliverer = Arc::new(Deliverer::new(connection.clone(), config.streams));
    let judge = Judge::start(load, config.batching()).await?;
    let consumer = Consumer::open(Arc::clone(&deliverer), &config.streams, consumer).await?;
    let answers = Arc::new(Answers::open(deliverer, &config.streams).await?);
    let consumer = consumer.answering(Arc::clone(&answers));
    Ok((connection, judge, consumer, answers))
}

struct Worker<'a> {
    connection: Connection,
    judge: Judge,
    status: Mutex<CloudStatus>,
    service: Mutex<Service>,
    /// The windows that this worker captioned: what costs no request.
    seen: Mutex<Seen>,
    answers: Arc<Answers>,
    dead: Arc<AtomicU64>,
    turns: Turns,
    /// Why the worker cannot go on.
    broken: Mutex<Option<Error>>,
    stop: Notify,
    observer: &'a dyn Observer,
}

impl Worker<'_> {
    async fn handle(&self, delivery: Delivery) -> Outcome {
        lock(&self.service).begin(Instant::now());
        let outcome = self.caption(delivery).await;
        lock(&self.service).end(Instant::now());
        outcome
    }

    async fn caption(&self, delivery: Delivery) -> Outcome {
        let begun = (Instant::now(), OffsetDateTime::now_utc());
        let window = match FeatureWindow::decode_shared(&delivery.payload) {
            Ok(window) => window,
            // The same bytes would fail the same way.
            Err(error) => return Outcome::Dead(error.to_string()),
        };
        // Its caption would go to that rig.
        if let Err(error) = subjects::speaks_for(&delivery.subject, window.id.rig.as_str()) {
            return Outcome::Dead(error.to_string());
        }
        // Delivered twice, it may be in hand twice.
        let _turn = self.turns.take(&window.id).await;
        if let Some(answer) = self.answer(&window.id, &delivery).await {
            return self.heed(&window.id, answer);
        }
        let parent = TraceParent::of(&delivery.headers)
            .unwrap_or_else(|| TraceParent::of_window(&window.id));
        // It is over: what is made of it is when it began.
        drop(trace::queue(
            &window.id,
            parent,
            delivery.published,
            delivery.delivered,
        ));
        let more = delivery.pending > 0;
        let verify = trace::verify(&window.id, parent);
        let judged = self.judge.judge(window, more).instrument(verify).await;
        let (window, verdict) = match judged {
            Ok((window, Ok(Some(verdict)))) => (window, verdict),
            Ok((window, Ok(None))) => {
                tracing::debug!(id = %window.id, "nothing in it to be captioned");
                return Outcome::Done;
            }
            Ok((_, Err(Fault::Hopeless(reason)))) => return Outcome::Dead(reason),
            Ok((_, Err(Fault::Passing(reason)))) => return Outcome::Retry(reason),
            Ok((_, Err(Fault::Stopping(reason)))) => {
                lock(&self.broken).get_or_insert(Error::Server(reason.clone()));
                self.stop.notify_one();
                return Outcome::Retry(reason);
            }
            Err(error) => {
                let outcome = Outcome::Retry(error.to_string());
                lock(&self.broken).get_or_insert(error);
                self.stop.notify_one();
                return outcome;
            }
        };
        // Most of a window's state, and of no use before there is a verdict.
        Box::pin(self.publish(&window, verdict, &delivery, parent, begun)).await
    }

    /// The answer that the window has, by this worker or by another.
    async fn answer(&self, id: &WindowId, delivery: &Delivery) -> Option<Answer> {
        if lock(&self.seen).contains(id, REVISION) {
            return Some(Answer::Captioned);
        }
        self.answers.find(id, delivery).await
    }

    /// What is left to do about a window that has an answer.
    fn heed(&self, id: &WindowId, answer: Answer) -> Outcome {
        match answer {
            Answer::Captioned => {
                tracing::debug!(%id, "captioned before: passed over");
                lock(&self.status).duplicates += 1;
                Outcome::Done
            }
            Answer::Buried => {
                tracing::debug!(%id, "among the dead letters: passed over");
                Outcome::Done
            }
            Answer::Burying(reason) => Outcome::Dead(reason),
        }
    }

    async fn publish(
        &self,
        window: &FeatureWindow,
        verdict: Verdict,
        delivery: &Delivery,
        parent: TraceParent,
        (begun, taken_up): (Instant, OffsetDateTime),
    ) -> Outcome {
        let confirmed = verdict.confirmed;
        let cloud = begun.elapsed().as_secs_f64() * 1e3;
        let stored_ns = delivery.published.unix_timestamp_nanos();
        let latency = LatencyMs {
            uplink: Some(ms(stored_ns - i128::from(window.drafted_utc_ns))),
            queue: Some(ms(taken_up.unix_timestamp_nanos() - stored_ns)),
            cloud: Some(cloud),
            ..LatencyMs::default()
        };
        let caption = Caption::verified(window, verdict, latency);
        let message = match Message::caption(&caption, parent.child()) {
            Ok(message) => message,
            Err(error) => return Outcome::Dead(error.to_string()),
        };
        let span = trace::publish(&message, Some(parent));
        let stored = self.answers.caption(&caption, &message, delivery);
        if let Err(answer) = stored.instrument(span).await {
            return self.heed(&window.id, answer);
        }
        tracing::debug!(id = %window.id, status = ?caption.status, ms = cloud, "captioned");
        lock(&self.seen).insert(&window.id, REVISION);
        lock(&self.service).answered(window.draft.is_some(), confirmed, cloud);
        let mut status = lock(&self.status);
        status.captioned += 1;
        status.confirmed += u64::from(confirmed);
        status.corrected += u64::from(!confirmed);
        status.last_ms = cloud;
        drop(status);
        self.observer.captioned(&caption.latency_ms);
        Outcome::Done
    }

    /// Says each second how the worker is.
    async fn heartbeat(&self, durable: &str) {
        let connection = &self.connection;
        let mut tick = tokio::time::interval(HEARTBEAT);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            let queue = backlog(connection, durable).await;
            let pace = lock(&self.service).pace();
            let status = {
                let mut status = lock(&self.status);
                status.time = OffsetDateTime::now_utc();
                status.queue = queue.map_or(status.queue, |queue| queue + self.judge.waiting());
                status.dead = self.dead.load(Ordering::Relaxed);
                status.service_rate = pace.rate;
                status.confirmed_ms = pace.confirmed_ms;
                status.corrected_ms = pace.corrected_ms;
                status.captioned_ms = pace.captioned_ms;
                status.server = self.judge.server.as_ref().map(|server| server.now());
                status.clone()
            };
            self.observer.beat(&status, connection.is_connected());
            if let Err(error) = status::publish_cloud(connection, &status).await {
                tracing::warn!("no status was sent: {error}");
            }
        }
    }

    fn summary(&self) -> Summary {
        let status = lock(&self.status);
        Summary {
            captioned: status.captioned,
            confirmed: status.confirmed,
            corrected: status.corrected,
            duplicates: status.duplicates,
            dead: self.dead.load(Ordering::Relaxed),
        }
    }
}

/// Milliseconds, at least 0: edge, broker and cloud have clocks of their own.
fn ms(nanoseconds: i128) -> f64 {
    nanoseconds.max(0) as f64 / 1e6
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
