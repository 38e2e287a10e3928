//! A clock for each process that can be stepped while it runs: libfaketime, told by a file.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

/// The clock of one process, or of those that follow it.
#[derive(Clone, Debug)]
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// A clock that goes right until it is stepped.
    pub fn new(file: PathBuf) -> Result<Self> {
        let library = library().context("there is no libfaketime: run `make setup`")?;
        let clock = Self { file, library };
        clock.step(0)?;
        Ok(clock)
    }

    /// Sets the clock `seconds` off the machine's. Processes see it within a second.
    pub fn step(&self, seconds: i64) -> Result<()> {
        std::fs::write(&self.file, format!("{seconds:+}")).context("clock")
    }

    /// Has a command go by this clock; its monotonic time stays the machine's.
    pub fn apply(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// What libfaketime leaves behind of a process that was killed.
pub fn clean_up(process: u32) {
    for name in ["faketime_shm_", "sem.faketime_sem_"] {
        // Not there if the process ended in order.
        let _ = std::fs::remove_file(format!("/dev/shm/{name}{process}"));
    }
}

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let place = |folder: &Path| folder.join("faketime/libfaketimeMT.so.1");
    folders
        .map(|folder| place(&folder.path()))
        .find(|path| path.exists())
}
