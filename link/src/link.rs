//! The link itself: opened, changed while it runs, and gone when dropped.

use std::{
    fmt, io, net::SocketAddr, process::Command, str::FromStr, sync::Arc, thread::JoinHandle,
};

use bytes::Bytes;
use tokio::{runtime::Builder, sync::oneshot};

use crate::{
    device::MTU,
    direction::{Direction, Pair},
    proxy::{self, Piece},
    shaper::{Counters, OnLoss},
    trace::Trace,
    tun::{Namespaces, Tun},
};

/// What to emulate, and for whom.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Where the server listens: an address of loopback.
    pub server: SocketAddr,
    /// From client to server.
    pub up: Trace,
    /// From server to client.
    pub down: Trace,
    /// How many bytes wait at most in each direction for the rate to let them pass; at least 1500.
    pub queue_bytes: usize,
    /// Decides jitter and loss.
    pub seed: u64,
    /// TCP's congestion control in the namespaces; left out, the machine's own. Of no use to the proxy.
    pub congestion: Option<String>,
}

impl Spec {
    /// A link with the same trace both ways, with queues of 256 KiB.
    pub fn new(server: SocketAddr, trace: Trace) -> Self {
        Self {
            server,
            up: trace.clone(),
            down: trace,
            queue_bytes: 256 << 10,
            seed: 1,
            congestion: None,
        }
    }
}

/// How to emulate it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Between namespaces if this machine allows, else by a proxy.
    #[default]
    Auto,
    /// Between two network namespaces: needs root, /dev/net/tun and iproute2.
    Tun,
    /// By a TCP proxy on loopback.
    Proxy,
}

/// The text is not the name of a mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown mode '{0}': use auto, tun or proxy")]
pub struct UnknownMode(String);

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            "tun" => Ok(Self::Tun),
            "proxy" => Ok(Self::Proxy),
            _ => Err(UnknownMode(name.chars().take(40).collect())),
        }
    }
}

/// How it is emulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Between two network namespaces.
    Tun {
        /// TCP's congestion control in both.
        congestion: String,
    },
    /// By a TCP proxy on loopback.
    Proxy {
        /// Why it is not between namespaces, if that was tried.
        because: Option<String>,
    },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tun { congestion } => write!(
                f,
                "tun: packets between two network namespaces, congestion control {congestion}"
            ),
            Self::Proxy { because } => {
                f.write_str(
                    "proxy: byte streams over loopback, no congestion control, loss as delay",
                )?;
                because
                    .iter()
                    .try_for_each(|why| write!(f, " (no tun: {why})"))
            }
        }
    }
}

/// There is no link.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Only loopback is used.
    #[error("link: the server's address {0} is not of loopback: use 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// The queue takes no packet.
    #[error("link: queue_bytes is {0}: make it 1500 or more")]
    Queue(usize),
    /// The namespaces cannot be made.
    #[error(
        "link: {0}: mode tun needs root, /dev/net/tun and iproute2; mode proxy needs none of them"
    )]
    Tun(io::Error),
    /// The proxy cannot run.
    #[error("link: the proxy cannot run: {0}")]
    Proxy(io::Error),
}

enum Carried {
    Packets(Arc<Pair<Bytes>>),
    Pieces(Arc<Pair<Piece>>),
}

/// A link between a client and a server, while it is held.
///
/// ```no_run
/// # use std::{net::TcpStream, time::Duration};
/// use link::{Conditions, Link, Mode, Spec, Trace};
/// let trace = Trace::constant(Conditions::new(20_000_000, Duration::from_millis(40)))?;
/// let link = Link::open(&Spec::new("127.0.0.1:4222".parse()?, trace), Mode::Auto)?;
/// println!("{}", link.kind());
/// let address = link.address();
/// let connection = link.client(move || TcpStream::connect(address))??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Link {
    address: SocketAddr,
    kind: Kind,
    namespaces: Option<Namespaces>,
    carried: Carried,
    /// Dropped, it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    /// Opens a link to a server that listens on loopback.
    ///
    /// # Errors
    /// The server is not on loopback, the queue is too small, or this machine does not allow the mode.
    pub fn open(spec: &Spec, mode: Mode) -> Result<Self, OpenError> {
        if !spec.server.ip().is_loopback() || !spec.server.is_ipv4() {
            return Err(OpenError::NotLoopback(spec.server));
        }
        if spec.queue_bytes < MTU {
            return Err(OpenError::Queue(spec.queue_bytes));
        }
        match mode {
            Mode::Tun => Self::tun(spec).map_err(OpenError::Tun),
            Mode::Proxy => Self::proxy(spec, None).map_err(OpenError::Proxy),
            Mode::Auto => Self::tun(spec).or_else(|error| {
                Self::proxy(spec, Some(error.to_string())).map_err(OpenError::Proxy)
            }),
        }
    }

    fn tun(spec: &Spec) -> io::Result<Self> {
        let namespaces = Namespaces::new(spec.congestion.as_deref())?;
        let pair = pair(spec, OnLoss::Drop);
        let tun = Tun::new(&namespaces, spec.server, Arc::clone(&pair))?;
        let address = tun.address;
        let (stop, thread) = spawn(tun.serve(spec.server))?;
        Ok(Self {
            address,
            kind: Kind::Tun {
                congestion: namespaces.congestion.clone(),
            },
            namespaces: Some(namespaces),
            carried: Carried::Packets(pair),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    fn proxy(spec: &Spec, because: Option<String>) -> io::Result<Self> {
        let listener = proxy::listen()?;
        let address = listener.local_addr()?;
        let pair = pair(spec, OnLoss::Late);
        let serve = proxy::serve(listener, spec.server, Arc::clone(&pair));
        let (stop, thread) = spawn(serve)?;
        Ok(Self {
            address,
            kind: Kind::Proxy { because },
            namespaces: None,
            carried: Carried::Pieces(pair),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where a client reaches the server through the link; see [`client`](Self::client).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the link is emulated.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Follows other traces from now on.
    pub fn set(&self, up: Trace, down: Trace) {
        match &self.carried {
            Carried::Packets(pair) => set(pair, up, down),
            Carried::Pieces(pair) => set(pair, up, down),
        }
    }

    /// What passed from client to server, and from server to client: IP packets between namespaces,
    /// the connections' own bytes through the proxy.
    pub fn counters(&self) -> (Counters, Counters) {
        match &self.carried {
            Carried::Packets(pair) => (pair.up.counters(), pair.down.counters()),
            Carried::Pieces(pair) => (pair.up.counters(), pair.down.counters()),
        }
    }

    /// Runs `f` where a client belongs, and waits for it: on a thread of its own, inside the client's
    /// namespace if there is one. Sockets that it opens stay there, also when it has ended; threads and
    /// commands that it starts are there too, such as those of a tokio runtime that it builds.
    ///
    /// # Errors
    /// The thread cannot enter the namespace.
    pub fn client<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        match &self.namespaces {
            Some(namespaces) => namespaces.client.run(f),
            None => std::thread::scope(|scope| match scope.spawn(f).join() {
                Ok(result) => Ok(result),
                Err(panic) => std::panic::resume_unwind(panic),
            }),
        }
    }

    /// A command that runs where a client belongs. End it before the link: a namespace in which
    /// something still runs stays.
    pub fn client_command(&self, program: &str) -> Command {
        match &self.namespaces {
            Some(namespaces) => namespaces.client.command(program),
            None => Command::new(program),
        }
    }

    /// The same where a server belongs, for servers that are to face the link themselves, at the IP
    /// of [`address`](Self::address) and another port. `None` with the proxy.
    pub fn server_command(&self, program: &str) -> Option<Command> {
        let namespaces = self.namespaces.as_ref()?;
        Some(namespaces.server.command(program))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("link: its thread has panicked");
        }
    }
}

fn pair<T>(spec: &Spec, on_loss: OnLoss) -> Arc<Pair<T>> {
    let direction =
        |trace: &Trace, seed| Direction::new(trace.clone(), spec.queue_bytes, on_loss, seed);
    Arc::new(Pair {
        up: direction(&spec.up, spec.seed),
        down: direction(&spec.down, spec.seed.wrapping_add(1)),
    })
}

fn set<T>(pair: &Pair<T>, up: Trace, down: Trace) {
    pair.up.set(up);
    pair.down.set(down);
}

/// Runs `serve` on a thread of its own until the sender is dropped.
fn spawn(
    serve: impl Future<Output = ()> + Send + 'static,
) -> io::Result<(oneshot::Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let work = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = stopped => {}
                () = serve => {}
            }
        });
    };
    let thread = std::thread::Builder::new()
        .name("link".to_owned())
        .spawn(work)?;
    Ok((stop, thread))
}
