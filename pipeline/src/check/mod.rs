//! `msao check`: all that is wrong with a configuration, each with its line and column.

mod read;
#[cfg(test)]
mod read_tests;
mod words;

use std::borrow::Cow;
use std::ops::Range;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use anyhow::{Result, bail};
use broker::Faults;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::DeTable;

use self::read::Read;
use crate::{config, output};

/// Options of `msao check`.
#[derive(Args)]
pub struct Arguments {
    /// The TOML file.
    #[arg(long)]
    config: PathBuf,
    /// What it configures; told from its keys if left out.
    #[arg(long)]
    kind: Option<Kind>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What a file configures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `msao edge`.
    Edge,
    /// `msao cloud`.
    Cloud,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Cloud => "cloud",
        }
    }
}

/// Something that is wrong, as it is printed.
#[derive(Debug, Serialize)]
struct Fault {
    /// From 1.
    line: usize,
    /// In characters, from 1.
    column: usize,
    /// The key; empty for what is of the whole file.
    key: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    file: Cow<'a, str>,
    kind: Kind,
    ok: bool,
    faults: Vec<Fault>,
}

/// Prints all that is wrong.
///
/// # Errors
/// Something is, or the file cannot be read.
pub fn run(arguments: &Arguments) -> Result<()> {
    let path = &arguments.config;
    let text = config::text(path)?;
    let (kind, faults) = check(&text, arguments.kind);
    let count = faults.len();
    if arguments.json {
        let (file, ok) = (path.to_string_lossy(), faults.is_empty());
        let report = Report {
            file,
            kind,
            ok,
            faults,
        };
        output::line(serde_json::to_string(&report)?)?;
    } else {
        let bold = Style::new().bold();
        let red = AnsiColor::Red.on_default();
        for fault in &faults {
            let Fault { line, column, .. } = fault;
            output::line(format!(
                "{bold}{}:{line}:{column}{bold:#}: {red}{}{red:#}",
                path.display(),
                fault.message
            ))?;
        }
    }
    let name = kind.name();
    if count > 0 {
        let faults = if count == 1 { "fault" } else { "faults" };
        bail!(
            "{} has {count} {faults}, taken for the configuration of `msao {name}`",
            path.display()
        );
    }
    if !arguments.json {
        output::line(format!("{}: good for `msao {name}`", path.display()))?;
    }
    Ok(())
}

/// All that is wrong with the configuration `text`.
pub fn messages(text: &str) -> Vec<String> {
    let (_, faults) = check(text, None);
    faults.into_iter().map(|fault| fault.message).collect()
}

/// What `text` was taken for, and all that is wrong with it, in the order of the file.
fn check(text: &str, kind: Option<Kind>) -> (Kind, Vec<Fault>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let kind = kind.unwrap_or_else(|| guess(table.get_ref()));
    let mut faults: Vec<(Range<usize>, String, String)> = (errors.iter())
        .map(|error| {
            let span = error.span().unwrap_or_default();
            (span, String::new(), error.message().to_owned())
        })
        .collect();
    // What a broken line meant is a guess, and what is told of it would be, too.
    if faults.is_empty() {
        faults = match kind {
            Kind::Edge => edge(&table),
            Kind::Cloud => faults_of(&table, |config: &cloud_sink::Config| {
                let mut faults = config.faults();
                if let Err(error) = config.check_model() {
                    faults.add("model", error);
                }
                let key = config
                    .server
                    .as_ref()
                    .and_then(|server| server.api_key.as_ref());
                if let Some(key) = key {
                    let revealed = key.reveal("server.api_key");
                    faults.take("server.api_key", revealed.map(drop));
                }
                connections(&mut faults, &config.nats);
                if let Err(streams) = config.streams.check() {
                    faults.add_all("streams", streams);
                }
                faults
            }),
        };
    }
    faults.sort_by_key(|(span, ..)| span.start);
    let lines = Lines::of(text);
    let faults = faults.into_iter().map(|(span, key, message)| {
        let (line, column) = lines.place(span.start);
        let message = config::shortened(&message);
        Fault {
            line,
            column,
            key,
            message,
        }
    });
    (kind, faults.collect())
}

/// An edge has streams and a name.
fn guess(table: &DeTable<'_>) -> Kind {
    let has = |key: &&str| table.contains_key(*key);
    match ["rig", "video", "audio", "sensor"].iter().any(has) {
        true => Kind::Edge,
        false => Kind::Cloud,
    }
}

#[cfg(feature = "edge")]
fn edge(table: &Spanned<DeTable<'_>>) -> Vec<(Range<usize>, String, String)> {
    faults_of(table, |config: &crate::edge::Config| {
        let mut faults = config.check().err().unwrap_or_default();
        if let Err(error) = config.check_model() {
            faults.add("model", format!("{error:#}"));
        }
        connections(&mut faults, &config.nats);
        faults
    })
}

#[cfg(not(feature = "edge"))]
fn edge(_: &Spanned<DeTable<'_>>) -> Vec<(Range<usize>, String, String)> {
    let message = "this msao is built without the edge: check the file where `msao edge` runs";
    vec![(0..0, String::new(), message.to_owned())]
}

fn connections(faults: &mut Faults, nats: &broker::ConnectConfig) {
    if let Err(wrong) = nats.check() {
        faults.add_all("nats", wrong);
    }
}

/// What is wrong with the form of `table`, and, by `check`, with what it says.
fn faults_of<T: DeserializeOwned>(
    table: &Spanned<DeTable<'_>>,
    check: impl Fn(&T) -> Faults,
) -> Vec<(Range<usize>, String, String)> {
    let Read { config, found } = read::read::<T>(table);
    let checked = config.as_ref().map(check).unwrap_or_default();
    // What has a fault already holds a placeholder or nothing, and so may what it stands in.
    let known: Vec<String> = found.iter().map(|fault| fault.key.clone()).collect();
    let follows = |key: &str| {
        known
            .iter()
            .any(|known| is_part(known, key) || is_part(key, known))
    };
    let checked = (checked.into_vec().into_iter())
        .filter(|fault| !follows(&fault.key))
        .map(|fault| (read::place(table, &fault.key), fault.key, fault.reason));
    let found = (found.into_iter()).map(|fault| (fault.span, fault.key, fault.message));
    found.chain(checked).collect()
}

/// Whether `key` is `whole`, or in it.
fn is_part(key: &str, whole: &str) -> bool {
    let rest = key.strip_prefix(whole);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Where lines begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        Self { text, starts }
    }

    /// Line and column of a byte, from 1.
    fn place(&self, byte: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= byte);
        let start = self.starts[line - 1];
        let before = self.text.get(start..byte).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_1() {
        let lines = Lines::of("a\nü = 1\n");
        assert_eq!(lines.place(0), (1, 1));
        assert_eq!(lines.place(2), (2, 1));
        assert_eq!(lines.place(7), (2, 5));
        assert_eq!(lines.place(9), (3, 1));
    }

    #[test]
    fn a_key_is_part_of_what_it_stands_in() {
        assert!(is_part("video[1].source", "video[1]") && is_part("video[1]", "video"));
        assert!(!is_part("videos", "video") && !is_part("video", "video[1]"));
    }

    #[test]
    fn all_errors_of_syntax_are_found() {
        let (_, faults) = check("rig = 'a\nmodel = \n[gate\nx = 1\n", None);
        let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
        assert!(lines.len() >= 3, "{faults:#?}");
    }
}
