//! What edges and workers publish, as a page may see it.

use std::sync::Arc;
use std::time::Duration;

use broker::caption::Verdict;
use broker::deliver::Deliverer;
use broker::headers::TraceParent;
use broker::status::{self, StreamStatus};
use broker::test_server::TestServer;
use broker::{
    Caption, CloudStatus, Connection, DraftReport, FeatureWindow, LatencyMs, Message, Modality,
    ModalityReport, Preview, Rig, Status, StreamsConfig, WindowId,
};
use offload::planner::{Inputs, Planner, Settings, Window};
use offload::thresholds::Limits;
use offload::{cloud, edge, link};
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use ulid::Ulid;

use crate::common::msao;
use crate::process::Process;
use crate::world::connect;

/// Publishes as edges and workers do.
pub struct Scene {
    connection: Connection,
    deliverer: Deliverer,
    epoch: Ulid,
}

/// A page that is served.
pub struct Dash {
    _process: Process,
    /// What it says is its address.
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Dash {
    /// `msao dash` at a free port, with more `arguments`.
    pub fn start(server: &TestServer, arguments: &[&str]) -> Self {
        let listen: &[&str] = if arguments.contains(&"--listen") {
            &[]
        } else {
            &["--listen", "127.0.0.1:0"]
        };
        let folder = tempfile::tempdir().unwrap();
        let mut command = msao(folder.path());
        command
            .args(["dash", "--nats", &server.url()])
            .args(listen)
            .args(arguments);
        command
            .env("READER", "reader")
            .env("PAGE", "0123456789abcdef");
        let process = Process::start(command);
        let line = process.line("http://");
        let address = line.split(' ').find(|word| word.starts_with("http://"));
        Self {
            address: address.unwrap().to_owned(),
            _process: process,
            _folder: folder,
        }
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        let rest = self.address.strip_prefix("http://").unwrap();
        rest.split('/').next().unwrap()
    }
}

impl Scene {
    pub async fn open(server: &TestServer) -> Self {
        Self::over(connect(server).await)
    }

    pub fn over(connection: Connection) -> Self {
        Self {
            deliverer: Deliverer::new(connection.clone(), StreamsConfig::default()),
            connection,
            epoch: Ulid::generate(),
        }
    }

    /// Publishes the draft of a window that ends now.
    pub async fn draft(&self, rig: &str, seq: u64, text: &str) -> FeatureWindow {
        let window = self.window(rig, seq, text);
        self.caption(&Caption::draft(&window).unwrap()).await;
        window
    }

    /// Publishes the cloud's word on a window.
    pub async fn answer(&self, window: &FeatureWindow, text: &str, accepted: u32) {
        let draft = window.draft.as_ref().unwrap();
        let verdict = Verdict {
            confirmed: text == draft.text,
            text: text.to_owned(),
            tokens: text.split(' ').count() as u32,
            confidence: 0.8,
            accepted_tokens: Some(accepted),
            model: "full-model".to_owned(),
        };
        let took = LatencyMs {
            edge: 0.0,
            uplink: Some(4.0),
            queue: Some(2.5),
            cloud: Some(21.0),
        };
        self.caption(&Caption::verified(window, verdict, took))
            .await;
    }

    pub async fn caption(&self, caption: &Caption) {
        let message = Message::caption(caption, TraceParent::generate()).unwrap();
        self.deliverer.deliver(&message).await.unwrap();
    }

    /// Publishes the status of an edge that runs for `second` seconds.
    pub async fn edge(&self, rig: &str, streams: &[&str], second: u64) {
        let mut status = Status::new(name(rig), self.epoch, "CPU");
        status.frames_in = 30 * second;
        status.frames_kept = 6 * second;
        status.windows = second;
        status.tokens_possible = 196 * second;
        status.tokens_kept = 49 * second;
        status.messages.bytes_sent = 9_000 * second;
        status.decisions.verify = second - second / 5;
        status.decisions.keep = second / 5;
        status.streams = streams
            .iter()
            .map(|stream| StreamStatus {
                stream: (*stream).to_owned(),
                source: format!("rtsp://camera/{stream}.mkv"),
                measured: 30 * second,
                kept: 6 * second,
                problem: None,
            })
            .collect();
        status::publish_edge(&self.connection, &status)
            .await
            .unwrap();
    }

    pub async fn worker(&self, captioned: u64) {
        let mut status = CloudStatus::new("worker-1", "full-model", "CPU");
        status.captioned = captioned;
        status.confirmed = captioned / 2;
        status.corrected = captioned - captioned / 2;
        status.service_rate = 41.5;
        status.last_ms = 23.0;
        status::publish_cloud(&self.connection, &status)
            .await
            .unwrap();
    }

    /// Publishes a picture all of one `shade`, as large as `bytes` at least, of which the left half is worth sending.
    pub async fn preview(&self, rig: &str, stream: &str, shade: u8, bytes: usize) {
        let picture = image::RgbImage::from_pixel(320, 180, image::Rgb([shade; 3]));
        let mut jpeg = std::io::Cursor::new(Vec::new());
        picture
            .write_to(&mut jpeg, image::ImageFormat::Jpeg)
            .unwrap();
        let mut jpeg = jpeg.into_inner();
        jpeg.resize(jpeg.len().max(bytes), 0);
        let preview = Preview {
            rig: name(rig),
            stream: stream.to_owned(),
            time: OffsetDateTime::now_utc(),
            mas: 0.5,
            rows: 4,
            columns: 6,
            importance: (0..24)
                .map(|place| if place % 6 < 3 { 255 } else { 0 })
                .collect(),
            jpeg: jpeg.into(),
        };
        preview.publish(&self.connection).await.unwrap();
    }

    /// Publishes the statuses of an edge that runs for `second` seconds, and of a worker, again and again until the task is
    /// aborted.
    pub fn alive(
        self: &Arc<Self>,
        rig: &'static str,
        streams: &'static [&str],
        second: u64,
    ) -> JoinHandle<()> {
        let scene = Arc::clone(self);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(500));
            loop {
                ticks.tick().await;
                scene.edge(rig, streams, second).await;
                scene.worker(3).await;
            }
        })
    }

    /// Waits until the server has all that was published without an acknowledgement.
    pub async fn flush(&self) {
        self.connection.client().flush().await.unwrap();
    }

    fn window(&self, rig: &str, seq: u64, text: &str) -> FeatureWindow {
        let end = now_ns() - 40_000_000;
        let report = |modality, stream: &str, beta, mas| ModalityReport {
            modality,
            stream: stream.to_owned(),
            rho: 0.6,
            gamma: 0.7,
            beta,
            mas,
            encoder: "encoder".to_owned(),
            encoder_sha256: "ab".repeat(32),
        };
        let words = text.split(' ').count();
        FeatureWindow {
            start_utc_ns: end - 1_000_000_000,
            end_utc_ns: end,
            start_running_ns: seq * 1_000_000_000,
            end_running_ns: (seq + 1) * 1_000_000_000,
            plan: Some(plan(seq)),
            modalities: vec![
                report(
                    Modality::Video,
                    "video_0",
                    1.0,
                    0.6 + (seq % 4) as f32 / 10.0,
                ),
                report(Modality::Audio, "audio_0", 0.4, 0.9),
            ],
            draft: Some(DraftReport {
                text: text.to_owned(),
                token_ids: (0..words as u32).collect(),
                logprobs: vec![-0.3; words + 1],
                confidence: 0.74,
                model: "draft-model".to_owned(),
            }),
            tokens_possible: 196,
            frames_in: 30,
            frames_kept: 6,
            closed_utc_ns: end,
            drafted_utc_ns: end + 13_000_000,
            ..FeatureWindow::empty(WindowId {
                rig: name(rig),
                epoch: self.epoch,
                seq,
            })
        }
    }
}

/// A decision as an edge stores it.
fn plan(seq: u64) -> String {
    let inputs = Inputs {
        window: Window {
            seq,
            empty: false,
            confidence: 0.74,
            draft_left: 0.0,
            tokens: 49,
            token_bytes: 162,
            fixed_bytes: 5000,
            caption_bytes: 0,
            keyframe_bytes: None,
        },
        link: link::State {
            bandwidth: 2_500_000.0,
            rtt: 0.021,
            contact: true,
            away: 0.0,
            in_flight: 0,
        },
        edge: edge::State {
            stages: [0.1, 0.05, 0.03],
            budget: 1.0,
            load: 0.2,
        },
        cloud: cloud::State {
            available: true,
            away: 0.0,
            wait: 0.01,
            confirmed: 0.02,
            corrected: 0.03,
            captioned: 0.04,
        },
        risk: 0.31,
        limits: Limits {
            risk: 0.12,
            latency: 0.8,
        },
    };
    let decision = Planner::new(Settings::default()).unwrap().decide(inputs);
    serde_json::to_string(&decision).unwrap()
}

fn name(rig: &str) -> Rig {
    rig.parse().unwrap()
}

fn now_ns() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp_nanos() as i64
}
