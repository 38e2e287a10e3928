//! What the tests share.
#![allow(dead_code, clippy::unwrap_used)] // Each test file uses a part of it.

pub mod line;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};

use broker::{DraftReport, FeatureWindow, Modality, ModalityReport, Token, WindowId};
use gst::prelude::*;
use gstmsao::meta::{Features, MasMeta, Measured};
use mas::{Meter, MeterSettings};
use ndarray::{Array2, Array3};

pub const MS: u64 = 1_000_000;

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

pub fn runtime_library() -> PathBuf {
    let path = std::env::var_os("ORT_DYLIB_PATH").map_or_else(
        || workspace().join(".cache/onnxruntime/libonnxruntime.so"),
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "{} is missing: run `make setup`",
        path.display()
    );
    path
}

pub fn media(name: &str) -> PathBuf {
    let path = workspace().join(".cache/media").join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make setup`",
        path.display()
    );
    path
}

/// The edge model's folder.
pub fn model() -> String {
    let path = workspace().join("testdata/models/msao-edge");
    path.to_str().unwrap().to_owned()
}

/// A copy of the edge model's folder that may be spoilt.
pub fn model_copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().unwrap();
        gstmsao::plugin_register_static().unwrap();
        mllm::runtime::init(Some(&runtime_library())).unwrap();
    });
}

pub fn make(name: &str) -> gst::Element {
    gst::ElementFactory::make(name).build().unwrap()
}

/// An element that runs a network, with the edge model.
pub fn make_with_model(name: &str) -> gst::Element {
    gst::ElementFactory::make(name)
        .property("model", model())
        .build()
        .unwrap()
}

/// Gives an element a bus, to see its messages.
pub fn bus(element: &gst::Element) -> gst::Bus {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    bus
}

/// The first error on the bus, as its user sees it.
pub fn error_on(bus: &gst::Bus) -> String {
    let message = bus
        .pop_filtered(&[gst::MessageType::Error])
        .expect("an error message");
    let gst::MessageView::Error(error) = message.view() else {
        unreachable!()
    };
    format!("{} ({})", error.error(), error.debug().unwrap_or_default())
}

/// The error with which an element does not start.
pub fn start_failure(element: &gst::Element) -> String {
    let bus = bus(element);
    assert!(element.set_state(gst::State::Paused).is_err());
    element.set_state(gst::State::Null).unwrap();
    error_on(&bus)
}

pub fn stats<T: for<'a> gst::glib::value::FromValue<'a> + 'static>(
    element: &gst::Element,
    field: &str,
) -> T {
    element
        .property::<gst::Structure>("stats")
        .get(field)
        .unwrap()
}

/// What passes a pad from now on: buffers, gaps and EOS with their times in ms.
pub fn record(pad: &gst::Pad) -> Arc<Mutex<Vec<String>>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&log);
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    let ms = |time: Option<gst::ClockTime>| time.map_or(-1, |time| time.mseconds() as i64);
    pad.add_probe(mask, move |_, info| {
        let line = match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => Some(format!("buffer {}", ms(buffer.pts()))),
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::Gap(gap) => {
                    let (pts, duration) = gap.get();
                    Some(format!("gap {}+{}", pts.mseconds(), ms(duration)))
                }
                gst::EventView::Eos(_) => Some("eos".to_owned()),
                _ => None,
            },
            _ => None,
        };
        sink.lock().unwrap().extend(line);
        gst::PadProbeReturn::Ok
    })
    .unwrap();
    log
}

/// Measured frames of one stream, without a network: a grid of 49 positions, of which
/// those in `changed` look different from the stream's first frame.
pub struct Camera {
    meter: Arc<Mutex<Meter>>,
    encoder: Arc<mllm::EncoderId>,
    frame: u64,
}

impl Camera {
    pub fn new() -> Self {
        let config = mllm::Config::load(Path::new(&model())).unwrap();
        Self {
            meter: Arc::new(Mutex::new(Meter::new(MeterSettings::default()).unwrap())),
            encoder: Arc::new(config.vision_encoder),
            frame: 0,
        }
    }

    pub fn frame(&mut self, changed: &[usize]) -> Arc<Measured> {
        let mut grid =
            Array2::from_shape_fn((49, 96), |(p, c)| ((p * 31 + c * 17) % 23) as f32 - 11.0);
        for position in changed {
            // What comes into a picture stands out from it.
            grid.row_mut(*position).mapv_inplace(|value| -3.0 * value);
        }
        let measurement = self.meter.lock().unwrap().measure(grid.view());
        let features = Array3::from_shape_fn((24, 56, 56), |(c, y, x)| {
            ((c * 7 + y * 5 + x * 3 + self.frame as usize) % 13) as f32 / 13.0
        });
        let mas = Measured {
            modality: broker::Modality::Video,
            frame: self.frame,
            t0: 1.0,
            probed: true,
            measurement: Arc::new(measurement),
            features: Features::Frame(Arc::new(features)),
            encoder: Arc::clone(&self.encoder),
            columns: 7,
            meter: Arc::clone(&self.meter),
            end: None,
            flags: Vec::new(),
        };
        self.frame += 1;
        Arc::new(mas)
    }

    /// A buffer of 100 ms with a frame's measurement.
    pub fn buffer(&mut self, ms: u64, changed: &[usize]) -> gst::Buffer {
        let mut buffer = timed(ms);
        MasMeta::put(buffer.get_mut().unwrap(), self.frame(changed));
        buffer
    }
}

/// Measured hops of one stream, without a network.
pub struct Hops {
    modality: broker::Modality,
    positions: usize,
    meter: Arc<Mutex<Meter>>,
    encoder: Arc<mllm::EncoderId>,
    count: u64,
}

impl Hops {
    /// Of the edge model's encoder for the modality.
    pub fn new(modality: broker::Modality) -> Self {
        let config = mllm::Config::load(model().as_ref()).unwrap();
        let hops = match modality {
            broker::Modality::Audio => config.audio_encoder.unwrap(),
            _ => config.sensor_encoder.unwrap(),
        };
        Self {
            modality,
            positions: hops.tokens,
            meter: Arc::new(Mutex::new(Meter::new(MeterSettings::default()).unwrap())),
            encoder: Arc::new(hops.encoder),
            count: 0,
        }
    }

    /// A hop that ends at so many ms of the stream's time.
    pub fn hop(&mut self, end: u64) -> Arc<Measured> {
        let seed = self.count as usize;
        let grid = Array2::from_shape_fn((self.positions, 24), |(p, c)| {
            ((p * 31 + c * 17 + seed * 5) % 23) as f32 - 11.0
        });
        let tokens = Array2::from_shape_fn((self.positions, 256), |(p, c)| {
            ((p * 13 + c * 7 + seed * 3) % 19) as f32 / 9.0 - 1.0
        });
        let measurement = self.meter.lock().unwrap().measure(grid.view());
        self.count += 1;
        Arc::new(Measured {
            modality: self.modality,
            frame: self.count - 1,
            t0: 1.0,
            probed: true,
            measurement: Arc::new(measurement),
            features: Features::Tokens(Arc::new(tokens)),
            encoder: Arc::clone(&self.encoder),
            columns: if self.positions == 16 { 4 } else { 2 },
            meter: Arc::clone(&self.meter),
            end: Some(gst::ClockTime::from_mseconds(end)),
            flags: Vec::new(),
        })
    }
}

/// A buffer from `start` to `end` in ms that carries hops.
pub fn carrying(start: u64, end: u64, hops: &[Arc<Measured>]) -> gst::Buffer {
    let mut buffer = timed(start);
    let inner = buffer.get_mut().unwrap();
    inner.set_duration(gst::ClockTime::from_mseconds(end - start));
    MasMeta::put_all(inner, hops.to_vec());
    buffer
}

/// What `msaodraft` sends upstream.
pub fn beta_event(video: f32, audio: f32, sensor: f32) -> gst::Event {
    let structure = gst::Structure::builder("msao-beta")
        .field("video", video)
        .field("audio", audio)
        .field("sensor", sensor)
        .build();
    gst::event::CustomUpstream::new(structure)
}

/// A buffer of 100 ms without a measurement.
pub fn timed(ms: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::with_size(4).unwrap();
    let inner = buffer.get_mut().unwrap();
    inner.set_pts(gst::ClockTime::from_mseconds(ms));
    inner.set_duration(gst::ClockTime::from_mseconds(100));
    buffer
}

pub fn gap(ms: u64) -> gst::Event {
    gst::event::Gap::builder(gst::ClockTime::from_mseconds(ms))
        .duration(gst::ClockTime::from_mseconds(100))
        .build()
}

pub const EPOCH: ulid::Ulid = ulid::Ulid(7);

/// Window `seq` of `rig`, with this draft and nothing else.
pub fn said(rig: &str, seq: u64, text: &str) -> FeatureWindow {
    FeatureWindow {
        draft: Some(DraftReport {
            text: text.to_owned(),
            token_ids: vec![5, 6],
            logprobs: vec![-0.5, -0.5, -0.5],
            confidence: 0.6,
            model: "draft".to_owned(),
        }),
        ..FeatureWindow::empty(WindowId {
            rig: rig.parse().unwrap(),
            epoch: EPOCH,
            seq,
        })
    }
}

/// A window of 49 tokens of a picture, with a draft of this confidence.
pub fn drafted(seq: u64, confidence: f32) -> FeatureWindow {
    let stream = "video_0".to_owned();
    let said = said("car-7", seq, &format!("window {seq}"));
    FeatureWindow {
        end_utc_ns: 1_000_000_000,
        start_running_ns: seq * 1_000_000_000,
        end_running_ns: (seq + 1) * 1_000_000_000,
        modalities: vec![ModalityReport {
            modality: Modality::Video,
            stream: stream.clone(),
            rho: 0.0,
            gamma: 0.0,
            beta: 1.0,
            mas: 0.0,
            encoder: "encoder".to_owned(),
            encoder_sha256: "0".repeat(64),
        }],
        draft: (said.draft.clone()).map(|draft| DraftReport {
            confidence,
            ..draft
        }),
        tokens: (0..49)
            .map(|position| Token {
                modality: Modality::Video,
                stream: stream.as_str().into(),
                t: 0,
                y: position / 7,
                x: position % 7,
                importance: f32::from(position) / 49.0,
                scale: 0.01,
                feature: (0..256).map(|i: i32| (i * 89) as i8).collect(),
            })
            .collect(),
        tokens_possible: 49,
        frames_in: 10,
        frames_kept: 1,
        closed_utc_ns: 2_000_000_000,
        drafted_utc_ns: 2_030_000_000,
        ..said
    }
}
