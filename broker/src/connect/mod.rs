//! The connection to NATS.

mod config;
mod secret;

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{
    Client, ConnectErrorKind, Event, ServerError,
    connection::State,
    jetstream::{Context, context::ContextBuilder},
};
use tokio::sync::watch;

pub use config::ConnectConfig;
use config::{addresses, options, redact};
pub use secret::Secret;

/// How long one attempt to connect, one acknowledgement and one API request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so long without a word from the server the client asks for one; after three times as long it connects anew. On a
/// link that was cut for seconds that is sooner than TCP tries again: it doubles its wait each time.
const SILENCE: Duration = Duration::from_secs(1);
/// Messages that may wait for a subscriber, more than anything here asks for at once; what comes beyond it is dropped. A picture
/// of 256 KiB each, that is 256 MiB.
const WAITING: usize = 1024;
/// How long after a dropped message the log says it again.
const QUIET: Duration = Duration::from_secs(10);
/// Faults that are remembered as told since the connection was made.
const TOLD: usize = 64;
/// Above any publisher's own bound on unacknowledged messages.
const MAX_ACK_INFLIGHT: usize = 8192;

/// What to do when no server answers at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// Fail: for whoever has nothing to do without a server.
    Fail,
    /// Go on and keep trying in the background: for the edge.
    KeepTrying,
}

/// There is no connection, or it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// No server answered.
    #[error(
        "no NATS server answers at {url} ({reason}): start one with `nats-server -js`, or correct the url"
    )]
    Unreachable {
        /// The address, without credentials.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The server does not accept the credentials.
    #[error(
        "the NATS server at {url} refuses the credentials: check user and password, token, credentials or nkey"
    )]
    Refused {
        /// The address, without credentials.
        url: String,
    },
    /// No secure connection could be made.
    #[error(
        "no TLS connection to the NATS server at {url} ({reason}): check tls_ca and the server's certificate, and tls_cert if it asks for one"
    )]
    Tls {
        /// The address, without credentials.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// A request failed on a connection that was there.
    #[error("the NATS server at {url} does not serve {what}: {reason}")]
    Fault {
        /// The address, without credentials.
        url: String,
        /// What was asked for.
        what: String,
        /// What went wrong.
        reason: String,
    },
}

/// A connection that reconnects by itself, without end. Clones share it.
#[derive(Clone, Debug)]
pub struct Connection {
    client: Client,
    context: Context,
    /// Where the cloud's captions are, if that is elsewhere.
    cloud: Option<Context>,
    url: Arc<str>,
    arrivals: watch::Receiver<u64>,
    losses: watch::Receiver<u64>,
}

impl Connection {
    /// Connects as configured. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The configuration cannot be used; and with [`AtStart::Fail`], no server answers, or it
    /// refuses the credentials. With [`AtStart::KeepTrying`] these are logged, each once.
    pub async fn open(config: &ConnectConfig, at_start: AtStart) -> Result<Self, ConnectError> {
        let url: Arc<str> = redact(&config.url).into();
        let addresses = addresses(&config.url)?;
        let (arrived, arrivals) = watch::channel(0);
        let (lost, losses) = watch::channel(0);
        let log = Arc::new(EventLog {
            url: Arc::clone(&url),
            arrived,
            lost,
            told: Mutex::default(),
            last_drop: Mutex::default(),
        });
        let mut options = options(config)?.event_callback(move |event| {
            log.record(&event);
            std::future::ready(())
        });
        if at_start == AtStart::KeepTrying {
            options = options.retry_on_initial_connect();
        }
        let client = options.connect(addresses).await.map_err(|error| {
            let (url, reason) = (url.to_string(), error.to_string());
            match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    ConnectError::Refused { url }
                }
                ConnectErrorKind::Tls => ConnectError::Tls { url, reason },
                _ if is_of_tls(&error) => ConnectError::Tls { url, reason },
                _ => ConnectError::Unreachable { url, reason },
            }
        })?;
        let context = || {
            ContextBuilder::new()
                .timeout(PATIENCE)
                .ack_timeout(PATIENCE)
                .max_ack_inflight(MAX_ACK_INFLIGHT)
                .backpressure_on_inflight(true)
        };
        let cloud = config.cloud_domain.as_ref();
        let cloud = cloud.map(|domain| context().domain(domain).build(client.clone()));
        Ok(Self {
            context: context().build(client.clone()),
            client,
            cloud,
            url,
            arrivals,
            losses,
        })
    }

    /// The address as configured, without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The client, for core NATS.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// JetStream on this connection.
    pub fn jetstream(&self) -> &Context {
        &self.context
    }

    /// JetStream where the cloud stores its captions, if that is not where this connection stores what it publishes.
    pub(crate) fn cloud(&self) -> Option<&Context> {
        self.cloud.as_ref()
    }

    /// Whether the server is connected now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits until the server is connected.
    pub async fn connected(&self) {
        let mut arrivals = self.arrivals.clone();
        while !self.is_connected() {
            // The event can come before the client's own state changes: so look again.
            let _ = tokio::time::timeout(Duration::from_millis(50), arrivals.changed()).await;
        }
    }

    /// Watches for the next loss of the connection, from now on.
    pub fn watch_loss(&self) -> Loss {
        let mut losses = self.losses.clone();
        losses.mark_unchanged();
        Loss(losses)
    }

    /// How many bytes the payload of a message may have, so that its headers fit too.
    pub fn max_payload(&self) -> usize {
        self.client
            .max_payload()
            .saturating_sub(crate::headers::ROOM)
    }

    pub(crate) fn fault(&self, what: &str, reason: &dyn fmt::Display) -> ConnectError {
        ConnectError::Fault {
            url: self.url.to_string(),
            what: what.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// Whether TLS failed: the handshake's faults come as those of reading or writing.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    let within = io.and_then(|io| io.get_ref()).map(|inner| inner as _);
    error.is::<async_nats::rustls::Error>()
        || within.or_else(|| error.source()).is_some_and(is_of_tls)
}

/// See [`Connection::watch_loss`].
#[derive(Debug)]
pub struct Loss(watch::Receiver<u64>);

impl Loss {
    /// Waits until the connection is lost, even if it is there again by then.
    pub async fn lost(&mut self) {
        if self.0.changed().await.is_err() {
            // The client is gone, and with it all that could be lost.
            std::future::pending().await
        }
    }

    /// Whether it was lost.
    pub fn has_come(&self) -> bool {
        self.0.has_changed().unwrap_or(false)
    }
}

/// Logs what happens to the connection, the same fault once until it is made anew.
struct EventLog {
    url: Arc<str>,
    arrived: watch::Sender<u64>,
    lost: watch::Sender<u64>,
    /// The faults that were logged, the oldest first.
    told: Mutex<VecDeque<String>>,
    /// When the log last told of dropped messages.
    last_drop: Mutex<Option<Instant>>,
}

impl EventLog {
    fn record(&self, event: &Event) {
        let url = &*self.url;
        match event {
            Event::Connected => {
                self.told().clear();
                tracing::info!(url, "connected to NATS");
                self.arrived.send_modify(|count| *count += 1);
            }
            Event::Disconnected => {
                tracing::warn!(url, "connection to NATS lost; reconnecting");
                self.lost.send_modify(|count| *count += 1);
            }
            Event::ServerError(ServerError::Other(reason)) => {
                self.fault(reason, "check the user's permissions")
            }
            Event::ServerError(reason) => self.fault(&reason.to_string(), "check the credentials"),
            Event::ClientError(reason) => {
                self.fault(&reason.to_string(), "is nats-server running there?")
            }
            Event::SlowConsumer(_) => self.dropped(),
            Event::Draining | Event::LameDuckMode | Event::Closed => {
                tracing::info!(url, "NATS: {event}")
            }
        }
    }

    /// Of a flood each message is one.
    fn dropped(&self) {
        let mut last = self
            .last_drop
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= QUIET) {
            tracing::error!(
                url = &*self.url,
                "messages dropped: more come than this program can read"
            );
            *last = Some(Instant::now());
        }
    }

    fn fault(&self, reason: &str, mend: &str) {
        let mut told = self.told();
        if told.iter().any(|told| told == reason) {
            return;
        }
        tracing::error!(url = &*self.url, "NATS: {reason}: {mend}");
        if told.len() == TOLD {
            told.pop_front();
        }
        told.push_back(reason.to_owned());
    }

    fn told(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
