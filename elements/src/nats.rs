//! What the elements that speak NATS share: how to reach the server, and the threads.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use broker::connect::{AtStart, ConnectError, Secret};
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

/// How to reach the server, and whether to start without it.
#[derive(Debug, Clone, Default)]
pub(crate) struct NatsSettings {
    config: ConnectConfig,
    retry_connect: bool,
    /// What is wrong with a secret that was given, by property: a property cannot refuse its value.
    faults: BTreeMap<String, String>,
}

impl NatsSettings {
    /// The properties.
    pub(crate) fn properties() -> [glib::ParamSpec; 12] {
        let text = |name, nick, blurb| {
            glib::ParamSpecString::builder(name)
                .nick(nick)
                .blurb(blurb)
                .mutable_ready()
        };
        let url = ConnectConfig::default().url;
        [
            text("url", "URL", "The NATS server: nats://host:port or tls://host:port; several with commas between them")
                .default_value(Some(url.as_str()))
                .build(),
            text("user", "User", "User name; needs password").build(),
            text("password", "Password", "Where the password of user is: file:PATH or env:NAME").build(),
            text("token", "Token", "Where a token is, instead of user and password: file:PATH or env:NAME").build(),
            text("credentials", "Credentials", "Credentials file (JWT and NKey), instead of user and password").build(),
            text("nkey", "NKey", "File with the seed of a user's NKey, instead of user and password").build(),
            text("tls-ca", "TLS authority", "PEM file of the authority that signed the server's certificate").build(),
            text("tls-cert", "TLS certificate", "PEM file of this client's certificate; needs tls-key").build(),
            text("tls-key", "TLS key", "PEM file of the private key of tls-cert").build(),
            text("cloud-domain", "Cloud domain", "JetStream domain of the cloud's captions, where url is a leaf node").build(),
            text("inbox", "Inbox", "What the subjects begin with on which this client is answered; _INBOX.<user> if left out").build(),
            glib::ParamSpecBoolean::builder("retry-connect")
                .nick("Retry to connect")
                .blurb("Start without a server and keep trying, instead of an error")
                .default_value(false)
                .mutable_ready()
                .build(),
        ]
    }

    /// Sets one of the properties; whether it is one of them.
    pub(crate) fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        let text = || value.get::<Option<String>>().ok().flatten();
        let path = || text().map(PathBuf::from);
        match name {
            "url" => self.config.url = text().unwrap_or_default(),
            "user" => self.config.user = text(),
            "password" => self.config.password = self.secret(name, text()),
            "token" => self.config.token = self.secret(name, text()),
            "credentials" => self.config.credentials = path(),
            "nkey" => self.config.nkey = path(),
            "tls-ca" => self.config.tls_ca = path(),
            "tls-cert" => self.config.tls_cert = path(),
            "tls-key" => self.config.tls_key = path(),
            "cloud-domain" => self.config.cloud_domain = text(),
            "inbox" => self.config.inbox = text(),
            "retry-connect" => self.retry_connect = value.get().unwrap_or_default(),
            _ => return false,
        }
        true
    }

    fn secret(&mut self, name: &str, text: Option<String>) -> Option<Secret> {
        self.faults.remove(name);
        match text?.parse() {
            Ok(secret) => Some(secret),
            Err(fault) => {
                self.faults.insert(name.to_owned(), fault);
                None
            }
        }
    }

    /// The value of one of the properties.
    pub(crate) fn get(&self, name: &str) -> Option<glib::Value> {
        let config = &self.config;
        let secret = |secret: &Option<Secret>| secret.as_ref().map(Secret::to_string).to_value();
        let path = |path: &Option<PathBuf>| {
            let text = path.as_ref().map(|path| path.display().to_string());
            text.to_value()
        };
        Some(match name {
            "url" => config.url.to_value(),
            "user" => config.user.to_value(),
            "password" => secret(&config.password),
            "token" => secret(&config.token),
            "credentials" => path(&config.credentials),
            "nkey" => path(&config.nkey),
            "tls-ca" => path(&config.tls_ca),
            "tls-cert" => path(&config.tls_cert),
            "tls-key" => path(&config.tls_key),
            "cloud-domain" => config.cloud_domain.to_value(),
            "inbox" => config.inbox.to_value(),
            "retry-connect" => self.retry_connect.to_value(),
            _ => return None,
        })
    }

    /// Connects under a name that the server shows. Returns the runtime, too.
    pub(crate) fn open(
        &self,
        name: &str,
    ) -> Result<(Connection, &'static Runtime), gst::ErrorMessage> {
        if let Some((name, fault)) = self.faults.first_key_value() {
            return Err(gst::error_msg!(
                gst::ResourceError::Settings,
                ("{name}: {fault}")
            ));
        }
        let config = ConnectConfig {
            name: name.to_owned(),
            ..self.config.clone()
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
