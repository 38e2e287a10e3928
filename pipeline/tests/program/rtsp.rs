//! A camera on the network that is not there, comes, goes and comes again: the rig's other camera goes on.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use broker::{Connection, FeatureWindow};

use crate::common::{media, root};
use crate::process::Process;
use crate::world::{World, until};

const FILE: &str = "video_0";
const CAMERA: &str = "video_1";

fn camera(port: u16) -> Process {
    let mut server = Command::new("/usr/bin/python3");
    server.arg(root().join("pipeline/tests/rtsp_server.py"));
    server.arg(port.to_string());
    Process::start(server)
}

/// The windows of an edge as they come.
struct Windows {
    connection: Connection,
    next: u64,
}

impl Windows {
    /// The streams that the next window has something of.
    async fn next(&mut self) -> BTreeSet<String> {
        let mut found = None;
        until("a window", async || {
            let jetstream = self.connection.jetstream();
            let Ok(stream) = jetstream.get_stream("MSAO_FEATURES").await else {
                return false;
            };
            found = stream.get_raw_message(self.next).await.ok();
            found.is_some()
        })
        .await;
        self.next += 1;
        let window = FeatureWindow::decode(&found.unwrap().payload).unwrap();
        let streams = window.tokens.into_iter();
        streams.map(|token| token.stream.to_string()).collect()
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
    let world = World::new();
    // The gates let everything through, so that each window tells which cameras are there.
    let edge = format!(
        "offload = {{ enabled = false }}
        gate = {{ mode = 'flag' }}
        window = {{ threshold = 0, min_tokens = 98, max_tokens = 98 }}
        [[video]]
        source = '{file}'
        [[video]]
        source = 'rtsp://user:secret@127.0.0.1:{port}/camera'",
        file = media("vtest.avi").display(),
    );
    let edge = Process::start(world.edge(&edge));
    let connection = world.connect().await;
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
    let begun = Instant::now();
    let log = edge.stop("-TERM");
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "it waited for the camera"
    );
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
