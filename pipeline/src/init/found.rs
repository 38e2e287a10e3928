//! What this machine has for a rig.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use broker::connect::{AtStart, ConnectError};
use broker::{ConnectConfig, Connection, Rig, identity::excerpt};
use gst::prelude::*;
use mllm::{CaptionModel, Provider};

use super::Arguments;

/// Where a server is looked for: on this machine, and where containers have it.
const USUAL: [&str; 2] = ["nats://127.0.0.1:4222", "nats://nats:4222"];
/// How long one may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The clip that `make setup` fetches.
const SAMPLE: &str = ".cache/media/vtest.avi";
/// The speech model that `make setup` fetches.
const SPEECH: &str = ".cache/models/silero_vad.onnx";

/// A camera or microphone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What it calls itself.
    pub name: String,
    /// As a configuration names it.
    pub source: String,
}

/// The edge model.
pub struct Model {
    pub folder: PathBuf,
    /// What it senses, and what runs it here.
    pub state: Result<Senses, String>,
}

/// What a model senses.
pub struct Senses {
    pub name: String,
    pub hears: bool,
    pub feels: bool,
    pub provider: Provider,
}

/// What was found.
pub struct Found {
    /// The source that was asked for.
    pub given: Option<String>,
    pub cameras: Vec<Device>,
    /// A clip to begin with where there is no camera.
    pub sample: Option<PathBuf>,
    pub microphones: Vec<Device>,
    pub speech: Option<PathBuf>,
    pub model: Model,
    /// The server's URL, and what keeps it from serving.
    pub nats: (String, Result<(), String>),
}

impl Found {
    /// Looks around.
    ///
    /// # Errors
    /// The source that was asked for is not there.
    pub async fn look(arguments: &Arguments) -> Result<Self> {
        let given = arguments.video.as_deref().map(given).transpose()?;
        let (cameras, microphones) = devices();
        let there = |path: &str| absolute(Path::new(path)).filter(|path| path.is_file());
        let speech = std::env::var("MSAO_VAD_MODEL").unwrap_or_else(|_| SPEECH.to_owned());
        Ok(Self {
            given,
            cameras,
            sample: there(SAMPLE),
            microphones,
            speech: there(&speech),
            model: model(&arguments.model),
            nats: nats(arguments.nats.as_deref()).await,
        })
    }

    /// Whether the rig has anything to sense.
    pub fn has_stream(&self) -> bool {
        self.video().is_some() || self.microphone().is_some()
    }

    /// The first source of pictures.
    pub fn video(&self) -> Option<String> {
        let camera = || Some(self.cameras.first()?.source.clone());
        let sample = || Some(self.sample.as_ref()?.display().to_string());
        self.given.clone().or_else(camera).or_else(sample)
    }

    /// The first microphone, if the model hears.
    pub fn microphone(&self) -> Option<&Device> {
        let hears = self.model.state.as_ref().is_ok_and(|senses| senses.hears);
        self.microphones.first().filter(|_| hears)
    }

    /// What was looked for, and what it is or how to mend that it is not there.
    pub fn lines(&self) -> Vec<(&'static str, Result<String, String>)> {
        let devices = |devices: &[Device], mend: String| match devices {
            [] => Err(mend),
            devices => {
                let told = |device: &Device| format!("{} ({})", device.source, device.name);
                Ok(devices.iter().map(told).collect::<Vec<_>>().join(", "))
            }
        };
        let instead = match (&self.given, &self.sample) {
            (Some(_), _) => "none is needed: --video names a source".to_owned(),
            (None, Some(sample)) => {
                format!("the sample clip stands in for one: {}", sample.display())
            }
            (None, None) => "plug one in and run this again, or give --video".to_owned(),
        };
        let mut lines = Vec::new();
        if let Some(given) = &self.given {
            lines.push(("video", Ok(crate::edge::redacted(given))));
        }
        lines.push(("camera", devices(&self.cameras, instead)));
        let mend = "plug one in and run this again, or add [[audio]] by hand".to_owned();
        lines.push(("microphone", devices(&self.microphones, mend)));
        lines.push((
            "model",
            match &self.model.state {
                Ok(senses) => Ok(format!("{} ({})", senses.name, self.model.folder.display())),
                Err(reason) => Err(reason.clone()),
            },
        ));
        if let Ok(senses) = &self.model.state {
            let gpu = match senses.provider {
                Provider::Cuda | Provider::TensorRt => Ok(senses.provider.to_string()),
                _ => Err(
                    "the CPU runs the model; for an NVIDIA GPU set ORT_DYLIB_PATH to the libonnxruntime.so of onnxruntime-gpu"
                        .to_owned(),
                ),
            };
            lines.push(("GPU", gpu));
        }
        let (url, state) = &self.nats;
        lines.push(("NATS", state.clone().map(|()| url.clone())));
        lines
    }
}

/// This machine's name, made fit for a rig.
pub fn host() -> Result<Rig> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let fit: String = (name.trim().split('.').next().unwrap_or_default().chars())
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(64)
        .collect();
    fit.parse()
        .context("this machine has no name that a rig could have: give one as --rig")
}

/// The source that was asked for, as it stands in a configuration that is used from any folder.
fn given(source: &str) -> Result<String> {
    if source.contains("://") || source.starts_with(crate::edge::DEVICE) {
        return Ok(source.to_owned());
    }
    let path = std::path::absolute(source)?;
    ensure!(
        path.is_file(),
        "cannot open the video {}: correct the path",
        path.display()
    );
    Ok(path.display().to_string())
}

fn absolute(path: &Path) -> Option<PathBuf> {
    std::path::absolute(path).ok()
}

/// Cameras and microphones, as GStreamer finds them.
fn devices() -> (Vec<Device>, Vec<Device>) {
    let (mut cameras, mut microphones) = (Vec::new(), Vec::new());
    if let Err(error) = crate::gst_log::init() {
        tracing::warn!(
            "devices cannot be looked for: GStreamer does not start ({error:#}): run `make setup`"
        );
        return (cameras, microphones);
    }
    let monitor = gst::DeviceMonitor::new();
    monitor.add_filter(Some("Video/Source"), None);
    monitor.add_filter(Some("Audio/Source"), None);
    if monitor.start().is_ok() {
        for device in monitor.devices() {
            match source(&device) {
                Some((true, device)) => cameras.push(device),
                Some((false, device)) => microphones.push(device),
                None => {}
            }
        }
        monitor.stop();
    }
    if cameras.is_empty() {
        cameras = nodes();
    }
    cameras.sort_by(|a, b| a.source.cmp(&b.source));
    (cameras, microphones)
}

/// A device as a configuration names it, and whether it is a camera. None for what no configuration can name, and for the
/// monitor of a loudspeaker.
fn source(device: &gst::Device) -> Option<(bool, Device)> {
    let is_monitor = device
        .properties()
        .is_some_and(|of| of.get::<&str>("device.class") == Ok("monitor"));
    let element = device.create_element(None).ok().filter(|_| !is_monitor)?;
    let factory = element.factory()?.name();
    let path = (element.find_property("device").is_some())
        .then(|| element.property::<Option<String>>("device"))
        .flatten()?;
    let (camera, source) = match factory.as_str() {
        "v4l2src" if path.starts_with(crate::edge::DEVICE) => (true, path),
        "pulsesrc" => (false, format!("pulse:{path}")),
        "alsasrc" => (false, format!("alsa:{path}")),
        _ => return None,
    };
    let name = excerpt(&device.display_name());
    Some((camera, Device { name, source }))
}

/// The camera devices of the machine, where GStreamer has nothing that lists them.
fn nodes() -> Vec<Device> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path().display().to_string());
    let is_camera = |path: &String| {
        path.strip_prefix(crate::edge::DEVICE)
            .is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let device = |source| Device {
        name: "not asked".to_owned(),
        source,
    };
    paths.filter(is_camera).map(device).collect()
}

fn model(folder: &Path) -> Model {
    let folder = absolute(folder).unwrap_or_else(|| folder.to_owned());
    let state = CaptionModel::load(&folder, Provider::Auto);
    let state = state.map(|model| Senses {
        name: model.config().name.clone(),
        hears: model.config().audio_encoder.is_some(),
        feels: model.config().sensor_encoder.is_some(),
        provider: model.provider(),
    });
    let state = state.map_err(|error| error.to_string());
    Model { folder, state }
}

/// The first server that answers, or the first place where one was looked for.
async fn nats(given: Option<&str>) -> (String, Result<(), String>) {
    let places = given.map_or(USUAL.to_vec(), |url| vec![url]);
    let mut first = None;
    for url in places {
        let config = ConnectConfig {
            url: url.to_owned(),
            ..ConnectConfig::default()
        };
        let asked = tokio::time::timeout(PATIENCE, Connection::open(&config, AtStart::Fail)).await;
        let state = match asked {
            Ok(Ok(_)) => return (url.to_owned(), Ok(())),
            Ok(Err(error @ (ConnectError::Refused { .. } | ConnectError::Tls { .. }))) => {
                return (url.to_owned(), Err(error.to_string()));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("nothing answers at {url}: start one with `nats-server -js`"),
        };
        first.get_or_insert((url.to_owned(), Err(state)));
    }
    first.unwrap_or_else(|| (ConnectConfig::default().url, Ok(())))
}
