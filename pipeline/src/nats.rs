//! How a command reaches NATS.

use std::path::PathBuf;

use broker::{
    ConnectConfig, Connection,
    connect::{AtStart, ConnectError, Secret},
};
use clap::Args;

/// Options of all commands that speak NATS.
#[derive(Args)]
#[command(next_help_heading = "NATS")]
pub struct Nats {
    /// URL of the server; several with commas between them.
    #[arg(long = "nats", env = "MSAO_NATS", default_value_t = ConnectConfig::default().url)]
    url: String,
    /// User name.
    #[arg(long, env = "MSAO_NATS_USER", requires = "password")]
    user: Option<String>,
    /// Where the user's password is: file:PATH or env:NAME.
    #[arg(
        long,
        env = "MSAO_NATS_PASSWORD",
        hide_env_values = true,
        requires = "user"
    )]
    password: Option<String>,
    /// Where a token is, instead of user and password: file:PATH or env:NAME.
    #[arg(long, env = "MSAO_NATS_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Credentials file (JWT and NKey), instead of user and password.
    #[arg(long, env = "MSAO_NATS_CREDENTIALS")]
    credentials: Option<PathBuf>,
    /// File with the seed of a user's NKey, instead of user and password.
    #[arg(long, env = "MSAO_NATS_NKEY")]
    nkey: Option<PathBuf>,
    /// PEM file of the authority that signed the server's certificate.
    #[arg(long, env = "MSAO_NATS_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// PEM file of this client's certificate, for servers that ask for one.
    #[arg(long, env = "MSAO_NATS_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    #[arg(long, env = "MSAO_NATS_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// JetStream domain of the cloud, where the server is an edge box's own.
    #[arg(long, env = "MSAO_NATS_CLOUD_DOMAIN")]
    cloud_domain: Option<String>,
    /// What the subjects begin with on which this client is answered; `_INBOX.<user>` if left out.
    #[arg(long, env = "MSAO_NATS_INBOX")]
    inbox: Option<String>,
}

impl Nats {
    /// Connects, at once or not at all.
    ///
    /// # Errors
    /// As for [`Connection::open`].
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let config = ConnectConfig {
            url: self.url.clone(),
            user: self.user.clone(),
            password: secret("--password", self.password.as_deref())?,
            token: secret("--token", self.token.as_deref())?,
            credentials: self.credentials.clone(),
            nkey: self.nkey.clone(),
            tls_ca: self.tls_ca.clone(),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            cloud_domain: self.cloud_domain.clone(),
            inbox: self.inbox.clone(),
            ..ConnectConfig::default()
        };
        Connection::open(&config, AtStart::Fail).await
    }
}

/// Read here, as the parser of arguments would repeat in its error what may be a secret.
fn secret(option: &str, text: Option<&str>) -> Result<Option<Secret>, ConnectError> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|fault| ConnectError::Config(format!("{option}: {fault}")))
    };
    text.map(parse).transpose()
}
