//! `msao init`: a file that `msao check` passes and `msao edge` runs.

use std::path::Path;

use broker::test_server::TestServer;

use crate::common::{finished, media, msao, texts};
use crate::process::Process;

fn init(folder: &Path, nats: &str, arguments: &[&str]) -> (bool, String, String) {
    let mut command = msao(folder);
    command.arg("init").args(arguments).env("MSAO_NATS", nats);
    let output = command.output().unwrap();
    let (out, err) = texts(&output);
    assert!(!err.contains("panicked"), "{err}");
    (output.status.success(), out, err)
}

#[test]
fn what_is_found_is_told_and_the_file_passes_check_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let path = folder.path().join("edge.toml");
    let file = path.to_string_lossy();
    let clip = media("bikes.mp4");
    let clip = clip.to_string_lossy();
    let asked = ["--rig", "car-7", "--out", &file, "--video", &clip];
    let (done, out, err) = init(folder.path(), &server.url(), &asked);
    assert!(done, "{out}{err}");
    for words in [
        "found    video",
        "found    model",
        "found    NATS",
        &server.url(),
        &format!("msao edge --config {file}"),
    ] {
        assert!(out.contains(words), "{words}\n{out}");
    }
    assert!(
        out.contains("camera") && out.contains("microphone"),
        "{out}"
    );

    let run = |command: &str| finished(msao(folder.path()).args([command, "--config", &file]));
    run("check");
    run("edge");
    let mut watch = msao(folder.path());
    watch
        .args(["watch", "--rig", "car-7", "--all", "--json", "--nats"])
        .arg(server.url());
    let line = Process::start(watch).line("{");
    assert!(line.contains("car-7/"), "{line}");
}

#[test]
fn a_file_that_is_there_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.toml");
    std::fs::write(&path, "# mine").unwrap();
    let file = path.to_string_lossy();
    let (done, _, err) = init(folder.path(), "nats://127.0.0.1:1", &["--out", &file]);
    assert!(!done && err.contains("--force"), "{err}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "# mine");
    let forced = [
        "--out",
        &file,
        "--force",
        "--video",
        "rtsp://joe:pass@camera/1",
    ];
    let (done, out, err) = init(folder.path(), "nats://127.0.0.1:1", &forced);
    assert!(done, "{err}");
    // What is missing is no error, and has a mend; a camera's password is in the file alone.
    assert!(
        out.contains("missing  NATS") && out.contains("nats-server -js"),
        "{out}"
    );
    assert!(
        !out.contains("joe:pass") && out.contains("rtsp://camera/1"),
        "{out}"
    );
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("rtsp://joe:pass@camera/1"), "{text}");
}

#[test]
fn a_video_that_is_not_there_is_an_error_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.toml");
    let asked = ["--out", &path.to_string_lossy(), "--video", "nowhere.mp4"];
    let (done, _, err) = init(folder.path(), "nats://127.0.0.1:1", &asked);
    assert!(!done && err.contains("nowhere.mp4"), "{err}");
    assert!(!path.exists());
}
