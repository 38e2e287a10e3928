//! An edge without cameras: windows and drafts at a steady pace through the publisher of the real one.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use broker::{
    Caption, ConnectConfig, Connection, Message, Observer, Publisher, PublisherConfig, Rig,
    StreamsConfig, WindowId, connect::AtStart, headers::TraceParent,
};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use ulid::Ulid;

use crate::{
    ledger::{HANDED, Ledger, STORED},
    windows::{Kind, drawn, window},
};

/// How long what waits may take when the edge is told to end.
const FLUSH: Duration = Duration::from_secs(60);
/// Most tokens of a window.
const TOKENS: u64 = 96;

/// How an edge runs.
#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    url: String,
    #[arg(long)]
    rig: Rig,
    #[arg(long)]
    ledger: PathBuf,
    #[arg(long)]
    seed: u64,
    /// Windows a second.
    #[arg(long)]
    rate: f64,
    #[arg(long)]
    duplicate_window_s: u64,
}

/// The edge's bounds: what waits, and what is on its way.
pub fn bounds() -> PublisherConfig {
    PublisherConfig {
        max_messages: 256,
        max_bytes: 4 << 20,
        ..PublisherConfig::default()
    }
}

/// Writes down what the broker acknowledged.
#[derive(Debug)]
struct Witness(Ledger);

impl Observer for Witness {
    fn sent(&self, _: &str, _: usize) {}

    fn stored(&self, id: &str) {
        self.0.write(STORED, &id, &"-");
    }

    fn lost(&self, _: &str) {}
}

/// Publishes until SIGTERM, then sends what waits. The exit code is 1 if some of it is left.
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut terminated = signal(SignalKind::terminate())?;
    let config = ConnectConfig {
        url: arguments.url.clone(),
        ..ConnectConfig::default()
    };
    let connection = Connection::open(&config, AtStart::KeepTrying).await?;
    let streams = StreamsConfig {
        duplicate_window_s: Some(arguments.duplicate_window_s),
        ..StreamsConfig::default()
    };
    let witness = Arc::new(Witness(Ledger::append(&arguments.ledger)?));
    let publisher = Publisher::start_observed(connection, streams, bounds(), witness)?;
    let publisher = Arc::new(publisher);
    let stop = Arc::new(AtomicBool::new(false));
    let made = Ledger::append(&arguments.ledger)?;
    let work = {
        let (publisher, stop) = (Arc::clone(&publisher), Arc::clone(&stop));
        move || publish(&arguments, &publisher, &made, &stop)
    };
    let work = tokio::task::spawn_blocking(work);
    tokio::select! {
        _ = terminated.recv() => {}
        // Its error is the result below.
        () = async { while !work.is_finished() { tokio::time::sleep(Duration::from_millis(50)).await } } => {}
    }
    stop.store(true, Ordering::Relaxed);
    work.await??;
    let left = tokio::task::spawn_blocking(move || publisher.flush(FLUSH)).await?;
    if let Err(left) = left {
        eprintln!("edge: {left}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn publish(
    arguments: &Arguments,
    publisher: &Publisher,
    made: &Ledger,
    stop: &AtomicBool,
) -> Result<()> {
    let epoch = Ulid::generate();
    for seq in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = WindowId {
            rig: arguments.rig.clone(),
            epoch,
            seq,
        };
        let tokens = 1 + drawn(arguments.seed, &id, TOKENS);
        let kind = Kind::of(seq);
        let window = window(id, kind, tokens);
        made.write(HANDED, &window.id, &"-");
        // As `msaonatssink` does: the draft first.
        let trace = TraceParent::generate();
        if let Some(caption) = Caption::draft(&window) {
            publisher.publish(Message::caption(&caption, trace)?)?;
        }
        if kind.is_sent() {
            publisher.publish(Message::features(&window, window.encode()?, trace))?;
        }
        std::thread::sleep(Duration::from_secs_f64(1.0 / arguments.rate));
    }
    Ok(())
}
