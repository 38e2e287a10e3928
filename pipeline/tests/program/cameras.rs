//! Cameras that are not there, or are none, beside one that is: it goes on, and the others are named. A camera on the
//! network that goes is in `rtsp.rs`.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use broker::connect::AtStart;
use broker::status::{self, AnyStatus};
use broker::test_server::TestServer;
use broker::{ConnectConfig, Connection, Status};
use futures::StreamExt;

use crate::common::{Killed, media, models, msao, texts};

const DEVICE: &str = "/dev/video97";

/// A rig whose first camera is well; the paths of the others, each of which fails, come first.
fn rig(folder: &Path, url: &str, clip: &str, pace: &str) -> Vec<String> {
    assert!(!Path::new(DEVICE).exists(), "{DEVICE} is there");
    let path = |name: &str| folder.join(name).display().to_string();
    let (missing, text, half) = (path("missing.mp4"), path("text.mp4"), path("half.mp4"));
    let interlaced = path("interlaced.mkv");
    std::fs::write(&text, "this is no video\n".repeat(100)).unwrap();
    let whole = std::fs::read(media("bikes.mp4")).unwrap();
    std::fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    let mut made = Command::new("sh");
    made.args(["-c", &format!(
        "gst-launch-1.0 -q videotestsrc num-buffers=20 ! \
         video/x-raw,format=I420,framerate=10/1,interlace-mode=interleaved,field-order=top-field-first ! \
         x264enc interlaced=true ! h264parse ! matroskamux ! filesink location={interlaced}"
    )]);
    assert!(made.status().unwrap().success());
    let failing = vec![missing, text, half, interlaced];
    let streams: String = (failing.iter())
        .map(|source| format!("[[video]]\nsource = '{source}'\npace = '{pace}'\n"))
        .collect();
    let head = format!(
        "rig = 'four'\nmodel = '{}'\nnats = {{ url = '{url}' }}\npreview = {{}}\n[[video]]\nsource = '{}'\npace = '{pace}'\n{streams}",
        models().0.display(),
        media(clip).display(),
    );
    std::fs::write(folder.join("edge.toml"), head).unwrap();
    failing
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_that_fail_leave_the_other_going_and_are_named() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let mut failing = rig(folder.path(), &server.url(), "vtest.avi", "realtime");
    let config = folder.path().join("edge.toml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text += &format!("[[video]]\nsource = '{DEVICE}'\n");
    std::fs::write(&config, text).unwrap();
    failing.push(DEVICE.to_owned());
    let connect = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    let connection = Connection::open(&connect, AtStart::Fail).await.unwrap();
    let mut statuses = status::subscribe(&connection).await.unwrap();
    let log = folder.path().join("log");
    let mut edge = msao(folder.path());
    edge.args(["edge", "--config"]).arg(&config);
    edge.stdout(Stdio::null())
        .stderr(File::create(&log).unwrap());
    let mut edge = Killed(edge.spawn().unwrap());

    let deadline = Instant::now() + Duration::from_secs(180);
    let mut next = async || -> Status {
        loop {
            let said = || std::fs::read_to_string(&log).unwrap();
            assert!(Instant::now() < deadline, "{}", said());
            let status = tokio::time::timeout(Duration::from_secs(60), statuses.next()).await;
            if let AnyStatus::Edge(status) = status
                .unwrap_or_else(|_| panic!("{}", said()))
                .unwrap()
                .unwrap()
            {
                return status;
            }
        }
    };
    let down = |status: &Status| {
        status
            .streams
            .iter()
            .filter(|one| one.problem.is_some())
            .count()
    };
    let mut status = next().await;
    while down(&status) < failing.len() {
        status = next().await;
    }
    for (stream, source) in status.streams[1..].iter().zip(&failing) {
        assert_eq!(&stream.source, source);
    }
    assert_eq!(status.streams[0].problem, None);
    // They are all down, and it goes on.
    let before = (status.windows, status.streams[0].measured);
    while status.windows < before.0 + 3 || status.streams[0].measured < before.1 + 20 {
        status = next().await;
    }
    assert_eq!(down(&status), failing.len(), "{:?}", status.streams);
    let pid = edge.0.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(edge.0.wait().unwrap().success());
    let log = std::fs::read_to_string(&log).unwrap();
    let again = "start the edge again";
    for (source, mend) in failing
        .iter()
        .zip([again, again, again, again, "tried again"])
    {
        let line = log
            .lines()
            .find(|line| line.contains(source) && line.contains(mend));
        assert!(
            line.is_some_and(|line| line.contains("mend `source`")),
            "{source}: {log}"
        );
    }
}

#[test]
fn at_the_end_the_files_that_were_given_up_are_an_error() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let failing = rig(folder.path(), &server.url(), "bikes.mp4", "fast");
    let output = msao(folder.path())
        .args(["edge", "--config"])
        .arg(folder.path().join("edge.toml"))
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}\n{err}");
    let last = err.lines().last().unwrap_or_default();
    for source in failing {
        assert!(last.contains(&source), "{source}: {err}");
    }
}
