//! Server, links, edges and workers, and how each fault is begun and ended.

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use link::{Conditions, Link, Mode, Outage, Spec, Trace};

use crate::{
    clock::Clock,
    collect::DURABLE,
    disk::Disk,
    ledger,
    process::{Process, mortal},
    schedule::{Event, Fault, Side},
    server::Server,
};

/// Edges, each of a rig.
const EDGES: usize = 3;
/// Workers that share the windows.
const WORKERS: usize = 2;
/// Windows a second of an edge.
const RATE: f64 = 12.0;
/// Seconds without a sign of life after which a window goes to another worker: shorter than a worker is stopped.
const ACK_WAIT_S: f64 = 1.0;
/// One edge or worker with its ledger and clock.
pub struct Node {
    pub process: Process,
    pub ledger: PathBuf,
    clock: Clock,
}

/// All that runs.
pub struct System {
    pub server: Server,
    pub edges: Vec<Node>,
    pub workers: Vec<Node>,
    edge_link: Link,
    worker_link: Link,
    /// What must not happen to processes, and did.
    pub complaints: Vec<String>,
}

impl System {
    /// Starts it in `folder`.
    pub fn start(folder: &Path, seed: u64, duplicate_window_s: u64) -> Result<Self> {
        let server = Server::new(folder)?;
        let link = |seed| {
            let mut spec = Spec::new(server.address, normal()?);
            spec.seed = seed;
            anyhow::Ok(Link::open(&spec, Mode::Proxy)?)
        };
        let (edge_link, worker_link) = (link(seed)?, link(seed + 1)?);
        let program = std::env::current_exe()?;
        let node = |name: String, arguments: Vec<String>| {
            let ledger = folder.join(format!("{name}.ledger"));
            let clock = Clock::new(folder.join(format!("{name}.clock")))?;
            let make = {
                let (program, ledger, clock) = (program.clone(), ledger.clone(), clock.clone());
                move || {
                    let mut command = mortal(&program);
                    command.args(&arguments).arg("--ledger").arg(&ledger);
                    command.args(["--seed", &seed.to_string()]);
                    clock.apply(&mut command);
                    command
                }
            };
            let log = folder.join(format!("{name}.log"));
            anyhow::Ok(Node {
                process: Process::new(&name, log, make),
                ledger,
                clock,
            })
        };
        let edge = |n| {
            let name = format!("edge-{n}");
            let url = format!("nats://{}", edge_link.address());
            let (rate, window) = (RATE.to_string(), duplicate_window_s.to_string());
            let arguments = ["edge", "--url", &url, "--rig", &name, "--rate", &rate];
            let arguments = [&arguments[..], &["--duplicate-window-s", &window]].concat();
            node(
                name.clone(),
                arguments.iter().map(ToString::to_string).collect(),
            )
        };
        let worker = |n| {
            let name = format!("worker-{n}");
            let config = folder.join(format!("{name}.toml"));
            let text = format!(
                "model = 'stub'
                worker = '{name}'
                nats = {{ url = 'nats://{}' }}
                streams = {{ duplicate_window_s = {duplicate_window_s} }}
                consumer = {{ durable = '{DURABLE}', ack_wait_s = {ACK_WAIT_S}, backoff_s = [0.2, 0.5] }}",
                worker_link.address(),
            );
            std::fs::write(&config, text)?;
            let config = config.display().to_string();
            node(
                name,
                vec!["worker".to_owned(), "--config".to_owned(), config],
            )
        };
        let mut system = Self {
            edges: (0..EDGES).map(edge).collect::<Result<_>>()?,
            workers: (0..WORKERS).map(worker).collect::<Result<_>>()?,
            server,
            edge_link,
            worker_link,
            complaints: Vec::new(),
        };
        system.server.process.tend()?;
        Ok(system)
    }

    /// Starts again what has ended and is to run, as systemd would, and notes what must not end.
    pub fn tend(&mut self) -> Result<()> {
        // Without room on its disk it may end.
        self.server.process.tend()?;
        for Node { process, .. } in &mut self.edges {
            if let Some(status) = process.tend()? {
                let name = &process.name;
                self.complaints
                    .push(format!("{name} ended by itself: {status}"));
            }
        }
        for Node { process, .. } in &mut self.workers {
            // Killed by poison, or there was no broker when it started.
            let status = process.tend()?;
            let strange =
                status.filter(|status| status.signal() != Some(9) && status.code() != Some(1));
            if let Some(status) = strange {
                let name = &process.name;
                self.complaints
                    .push(format!("{name} ended by itself: {status}"));
            }
        }
        Ok(())
    }

    /// Whether the fault would strike: a worker that is to be killed has a window with its model.
    pub fn is_ripe(&self, event: &Event) -> bool {
        if event.fault != Fault::WorkerKilled {
            return true;
        }
        let worker = &self.workers[event.which % self.workers.len()];
        let lines = ledger::read(&worker.ledger, 0);
        worker.process.is_up() && lines.last().is_some_and(|(what, ..)| what == ledger::TAKEN)
    }

    /// Begins a fault of processes, links, disk or clocks, and says more about it.
    pub fn begin(&mut self, event: &Event) -> Result<String> {
        match event.fault {
            Fault::ServerKilled => self.server.process.kill(),
            Fault::ServerStopped => self.server.process.stop(),
            Fault::DiskFull => {
                if let Disk::Machine { because } = &*self.server.disk {
                    return Ok(format!("left out: {because}"));
                }
                self.server.disk.fill()?;
            }
            Fault::LinkCut(side) => self.set_link(side, cut()?),
            Fault::LinkSlowed(side) => self.set_link(side, slow()?),
            Fault::WorkerKilled => {
                let with = if self.is_ripe(event) {
                    "with a window"
                } else {
                    "idle"
                };
                of(&mut self.workers, event).process.kill();
                return Ok(with.to_owned());
            }
            Fault::WorkerStopped => of(&mut self.workers, event).process.stop(),
            Fault::EdgeKilled => of(&mut self.edges, event).process.kill(),
            Fault::ClockStepped(Side::Edges) => {
                of(&mut self.edges, event).clock.step(event.step)?
            }
            Fault::ClockStepped(Side::Workers) => {
                of(&mut self.workers, event).clock.step(event.step)?
            }
            Fault::Copies | Fault::Poison => {}
        }
        Ok(String::new())
    }

    /// Ends it. What is stepped stays so.
    pub fn end(&mut self, event: &Event) -> Result<()> {
        match event.fault {
            Fault::ServerKilled => self.server.process.wanted = true,
            Fault::ServerStopped => self.server.process.go_on(),
            Fault::DiskFull => {
                self.server.disk.free();
                // A stream that had no room takes nothing more until the server is restarted.
                self.server.process.ask_to_end();
            }
            Fault::LinkCut(side) | Fault::LinkSlowed(side) => self.set_link(side, normal()?),
            Fault::WorkerKilled => of(&mut self.workers, event).process.wanted = true,
            Fault::WorkerStopped => of(&mut self.workers, event).process.go_on(),
            Fault::EdgeKilled => of(&mut self.edges, event).process.wanted = true,
            Fault::ClockStepped(_) | Fault::Copies | Fault::Poison => {}
        }
        Ok(())
    }

    fn set_link(&self, side: Side, trace: Trace) {
        let link = match side {
            Side::Edges => &self.edge_link,
            Side::Workers => &self.worker_link,
        };
        link.set(trace.clone(), trace);
    }
}

fn of<'a>(nodes: &'a mut [Node], event: &Event) -> &'a mut Node {
    let many = nodes.len();
    &mut nodes[event.which % many]
}

fn normal() -> Result<Trace> {
    let conditions = Conditions::new(100_000_000, Duration::from_millis(2));
    Ok(Trace::constant(conditions)?)
}

fn slow() -> Result<Trace> {
    let conditions = Conditions::new(300_000, Duration::from_millis(60));
    Ok(Trace::constant(Conditions {
        loss: 0.05,
        ..conditions
    })?)
}

fn cut() -> Result<Trace> {
    let conditions = Conditions::new(100_000_000, Duration::from_millis(2));
    Ok(Trace::constant(Conditions {
        outage: Outage::Cut,
        ..conditions
    })?)
}
