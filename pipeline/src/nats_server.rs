//! Where the nats-server program is.

use std::path::PathBuf;

/// The program: `NATS_SERVER`, what `make setup` fetched, or the one on the PATH.
pub fn binary() -> PathBuf {
    let fetched = PathBuf::from(".cache/bin/nats-server");
    match std::env::var_os("NATS_SERVER") {
        Some(path) => PathBuf::from(path),
        None if fetched.exists() => fetched,
        None => PathBuf::from("nats-server"),
    }
}
