//! Where a secret is: never the secret itself, so that it can be in no configuration, argument or log.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    str::FromStr,
};

use serde::Deserialize;

use super::ConnectError;

/// Where a secret is: `file:PATH` or `env:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Secret {
    /// The content of a file, without the end of its last line.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl Secret {
    /// The secret of the setting `what`.
    ///
    /// # Errors
    /// It is not there or empty; the error names its place.
    pub fn reveal(&self, what: &str) -> Result<String, ConnectError> {
        let text = match self {
            Self::File(path) => read(what, path)?.trim_end_matches(['\r', '\n']).to_owned(),
            Self::Env(name) => std::env::var(name).map_err(|_| {
                ConnectError::Config(format!(
                    "{what}: the environment variable {name} is not set, or no text: set it"
                ))
            })?,
        };
        if text.is_empty() {
            return Err(ConnectError::Config(format!("{what}: {self} is empty")));
        }
        Ok(text)
    }
}

/// Longest file of a secret or a certificate, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// The file that the setting `what` names, as text.
pub(super) fn read(what: &str, path: &PathBuf) -> Result<String, ConnectError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| {
        file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
        match text.len() as u64 > MOST_BYTES {
            true => Err(io::Error::other(format!("longer than {MOST_BYTES} bytes"))),
            false => Ok(std::mem::take(&mut text)),
        }
    });
    read.map_err(|error| {
        let path = path.display();
        ConnectError::Config(format!(
            "{what}: cannot read {path} ({error}): correct the path, or the file's permissions"
        ))
    })
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
        }
    }
}

impl FromStr for Secret {
    type Err = String;

    /// The error does not repeat the text: it may be a secret.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            _ => Err(
                "say where the secret is, file:PATH or env:NAME, instead of the secret itself"
                    .to_owned(),
            ),
        }
    }
}

impl TryFrom<String> for Secret {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_and_never_given() {
        for text in ["file:/run/secrets/nats", "env:MSAO_PASSWORD"] {
            assert_eq!(text.parse::<Secret>().unwrap().to_string(), text);
        }
        for text in ["hunter2", "file:", "env:", "pass:word"] {
            let error = text.parse::<Secret>().unwrap_err();
            assert!(
                error.contains("env:NAME") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn it_is_read_without_the_end_of_the_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "pass word\r\n").unwrap();
        let secret = Secret::File(file.path().to_owned());
        assert_eq!(secret.reveal("password").unwrap(), "pass word");
        std::fs::write(&file, "\n").unwrap();
        let error = secret.reveal("password").unwrap_err().to_string();
        assert!(
            error.contains("password") && error.contains("empty"),
            "{error}"
        );
        let endless = Secret::File("/dev/zero".into());
        let error = endless.reveal("password").unwrap_err().to_string();
        assert!(error.contains("longer than 1048576 bytes"), "{error}");
        let missing = Secret::Env("MSAO_TEST_NOT_SET".to_owned());
        let error = missing.reveal("token").unwrap_err().to_string();
        assert!(
            error.contains("token") && error.contains("MSAO_TEST_NOT_SET"),
            "{error}"
        );
    }
}
