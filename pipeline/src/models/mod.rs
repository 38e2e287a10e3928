//! `msao models`: models by a manifest of where their files come from and what they must be.

mod manifest;
mod pull;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use self::manifest::{Manifest, State};
use crate::{config, output};

/// Options of `msao models`.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// What models there are
    #[arg(
        long,
        global = true,
        default_value = "configs/models.toml",
        env = "MSAO_MODELS"
    )]
    manifest: PathBuf,
    /// The folder that they are in, each in its own
    #[arg(long, global = true, default_value = "testdata/models")]
    folder: PathBuf,
}

#[derive(Subcommand)]
enum Action {
    /// Show the models, with their size and licence, and what of them is here.
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Fetch what is missing or differs. What was begun is gone on with.
    Pull {
        /// The models' names; all if left out
        names: Vec<String>,
        /// PEM file of the authorities that sign the servers' certificates; left out: those that browsers trust
        #[arg(long)]
        ca: Option<PathBuf>,
    },
    /// Compare each file's size and SHA-256 with the manifest's; exit code 1 if one differs or is missing.
    Verify {
        /// The models' names; all if left out
        names: Vec<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// The manifest cannot be used, a model is not in it, a file cannot be fetched, or one is not as it must be.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments {
        action,
        manifest: path,
        folder,
    } = arguments;
    let manifest: Manifest = config::load(path)?;
    manifest
        .check()
        .with_context(|| path.display().to_string())?;
    let mut faults = 0;
    match action {
        Action::List { json } => {
            for model in &manifest.models {
                let (mut whole, mut files) = (0, 0);
                for file in &model.files {
                    files += 1;
                    whole += usize::from(file.state(&model.place(folder, file))? == State::Whole);
                }
                if *json {
                    output::line(serde_json::json!({
                        "name": model.name,
                        "about": model.about,
                        "licence": model.licence,
                        "bytes": model.bytes(),
                        "files": files,
                        "files_here": whole,
                    }))?;
                    continue;
                }
                let size = indicatif::HumanBytes(model.bytes());
                let here = match whole {
                    0 => "not here".to_owned(),
                    _ if whole == files => "here".to_owned(),
                    _ => format!("{whole} of {files} files here"),
                };
                let (name, licence) = (&model.name, &model.licence);
                output::line(format!(
                    "{name:<20} {size:>10}  {here:<18} {licence}: {}",
                    model.about
                ))?;
            }
        }
        Action::Pull { names, ca } => {
            for model in manifest.named(names)? {
                for file in &model.files {
                    let place = model.place(folder, file);
                    if file.state(&place)? == State::Whole {
                        continue;
                    }
                    pull::pull(file, &place, ca.as_deref())?;
                    output::line(format!("{} fetched", place.display()))?;
                }
                output::line(format!("{} is whole", model.name))?;
            }
        }
        Action::Verify { names } => {
            for model in manifest.named(names)? {
                for file in &model.files {
                    let place = model.place(folder, file);
                    let found = match file.state(&place)? {
                        State::Whole => continue,
                        State::Missing => "is missing".to_owned(),
                        State::Other(what) => what,
                    };
                    faults += 1;
                    output::line(format!("{} {found}", place.display()))?;
                }
            }
            if faults > 0 {
                bail!(
                    "{faults} files are not as the manifest says: `msao models pull` fetches those that have a URL"
                );
            }
            output::line("all files are as the manifest says")?;
        }
    }
    Ok(())
}
