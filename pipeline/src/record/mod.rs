//! `msao record`: feature windows and captions from the broker into files.

mod folder;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use broker::Rig;
use broker::cursor::{Cursor, Start};
use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::MissedTickBehavior;

use self::folder::{Folder, Rotation};
pub use self::folder::{captions, windows};
use crate::nats::Nats;
use crate::{output, runtime, shutdown::StopOn};

/// How often what was recorded is made readable for others.
const FLUSH: Duration = Duration::from_secs(1);
/// Without an end of its own.
const NEVER: Duration = Duration::from_secs(u64::MAX / 4);

/// Options of `msao record`.
#[derive(Args)]
pub struct Arguments {
    /// The folder to record to; it must not hold a recording.
    #[arg(long)]
    out: PathBuf,
    /// Only this rig; all rigs by default.
    #[arg(long)]
    rig: Option<Rig>,
    /// Begin with what was stored then: a time such as 2026-11-30T18:00:00Z, or how long ago: 90s, 15m, 2h, 7d. All that
    /// is stored by default.
    #[arg(long, value_parser = since)]
    since: Option<OffsetDateTime>,
    /// Go on with what is stored from now on, until stopped, instead of ending with what is stored.
    #[arg(long)]
    follow: bool,
    /// Begin another file after so many MiB.
    #[arg(long, default_value_t = 256, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    file_size: u64,
    /// Begin another file after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    file_age: Option<u64>,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nats: Nats,
    #[command(flatten)]
    stop: StopOn,
}

/// What was recorded.
#[derive(Default)]
struct Counts {
    windows: u64,
    captions: u64,
    left_out: u64,
}

/// Records until all is read that is stored, or until it is stopped.
///
/// # Errors
/// The broker is not there, or the folder holds a recording or cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let age = arguments.file_age.map_or(NEVER, Duration::from_secs);
    let bytes = arguments.file_size << 20;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let stop = arguments.stop.wait()?;
        let connection = arguments.nats.connect().await?;
        let start = arguments.since.map_or(Start::Sequence(1), Start::Time);
        let rig = arguments.rig.as_ref();
        let mut features = Cursor::features(&connection, rig, start);
        let mut captions = Cursor::captions(&connection, rig, start);
        features.open().await?;
        captions.open().await?;
        let mut folder = Folder::create(&arguments.out, Rotation { bytes, age })?;
        let mut counts = Counts::default();
        let recorded = tokio::select! {
            recorded = record(arguments, &mut features, &mut captions, &mut folder, &mut counts) => recorded,
            () = stop => Ok(()),
        };
        let files = folder.finish()?;
        recorded?;
        anyhow::Ok((counts, files))
    });
    runtime.shutdown_background();
    let (counts, files) = done?;
    let Counts {
        windows,
        captions,
        left_out,
    } = counts;
    let out = &arguments.out;
    Ok(output::line(if arguments.json {
        serde_json::json!({
            "out": out.to_string_lossy(),
            "files": files,
            "windows": windows,
            "captions": captions,
            "left_out": left_out,
        })
        .to_string()
    } else {
        let left = match left_out {
            0 => String::new(),
            left => format!("; {left} messages were neither, and are left out"),
        };
        format!(
            "{}: {windows} windows and {captions} captions in {files} files{left}",
            out.display()
        )
    })?)
}

async fn record(
    arguments: &Arguments,
    features: &mut Cursor,
    captions: &mut Cursor,
    folder: &mut Folder,
    counts: &mut Counts,
) -> Result<()> {
    let mut flush = tokio::time::interval(FLUSH);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while arguments.follow || !(features.has_caught_up() && captions.has_caught_up()) {
        let taken = tokio::select! {
            message = features.receive(), if arguments.follow || !features.has_caught_up() => {
                let Some((subject, payload)) = message else { continue };
                let taken = folder.window(&subject, &payload)?;
                counts.windows += u64::from(taken);
                taken
            }
            message = captions.receive(), if arguments.follow || !captions.has_caught_up() => {
                let Some((subject, payload)) = message else { continue };
                let taken = folder.caption(&subject, &payload)?;
                counts.captions += u64::from(taken);
                taken
            }
            _ = flush.tick() => {
                folder.flush()?;
                continue;
            }
        };
        counts.left_out += u64::from(!taken);
    }
    Ok(())
}

/// A time, or how long ago it was.
pub fn since(text: &str) -> Result<OffsetDateTime> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(time);
    }
    let wrong = "it is a time such as 2026-11-30T18:00:00Z, or how long ago: 90s, 15m, 2h, 7d";
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => bail!(wrong),
    };
    let Ok(count) = text[..text.len() - 1].parse::<u32>() else {
        bail!(wrong)
    };
    let ago = time::Duration::seconds(i64::from(count) * unit);
    let then = OffsetDateTime::now_utc().checked_sub(ago);
    let year = then.map_or(0, OffsetDateTime::year);
    ensure!(year >= 1970, "{text} ago is before 1970");
    then.ok_or_else(|| anyhow::anyhow!(wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        let time = since("2026-11-30T18:00:00Z").unwrap();
        assert_eq!(time.unix_timestamp(), 1_796_061_600);
        for (text, seconds) in [("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800)] {
            let then = since(text).unwrap();
            let ago = (OffsetDateTime::now_utc() - then).whole_seconds();
            assert!((seconds..seconds + 60).contains(&ago), "{text}: {ago} s");
        }
        for bad in ["", "5", "m", "-1h", "1 h", "1ü", "4000000000d", "yesterday"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
