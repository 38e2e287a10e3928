//! How to reach the broker, as configured.

use std::{fmt, path::PathBuf};

use async_nats::{ConnectOptions, ServerAddr};
use serde::Deserialize;

use super::{ConnectError, PATIENCE, SILENCE};

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
    /// PEM file of the certificate authority that signed the server's certificate.
    pub tls_ca: Option<PathBuf>,
}

impl Default for ConnectConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            name: "msao".to_owned(),
            user: None,
            password: None,
            token: None,
            tls_ca: None,
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for whoever has to hand it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"***\"")
    }
}

pub(super) fn options(config: &ConnectConfig) -> Result<ConnectOptions, ConnectError> {
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .connection_timeout(PATIENCE)
        .request_timeout(Some(PATIENCE))
        .ping_interval(SILENCE)
        .max_reconnects(None);
    options = match (&config.user, &config.password, &config.token) {
        (None, None, None) => options,
        (Some(user), Some(password), None) => {
            options.user_and_password(user.clone(), password.0.clone())
        }
        (None, None, Some(token)) => options.token(token.0.clone()),
        _ => {
            return Err(ConnectError::Config(
                "give NATS either user and password, or token".to_owned(),
            ));
        }
    };
    if let Some(file) = &config.tls_ca {
        if !file.is_file() {
            let file = file.display();
            return Err(ConnectError::Config(format!(
                "tls_ca: there is no file {file}: correct the path"
            )));
        }
        options = options
            .add_root_certificates(file.clone())
            .require_tls(true);
    }
    Ok(options)
}

pub(super) fn addresses(urls: &str) -> Result<Vec<ServerAddr>, ConnectError> {
    let parse = |url: &str| {
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
        let config = ConnectConfig {
            password: Some("pass".to_owned().into()),
            ..ConnectConfig::default()
        };
        assert!(!format!("{config:?}").contains("pass\""));
    }

    #[test]
    fn unusable_configuration_is_an_error() {
        let half = ConnectConfig {
            user: Some("joe".to_owned()),
            ..ConnectConfig::default()
        };
        assert!(
            options(&half)
                .unwrap_err()
                .to_string()
                .contains("user and password")
        );
        let file = ConnectConfig {
            tls_ca: Some("/no/such.pem".into()),
            ..ConnectConfig::default()
        };
        assert!(
            options(&file)
                .unwrap_err()
                .to_string()
                .contains("/no/such.pem")
        );
        let error = addresses("nats://joe:pass@hub:port")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("nats://hub:port") && !error.contains("pass@"),
            "{error}"
        );
    }
}
