//! Files in which a process writes what it did, a line at a time: they outlive a kill -9 of whoever wrote them.

use std::{
    fmt::Display,
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// A window was made and is about to be handed to the publisher.
pub const HANDED: &str = "handed";
/// The broker acknowledged a message as stored.
pub const STORED: &str = "stored";
/// The worker's model began with a window.
pub const TAKEN: &str = "taken";
/// The worker's model was done with it.
pub const GIVEN: &str = "given";

/// A ledger that is written.
#[derive(Debug)]
pub struct Ledger(File);

impl Ledger {
    /// Opens it, to write behind what is there.
    pub fn append(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(file.with_context(|| format!("ledger {path:?}"))?))
    }

    /// Writes one line, with one call: the kernel has it before this returns, whatever becomes of the process.
    ///
    /// # Panics
    /// It cannot be written: a process that goes on without its ledger would prove nothing.
    pub fn write(&self, what: &str, about: &dyn Display, more: &dyn Display) {
        let line = format!("{what} {about} {more}\n");
        if let Err(error) = (&self.0).write_all(line.as_bytes()) {
            panic!("the ledger cannot be written: {error}");
        }
    }
}

/// One line: what, about what, and more.
pub type Line = (String, String, String);

/// The whole lines of a ledger from byte `from` on; none if there is no file yet.
pub fn read(path: &Path, from: usize) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let lines = text.get(from.min(whole)..whole).unwrap_or_default().lines();
    let fields = lines.filter_map(|line| {
        let mut fields = line.splitn(3, ' ').map(str::to_owned);
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    fields.collect()
}

/// How long a ledger is, in bytes.
pub fn length(path: &PathBuf) -> usize {
    std::fs::metadata(path).map_or(0, |about| about.len() as usize)
}

/// Nanoseconds of the machine's monotonic clock: the same for all processes, and not stepped with theirs.
pub fn now_ns() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}
