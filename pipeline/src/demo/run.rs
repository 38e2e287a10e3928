//! The demo's order of events.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use broker::captions::{self, From};
use broker::connect::AtStart;
use broker::status::{self, AnyStatus};
use broker::{Caption, ConnectConfig, Connection, Status, StreamsConfig};
use clap::Args;
use futures::StreamExt;
use tempfile::TempDir;

use super::child::Msao;
use super::configs;
use super::jpeg;
use super::nats::Server;
use super::summary::{Summary, Tally};
use crate::captions::Printer;
use crate::dash::Page;
use crate::{nats_server, output, runtime, shutdown::StopOn};

/// How long a final caption may take once the video has ended.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long the full model may take to load.
const LOADING: Duration = Duration::from_secs(30);

/// Options of `msao demo`.
#[derive(Args)]
pub struct Arguments {
    /// What is played.
    #[arg(long, value_enum, default_value_t = Scene::Street)]
    pub(super) scene: Scene,
    /// Another video; in the scene `rig` it has sound, too. Not for the scene `rig4`.
    #[arg(long)]
    pub(super) video: Option<PathBuf>,
    /// Play the video as fast as it can be worked on, instead of at its own pace.
    #[arg(long)]
    pub(super) fast: bool,
    /// Folder of the edge model.
    #[arg(long, default_value = "testdata/models/msao-edge")]
    pub(super) edge_model: PathBuf,
    /// Folder of the full model.
    #[arg(long, default_value = "testdata/models/msao-cloud")]
    pub(super) cloud_model: PathBuf,
    /// `margin`: a draft's token stands if it is about as likely as the full model's own choice;
    /// `exact`: only if it is that choice.
    #[arg(long, default_value = "margin", value_parser = ["margin", "exact"])]
    pub(super) agreement: String,
    /// Port of the demo's nats-server on 127.0.0.1; a free one by default.
    #[arg(long)]
    port: Option<u16>,
    /// Address and port of the demo's web page, of this machine alone; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_parser = loopback)]
    page: SocketAddr,
    #[command(flatten)]
    stop: StopOn,
}

/// An address that others cannot reach: the demo's page asks for no token.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|error| format!("{error}"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("only the loopback interface, such as 127.0.0.1:8790: `msao dash` serves others, with a token".to_owned())
    }
}

/// What the demo plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Scene {
    /// A camera above a street.
    Street,
    /// A camera, a microphone and the motion of the rig that they are on.
    Rig,
    /// Four cameras, a microphone and an IMU, as configs/rig4.toml has them.
    Rig4,
}

impl Arguments {
    /// The video to play, of one camera.
    pub(super) fn video(&self) -> &Path {
        let own = match self.scene {
            Scene::Street | Scene::Rig4 => ".cache/media/vtest.avi",
            Scene::Rig => ".cache/media/rig.mkv",
        };
        self.video.as_deref().unwrap_or(Path::new(own))
    }

    fn headline(&self) -> String {
        let video = self.video().display();
        match self.scene {
            Scene::Street => format!("captions of {video} (Ctrl-C stops)"),
            Scene::Rig => format!(
                "captions of the picture and sound of {video} and the motion in {} (Ctrl-C stops)\n\
                 beta: how much each of them counts for the caption, beside the one that counts most",
                configs::MOTION
            ),
            Scene::Rig4 => format!(
                "captions of the four cameras, the microphone and the IMU of {} (Ctrl-C stops)\n\
                 beta: how much each modality counts for the caption, beside the one that counts most",
                configs::FOUR
            ),
        }
    }
}

/// Runs the demo.
///
/// # Errors
/// The video, a model or nats-server is not there, or one of the processes fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = runtime()?;
    let done = runtime.block_on(demo(arguments));
    // The clients go before the server, or they would report its end as a fault.
    runtime.shutdown_background();
    let Played {
        server,
        folder,
        tally,
        videos,
        edge,
    } = done?;
    drop((server, folder));
    output::line("\nsummary (encoding every frame as JPEG for comparison)")?;
    crate::gst_log::init()?;
    let mut jpeg = 0;
    for (video, stream) in videos.iter().zip(&edge.streams) {
        jpeg += jpeg::bytes(video, stream.measured)?;
    }
    let summary = Summary {
        tally: &tally,
        edge: &edge,
        jpeg,
        live: !arguments.fast,
    };
    Ok(output::line(summary)?)
}

/// What is left when the video has ended and every window has its final caption.
struct Played {
    server: Server,
    folder: TempDir,
    tally: Tally,
    videos: Vec<PathBuf>,
    edge: Status,
}

async fn demo(arguments: &Arguments) -> Result<Played> {
    let mut stop = pin!(arguments.stop.wait()?);
    // Before anything is started: a video that is not there is the most likely fault.
    let (rig, _) = configs::edge(arguments, "")?;
    configs::cloud(arguments, "")?;
    let folder = tempfile::Builder::new()
        .prefix("msao-demo-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let server = Server::start(&nats_server::binary(), arguments.port, folder.path()).await?;
    let edge_file = configs::write(
        folder.path(),
        "edge",
        &configs::edge(arguments, &server.url)?.1,
    )?;
    let cloud_file = configs::write(
        folder.path(),
        "cloud",
        &configs::cloud(arguments, &server.url)?,
    )?;

    let connect = ConnectConfig {
        url: server.url.clone(),
        ..ConnectConfig::default()
    };
    let connection = Connection::open(&connect, AtStart::Fail).await?;
    let mut captions = captions::subscribe(
        &connection,
        &StreamsConfig::default(),
        Some(&rig.rig),
        From::Beginning,
    )
    .await?;
    let mut statuses = Box::pin(status::subscribe(&connection).await?);
    output::line(arguments.headline())?;
    // As long as the demo runs.
    let page = Page::open(connection.clone(), arguments.page, None, Vec::new()).await?;
    output::line(format!("watch it in a browser: {}", page.address()))?;
    let mut cloud = Msao::start("cloud", cloud_file.as_os_str())?;
    // Or the first windows would wait for it.
    tokio::select! {
        () = hears_the_cloud(&mut statuses) => {}
        ended = cloud.ended() => { ended?; bail!("msao cloud stopped before it said that it is there") }
        () = &mut stop => bail!("stopped before the full model was loaded"),
        () = tokio::time::sleep(LOADING) => tracing::warn!("no word of msao cloud for {LOADING:?}"),
    }
    let mut edge = Msao::start("edge", edge_file.as_os_str())?;

    let mut screen = Screen {
        printer: Printer::default(),
        tally: Tally::new()?,
    };
    let mut last = None;
    let mut stopping = false;
    loop {
        tokio::select! {
            caption = captions.next() => screen.show(&caption?)?,
            Some(status) = statuses.next() => if let AnyStatus::Edge(status) = status? { last = Some(status) },
            ended = edge.ended() => { ended?; break }
            ended = cloud.ended() => { ended?; bail!("msao cloud stopped before the edge did") }
            () = &mut stop, if !stopping => { stopping = true; edge.ask_to_stop() }
        }
    }
    // The edge sent its last status before it ended.
    while let Ok(Some(status)) =
        tokio::time::timeout(Duration::from_millis(100), statuses.next()).await
    {
        if let AnyStatus::Edge(status) = status? {
            last = Some(status);
        }
    }
    let last = last.context("the edge sent no status")?;
    while screen.tally.finals() < last.windows {
        tokio::select! {
            caption = captions.next() => screen.show(&caption?)?,
            ended = cloud.ended() => { ended?; bail!("msao cloud stopped before it had answered every draft") }
            () = tokio::time::sleep(PATIENCE) => {
                let missing = last.windows - screen.tally.finals();
                tracing::error!("{missing} windows have had no final caption for {PATIENCE:?}");
                break;
            }
        }
    }
    cloud.stop(PATIENCE).await?;
    Ok(Played {
        server,
        folder,
        tally: screen.tally,
        videos: rig
            .video
            .iter()
            .map(|video| PathBuf::from(&video.source))
            .collect(),
        edge: last,
    })
}

async fn hears_the_cloud(
    statuses: &mut (impl futures::Stream<Item = Result<AnyStatus, status::StatusError>> + Unpin),
) {
    while let Some(status) = statuses.next().await {
        if matches!(status, Ok(AnyStatus::Cloud(_))) {
            return;
        }
    }
}

struct Screen {
    printer: Printer,
    tally: Tally,
}

impl Screen {
    fn show(&mut self, caption: &Caption) -> Result<()> {
        self.tally.add(caption);
        Ok(output::line(self.printer.line(caption))?)
    }
}
