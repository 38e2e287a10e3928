//! A camera on the network that is not there, comes, goes and comes again: the rig's other camera goes on.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use broker::connect::AtStart;
use broker::test_server::TestServer;
use broker::{ConnectConfig, Connection, FeatureWindow};

use crate::common::{Killed, media, models, msao, root};

const FILE: &str = "video_0";
const CAMERA: &str = "video_1";

fn camera(port: u16) -> Killed {
    let mut server = Command::new("/usr/bin/python3");
    server.arg(root().join("pipeline/tests/rtsp_server.py"));
    Killed(server.arg(port.to_string()).spawn().unwrap())
}

/// The windows of an edge as they come.
struct Windows {
    connection: Connection,
    next: u64,
}

impl Windows {
    /// The streams that the next window has something of.
    async fn next(&mut self) -> BTreeSet<String> {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            if let Ok(stream) = self
                .connection
                .jetstream()
                .get_stream("MSAO_FEATURES")
                .await
                && let Ok(message) = stream.get_raw_message(self.next).await
            {
                self.next += 1;
                let window = FeatureWindow::decode(&message.payload).unwrap();
                return window
                    .tokens
                    .into_iter()
                    .map(|token| token.stream.to_string())
                    .collect();
            }
            assert!(Instant::now() < deadline, "no window comes");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the camera is in them, or is not, for three in a row; the file is in each.
    async fn until_camera(&mut self, there: bool) {
        let deadline = Instant::now() + Duration::from_secs(180);
        let mut in_a_row = 0;
        while in_a_row < 3 {
            let streams = self.next().await;
            assert!(
                streams.contains(FILE),
                "the other camera stopped: {streams:?}"
            );
            in_a_row = if streams.contains(CAMERA) == there {
                in_a_row + 1
            } else {
                0
            };
            assert!(
                Instant::now() < deadline,
                "camera there: {there} is not seen"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn camera_gone() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("edge.toml");
    // The gates let everything through, so that each window tells which cameras are there.
    let text = format!(
        "rig = 'two'
        model = '{model}'
        offload = {{ enabled = false }}
        gate = {{ mode = 'flag' }}
        window = {{ threshold = 0, min_tokens = 98, max_tokens = 98 }}
        nats = {{ url = '{url}' }}
        [[video]]
        source = '{file}'
        [[video]]
        source = 'rtsp://user:secret@127.0.0.1:{port}/camera'",
        model = models().0.display(),
        url = server.url(),
        file = media("vtest.avi").display(),
    );
    std::fs::write(&config, text).unwrap();
    let mut edge = msao(folder.path());
    edge.args(["edge", "--config"]).arg(&config);
    let log = folder.path().join("log");
    edge.stdout(Stdio::null())
        .stderr(File::create(&log).unwrap());
    let mut edge = Killed(edge.spawn().unwrap());
    let connect = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    let connection = Connection::open(&connect, AtStart::Fail).await.unwrap();
    let mut windows = Windows {
        connection,
        next: 1,
    };
    windows.until_camera(false).await;
    let first = camera(port);
    windows.until_camera(true).await;
    drop(first);
    windows.until_camera(false).await;
    let second = camera(port);
    windows.until_camera(true).await;
    drop(second);
    windows.until_camera(false).await;

    // It ends in order with a camera that is down.
    let pid = edge.0.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let begun = Instant::now();
    assert!(edge.0.wait().unwrap().success());
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "it waited for the camera"
    );
    let log = std::fs::read_to_string(log).unwrap();
    let named = format!("rtsp://127.0.0.1:{port}/camera (video_1) is gone");
    let told = log.lines().filter(|line| line.contains(&named));
    // Not there at first, and gone twice.
    assert!(told.clone().count() >= 3, "{log}");
    for line in told {
        assert!(
            line.contains("tried again") && line.contains("mend `source`"),
            "{line}"
        );
    }
    assert!(!log.contains("secret"), "{log}");
}
