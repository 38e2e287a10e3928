//! `msao dash`: one web page with all rigs, live.

mod diff;
mod feed;
mod guard;
mod hub;
mod server;
mod state;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use broker::Connection;
use broker::connect::Secret;
use clap::Args;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::listener::Bounded;
use crate::nats::Nats;
use crate::{output, runtime, shutdown::StopOn};
use guard::Guard;
use state::Shared;

/// Most connections at a time: a browser opens up to six.
const CONNECTIONS: usize = 6 * hub::VIEWERS;

/// Options of `msao dash`.
#[derive(Args)]
pub struct Arguments {
    /// Address and port of the page; port 0 takes a free one. Beyond the loopback interface a token is asked for.
    #[arg(long, default_value = "127.0.0.1:8790")]
    listen: SocketAddr,
    /// Where the page's token is: file:PATH or env:NAME. By default one is made, and printed, if a token is needed.
    #[arg(long, env = "MSAO_DASH_TOKEN", hide_env_values = true)]
    page_token: Option<String>,
    /// A name by which browsers reach the page, other than localhost or an address; may be given again.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    #[command(flatten)]
    nats: Nats,
    #[command(flatten)]
    stop: StopOn,
}

/// Serves the page until it is stopped.
///
/// # Errors
/// The broker is not there, the address cannot be listened on, or the token cannot be used.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let mut stop = std::pin::pin!(arguments.stop.wait()?);
        let token = token(arguments)?;
        let connection = tokio::select! {
            connection = arguments.nats.connect() => connection?,
            () = &mut stop => return Ok(()),
        };
        let mut page =
            Page::open(connection, arguments.listen, token, arguments.hosts.clone()).await?;
        output::line(format!("the page is at {} (Ctrl-C stops)", page.address()))?;
        tokio::select! {
            done = &mut page.serving => done?,
            () = stop => Ok(()),
        }
    });
    runtime.shutdown_background();
    done
}

/// The token as configured, or a new one where others can reach the page.
fn token(arguments: &Arguments) -> Result<Option<String>> {
    match &arguments.page_token {
        // The text may be the secret itself: errors do not repeat it.
        Some(text) => {
            let secret: Secret = text
                .parse()
                .map_err(|fault| anyhow::anyhow!("--page-token: {fault}"))?;
            Ok(Some(secret.reveal("--page-token")?))
        }
        None if arguments.listen.ip().is_loopback() => Ok(None),
        None => Ok(Some(guard::secret()?)),
    }
}

/// The page, as long as this is there.
pub struct Page {
    address: SocketAddr,
    token: Option<String>,
    serving: JoinHandle<Result<()>>,
}

impl Page {
    /// Serves the page at `listen` with what comes over `connection`, to whoever gives `token`, if there is one, and asks
    /// for an address, `localhost` or one of `hosts`.
    ///
    /// # Errors
    /// The address cannot be listened on, or token or hosts cannot be used.
    pub async fn open(
        connection: Connection,
        listen: SocketAddr,
        token: Option<String>,
        hosts: Vec<String>,
    ) -> Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen}: choose another address or port with --listen, or port 0 for a free one")
        })?;
        let address = listener.local_addr()?;
        let guarded = Guard::new(token.clone(), hosts, address.port())?;
        let listener = Bounded::new(listener, CONNECTIONS, None);
        let shared = Shared::new(guard::secret()?, connection.url());
        let router = server::router(shared.clone(), guarded);
        let serving = tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router) => Ok(served?),
                () = feed::run(&connection, &shared) => Ok(()),
            }
        });
        Ok(Self {
            address,
            token,
            serving,
        })
    }

    /// What to open in a browser on this machine, with the token.
    pub fn address(&self) -> String {
        let token = self.token.as_ref();
        let token = token.map_or_else(String::new, |token| format!("?token={token}"));
        let mut here = self.address;
        if here.ip().is_unspecified() {
            here.set_ip(match here.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{here}/{token}")
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
