//! `msao init`: a configuration for the rig that this machine is, from what is there.

mod found;
mod write;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anstyle::AnsiColor;
use anyhow::{Context, Result, bail};
use broker::Rig;
use clap::Args;

use self::found::Found;
use crate::{output, runtime};

/// Options of `msao init`.
#[derive(Args)]
pub struct Arguments {
    /// The rig's name; this machine's if left out.
    #[arg(long)]
    rig: Option<Rig>,
    /// The file to write.
    #[arg(long, default_value = "edge.toml")]
    out: PathBuf,
    /// A file, a URI or a device to watch, instead of the cameras that are found.
    #[arg(long, value_name = "PATH|URL")]
    video: Option<String>,
    /// Folder of the edge model.
    #[arg(
        long,
        env = "MSAO_MODEL_DIR",
        default_value = "testdata/models/msao-edge"
    )]
    model: PathBuf,
    /// Where NATS may be, instead of the usual places.
    #[arg(long = "nats", env = "MSAO_NATS", value_name = "URL")]
    nats: Option<String>,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
}

/// Looks around, writes the file, and prints what was found and what was not.
///
/// # Errors
/// The file is there already, or cannot be written; the given video is not there.
pub fn run(arguments: &Arguments) -> Result<()> {
    let out = &arguments.out;
    let there = || {
        let out = out.display();
        format!("{out} is there already: give another file as --out, or --force to write over it")
    };
    if !arguments.force && out.exists() {
        bail!(there());
    }
    let rig = match &arguments.rig {
        Some(rig) => rig.clone(),
        None => found::host()?,
    };
    let found = runtime()?.block_on(Found::look(arguments))?;
    for (name, what) in found.lines() {
        let (style, mark, what) = match &what {
            Ok(what) => (AnsiColor::Green.on_default(), "found  ", what),
            Err(mend) => (AnsiColor::Yellow.on_default(), "missing", mend),
        };
        output::line(format!("{style}{mark}{style:#}  {name:<11} {what}"))?;
    }
    let text = write::config(&rig, out, &found);
    let mut options = OpenOptions::new();
    // Never over what came there meanwhile.
    let options = match arguments.force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let written = options.write(true).open(out);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(there()),
        written => written.with_context(|| format!("cannot write {}", out.display()))?,
    }
    let out = out.display();
    let next = match found.has_stream() {
        true => format!("run it with `msao edge --config {out}`"),
        false => {
            format!(
                "it has no stream yet: add one, then look at it with `msao check --config {out}`"
            )
        }
    };
    Ok(output::line(format!("wrote {out}: {next}"))?)
}
