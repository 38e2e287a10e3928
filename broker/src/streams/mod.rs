//! The streams and the key-value bucket: set up by whoever comes first, checked by all others.

pub mod leaf;
mod wanted;

use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind},
    kv,
};
use serde::Deserialize;

use crate::{
    connect::{ConnectError, Connection},
    faults::Faults,
};
use wanted::{Wanted, wanted, wanted_done};

/// The stream of feature windows.
pub const FEATURES: &str = "MSAO_FEATURES";
/// The stream of captions.
pub const CAPTIONS: &str = "MSAO_CAPTIONS";
/// The stream of messages that could not be handled.
pub const DEAD: &str = "MSAO_DEAD";
/// The key-value bucket of each rig's latest caption.
pub const LATEST: &str = "MSAO_LATEST";

/// The key-value bucket of windows that have their last caption.
pub const DONE: &str = "MSAO_DONE";

/// The oldest server whose JetStream does what is asked of it here.
const OLDEST_SERVER: (u64, u64) = (2, 11);

/// Bounds of one stream. When a stream is full, its oldest messages go.
///
/// A bound that is not given is left as it is, or set to its default when the stream is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most bytes, at least 1 MiB.
    pub max_bytes: Option<i64>,
    /// Longest age in seconds, at least 1.
    pub max_age_s: Option<u64>,
}

/// Bounds of what the broker stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamsConfig {
    /// Of feature windows; 512 MiB and 1 hour by default.
    pub features: Limits,
    /// Of captions; 128 MiB and 7 days by default.
    pub captions: Limits,
    /// Of dead letters; 64 MiB and 7 days by default.
    pub dead: Limits,
    /// Of the records of captioned windows; 32 MiB and 7 days by default.
    pub done: Limits,
    /// For how many seconds the server knows a message id again; 600 by default.
    pub duplicate_window_s: Option<u64>,
}

impl StreamsConfig {
    /// Checks the bounds.
    ///
    /// # Errors
    /// A bound makes no sense.
    pub fn check(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        let [features, captions, dead, _] = wanted(self);
        for (key, wanted) in [
            ("features", features),
            ("captions", captions),
            ("dead", dead),
            ("done", wanted_done(self)),
        ] {
            faults.take(key, wanted.validate());
        }
        faults.result()
    }
}

/// The broker cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The server is older than what is asked of it.
    #[error(
        "the NATS server at {url} is version {version}: msao needs nats-server 2.11 or newer, install one"
    )]
    TooOld {
        /// The server's address.
        url: String,
        /// Its version.
        version: String,
    },
    /// JetStream is off.
    #[error(
        "the NATS server at {url} has JetStream off: start it with `nats-server -js`, or enable jetstream in its configuration"
    )]
    NoJetStream {
        /// The server's address.
        url: String,
    },
    /// A stream is there, and is not as it must be.
    #[error(
        "stream {stream} has {field} {found}, expected {expected}: correct the configuration, or change the stream with `nats stream edit {stream}`"
    )]
    Conflict {
        /// The stream.
        stream: String,
        /// What differs.
        field: &'static str,
        /// As it is on the server.
        found: String,
        /// As it must be.
        expected: String,
    },
    /// The durable consumer is there, and is not as it must be.
    #[error(
        "consumer {consumer} of stream MSAO_FEATURES has {field} {found:?}, expected {expected:?}: {mend}"
    )]
    Consumer {
        /// The consumer.
        consumer: String,
        /// What differs.
        field: &'static str,
        /// As it is on the server.
        found: String,
        /// As it must be.
        expected: String,
        /// What to do.
        mend: String,
    },
    /// The server has less room left for streams than this one may take.
    #[error(
        "the NATS server at {url} has no {} MiB left for stream {stream}: make room on its disk or raise max_file_store of its jetstream, and restart it; or lower the stream's max_bytes in [streams]",
        bytes >> 20
    )]
    NoRoom {
        /// The stream.
        stream: &'static str,
        /// The server's address.
        url: String,
        /// Its bound.
        bytes: i64,
    },
    /// The server refused.
    #[error("cannot set up stream {stream} at {url}: {reason}")]
    Refused {
        /// The stream.
        stream: String,
        /// The server's address.
        url: String,
        /// What the server says.
        reason: String,
    },
    /// A bound of the configuration makes no sense.
    #[error("configuration of stream {stream}: {reason}")]
    Config {
        /// The stream.
        stream: &'static str,
        /// Which bound, and what is allowed.
        reason: String,
    },
    /// The connection does not serve.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Makes what is missing, and checks what is there. Safe to repeat, and to run from several
/// processes at once. Returns the bucket of latest captions.
///
/// # Errors
/// The server is too old, has no JetStream, refuses, or has a stream that is not as it must be.
pub async fn set_up(
    connection: &Connection,
    config: &StreamsConfig,
) -> Result<kv::Store, SetUpError> {
    check_version(connection)?;
    for wanted in wanted(config) {
        wanted.validate()?;
        make_or_check(connection, &wanted).await?;
    }
    let bucket = connection.jetstream().get_key_value(LATEST).await;
    bucket.map_err(|error| refused(connection, LATEST, &error.to_string()))
}

/// The same for the bucket of windows that have their last caption: only workers need it.
///
/// # Errors
/// As for [`set_up`].
pub(crate) async fn set_up_done(
    connection: &Connection,
    config: &StreamsConfig,
) -> Result<kv::Store, SetUpError> {
    check_version(connection)?;
    let wanted = wanted_done(config);
    wanted.validate()?;
    make_or_check(connection, &wanted).await?;
    let bucket = connection.jetstream().get_key_value(DONE).await;
    bucket.map_err(|error| refused(connection, DONE, &error.to_string()))
}

fn check_version(connection: &Connection) -> Result<(), SetUpError> {
    let version = connection.client().server_info().version;
    if new_enough(&version) {
        return Ok(());
    }
    Err(SetUpError::TooOld {
        url: connection.url().to_owned(),
        version,
    })
}

fn new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST_SERVER
}

fn refused(connection: &Connection, stream: &str, reason: &str) -> SetUpError {
    SetUpError::Refused {
        stream: stream.to_owned(),
        url: connection.url().to_owned(),
        reason: reason.to_owned(),
    }
}

async fn make_or_check(connection: &Connection, wanted: &Wanted) -> Result<(), SetUpError> {
    let jetstream = connection.jetstream();
    match jetstream.get_stream(wanted.name).await {
        Ok(stream) => return wanted.compare(&stream.cached_info().config),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::JETSTREAM_NOT_ENABLED
                    || error.error_code() == ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT =>
            {
                return Err(no_jetstream(connection));
            }
            _ => return Err(unavailable(connection, wanted.name, &error.to_string())),
        },
    }
    match jetstream.create_stream(wanted.create()).await {
        // What the server echoes shows whether it took what it was asked for.
        Ok(stream) => wanted.compare(&stream.cached_info().config),
        Err(error) if has_code(&error, ErrorCode::STREAM_NAME_EXIST) => {
            let stream = jetstream.get_stream(wanted.name).await;
            let stream =
                stream.map_err(|error| unavailable(connection, wanted.name, &error.to_string()))?;
            wanted.compare(&stream.cached_info().config)
        }
        Err(error) if error.kind() == CreateStreamErrorKind::JetStreamUnavailable => {
            Err(no_jetstream(connection))
        }
        Err(error) if has_code(&error, ErrorCode::STORAGE_RESOURCES_EXCEEDED) => {
            Err(SetUpError::NoRoom {
                stream: wanted.name,
                url: connection.url().to_owned(),
                bytes: wanted.bytes(),
            })
        }
        Err(error) => Err(unavailable(connection, wanted.name, &error.to_string())),
    }
}

fn unavailable(connection: &Connection, stream: &str, reason: &str) -> SetUpError {
    if reason.contains("no responders") {
        return no_jetstream(connection);
    }
    refused(connection, stream, reason)
}

fn no_jetstream(connection: &Connection) -> SetUpError {
    SetUpError::NoJetStream {
        url: connection.url().to_owned(),
    }
}

fn has_code(error: &CreateStreamError, code: ErrorCode) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(error) if error.error_code() == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        for good in ["2.11.0", "2.15.1", "3.0.0-beta.1", "2.11"] {
            assert!(new_enough(good), "{good}");
        }
        for old in ["2.10.29", "2.9.10", "1.4.0", "", "dev"] {
            assert!(!new_enough(old), "{old}");
        }
    }
}
