//! What the elements that speak NATS share: how to reach the server, and the threads.

use std::sync::LazyLock;

use broker::connect::{AtStart, ConnectError};
use broker::{ConnectConfig, Connection};
use gst::glib;
use gst::prelude::*;
use tokio::runtime::Runtime;

/// One runtime for all elements of the process.
static RUNTIME: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("msaonats")
        .enable_all()
        .build()
});

/// The settings `url`, `user`, `password`, `token`, `tls-ca` and `retry-connect`.
#[derive(Debug, Clone)]
pub(crate) struct NatsSettings {
    url: String,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    tls_ca: Option<String>,
    retry_connect: bool,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            url: ConnectConfig::default().url,
            user: None,
            password: None,
            token: None,
            tls_ca: None,
            retry_connect: false,
        }
    }
}

impl NatsSettings {
    /// The properties.
    pub(crate) fn properties() -> [glib::ParamSpec; 6] {
        let default = Self::default();
        let text = |name, nick, blurb| {
            glib::ParamSpecString::builder(name)
                .nick(nick)
                .blurb(blurb)
                .mutable_ready()
        };
        [
            text("url", "URL", "The NATS server: nats://host:port or tls://host:port; several with commas between them")
                .default_value(Some(default.url.as_str()))
                .build(),
            text("user", "User", "User name; needs password").build(),
            text("password", "Password", "Password of user").write_only().build(),
            text("token", "Token", "Token, instead of user and password").write_only().build(),
            text("tls-ca", "TLS authority", "PEM file of the authority that signed the server's certificate").build(),
            glib::ParamSpecBoolean::builder("retry-connect")
                .nick("Retry to connect")
                .blurb("Start without a server and keep trying, instead of an error")
                .default_value(default.retry_connect)
                .mutable_ready()
                .build(),
        ]
    }

    /// Sets one of the properties; whether it is one of them.
    pub(crate) fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        let text = || value.get().unwrap_or_default();
        match name {
            "url" => self.url = value.get().unwrap_or_default(),
            "user" => self.user = text(),
            "password" => self.password = text(),
            "token" => self.token = text(),
            "tls-ca" => self.tls_ca = text(),
            "retry-connect" => self.retry_connect = value.get().unwrap_or_default(),
            _ => return false,
        }
        true
    }

    /// The value of one of the properties that may be read.
    pub(crate) fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "url" => Some(self.url.to_value()),
            "user" => Some(self.user.to_value()),
            "tls-ca" => Some(self.tls_ca.to_value()),
            "retry-connect" => Some(self.retry_connect.to_value()),
            _ => None,
        }
    }

    /// Connects under a name that the server shows. Returns the runtime, too.
    pub(crate) fn open(
        &self,
        name: &str,
    ) -> Result<(Connection, &'static Runtime), gst::ErrorMessage> {
        let config = ConnectConfig {
            url: self.url.clone(),
            name: name.to_owned(),
            user: self.user.clone(),
            password: self.password.clone().map(Into::into),
            token: self.token.clone().map(Into::into),
            tls_ca: self.tls_ca.clone().map(Into::into),
        };
        let at_start = if self.retry_connect {
            AtStart::KeepTrying
        } else {
            AtStart::Fail
        };
        let runtime = RUNTIME.as_ref().map_err(|error| {
            gst::error_msg!(
                gst::ResourceError::Failed,
                ("cannot start threads: {error}")
            )
        })?;
        let connection = wait(runtime, Connection::open(&config, at_start))?.map_err(
            |error: ConnectError| gst::error_msg!(gst::ResourceError::OpenReadWrite, ("{error}")),
        )?;
        Ok((connection, runtime))
    }
}

/// Waits for what a future comes to, also where the caller is within a runtime, which
/// must not wait on another one itself.
pub(crate) fn wait<T: Send>(
    runtime: &Runtime,
    future: impl Future<Output = T> + Send,
) -> Result<T, gst::ErrorMessage> {
    std::thread::scope(|scope| scope.spawn(|| runtime.block_on(future)).join())
        .map_err(|_| gst::error_msg!(gst::ResourceError::Failed, ("connecting panicked")))
}
