//! Bad input: an error that names the thing and the mend, exit code 1, no panic, no process left.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use broker::test_server::TestServer;

use crate::common::{copy_of, media, models, msao, processes_of, root, texts};

/// Runs `msao` to its failure and gives what it said.
fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = msao(folder).args(arguments).output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}\n{err}");
    assert!(!err.contains("panicked"), "{err}");
    assert_eq!(processes_of(folder), Vec::<String>::new());
    err
}

fn demo_fails(folder: &Path, arguments: &[&str]) -> String {
    fails(folder, &[&["demo", "--fast"], arguments].concat())
}

fn assert_says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

#[test]
fn a_video_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    assert_says(
        &demo_fails(folder.path(), &["--video", "nowhere.mp4"]),
        &["nowhere.mp4", "No such file"],
    );
}

#[test]
fn a_text_named_mp4() {
    let folder = tempfile::tempdir().unwrap();
    let video = folder.path().join("text.mp4");
    std::fs::write(&video, "this is no video\n".repeat(100)).unwrap();
    let error = demo_fails(folder.path(), &["--video", &video.to_string_lossy()]);
    assert_says(
        &error,
        &["text.mp4", "not a video or a sound that can be played"],
    );
}

#[test]
fn a_video_without_frames() {
    let folder = tempfile::tempdir().unwrap();
    let video = folder.path().join("empty.avi");
    let made = Command::new("gst-launch-1.0")
        .args([
            "-q",
            "videotestsrc",
            "num-buffers=1",
            "!",
            "identity",
            "drop-probability=1",
            "!",
            "jpegenc",
            "!",
            "avimux",
            "!",
            "filesink",
        ])
        .arg(format!("location={}", video.display()))
        .status()
        .unwrap();
    assert!(made.success());
    let error = demo_fails(folder.path(), &["--video", &video.to_string_lossy()]);
    assert_says(&error, &["empty.avi"]);
}

#[test]
fn a_video_without_sound_and_a_recording_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("edge.toml");
    let (model, _) = models();
    let edge = |streams: &str| {
        let head = format!("rig = 'car'\nmodel = '{}'\n", model.display());
        std::fs::write(&config, format!("{head}{streams}")).unwrap();
        fails(
            folder.path(),
            &["edge", "--config", &config.to_string_lossy()],
        )
    };
    let video = media("bikes.mp4");
    assert_says(
        &edge(&format!("[[audio]]\nsource = '{}'\n", video.display())),
        &["bikes.mp4"],
    );
    let both = format!("source = '{}'\npace = 'fast'\n", video.display());
    assert_says(
        &edge(&format!("[[video]]\n{both}[[audio]]\n{both}")),
        &["bikes.mp4"],
    );
    let recording = folder.path().join("text.csv");
    std::fs::write(&recording, "no recording\n").unwrap();
    assert_says(
        &edge(&format!("[[sensor]]\nsource = '{}'\n", recording.display())),
        &["text.csv", "line 1"],
    );
    assert_says(&edge(""), &["edge.toml", "[[sensor]]"]);
}

#[test]
fn a_model_that_neither_hears_nor_feels() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy_of(&root().join("testdata/models/msao-edge"), folder.path());
    let path = model.join("config.json");
    let text = std::fs::read(&path).unwrap();
    let mut config: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&text).unwrap();
    config.retain(|key, _| key != "audio_encoder" && key != "sensor_encoder");
    std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    let toml = folder.path().join("edge.toml");
    for (stream, word) in [
        ("[[audio]]\nsource = 'auto'", "does not hear"),
        ("[[sensor]]\nsource = 'testdata/imu.csv'", "does not feel"),
    ] {
        let head = format!("rig = 'car'\nmodel = '{}'\n", model.display());
        std::fs::write(&toml, format!("{head}{stream}\n")).unwrap();
        let error = fails(
            folder.path(),
            &["edge", "--config", &toml.to_string_lossy()],
        );
        assert_says(
            &error,
            &["edge.toml", &model.to_string_lossy(), word, "leave out"],
        );
    }
    let model = model.to_string_lossy();
    let error = demo_fails(
        folder.path(),
        &[
            "--scene",
            "rig",
            "--edge-model",
            &model,
            "--video",
            &media("bikes.mp4").to_string_lossy(),
        ],
    );
    assert_says(&error, &[&model, "does not hear"]);
}

#[test]
fn a_model_that_lacks_a_file() {
    let folder = tempfile::tempdir().unwrap();
    for (option, model, file) in [
        ("--edge-model", "msao-edge", "vision_trunk.onnx"),
        ("--cloud-model", "msao-cloud", "tokenizer.json"),
    ] {
        let copy = folder.path().join(model);
        std::fs::create_dir(&copy).unwrap();
        for entry in std::fs::read_dir(root().join("testdata/models").join(model))
            .unwrap()
            .flatten()
        {
            if entry.file_name() != file {
                std::os::unix::fs::symlink(entry.path(), copy.join(entry.file_name())).unwrap();
            }
        }
        let video = media("bikes.mp4");
        let error = demo_fails(
            folder.path(),
            &[
                "--video",
                &video.to_string_lossy(),
                option,
                &copy.to_string_lossy(),
            ],
        );
        assert_says(&error, &[file]);
    }
}

/// The ONNX Runtime of the set-up has the CPU alone.
#[test]
fn a_provider_that_is_not_there() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let (config, kept) = (folder.path().join("rig.toml"), folder.path().join("kept"));
    let (edge, full) = models();
    let path = config.to_string_lossy().into_owned();
    for (provider, library) in [
        ("cuda", "libonnxruntime_providers_cuda.so"),
        ("tensorrt", "libnvinfer.so.10"),
    ] {
        let edge = format!(
            "rig = 'car'\nmodel = '{}'\nvideo = [{{ source = '{}' }}]\n",
            edge.display(),
            media("bikes.mp4").display()
        );
        let cloud = format!("model = '{}'\n", full.display());
        for (command, mut text) in [("edge", edge), ("cloud", cloud)] {
            text += &format!(
                "provider = '{provider}'\nnats = {{ url = '{}' }}\n",
                server.url()
            );
            if provider == "tensorrt" {
                text += &format!("tensorrt = {{ engine_cache = '{}' }}\n", kept.display());
            }
            std::fs::write(&config, text).unwrap();
            let error = fails(folder.path(), &[command, "--config", &path]);
            assert_says(
                &error,
                &[&format!("provider `{provider}`"), ".onnx", library],
            );
        }
    }
    assert!(kept.is_dir(), "the settings were not looked at");
}

#[test]
fn a_port_that_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let video = media("bikes.mp4");
    let error = demo_fails(
        folder.path(),
        &["--port", &port, "--video", &video.to_string_lossy()],
    );
    assert_says(&error, &[&port, "leave --port out"]);
}

#[test]
fn no_nats_server() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago, on which nothing listens.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("nats://127.0.0.1:{port}");
    assert_says(&fails(folder.path(), &["watch", "--nats", &url]), &[&url]);

    let config = folder.path().join("cloud.toml");
    let model = root().join("testdata/models/msao-cloud");
    std::fs::write(
        &config,
        format!(
            "model = '{}'\nnats = {{ url = '{url}' }}\n",
            model.display()
        ),
    )
    .unwrap();
    assert_says(
        &fails(
            folder.path(),
            &["cloud", "--config", &config.to_string_lossy()],
        ),
        &[&url],
    );

    let said = msao(folder.path())
        .args(["doctor", "--nats", &url])
        .output()
        .unwrap();
    let (out, _) = texts(&said);
    assert_eq!(said.status.code(), Some(1));
    assert_says(
        &out,
        &[
            "ok     ONNX Runtime",
            "ok     edge model",
            "ok     full model",
            "ok     provider",
            "fault  NATS",
            &url,
        ],
    );
}

#[test]
fn a_configuration_with_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bad.toml");
    let path = config.to_string_lossy().into_owned();
    std::fs::write(&config, "model = 'm'\nmodle = 'n'\n").unwrap();
    assert_says(
        &fails(folder.path(), &["cloud", "--config", &path]),
        &["bad.toml", "line 2", "modle"],
    );
    assert_says(
        &fails(folder.path(), &["cloud", "--config", "nowhere.toml"]),
        &["nowhere.toml"],
    );
}

#[test]
fn the_configurations_that_ship_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let printed = msao(folder.path())
        .args(["edge", "--print-pipeline", "--config", "configs/edge.toml"])
        .output()
        .unwrap();
    let (out, err) = texts(&printed);
    assert!(printed.status.success(), "{err}");
    assert_says(
        &out,
        &[
            "msaovideomas",
            "msaogate",
            "msaowindow",
            "msaodraft",
            "msaonatssink",
            "rig=street",
        ],
    );
    let text = std::fs::read_to_string(root().join("configs/cloud.toml")).unwrap();
    toml::from_str::<cloud_sink::Config>(&text).unwrap();
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let mut printing = msao(folder.path())
        .args(["edge", "--print-pipeline", "--config", "configs/edge.toml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(printing.stdout.take());
    let output = printing.wait_with_output().unwrap();
    let (_, err) = texts(&output);
    assert!(output.status.success(), "{err}");
    assert_eq!(err, "");
}
