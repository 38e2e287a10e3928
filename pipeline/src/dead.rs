//! `msao dead`: the messages that could not be handled, shown, and tried again once what was wrong is mended.

use std::fmt::Write;

use anyhow::{Result, bail};
use broker::letters::{self, Letter, LetterError, Whole};
use broker::{Caption, Connection, FeatureWindow, Rig};
use clap::{Args, Subcommand};
use time::format_description::well_known::Rfc3339;

use crate::output::plain;
use crate::{nats::Nats, output, runtime};

/// How much is shown of a payload that is neither a window nor a caption.
const BYTES_SHOWN: usize = 256;

/// Options of `msao dead`.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the dead letters, the oldest first.
    List {
        /// Only of this rig; `_` for messages that named none.
        #[arg(long)]
        rig: Option<Rig>,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        nats: Nats,
    },
    /// Show the headers of a dead letter and what is in it.
    Show {
        /// The letter, as in the list.
        number: u64,
        #[command(flatten)]
        nats: Nats,
    },
    /// Put messages into the queue again, and remove their letters.
    Replay {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        nats: Nats,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The letter, as in the list.
    number: Option<u64>,
    /// All letters.
    #[arg(long)]
    all: bool,
    /// All letters of this rig; `_` for messages that named none.
    #[arg(long)]
    rig: Option<Rig>,
}

/// Lists, shows or replays dead letters.
///
/// # Errors
/// The broker is not there, there is no such letter, or one cannot be replayed: the others are.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        match &arguments.command {
            Command::List { rig, json, nats } => {
                list(&nats.connect().await?, rig.as_ref(), *json).await
            }
            Command::Show { number, nats } => {
                let whole = letters::get(&nats.connect().await?, *number).await?;
                Ok(output::line(show(&whole).trim_end())?)
            }
            Command::Replay { which, nats } => replay(&nats.connect().await?, which).await,
        }
    });
    runtime.shutdown_background();
    done
}

async fn list(connection: &Connection, rig: Option<&Rig>, json: bool) -> Result<()> {
    let found = letters::list(connection, rig).await?;
    if found.is_empty() && !json {
        return Ok(output::line("no dead letters")?);
    }
    for letter in found {
        output::line(if json { object(&letter) } else { row(&letter) })?;
    }
    Ok(())
}

fn row(letter: &Letter) -> String {
    let Letter { number, id, .. } = letter;
    let rig = rig(letter);
    let (reason, origin) = (plain(&letter.reason), plain(&letter.origin));
    let times = match letter.deliveries {
        Some(1) => "1 delivery".to_owned(),
        Some(times) => format!("{times} deliveries"),
        None => "? deliveries".to_owned(),
    };
    let cut = letter
        .cut_from
        .map_or_else(String::new, |bytes| format!("  (cut from {bytes} bytes)"));
    let (id, time) = (plain(id), time(letter));
    format!("{number:>5}  {time}  {rig}  {id}  {origin}  {times}{cut}  {reason}")
}

fn object(letter: &Letter) -> String {
    serde_json::json!({
        "number": letter.number,
        "rig": letter.rig,
        "id": letter.id,
        "time": time(letter),
        "reason": letter.reason,
        "deliveries": letter.deliveries,
        "origin": letter.origin,
        "origin_subject": letter.origin_subject,
        "cut_from": letter.cut_from,
    })
    .to_string()
}

fn rig(letter: &Letter) -> &str {
    letter.rig.as_ref().map_or("_", Rig::as_str)
}

/// To the second.
fn time(letter: &Letter) -> String {
    let time = letter.time.truncate_to_second();
    time.format(&Rfc3339).unwrap_or_default()
}

/// All headers, then what the payload holds. Formatting into a String cannot fail.
fn show(whole: &Whole) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "letter {}, stored {}",
        whole.letter.number,
        time(&whole.letter)
    );
    let mut headers: Vec<(&str, String)> = (whole.headers.iter())
        .flat_map(|(name, values)| {
            let name: &str = name.as_ref();
            values
                .iter()
                .map(move |value| (name, plain(value.as_str())))
        })
        .collect();
    headers.sort();
    for (name, value) in headers {
        let _ = writeln!(text, "  {}: {value}", plain(name));
    }
    let bytes = whole.payload.len();
    if let Ok(window) = FeatureWindow::decode(&whole.payload) {
        let _ = writeln!(text, "a feature window of {bytes} bytes");
        show_window(&mut text, &window);
    } else if let Ok(caption) = Caption::decode(&whole.payload) {
        let _ = writeln!(text, "a caption of {bytes} bytes");
        let (id, revision) = (&caption.id, caption.revision);
        let _ = writeln!(text, "  {id}, revision {revision}, {:?}", caption.status);
        let (said, confidence) = (plain(&caption.text), caption.confidence);
        let _ = writeln!(
            text,
            "  \"{said}\" by {}, confidence {confidence:.2}",
            plain(&caption.model)
        );
    } else {
        let _ = writeln!(
            text,
            "{bytes} bytes, neither a feature window nor a caption of this version"
        );
        dump(&mut text, &whole.payload[..bytes.min(BYTES_SHOWN)]);
        if bytes > BYTES_SHOWN {
            let _ = writeln!(text, "  ...");
        }
    }
    text
}

fn show_window(text: &mut String, window: &FeatureWindow) {
    let span = window
        .end_running_ns
        .saturating_sub(window.start_running_ns) as f64
        / 1e9;
    let start = window.start_running_ns as f64 / 1e9;
    let _ = writeln!(
        text,
        "  {}: {span:.1} s from {start:.1} s on, to {}",
        window.id, window.decision
    );
    let _ = writeln!(text, "  asked: {}", plain(&window.prompt));
    for report in &window.modalities {
        let tokens = window
            .tokens
            .iter()
            .filter(|token| *token.stream == *report.stream);
        let (modality, stream, mas) = (report.modality, &report.stream, report.mas);
        let (count, encoder) = (tokens.count(), plain(&report.encoder));
        let _ = writeln!(
            text,
            "  {modality} {stream}: MAS {mas:.2}, {count} tokens of {encoder}"
        );
    }
    if let Some(keyframe) = &window.keyframe {
        let _ = writeln!(text, "  a keyframe of {} bytes", keyframe.len());
    }
    match &window.draft {
        Some(draft) => {
            let (said, model) = (plain(&draft.text), plain(&draft.model));
            let _ = writeln!(
                text,
                "  draft: \"{said}\" by {model}, confidence {:.2}",
                draft.confidence
            );
        }
        None => {
            let _ = writeln!(text, "  no draft");
        }
    }
    if !window.flags.is_empty() {
        let _ = writeln!(text, "  flags: {}", window.flags.join(", "));
    }
}

/// Sixteen bytes a line, in hexadecimal and as text.
fn dump(text: &mut String, bytes: &[u8]) {
    for line in bytes.chunks(16) {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = |&byte: &u8| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '.',
        };
        let plain: String = line.iter().map(shown).collect();
        let _ = writeln!(text, "  {:<47}  {plain}", hex.join(" "));
    }
}

async fn replay(connection: &Connection, which: &Which) -> Result<()> {
    let numbers = match which.number {
        Some(number) => vec![number],
        None => {
            let letters = letters::list(connection, which.rig.as_ref()).await?;
            letters.iter().map(|letter| letter.number).collect()
        }
    };
    if numbers.is_empty() {
        return Ok(output::line("no dead letters")?);
    }
    let mut refused = Vec::new();
    for &number in &numbers {
        match replay_one(connection, number).await {
            Ok(id) => output::line(format!("replayed {number}  {id}"))?,
            // Of no other letter can it be known that it would go better.
            Err(error @ LetterError::Broker { .. }) => return Err(error.into()),
            Err(error) => refused.push(error.to_string()),
        }
    }
    match refused.as_slice() {
        [] => Ok(()),
        [only] => bail!("{only}"),
        _ => bail!(
            "{} letters are left:\n  {}",
            refused.len(),
            refused.join("\n  ")
        ),
    }
}

async fn replay_one(connection: &Connection, number: u64) -> Result<String, LetterError> {
    let whole = letters::get(connection, number).await?;
    let id = plain(&whole.letter.id);
    letters::replay(connection, whole).await?;
    Ok(id)
}
