//! A run: faults in their time, then time to mend, then the judge.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use broker::{
    Caption, Connection, Message, StreamsConfig, WindowId, deliver::Deliverer, headers::TraceParent,
};
use clap::Args;
use ulid::Ulid;

use crate::{
    collect, copies,
    disk::Disk,
    evidence::{Evidence, Memory},
    judge::{self, Findings},
    ledger,
    poison::Poison,
    reader::Reader,
    records::Records,
    schedule::{self, Event, Fault},
    server,
    system::System,
    windows::{self, Kind},
};

/// How long after the last fault a window of each rig may take to be captioned, what waits before it included.
const PROGRESS: Duration = Duration::from_secs(60);
/// How long all that waits may take after that: poison is tried five times, and kills a worker each time.
const QUIET: Duration = Duration::from_secs(60);
/// How long a kill waits for a worker to have a window.
const BUSY: Duration = Duration::from_secs(5);
/// Resident memory of an edge: its queue of 4 MiB, 64 messages on their way, and the program.
const EDGE_BOUND: u64 = 40 << 20;
/// Resident memory of a worker: the eight windows that it has in hand, what it remembers, and the program.
const WORKER_BOUND: u64 = 40 << 20;
/// Duplicate windows in seconds: of even seeds longer than a run, of odd ones shorter than outages.
const DUPLICATE_WINDOWS_S: [u64; 2] = [600, 2];

/// What is run.
#[derive(Args)]
pub struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after another.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Seconds in which faults begin.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Print the faults of each seed, also if it passes.
    #[arg(long)]
    verbose: bool,
    /// Keep logs and ledgers of each seed, also if it passes.
    #[arg(long)]
    keep: bool,
}

/// What came of a seed.
struct Outcome {
    findings: Findings,
    evidence: Evidence,
    complaints: Vec<String>,
    /// From the last fault until each rig had a caption of a window made after it.
    progress: Option<Duration>,
    took: Duration,
    disk: String,
    happened: Vec<String>,
}

/// Runs the seeds, and prints a line for each.
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    println!("{}", Outcome::HEAD);
    let mut failed = 0;
    for seed in arguments.seed..arguments.seed + arguments.seeds {
        let folder = tempfile::tempdir()?;
        let outcome = one(&arguments, seed, folder.path()).await;
        let outcome = outcome.with_context(|| format!("seed {seed}"))?;
        println!("{}", outcome.line(seed));
        let passed = outcome.passed();
        if !passed || arguments.verbose {
            outcome.print_details();
        }
        failed += u64::from(!passed);
        if !passed || arguments.keep {
            println!("  logs and ledgers: {}", folder.keep().display());
        }
    }
    println!(
        "{} of {} seeds passed",
        arguments.seeds - failed,
        arguments.seeds
    );
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn one(arguments: &Arguments, seed: u64, folder: &Path) -> Result<Outcome> {
    let begun = Instant::now();
    let length = Duration::from_secs_f64(arguments.seconds);
    let events = schedule::draw(seed, length);
    let window = DUPLICATE_WINDOWS_S[(seed % 2) as usize];
    let streams = StreamsConfig {
        duplicate_window_s: Some(window),
        ..StreamsConfig::default()
    };
    let mut system = System::start(folder, seed, window)?;
    let connection = system.server.connect().await?;
    server::answers(&connection).await?;
    let live = Reader::start(&connection, &streams).await?;
    let records = Records::start(&connection).await?;
    let mut poison = Poison::new(connection.clone(), streams);

    let mut happened = break_it(&mut system, &connection, &mut poison, &events, length).await?;
    let mut complaints = Vec::new();
    let mut progress = None;
    let mut evidence = Evidence {
        duplicate_window: Duration::from_secs(window),
        ..Evidence::default()
    };
    let mended = async {
        server::answers(&connection).await?;
        // Of windows of the whole run: nearly all have their captions by now.
        let stored = copies::burst(&connection, seed).await?;
        happened.push(format!("at last    {}  {stored} stored", Fault::Copies));
        progress = Some(progressed(&mut system, &live).await?);
        end_edges(&mut system).await?;
        quiet(&mut system, &connection, &mut poison).await?;
        let again = Reader::start(&connection, &streams).await?;
        let marker = mark(&connection, streams).await?;
        evidence.handed.insert(marker.clone());
        for (name, reader) in [("live", &live), ("afterwards", &again)] {
            reader.reaches(&marker).await?;
            let read = reader.read();
            evidence.readers.push((name.to_owned(), read.all.clone()));
            complaints.extend(read.faults.iter().map(|fault| format!("a reader: {fault}")));
        }
        anyhow::Ok(())
    };
    if let Err(error) = mended.await {
        complaints.push(format!("{error:#}"));
    }
    evidence.poison = poison.stored();
    evidence.recorded = records.first();
    for worker in &mut system.workers {
        worker.process.kill();
    }
    gather(&system, &connection, &mut evidence).await?;
    complaints.append(&mut system.complaints);
    complaints.extend(panics(&system));
    Ok(Outcome {
        findings: judge::judge(&evidence),
        evidence,
        complaints,
        progress,
        took: begun.elapsed(),
        disk: match &*system.server.disk {
            Disk::Small(_) => format!("tmpfs, {} writes failed", full(&system)),
            Disk::Machine { because } => format!("not filled: {because}"),
        },
        happened,
    })
}

/// Lets the faults happen, and says what happened when.
async fn break_it(
    system: &mut System,
    connection: &Connection,
    poison: &mut Poison,
    events: &[Event],
    length: Duration,
) -> Result<Vec<String>> {
    let start = Instant::now();
    let mut due: Vec<(Duration, bool, &Event)> =
        events.iter().map(|event| (event.at, true, event)).collect();
    let mut happened = Vec::new();
    while !due.is_empty() || start.elapsed() < length {
        system.tend()?;
        let now = start.elapsed();
        let (come, later): (Vec<_>, Vec<_>) = due.into_iter().partition(|(at, ..)| *at <= now);
        due = later;
        for (_, begins, event) in come {
            if !begins {
                system.end(event)?;
                continue;
            }
            // A worker without a window is left until it has one.
            if now < event.at + BUSY && !system.is_ripe(event) {
                due.push((now, true, event));
                continue;
            }
            let mut more = system.begin(event)?;
            due.push((now + event.lasts, false, event));
            match event.fault {
                Fault::Poison => poison.burst()?,
                // In an outage there is nothing to be had, and nobody to be told.
                Fault::Copies => {
                    let seed = event.at.as_nanos() as u64;
                    let copied = copies::burst(connection, seed);
                    let copied = tokio::time::timeout(Duration::from_secs(1), copied).await;
                    more = match copied {
                        Ok(Ok(stored)) => format!("{stored} stored"),
                        _ => "not all, in an outage".to_owned(),
                    };
                }
                _ => {}
            }
            happened.push(format!("{:6.2} s  {event}  {more}", now.as_secs_f64()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(happened)
}

/// Waits until each rig has a last caption of a window that was made from now on.
async fn progressed(system: &mut System, live: &Reader) -> Result<Duration> {
    let start = Instant::now();
    let mut from: Vec<(PathBuf, usize)> = (system.edges.iter())
        .map(|edge| (edge.ledger.clone(), ledger::length(&edge.ledger)))
        .collect();
    while !from.is_empty() {
        system.tend()?;
        from.retain(|(path, from)| {
            let lines = ledger::read(path, *from);
            let made = lines.iter().filter(|(what, ..)| what == ledger::HANDED);
            let mut made = made.filter_map(|(_, id, _)| id.parse::<WindowId>().ok());
            let read = live.read();
            !made.any(|id| read.last.contains(&id))
        });
        if start.elapsed() > PROGRESS {
            anyhow::bail!(
                "no window of {from:?} made after the faults is captioned in {PROGRESS:?}"
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(start.elapsed())
}

/// Edges send what waits, and end.
async fn end_edges(system: &mut System) -> Result<()> {
    for edge in &system.edges {
        edge.process.ask_to_end();
    }
    for edge in &mut system.edges {
        let ended = edge.process.terminate(1300).await?;
        let name = &edge.process.name;
        let status = ended.with_context(|| format!("{name} does not end when it is told to"))?;
        anyhow::ensure!(
            status.success(),
            "{name} could not send all that waited: {status}"
        );
    }
    Ok(())
}

/// Waits until nothing waits in the broker or with a worker.
async fn quiet(system: &mut System, connection: &Connection, poison: &mut Poison) -> Result<()> {
    let sent = tokio::time::timeout(QUIET, poison.settled()).await;
    sent.context("poison could not be sent")?;
    let start = Instant::now();
    loop {
        system.tend()?;
        match collect::left(connection).await {
            Ok((0, 0)) => return Ok(()),
            left if start.elapsed() > QUIET => {
                anyhow::bail!(
                    "not all is handled {QUIET:?} after the edges ended: (waiting, in hand) is {left:?}"
                )
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Publishes a last caption, behind which nothing comes.
async fn mark(connection: &Connection, streams: StreamsConfig) -> Result<WindowId> {
    let id = WindowId {
        rig: "marker".parse()?,
        epoch: Ulid::generate(),
        seq: 0,
    };
    let window = windows::window(id.clone(), Kind::of(0), 1);
    let verdict = windows::verdict(&window);
    let caption = Caption::verified(&window, verdict, broker::LatencyMs::default());
    let message = Message::caption(&caption, TraceParent::generate())?;
    let deliverer = Deliverer::new(connection.clone(), streams);
    deliverer.deliver(&message).await?;
    Ok(id)
}

async fn gather(system: &System, connection: &Connection, evidence: &mut Evidence) -> Result<()> {
    collect::broker(connection, evidence).await?;
    for edge in &system.edges {
        collect::edge(&edge.ledger, evidence)?;
    }
    for worker in &system.workers {
        collect::worker(&worker.ledger, &worker.process.log, evidence)?;
    }
    let bounds = [(&system.edges, EDGE_BOUND), (&system.workers, WORKER_BOUND)];
    for (nodes, bound) in bounds {
        evidence.memory.extend(nodes.iter().map(|node| Memory {
            who: node.process.name.clone(),
            peak: node.process.peak,
            bound,
        }));
    }
    Ok(())
}

/// How many writes the server had no room for.
fn full(system: &System) -> usize {
    let log = std::fs::read_to_string(&system.server.process.log).unwrap_or_default();
    log.matches("no space left on device").count()
}

/// Logs in which somebody panicked.
fn panics(system: &System) -> Vec<String> {
    let nodes = system.edges.iter().chain(&system.workers);
    let panicked = nodes.filter(|node| {
        let log = std::fs::read_to_string(&node.process.log);
        log.is_ok_and(|log| log.contains("panicked at"))
    });
    panicked
        .map(|node| format!("{} panicked", node.process.name))
        .collect()
}

impl Outcome {
    const HEAD: &'static str = "seed  result  seconds  faults    owed  captioned  dead  poison  begun again  stored again  off clock  progress s  edge MiB  worker MiB  disk";

    fn passed(&self) -> bool {
        self.findings.violations.is_empty() && self.complaints.is_empty()
    }

    fn line(&self, seed: u64) -> String {
        let peak = |kind: &str| {
            let of = self
                .evidence
                .memory
                .iter()
                .filter(|m| m.who.starts_with(kind));
            of.map(|memory| memory.peak >> 20).max().unwrap_or(0)
        };
        let progress = self
            .progress
            .map_or("none".to_owned(), |p| format!("{:.1}", p.as_secs_f64()));
        let Findings {
            owed,
            captioned,
            buried,
            stored_again,
            begun_again,
            off_clock,
            ..
        } = &self.findings;
        format!(
            "{seed:>4}  {:<6}  {:>7.1}  {:>6}  {owed:>6}  {captioned:>9}  {buried:>4}  {:>6}  {begun_again:>11}  {:>12}  {off_clock:>9}  {progress:>10}  {:>8}  {:>10}  {}",
            if self.passed() { "passed" } else { "FAILED" },
            self.took.as_secs_f64(),
            self.happened.len(),
            self.evidence.poison.len(),
            stored_again.len(),
            peak("edge"),
            peak("worker"),
            self.disk,
        )
    }

    fn print_details(&self) {
        for fault in &self.happened {
            println!("  {fault}");
        }
        for id in &self.findings.stored_again {
            println!("  stored again after the duplicate window: {id}");
        }
        for complaint in &self.complaints {
            println!("  VIOLATED: {complaint}");
        }
        for violation in &self.findings.violations {
            println!("  VIOLATED: {}: {}", violation.rule, violation.about);
        }
    }
}
