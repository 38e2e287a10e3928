//! A process that is killed, stopped, started again, and watched.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock;

/// A command that is killed when this process ends, however it ends. Its process id is the program's.
pub fn mortal(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// At least so long is between two starts.
const REST: Duration = Duration::from_millis(250);

/// One edge, worker or server: a process at a time.
pub struct Process {
    /// What it is called in reports.
    pub name: String,
    /// Where its standard error goes.
    pub log: PathBuf,
    make: Box<dyn Fn() -> Command + Send>,
    child: Option<Child>,
    /// Most resident memory that any of its lives had, bytes.
    pub peak: u64,
    /// Whether it is to run: if not, it is down until a fault is over.
    pub wanted: bool,
    stopped: bool,
    started: Option<Instant>,
}

impl Process {
    /// A process that `make` starts; it does not run yet.
    pub fn new(name: &str, log: PathBuf, make: impl Fn() -> Command + Send + 'static) -> Self {
        Self {
            name: name.to_owned(),
            log,
            make: Box::new(make),
            child: None,
            peak: 0,
            wanted: true,
            stopped: false,
            started: None,
        }
    }

    /// Starts it if it is to run and does not. Gives how it ended if it did so by itself.
    pub fn tend(&mut self) -> Result<Option<ExitStatus>> {
        self.measure();
        let ended = match &mut self.child {
            Some(child) => child.try_wait()?,
            None => None,
        };
        if ended.is_some() {
            self.forget();
        }
        let rested = self.started.is_none_or(|at| at.elapsed() >= REST);
        if self.wanted && self.child.is_none() && rested {
            self.start()?;
        }
        Ok(ended)
    }

    fn start(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("log of {}", self.name))?;
        let child = (self.make)()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.with_context(|| format!("start {}", self.name))?);
        self.stopped = false;
        self.started = Some(Instant::now());
        Ok(())
    }

    /// Kills it with -9; it stays down until it is wanted.
    pub fn kill(&mut self) {
        self.wanted = false;
        self.measure();
        if let Some(child) = &mut self.child {
            // It may have ended by itself; either way nothing is left of it after the wait.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.forget();
    }

    /// Asks it to end, and says how it did; `None` after `patience` polls of 50 ms.
    pub async fn terminate(&mut self, patience: u32) -> Result<Option<ExitStatus>> {
        self.wanted = false;
        self.ask_to_end();
        for _ in 0..patience {
            self.measure();
            let Some(child) = &mut self.child else {
                return Ok(None);
            };
            if let Some(status) = child.try_wait()? {
                self.forget();
                return Ok(Some(status));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(None)
    }

    /// Asks it to end, and does not wait; it is started again if it is wanted.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it where it stands.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&mut self) {
        self.stopped = false;
        self.signal(Signal::CONT);
    }

    /// Whether it runs and is not stopped.
    pub fn is_up(&self) -> bool {
        self.child.is_some() && !self.stopped
    }

    fn signal(&self, signal: Signal) {
        let pid = (self.child.as_ref()).and_then(|child| Pid::from_raw(child.id() as i32));
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = kill_process(pid, signal);
        }
    }

    fn measure(&mut self) {
        let peak = self.child.as_ref().and_then(|child| peak(child.id()));
        self.peak = self.peak.max(peak.unwrap_or(0));
    }

    fn forget(&mut self) {
        if let Some(child) = self.child.take() {
            clock::clean_up(child.id());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Most resident memory of a process so far, bytes.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = (status.lines()).find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
