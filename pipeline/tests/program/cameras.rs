//! Cameras that are not there, or are none, beside one that is: it goes on, and the others are named. A camera on the
//! network that goes is in `rtsp.rs`.

use std::path::Path;
use std::process::Command;

use broker::Status;
use broker::status::{self, AnyStatus};
use futures::StreamExt;

use crate::common::{media, texts};
use crate::process::Process;
use crate::world::{World, soon};

const DEVICE: &str = "/dev/video97";

/// The paths of cameras of which each fails, and the streams of a rig with one before them that is well.
fn rig(folder: &Path, clip: &str, pace: &str) -> (Vec<String>, String) {
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
    let clip = media(clip).display().to_string();
    let streams: String = std::iter::once(&clip)
        .chain(&failing)
        .map(|source| format!("[[video]]\nsource = '{source}'\npace = '{pace}'\n"))
        .collect();
    (failing, format!("preview = {{}}\n{streams}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_that_fail_leave_the_other_going_and_are_named() {
    let world = World::new();
    let (mut failing, mut streams) = rig(world.path(), "vtest.avi", "realtime");
    streams += &format!("[[video]]\nsource = '{DEVICE}'\n");
    failing.push(DEVICE.to_owned());
    let connection = world.connect().await;
    let mut statuses = status::subscribe(&connection).await.unwrap();
    let edge = Process::start(world.edge(&streams));

    let mut next = async || -> Status {
        loop {
            let status = soon("a status", statuses.next()).await;
            if let AnyStatus::Edge(status) = status.unwrap().unwrap() {
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
    let all_down = async {
        while down(&status) < failing.len() {
            status = next().await;
        }
    };
    soon("all are down", all_down).await;
    for (stream, source) in status.streams[1..].iter().zip(&failing) {
        assert_eq!(&stream.source, source);
    }
    assert_eq!(status.streams[0].problem, None);
    // What runs, and not what was asked for.
    let runs = status.provider.split(", ");
    assert!(
        runs.clone()
            .all(|name| matches!(name, "tensorrt" | "cuda" | "cpu")),
        "{}",
        status.provider
    );
    // They are all down, and it goes on.
    let before = (status.windows, status.streams[0].measured);
    let goes_on = async {
        while status.windows < before.0 + 3 || status.streams[0].measured < before.1 + 20 {
            status = next().await;
        }
    };
    soon("it goes on", goes_on).await;
    assert_eq!(down(&status), failing.len(), "{:?}", status.streams);
    let log = edge.stop("-TERM");
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
    let world = World::new();
    let (failing, streams) = rig(world.path(), "bikes.mp4", "fast");
    let output = world.edge(&streams).output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}\n{err}");
    let last = err.lines().last().unwrap_or_default();
    for source in failing {
        assert!(last.contains(&source), "{source}: {err}");
    }
}
