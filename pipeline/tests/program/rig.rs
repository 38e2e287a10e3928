//! A rig that sees, hears and feels: from its configuration to final captions.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use broker::captions::{self, From};
use broker::connect::AtStart;
use broker::test_server::TestServer;
use broker::{CaptionStatus, ConnectConfig, Connection, FeatureWindow, Modality, StreamsConfig};

use crate::common::{Killed, media, models, msao, plugin_folder, root, texts};

const ALL: [Modality; 3] = [Modality::Video, Modality::Audio, Modality::Sensor];

/// The configuration of a rig with all three modalities, whose clip's path is hard on shells.
fn config(folder: &Path, model: &Path, url: &str) -> PathBuf {
    let clip = folder.join("a clip of $5 `and` more.mp4");
    std::os::unix::fs::symlink(media("bigbuckbunny.mp4"), &clip).unwrap();
    let imu = std::fs::read_to_string(root().join("testdata/imu.csv")).unwrap();
    let ride: Vec<&str> = imu.lines().take(601).collect();
    std::fs::write(folder.join("ride.csv"), ride.join("\n")).unwrap();
    let path = folder.join("edge.toml");
    let (clip, model, folder) = (clip.display(), model.display(), folder.display());
    let text = format!(
        "rig = 'car'
        model = '{model}'
        video = [{{ source = '{clip}', pace = 'fast' }}]
        audio = [{{ source = '{clip}', pace = 'fast' }}]
        sensor = [{{ source = '{folder}/ride.csv', pace = 'fast' }}]
        nats = {{ url = '{url}' }}"
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_picture_sound_and_motion_reach_one_final_caption() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let (model, full) = models();
    let edge = config(folder.path(), &model, &server.url());
    // Without a planner nothing depends on when the worker comes.
    let mut text = std::fs::read_to_string(&edge).unwrap();
    text += "\noffload = { enabled = false }";
    std::fs::write(&edge, text).unwrap();
    let cloud = folder.path().join("cloud.toml");
    let text = format!(
        "model = '{}'\nagreement = 'exact'\nnats = {{ url = '{}' }}",
        full.display(),
        server.url()
    );
    std::fs::write(&cloud, text).unwrap();
    let mut worker = msao(folder.path());
    worker.args(["cloud", "--config"]).arg(&cloud);
    let _worker = Killed(worker.stdout(Stdio::null()).spawn().unwrap());
    let output = msao(folder.path())
        .args(["edge", "--config"])
        .arg(&edge)
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");
    assert!(!err.contains("WARN"), "{err}");

    let connect = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    let connection = Connection::open(&connect, AtStart::Fail).await.unwrap();
    let features = connection
        .jetstream()
        .get_stream("MSAO_FEATURES")
        .await
        .unwrap();
    let state = features.cached_info().state.clone();
    let mut whole = BTreeSet::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let message = features.get_raw_message(sequence).await.unwrap();
        let window = FeatureWindow::decode(&message.payload).unwrap();
        let of = |modality| window.tokens.iter().any(|token| token.modality == modality);
        let drafted = window
            .draft
            .as_ref()
            .is_some_and(|draft| !draft.token_ids.is_empty());
        if ALL.into_iter().all(of) && drafted {
            whole.insert(window.id);
        }
    }
    assert!(!whole.is_empty(), "{err}");

    let mut captions = captions::subscribe(
        &connection,
        &StreamsConfig::default(),
        Some(&"car".parse().unwrap()),
        From::Beginning,
    )
    .await
    .unwrap();
    let finals = async {
        while !whole.is_empty() {
            let caption = captions.next().await.unwrap();
            let senses: BTreeSet<_> = caption.mas.iter().map(|stream| stream.modality).collect();
            if whole.contains(&caption.id) {
                assert_eq!(senses, BTreeSet::from(ALL), "{caption:?}");
                if caption.status != CaptionStatus::Draft {
                    assert!(caption.accepted_tokens.is_some(), "{caption:?}");
                    whole.remove(&caption.id);
                }
            }
        }
    };
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, finals)
        .await
        .expect("a final caption of each");
}

#[test]
fn the_printed_line_runs_in_gst_launch() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let (model, _) = models();
    let config = config(folder.path(), &model, &server.url());
    let line = print_pipeline(folder.path(), &config);
    let (out, err) = launch(&line);
    assert!(out.contains("msao-draft"), "{line}\n{out}\n{err}");
}

#[test]
fn the_demo_shows_all_three() {
    let folder = tempfile::tempdir().unwrap();
    let (model, full) = models();
    let output = msao(folder.path())
        .args(["demo", "--scene", "rig", "--fast", "--agreement", "exact"])
        .arg("--video")
        .arg(media("bigbuckbunny.mp4"))
        .arg("--edge-model")
        .arg(model)
        .arg("--cloud-model")
        .arg(full)
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");
    assert!(!err.contains("WARN"), "{err}");
    for row in ["video_0", "audio_0", "sensor_0", "hops"] {
        let begins = format!("  {row:<18}");
        assert!(
            out.lines().any(|line| line.starts_with(&begins)),
            "{row}: {out}"
        );
    }
    let drafts = out.lines().filter(|line| line.contains(" s  draft"));
    let all = |line: &&str| {
        ["video", "audio", "sensor"]
            .iter()
            .all(|sense| line.contains(sense))
    };
    assert!(drafts.filter(all).count() >= 1, "{out}");
}

#[test]
fn the_demo_of_four_cameras_tells_of_each_stream() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = msao(folder.path());
    demo.args(["demo", "--scene", "rig4"])
        .stdout(Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut out = Vec::new();
    let mut drafts = 0;
    while drafts < 6 {
        let line = lines.next().expect("it goes on").unwrap();
        drafts += usize::from(line.contains(" s  draft") || line.contains(" s  kept"));
        out.push(line);
    }
    let pid = demo.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    out.extend(lines.map(Result::unwrap));
    assert!(demo.wait().unwrap().success(), "{out:#?}");
    for (row, clip) in [
        ("video_0", "street.mkv"),
        ("video_1", "bikes.mkv"),
        ("video_2", "phone.mkv"),
        ("video_3", "film.mkv"),
        ("audio_0", "film.mkv"),
        ("sensor_0", "imu.csv"),
    ] {
        let begins = format!("  {row:<18}{clip}: ");
        let line = out.iter().find(|line| line.starts_with(&begins));
        let line = line.unwrap_or_else(|| panic!("{row}: {out:#?}"));
        assert!(line.contains("(beta)") && line.contains("(MAS)"), "{line}");
        assert!(!line.contains(": 0 "), "{line}");
    }
    let whole = out.iter().filter(|line| {
        ["video", "audio", "sensor"]
            .iter()
            .all(|sense| line.contains(sense))
            && line.contains("beta:")
    });
    assert!(whole.count() >= 1, "{out:#?}");
}

#[test]
fn the_line_of_the_rig_of_four_cameras_runs_in_gst_launch() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    // As it is, but for the server, and as fast as it can.
    let text = std::fs::read_to_string(root().join("configs/rig4.toml")).unwrap();
    let text = text
        .replace("loop = true", "")
        .replace("source =", "pace = 'fast'\nsource =");
    let config = folder.path().join("edge.toml");
    std::fs::write(
        &config,
        format!("{text}\n[nats]\nurl = '{}'\n", server.url()),
    )
    .unwrap();
    let line = print_pipeline(folder.path(), &config);
    let (out, err) = launch(&line);
    for stream in [
        "video_0", "video_1", "video_2", "video_3", "audio_0", "sensor_0",
    ] {
        assert!(line.contains(&format!("window.{stream}")), "{line}");
    }
    assert!(out.contains("msao-draft"), "{line}\n{out}\n{err}");
}

fn print_pipeline(folder: &Path, config: &Path) -> String {
    let printed = msao(folder)
        .args(["edge", "--print-pipeline", "--config"])
        .arg(config)
        .output()
        .unwrap();
    let (line, err) = texts(&printed);
    assert!(printed.status.success(), "{err}");
    line
}

/// Runs a line in gst-launch-1.0 to its end.
fn launch(line: &str) -> (String, String) {
    let plugin = plugin_folder();
    let launched = Command::new("sh")
        .args([
            "-c",
            &format!("timeout 240 gst-launch-1.0 -m {}", line.trim()),
        ])
        .current_dir(root())
        .env("GST_PLUGIN_PATH", plugin.path())
        .env("GST_REGISTRY", plugin.path().join("registry.bin"))
        .env(
            "ORT_DYLIB_PATH",
            root().join(".cache/onnxruntime/libonnxruntime.so"),
        )
        .output()
        .unwrap();
    let (out, err) = texts(&launched);
    assert!(launched.status.success(), "{line}\n{out}\n{err}");
    (out, err)
}
