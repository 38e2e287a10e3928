//! A small disk for nats-server, which can be filled: a tmpfs in a mount namespace of its own, so that nothing of it stays
//! when this process ends, however it ends.

use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::process::mortal;

/// Mounts the tmpfs on `$0`, and holds the namespace for as long as its standard input is open.
const HOLD: &str = r#"mount -t tmpfs -o size=96m soak "$0" && echo mounted && exec cat"#;

/// The disk, or why there is none of its own.
#[derive(Debug)]
pub enum Disk {
    /// A tmpfs.
    Small(Small),
    /// The folder is on the machine's disk, which is not filled.
    Machine {
        /// Why.
        because: String,
    },
}

/// A tmpfs of 96 MiB.
#[derive(Debug)]
pub struct Small {
    holder: Child,
    _open: Option<ChildStdin>,
    folder: PathBuf,
}

impl Disk {
    /// A disk on `folder`, which is there.
    pub fn new(folder: PathBuf) -> Self {
        Small::new(folder).map_or_else(
            |error| Self::Machine {
                because: format!("{error:#}"),
            },
            Self::Small,
        )
    }

    /// A command that sees the disk.
    pub fn command(&self, program: &Path) -> Command {
        match self {
            Self::Machine { .. } => mortal(program),
            Self::Small(small) => {
                let mut command = mortal(Path::new("nsenter"));
                let namespace = format!("--mount=/proc/{}/ns/mnt", small.holder.id());
                command.arg(namespace).arg("--").arg(program);
                command
            }
        }
    }

    /// Leaves no room on it. False if it is the machine's.
    pub fn fill(&self) -> Result<bool> {
        let Self::Small(small) = self else {
            return Ok(false);
        };
        let mut ballast = File::create(small.ballast()).context("ballast")?;
        // Down to the last byte.
        for piece in [1 << 20, 4096, 1] {
            let piece = vec![0_u8; piece];
            loop {
                match ballast.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("ballast"),
                }
            }
        }
        Ok(true)
    }

    /// Makes room again.
    pub fn free(&self) {
        if let Self::Small(small) = self {
            // Not there if it was freed before.
            let _ = std::fs::remove_file(small.ballast());
        }
    }
}

impl Small {
    fn new(folder: PathBuf) -> Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", HOLD])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("unshare")?;
        let mut said = String::new();
        if let Some(output) = holder.stdout.take() {
            BufReader::new(output).read_line(&mut said)?;
        }
        let open = holder.stdin.take();
        if said.trim() != "mounted" {
            drop(open);
            let output = holder.wait_with_output()?;
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self {
            holder,
            _open: open,
            folder,
        })
    }

    /// The file that takes all room, as seen from here.
    fn ballast(&self) -> PathBuf {
        let folder = self.folder.display();
        format!("/proc/{}/root{folder}/ballast", self.holder.id()).into()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
