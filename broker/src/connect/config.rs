//! How to reach the broker, as configured.

use std::path::PathBuf;

use async_nats::{ConnectOptions, ServerAddr};
use serde::Deserialize;

use super::{
    ConnectError, PATIENCE, SILENCE, WAITING,
    secret::{Secret, read},
};
use crate::{faults::Faults, identity::excerpt};

/// How to reach the broker.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectConfig {
    /// `nats://host:port` or `tls://host:port`; several with commas between them.
    pub url: String,
    /// The name that the server shows for this client.
    pub name: String,
    /// User name; needs `password`.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
    /// Token, instead of user and password.
    pub token: Option<Secret>,
    /// Credentials file (`.creds`: a JWT and its NKey), instead of user and password.
    pub credentials: Option<PathBuf>,
    /// File with the seed of a user's NKey, instead of user and password.
    pub nkey: Option<PathBuf>,
    /// PEM file of the certificate authority that signed the server's certificate.
    pub tls_ca: Option<PathBuf>,
    /// PEM file of this client's certificate, for servers that ask for one; needs `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the private key of `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// The JetStream domain that the cloud stores its captions in, where `url` is a leaf node with a domain of its own.
    pub cloud_domain: Option<String>,
    /// What the subjects begin with on which this client is answered: by default `_INBOX.<user>`, or `_INBOX` without a
    /// user. What is answered is not for others: a server that lets each user hear only its own keeps it from them.
    pub inbox: Option<String>,
}

impl Default for ConnectConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            name: "msao".to_owned(),
            user: None,
            password: None,
            token: None,
            credentials: None,
            nkey: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            cloud_domain: None,
            inbox: None,
        }
    }
}

impl ConnectConfig {
    /// Checks all that does not need a server; the files that it names are read.
    ///
    /// # Errors
    /// The URL, a file or a secret cannot be used, or keys contradict each other.
    pub fn check(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        let results = [
            addresses(&self.url)
                .map(drop)
                .map_err(|error| ("url", error)),
            authenticated(ConnectOptions::new(), self)
                .map(drop)
                .map_err(|error| (Self::key_of(&error), error)),
            encrypted(ConnectOptions::new(), self)
                .map(drop)
                .map_err(|error| (Self::key_of(&error), error)),
            inbox(self).map(drop).map_err(|error| ("inbox", error)),
        ];
        for (key, error) in results.into_iter().filter_map(Result::err) {
            faults.add(key, error);
        }
        faults.result()
    }

    /// The key that an error of a file or a secret begins with; none for what is of several keys.
    fn key_of(error: &ConnectError) -> &'static str {
        let text = error.to_string();
        let begins = |key: &&str| text.split(':').next() == Some(key);
        let keys = [
            "password",
            "token",
            "credentials",
            "nkey",
            "tls_ca",
            "tls_cert",
            "tls_key",
        ];
        keys.into_iter().find(begins).unwrap_or_default()
    }
}

pub(super) fn options(config: &ConnectConfig) -> Result<ConnectOptions, ConnectError> {
    let options = ConnectOptions::new()
        .name(&config.name)
        .connection_timeout(PATIENCE)
        .request_timeout(Some(PATIENCE))
        .ping_interval(SILENCE)
        .subscription_capacity(WAITING)
        .max_reconnects(None)
        .custom_inbox_prefix(inbox(config)?);
    encrypted(authenticated(options, config)?, config)
}

fn inbox(config: &ConnectConfig) -> Result<String, ConnectError> {
    let is_subject = |text: &str| {
        let is_word = |word: &str| !word.is_empty() && !word.contains(['*', '>']);
        !text.contains(char::is_whitespace) && text.split('.').all(is_word)
    };
    match (&config.inbox, &config.user) {
        (Some(inbox), _) if is_subject(inbox) => Ok(inbox.clone()),
        (Some(inbox), _) => Err(ConnectError::Config(format!(
            "inbox: '{}' is no subject: give words with dots between them, such as _INBOX.car-7",
            excerpt(inbox)
        ))),
        (None, Some(user)) if is_subject(user) => Ok(format!("_INBOX.{user}")),
        // No subject can hold this user's name.
        (None, _) => Ok("_INBOX".to_owned()),
    }
}

fn authenticated(
    options: ConnectOptions,
    config: &ConnectConfig,
) -> Result<ConnectOptions, ConnectError> {
    let ConnectConfig {
        user,
        password,
        token,
        credentials,
        nkey,
        ..
    } = config;
    Ok(match (user, password, token, credentials, nkey) {
        (None, None, None, None, None) => options,
        (Some(user), Some(password), None, None, None) => {
            options.user_and_password(user.clone(), password.reveal("password")?)
        }
        (None, None, Some(token), None, None) => options.token(token.reveal("token")?),
        (None, None, None, Some(file), None) => {
            let text = read("credentials", file)?;
            options.credentials(&text).map_err(|_| {
                let file = file.display();
                ConnectError::Config(format!(
                    "credentials: {file} is no credentials file: make one with `nsc generate creds`"
                ))
            })?
        }
        (None, None, None, None, Some(file)) => options.nkey(seed(file)?),
        _ => {
            return Err(ConnectError::Config(
                "give NATS one of: user and password, token, credentials, nkey".to_owned(),
            ));
        }
    })
}

/// The seed in an NKey file: the line that is one.
fn seed(file: &PathBuf) -> Result<String, ConnectError> {
    let text = read("nkey", file)?;
    let is_seed = |line: &&str| line.starts_with("SU") && nkeys::KeyPair::from_seed(line).is_ok();
    let seed = text.lines().map(str::trim).find(is_seed);
    seed.map(str::to_owned).ok_or_else(|| {
        let file = file.display();
        ConnectError::Config(format!(
            "nkey: {file} holds no seed of a user's NKey: make one with `nk -gen user`"
        ))
    })
}

fn encrypted(
    mut options: ConnectOptions,
    config: &ConnectConfig,
) -> Result<ConnectOptions, ConnectError> {
    if let Some(file) = &config.tls_ca {
        pem("tls_ca", file, "CERTIFICATE")?;
        options = options
            .add_root_certificates(file.clone())
            .require_tls(true);
    }
    match (&config.tls_cert, &config.tls_key) {
        (None, None) => {}
        (Some(certificate), Some(key)) => {
            pem("tls_cert", certificate, "CERTIFICATE")?;
            pem("tls_key", key, "PRIVATE KEY")?;
            options = options
                .add_client_certificate(certificate.clone(), key.clone())
                .require_tls(true);
        }
        _ => {
            return Err(ConnectError::Config(
                "give both tls_cert and tls_key, or neither".to_owned(),
            ));
        }
    }
    Ok(options)
}

/// Checks that a file is PEM and holds something whose label ends with `label`.
fn pem(what: &str, file: &PathBuf, label: &str) -> Result<(), ConnectError> {
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.contains(label);
    if read(what, file)?.lines().any(begins) {
        return Ok(());
    }
    let file = file.display();
    Err(ConnectError::Config(format!(
        "{what}: {file} holds no {label} in PEM: correct the path, or convert it"
    )))
}

pub(super) fn addresses(urls: &str) -> Result<Vec<ServerAddr>, ConnectError> {
    let parse = |url: &str| {
        if url.contains('@') {
            let url = redact(url);
            return Err(ConnectError::Config(format!(
                "the url of {url} holds a user or a secret: give user and password, or token, beside it"
            )));
        }
        url.trim().parse().map_err(|error| {
            let url = redact(url);
            ConnectError::Config(format!(
                "'{url}' is not a NATS url ({error}): write nats://host:port"
            ))
        })
    };
    urls.split(',').map(parse).collect()
}

/// `urls` without what stands before an '@'.
pub(super) fn redact(urls: &str) -> String {
    let one = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.to_owned(),
    };
    urls.split(',')
        .map(|url| one(url.trim()))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_never_shown() {
        assert_eq!(
            redact("nats://joe:pa@ss@hub:4222, hub2"),
            "nats://hub:4222,hub2"
        );
        assert_eq!(redact("joe:pass@hub"), "hub");
        let error = addresses("nats://joe:pass@hub:4222")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("nats://hub:4222") && !error.contains("pass@"),
            "{error}"
        );
    }

    #[test]
    fn each_user_has_an_inbox_of_its_own() {
        let of = |user: Option<&str>, inbox: Option<&str>| {
            super::inbox(&ConnectConfig {
                user: user.map(str::to_owned),
                inbox: inbox.map(str::to_owned),
                ..ConnectConfig::default()
            })
        };
        assert_eq!(of(None, None).unwrap(), "_INBOX");
        assert_eq!(of(Some("car-7"), None).unwrap(), "_INBOX.car-7");
        assert_eq!(of(Some("car-7"), Some("_INBOX.x.y")).unwrap(), "_INBOX.x.y");
        // No subject has such a word.
        assert_eq!(of(Some("joe >"), None).unwrap(), "_INBOX");
        for wrong in ["", "a..b", "_INBOX.*", "_INBOX.>", "_IN BOX", ".a"] {
            let error = of(None, Some(wrong)).unwrap_err().to_string();
            assert!(error.starts_with("inbox: ") && error.contains("_INBOX.car-7"));
        }
    }

    #[test]
    fn unusable_configuration_is_an_error() {
        let error = |config: ConnectConfig| options(&config).unwrap_err().to_string();
        let half = ConnectConfig {
            user: Some("joe".to_owned()),
            ..ConnectConfig::default()
        };
        assert!(error(half).contains("user and password"));
        let both = ConnectConfig {
            nkey: Some("a".into()),
            credentials: Some("b".into()),
            ..ConnectConfig::default()
        };
        assert!(error(both).contains("one of"));
        let file = ConnectConfig {
            tls_ca: Some("/no/such.pem".into()),
            ..ConnectConfig::default()
        };
        assert!(error(file).contains("/no/such.pem"));
        let without_key = ConnectConfig {
            tls_cert: Some("cert.pem".into()),
            ..ConnectConfig::default()
        };
        assert!(error(without_key).contains("tls_key"));
        assert!(addresses("nats://hub:port").is_err());
    }

    #[test]
    fn all_that_is_wrong_is_found_at_once() {
        let config = ConnectConfig {
            url: "nats://joe:pass@hub".to_owned(),
            token: Some("file:/no/such/token".parse().unwrap()),
            tls_ca: Some("/no/such.pem".into()),
            ..ConnectConfig::default()
        };
        let faults = config.check().unwrap_err().into_vec();
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["url", "token", "tls_ca"]);
        ConnectConfig::default().check().unwrap();
    }

    #[test]
    fn files_that_hold_something_else_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n").unwrap();
        let path = Some(file.path().to_owned());
        let configs = [
            ConnectConfig {
                nkey: path.clone(),
                ..ConnectConfig::default()
            },
            ConnectConfig {
                credentials: path.clone(),
                ..ConnectConfig::default()
            },
            ConnectConfig {
                tls_cert: path.clone(),
                tls_key: path.clone(),
                ..ConnectConfig::default()
            },
        ];
        for (config, what) in configs.iter().zip(["nkey", "credentials", "tls_key"]) {
            let error = options(config).unwrap_err().to_string();
            let name = file.path().display().to_string();
            assert!(error.starts_with(what) && error.contains(&name), "{error}");
        }
    }
}
