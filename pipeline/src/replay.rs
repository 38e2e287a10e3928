//! `msao replay`: a recording, sent again.

use std::collections::HashMap;
use std::iter::Peekable;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use broker::headers::TraceParent;
use broker::recording::Anew;
use broker::{
    Caption, CaptionStatus, Compression, FeatureWindow, Message, Publisher, PublisherConfig, Rig,
    StreamsConfig,
};
use clap::Args;
use time::OffsetDateTime;
use ulid::Ulid;

use crate::nats::Nats;
use crate::{output, record, runtime, shutdown::StopOn};

/// Without an acknowledgement for so long, it is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked whether all is acknowledged.
const TURN: Duration = Duration::from_millis(20);

/// Options of `msao replay`.
#[derive(Args)]
pub struct Arguments {
    /// The folder of the recording.
    folder: PathBuf,
    /// How many times as fast as it was recorded; 0: as fast as it is acknowledged.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Send all messages as they were, final captions too, under their own ids: what the server or a worker knows, it
    /// passes over. Otherwise windows and drafts are of a new run, now, and are worked on again.
    #[arg(long)]
    same_id: bool,
    /// Send it as this rig's, so that it does not mix with a rig that is running.
    #[arg(long, conflicts_with = "same_id")]
    rig: Option<Rig>,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nats: Nats,
    #[command(flatten)]
    stop: StopOn,
}

/// What is sent.
enum Item {
    Window(FeatureWindow, Vec<u8>),
    Caption(Caption),
}

impl Item {
    /// When it was made: a draft and its window at once.
    fn time(&self) -> OffsetDateTime {
        match self {
            Self::Window(window, _) => {
                let nanos = i128::from(window.drafted_utc_ns);
                OffsetDateTime::from_unix_timestamp_nanos(nanos)
                    .unwrap_or(OffsetDateTime::UNIX_EPOCH)
            }
            Self::Caption(caption) => caption.time,
        }
    }
}

#[derive(Default)]
struct Sent {
    windows: u64,
    captions: u64,
}

/// Sends the recording, and prints how much of it was acknowledged.
///
/// # Errors
/// There is no recording, a file of it is broken, the broker is not there, or does not acknowledge all.
pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        (0.0..=1e6).contains(&arguments.speed),
        "--speed is {}; it is 0 to 1000000",
        arguments.speed
    );
    let mut items = items(arguments)?.peekable();
    ensure!(
        items.peek().is_some(),
        "{} holds no recording: `msao record --out {0}` makes one",
        arguments.folder.display()
    );
    let runtime = runtime()?;
    let (stopped, stop) = mpsc::channel();
    let publisher = runtime.block_on(async {
        let wait = arguments.stop.wait()?;
        let connection = arguments.nats.connect().await?;
        let (streams, config) = (StreamsConfig::default(), PublisherConfig::default());
        let publisher = Arc::new(Publisher::start(connection, streams, config)?);
        let cancelled = Arc::clone(&publisher);
        tokio::spawn(async move {
            wait.await;
            cancelled.set_cancelled(true);
            // The receiver is gone only when all is sent.
            let _ = stopped.send(());
        });
        anyhow::Ok(publisher)
    })?;
    let done = send(arguments, items, &publisher, &stop);
    let counters = publisher.counters();
    runtime.shutdown_background();
    let sent = done?;
    let Sent { windows, captions } = sent;
    let acknowledged = counters.acknowledged;
    output::line(if arguments.json {
        serde_json::json!({
            "windows": windows,
            "captions": captions,
            "acknowledged": acknowledged,
            "dropped": counters.dropped,
        })
        .to_string()
    } else {
        format!(
            "{windows} windows and {captions} captions sent, {acknowledged} messages acknowledged"
        )
    })?;
    let missing = counters.dropped + counters.pending;
    ensure!(missing == 0, "{missing} messages were not acknowledged");
    Ok(())
}

/// The windows and captions of the recording, by time.
fn items(arguments: &Arguments) -> Result<impl Iterator<Item = Result<Item>>> {
    let folder = &arguments.folder;
    let windows = record::windows(folder)?.map(|bytes| {
        let bytes = bytes?;
        let window = FeatureWindow::decode(&bytes).context("a recorded window cannot be read")?;
        Ok(Item::Window(window, bytes))
    });
    let all = arguments.same_id;
    let captions = record::captions(folder)?
        .filter(move |caption| {
            let again = |caption: &Caption| all || caption.status == CaptionStatus::Draft;
            caption.as_ref().map_or(true, again)
        })
        .map(|caption| Ok(Item::Caption(caption?)));
    let (mut windows, mut captions) = (windows.peekable(), captions.peekable());
    Ok(std::iter::from_fn(move || {
        let window = time_of(&mut windows);
        let caption = time_of(&mut captions);
        match (window, caption) {
            // The draft goes before its window: the cloud may be quick.
            (Some(window), Some(caption)) if window < caption => windows.next(),
            (Some(_), None) => windows.next(),
            _ => captions.next(),
        }
    }))
}

/// The time of the next item; of an error, at once.
fn time_of(items: &mut Peekable<impl Iterator<Item = Result<Item>>>) -> Option<OffsetDateTime> {
    let next = items.peek()?.as_ref();
    Some(next.map_or(OffsetDateTime::UNIX_EPOCH, Item::time))
}

fn send(
    arguments: &Arguments,
    items: impl Iterator<Item = Result<Item>>,
    publisher: &Publisher,
    stop: &mpsc::Receiver<()>,
) -> Result<Sent> {
    let mut sent = Sent::default();
    let mut runs = Runs::default();
    let mut first: Option<(Instant, OffsetDateTime, OffsetDateTime)> = None;
    for item in items {
        let item = item?;
        let time = item.time();
        let (begun, begun_utc, first_time) =
            *first.get_or_insert((Instant::now(), OffsetDateTime::now_utc(), time));
        let due = match arguments.speed {
            0.0 => begun.elapsed(),
            speed => {
                let after = (time - first_time).as_seconds_f64().max(0.0) / speed;
                Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX)
            }
        };
        if !wait(stop, due.saturating_sub(begun.elapsed())) {
            break;
        }
        let now = time::Duration::try_from(due)
            .ok()
            .and_then(|due| begun_utc.checked_add(due));
        let later = now.unwrap_or(begun_utc) - time;
        let message = match item {
            Item::Window(window, bytes) => {
                sent.windows += 1;
                let trace = TraceParent::generate();
                if arguments.same_id {
                    Message::features(&window, Compression::default().pack(bytes), trace)
                } else {
                    let anew = runs.anew(arguments, &window.id, later);
                    let window = anew.window(window);
                    Message::features(
                        &window,
                        Compression::default().pack(window.encode()?),
                        trace,
                    )
                }
            }
            Item::Caption(caption) => {
                sent.captions += 1;
                let caption = match arguments.same_id {
                    true => caption,
                    false => runs.anew(arguments, &caption.id, later).caption(caption),
                };
                Message::caption(&caption, TraceParent::generate())?
            }
        };
        if publisher.publish(message).is_err() {
            // Stopped while it waited for room.
            break;
        }
    }
    settle(publisher)?;
    Ok(sent)
}

/// Waits; false if it is time to stop.
fn wait(stop: &mpsc::Receiver<()>, pause: Duration) -> bool {
    matches!(stop.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
}

/// Waits until all is acknowledged, as long as something is.
fn settle(publisher: &Publisher) -> Result<()> {
    let mut last = (0, Instant::now());
    loop {
        let counters = publisher.counters();
        if counters.pending == 0 {
            return Ok(());
        }
        if counters.acknowledged != last.0 {
            last = (counters.acknowledged, Instant::now());
        }
        if last.1.elapsed() > PATIENCE {
            bail!(
                "{} messages are acknowledged, {} are not: nothing came for {} s; is NATS still there?",
                counters.acknowledged,
                counters.pending,
                PATIENCE.as_secs()
            );
        }
        std::thread::sleep(TURN);
    }
}

/// The new run of each run that was recorded.
#[derive(Default)]
struct Runs {
    epochs: HashMap<(Rig, Ulid), Ulid>,
    made: ulid::Generator,
}

impl Runs {
    fn anew(
        &mut self,
        arguments: &Arguments,
        id: &broker::WindowId,
        later: time::Duration,
    ) -> Anew {
        let made = &mut self.made;
        let run = (id.rig.clone(), id.epoch);
        let epoch = *self.epochs.entry(run).or_insert_with(|| {
            // Later runs are of later epochs, and questions of none.
            let new = made.generate().unwrap_or_else(|_| Ulid::generate());
            match id.epoch.timestamp_ms() {
                0 => Ulid::from_parts(0, new.random()),
                _ => new,
            }
        });
        Anew {
            rig: arguments.rig.clone().unwrap_or_else(|| id.rig.clone()),
            epoch,
            later,
        }
    }
}
