//! `msao completions`: what a shell needs to complete a command line.

use anyhow::Result;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::output;

/// Options of `msao completions`.
#[derive(Args)]
pub struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Prints the script for the shell, which completes `command`.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(arguments: &Arguments, mut command: Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "msao", &mut script);
    let script = String::from_utf8_lossy(&script);
    Ok(output::line(script.trim_end())?)
}
