//! Why a worker cannot start, or stopped.

use broker::{Faults, connect::ConnectError, streams::SetUpError};

/// A worker cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error("cloud configuration: {0}")]
    Config(String),
    /// The configuration has values that cannot be used.
    #[error("cloud configuration: {0}")]
    Faults(#[from] Faults),
    /// The broker is not there.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The broker's streams are not there.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// The model cannot be loaded.
    #[error(transparent)]
    Model(#[from] mllm::Error),
    /// The server that has the model is not reached, or refuses.
    #[error("{0}")]
    Server(String),
    /// The model's thread could not be started, or ended by itself.
    #[error(
        "the thread of model {model} {what}: the window in hand will be delivered again; start the worker again, and report the panic above if there is one"
    )]
    Thread {
        /// The model.
        model: String,
        /// What happened.
        what: String,
    },
}
