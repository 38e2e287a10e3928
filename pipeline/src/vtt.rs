//! `msao vtt`: the captions of a run as WebVTT, on the time of its video.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use broker::cursor::{Cursor, Start};
use broker::subjects::speaks_for;
use broker::{Caption, CaptionStatus, Rig};
use clap::Args;
use ulid::Ulid;

use crate::nats::Nats;
use crate::{output, record, runtime};

/// Most windows of the runs that are looked through: twelve days of one a second.
const MOST_WINDOWS: usize = 1 << 20;

/// Options of `msao vtt`.
#[derive(Args)]
pub struct Arguments {
    /// The rig; may be left out if there is only one.
    #[arg(long)]
    rig: Option<Rig>,
    /// The run, the ULID in the ids of its windows; the latest if left out.
    #[arg(long)]
    epoch: Option<Ulid>,
    /// Folder of a recording to take the captions from, instead of what NATS has stored.
    #[arg(long)]
    recording: Option<PathBuf>,
    /// The file to write, over one that is there; standard output if left out.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    nats: Nats,
}

/// Writes the subtitles.
///
/// # Errors
/// The broker or the recording is not there, it has no captions of such a run, or the file cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut runs = Runs::default();
    match &arguments.recording {
        Some(folder) => {
            for caption in record::captions(folder)? {
                runs.add(arguments, caption?)?;
            }
        }
        None => stored(arguments, &mut runs)?,
    }
    let (rig, epoch, cues) = runs.chosen(arguments)?;
    let text = subtitles(&rig, epoch, &cues);
    match &arguments.out {
        Some(path) => {
            let written = std::fs::write(path, text);
            written.with_context(|| format!("cannot write {}", path.display()))?;
            let cues = cues.len();
            let path = path.display();
            Ok(output::line(format!(
                "{path}: {cues} cues of rig {rig}, run {epoch}"
            ))?)
        }
        None => Ok(output::line(text.trim_end())?),
    }
}

fn stored(arguments: &Arguments, runs: &mut Runs) -> Result<()> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let connection = arguments.nats.connect().await?;
        let mut captions =
            Cursor::captions(&connection, arguments.rig.as_ref(), Start::Sequence(1));
        captions.open().await?;
        while !captions.has_caught_up() {
            if let Some((subject, payload)) = captions.receive().await {
                match Caption::decode(&payload) {
                    // Of another rig it may not speak.
                    Ok(caption) if speaks_for(&subject, caption.id.rig.as_str()).is_err() => {}
                    Ok(caption) => runs.add(arguments, caption)?,
                    Err(error) => tracing::warn!("a stored message is no caption: {error}"),
                }
            }
        }
        Ok(())
    });
    runtime.shutdown_background();
    done
}

/// What is shown of a window.
struct Cue {
    revision: u32,
    status: CaptionStatus,
    start_ns: u64,
    end_ns: u64,
    text: String,
}

/// Of each rig and run the windows by number, each with its highest revision.
#[derive(Default)]
struct Runs {
    runs: BTreeMap<(Rig, Ulid), BTreeMap<u64, Cue>>,
    windows: usize,
}

impl Runs {
    fn add(&mut self, arguments: &Arguments, caption: Caption) -> Result<()> {
        let is_wanted = arguments
            .rig
            .as_ref()
            .is_none_or(|rig| *rig == caption.id.rig)
            && arguments
                .epoch
                .is_none_or(|epoch| epoch == caption.id.epoch);
        // An answer is of no time of the video.
        if !is_wanted || caption.question.is_some() {
            return Ok(());
        }
        let run = self
            .runs
            .entry((caption.id.rig, caption.id.epoch))
            .or_default();
        let known = run.get(&caption.id.seq);
        if known.is_none() {
            ensure!(
                self.windows < MOST_WINDOWS,
                "there are more than {MOST_WINDOWS} windows: give --rig and --epoch"
            );
            self.windows += 1;
        }
        if known.is_none_or(|known| known.revision < caption.revision) {
            let cue = Cue {
                revision: caption.revision,
                status: caption.status,
                start_ns: caption.start_running_ns,
                end_ns: caption.end_running_ns,
                text: caption.text,
            };
            run.insert(caption.id.seq, cue);
        }
        Ok(())
    }

    /// The latest run of the one rig.
    fn chosen(self, arguments: &Arguments) -> Result<(Rig, Ulid, BTreeMap<u64, Cue>)> {
        let mut rigs: Vec<&str> = self.runs.keys().map(|(rig, _)| rig.as_str()).collect();
        rigs.dedup();
        if rigs.len() > 1 {
            bail!(
                "there are captions of several rigs: give one of them as --rig: {}",
                rigs.join(", ")
            );
        }
        let others = self.runs.len().saturating_sub(1);
        let Some(((rig, epoch), cues)) = self.runs.into_iter().next_back() else {
            let of = match (&arguments.rig, arguments.epoch) {
                (Some(rig), Some(epoch)) => format!(" of rig {rig}, run {epoch}"),
                (Some(rig), None) => format!(" of rig {rig}"),
                (None, Some(epoch)) => format!(" of run {epoch}"),
                (None, None) => String::new(),
            };
            bail!("no caption is stored{of}: `msao watch --all` shows those that are");
        };
        if others > 0 {
            tracing::info!("rig {rig} has {others} earlier runs: --epoch names one");
        }
        Ok((rig, epoch, cues))
    }
}

/// The document. Formatting into a String cannot fail.
fn subtitles(rig: &Rig, epoch: Ulid, cues: &BTreeMap<u64, Cue>) -> String {
    let mut text = format!("WEBVTT\n\nNOTE Rig {rig}, run {epoch}\n");
    for (seq, cue) in cues {
        let said = plain(&cue.text);
        if cue.status == CaptionStatus::Retracted || said.is_empty() || cue.end_ns <= cue.start_ns {
            continue;
        }
        let status = match cue.status {
            CaptionStatus::Draft => "draft",
            CaptionStatus::Confirmed => "confirmed",
            _ => "corrected",
        };
        let (start, end) = (time(cue.start_ns), time(cue.end_ns));
        let _ = write!(text, "\n{seq} {status}\n{start} --> {end}\n{said}\n");
    }
    text
}

/// `hh:mm:ss.mmm`
fn time(ns: u64) -> String {
    let ms = ns / 1_000_000;
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{ms:03}", seconds % 60)
}

/// One line, without what WebVTT takes for markup.
fn plain(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    let mut plain = String::new();
    for character in line.join(" ").chars() {
        match character {
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            control if control.is_control() => plain.push('\u{fffd}'),
            character => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_hours_and_milliseconds() {
        assert_eq!(time(0), "00:00:00.000");
        assert_eq!(time(3_723_004_999_999), "01:02:03.004");
        assert_eq!(time(400_000_000_000_000), "111:06:40.000");
    }

    #[test]
    fn markup_and_lines_of_a_text_are_only_text() {
        let text = plain("a <b>bold\n\n--> & \u{1b}[2J");
        assert_eq!(text, "a &lt;b&gt;bold --&gt; &amp; \u{fffd}[2J");
    }
}
