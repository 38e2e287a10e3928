//! One method on all links: broker, cloud worker and edge as processes of their own, the edge behind the link.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use link::{Link, Mode, Spec};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use toml::Table;

use super::links::Stretch;
use super::methods::{Method, Payload};
use super::protocol::{Ask, Record, Reply};
use crate::demo::child::Msao;
use crate::demo::configs;
use crate::demo::nats::Server;
use crate::nats_server;

/// Windows before the first that counts: models run slower at first.
const WARM_UP: usize = 5;
/// How long a process may take to stop.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long models may take to load.
const LOADING: Duration = Duration::from_secs(120);

/// What all runs have in common.
pub struct Setting<'a> {
    /// items.jsonl.
    pub windows: &'a Path,
    /// Folder of the edge model.
    pub edge_model: &'a Path,
    /// Folder of the full model.
    pub cloud_model: &'a Path,
    /// All links.
    pub links: &'a [Stretch],
    /// How they are emulated.
    pub mode: Mode,
    /// Seconds from one window to the next.
    pub pace: f64,
    /// Seconds that answers may take after the last window of a link.
    pub patience: f64,
}

impl Setting<'_> {
    /// How many windows come on a link.
    pub fn count(&self, link: &Stretch) -> usize {
        ((link.length.as_secs_f64() / self.pace).round() as usize).max(1)
    }
}

/// What happened on one link.
pub struct Passed {
    /// Its windows, in order.
    pub records: Vec<Record>,
    /// Bytes that went up.
    pub bytes_up: u64,
}

/// A method's run.
pub struct Run {
    /// One of each link.
    pub passed: Vec<Passed>,
    /// Peak memory of the edge process and of the cloud process, bytes.
    pub memory: (Option<u64>, Option<u64>),
    /// How the link was emulated.
    pub kind: String,
}

/// Runs a method on all links.
///
/// # Errors
/// A process cannot be started or fails.
pub async fn run(method: Method, setting: &Setting<'_>) -> Result<Run> {
    let folder = tempfile::Builder::new().prefix("msao-bench-").tempdir()?;
    let server = Server::start(&nats_server::binary(), None, folder.path()).await?;
    let first = setting.links.first().context("there is no link")?;
    let address = server.url.trim_start_matches("nats://").parse()?;
    let link = Link::open(&Spec::new(address, first.trace.clone()), setting.mode)?;
    let mut cloud = None;
    if method.has_cloud() {
        let file = configs::write(
            folder.path(),
            "cloud",
            &worker(method, setting, &server.url)?,
        )?;
        cloud = Some(Msao::start("cloud", file.as_os_str())?);
    }
    let mut edge = Edge::start(method, setting, &link)?;
    edge.ready().await?;
    let ask = |first, count| Ask {
        first,
        count,
        pace: setting.pace,
        patience: setting.patience,
    };
    edge.windows(ask(0, WARM_UP)).await?;
    let (mut passed, mut next) = (Vec::new(), 0);
    for stretch in setting.links {
        let count = setting.count(stretch);
        link.set(stretch.trace.clone(), stretch.trace.clone());
        let before = link.counters().0.bytes_in;
        let records = edge.windows(ask(next, count)).await?;
        let bytes_up = link.counters().0.bytes_in - before;
        passed.push(Passed { records, bytes_up });
        next += count;
    }
    let peak = |id: Option<u32>| id.and_then(peak_memory);
    let memory = (
        peak(edge.child.id()),
        peak(cloud.as_ref().and_then(Msao::id)),
    );
    let kind = link.kind().to_string();
    edge.stop().await?;
    if let Some(cloud) = cloud {
        cloud.stop(PATIENCE).await?;
    }
    Ok(Run {
        passed,
        memory,
        kind,
    })
}

fn worker(method: Method, setting: &Setting<'_>, url: &str) -> Result<Table> {
    let mut worker = json!({
        "model": configs::absolute(setting.cloud_model)?,
        "provider": "cpu",
        "worker": "bench",
        "nats": { "url": url },
    });
    if method.payload == Payload::Keyframe {
        worker["encoders"] = configs::absolute(setting.edge_model)?.into();
    }
    Ok(Table::try_from(worker)?)
}

/// Most memory that a process has had, bytes.
fn peak_memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// The edge process.
struct Edge {
    child: Child,
    ask: Option<ChildStdin>,
    replies: Lines<BufReader<ChildStdout>>,
}

impl Edge {
    fn start(method: Method, setting: &Setting<'_>, link: &Link) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let program = program
            .to_str()
            .context("this program's path is not UTF-8")?;
        let mut command = Command::from(link.client_command(program));
        command
            .args(["bench", "edge", "--method", method.name, "--windows"])
            .arg(setting.windows)
            .arg("--edge-model")
            .arg(setting.edge_model)
            .args(["--url", &format!("nats://{}", link.address())])
            .args(["--pace", &setting.pace.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if std::env::var_os("MSAO_LOG").is_none() {
            command.env("MSAO_LOG", "error");
        }
        let mut child = command.spawn().context("cannot start the edge process")?;
        let ask = child.stdin.take();
        let replies = child.stdout.take().context("the edge has no output")?;
        Ok(Self {
            child,
            ask,
            replies: BufReader::new(replies).lines(),
        })
    }

    async fn reply(&mut self) -> Result<Reply> {
        let Some(line) = self.replies.next_line().await? else {
            let status = self.child.wait().await?;
            bail!("the edge process stopped with {status}: its messages are above");
        };
        Ok(serde_json::from_str(&line)?)
    }

    async fn ready(&mut self) -> Result<()> {
        let reply = tokio::time::timeout(LOADING, self.reply()).await;
        match reply.context("the edge process is not ready in time")?? {
            Reply::Ready => Ok(()),
            Reply::Windows(_) => bail!("the edge process answered before it was asked"),
        }
    }

    async fn windows(&mut self, ask: Ask) -> Result<Vec<Record>> {
        let mut line = serde_json::to_vec(&ask)?;
        line.push(b'\n');
        let pipe = self.ask.as_mut().context("the edge has no input")?;
        pipe.write_all(&line).await?;
        match self.reply().await? {
            Reply::Windows(records) => Ok(records),
            Reply::Ready => bail!("the edge process started over"),
        }
    }

    /// Ends it, before the link: a namespace in which something still runs stays.
    async fn stop(mut self) -> Result<()> {
        self.ask = None;
        let Ok(ended) = tokio::time::timeout(PATIENCE, self.child.wait()).await else {
            self.child.kill().await?;
            bail!("the edge process did not stop within {PATIENCE:?} and was killed");
        };
        let status = ended?;
        if !status.success() {
            bail!("the edge process stopped with {status}");
        }
        Ok(())
    }
}
