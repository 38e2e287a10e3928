//! A network namespace that exists as long as it is held: nothing of it is left when the process
//! ends, in whatever way.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    os::fd::{AsFd, AsRawFd},
    process::{Command, Stdio},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// Of these a namespace may choose; only the first namespace can see and change which they are.
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

pub struct Namespace(File);

impl Namespace {
    /// Makes a namespace; its only device is `lo`, which is up.
    pub fn new() -> io::Result<Self> {
        // `unshare` makes it, and is kept until the namespace is held here.
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo made; read -r _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| explained("cannot run `unshare` (util-linux)", &error))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let held = File::open(format!("/proc/{}/ns/net", child.id()));
        // Closes its standard input, on which it ends.
        let output = child.wait_with_output()?;
        if line.trim() != "made" {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(said.trim().to_owned()));
        }
        let namespace = Self(held?);
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Runs `f` on a thread inside the namespace. Sockets that it opens stay in it; threads and
    /// commands that it starts are in it too.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        let inside = || {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(f())
        };
        std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// A command that runs inside the namespace.
    pub fn command(&self, program: &str) -> Command {
        let path = format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd());
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={path}")).arg("--").arg(program);
        command
    }

    /// Runs `ip` (iproute2) inside the namespace.
    pub fn ip(&self, arguments: &[&str]) -> io::Result<()> {
        let output = self.run(|| Command::new("ip").args(arguments).output())?;
        let output = output.map_err(|error| explained("cannot run `ip` (iproute2)", &error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let what = format!("`ip {}`: {}", arguments.join(" "), said.trim());
        Err(io::Error::other(what))
    }

    /// Chooses TCP's congestion control for new sockets of the namespace, if one is given, and says
    /// which one it is.
    pub fn congestion(&self, choice: Option<&str>) -> io::Result<String> {
        // The kernel shows each thread the settings of its own namespace.
        let chosen = self.run(|| {
            if let Some(choice) = choice {
                std::fs::write(CONGESTION, choice)?;
            }
            std::fs::read_to_string(CONGESTION)
        })?;
        match (chosen, choice) {
            (Ok(chosen), _) => Ok(chosen.trim().to_owned()),
            (Err(error), Some(choice)) => {
                let allowed = std::fs::read_to_string(ALLOWED).unwrap_or_default();
                let what = format!(
                    "congestion control '{choice}' is not one of {} (see {ALLOWED})",
                    allowed.trim()
                );
                Err(explained(&what, &error))
            }
            (Err(error), None) => Err(explained(&format!("cannot read {CONGESTION}"), &error)),
        }
    }
}

pub fn explained(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
