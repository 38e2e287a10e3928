//! A rig that sees, hears and feels: from its configuration to final captions.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use broker::{CaptionStatus, Modality};

use crate::common::{finished, media, models, msao, plugin_folder, root};
use crate::process::Process;
use crate::world::{World, listen, soon, windows};

const ALL: [Modality; 3] = [Modality::Video, Modality::Audio, Modality::Sensor];

/// The streams of a rig with all three modalities, whose clip's path is hard on shells.
fn streams(folder: &Path) -> String {
    let clip = folder.join("a clip of $5 `and` more.mp4");
    std::os::unix::fs::symlink(media("bigbuckbunny.mp4"), &clip).unwrap();
    let imu = std::fs::read_to_string(root().join("testdata/imu.csv")).unwrap();
    let ride: Vec<&str> = imu.lines().take(601).collect();
    std::fs::write(folder.join("ride.csv"), ride.join("\n")).unwrap();
    let (clip, folder) = (clip.display(), folder.display());
    format!(
        "video = [{{ source = '{clip}', pace = 'fast' }}]
        audio = [{{ source = '{clip}', pace = 'fast' }}]
        sensor = [{{ source = '{folder}/ride.csv', pace = 'fast' }}]"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_picture_sound_and_motion_reach_one_final_caption() {
    let world = World::new();
    let _worker = Process::start(world.cloud("agreement = 'exact'"));
    // Without a planner nothing depends on when the worker comes.
    let edge = streams(world.path()) + "\noffload = { enabled = false }";
    let (_, err) = finished(&mut world.edge(&edge));
    assert!(!err.contains("WARN"), "{err}");

    let connection = world.connect().await;
    let mut whole = BTreeSet::new();
    for window in windows(&connection).await {
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

    let mut captions = listen(&connection).await;
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
    soon("a final caption of each", finals).await;
}

#[test]
fn the_printed_line_runs_in_gst_launch() {
    let world = World::new();
    let line = print_pipeline(&mut world.edge(&streams(world.path())));
    let (out, err) = launch(&line);
    assert!(out.contains("msao-draft"), "{line}\n{out}\n{err}");
}

#[test]
fn the_demo_shows_all_three() {
    let folder = tempfile::tempdir().unwrap();
    let (model, full) = models();
    let mut demo = msao(folder.path());
    demo.args(["demo", "--scene", "rig", "--fast", "--agreement", "exact"])
        .arg("--video")
        .arg(media("bigbuckbunny.mp4"))
        .arg("--edge-model")
        .arg(model)
        .arg("--cloud-model")
        .arg(full);
    let (out, err) = finished(&mut demo);
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
    demo.args(["demo", "--scene", "rig4"]);
    let demo = Process::start(demo);
    let drafts = |said: &str| said.matches(" s  draft").count() + said.matches(" s  kept").count();
    demo.until(|said| drafts(said) >= 6);
    let out = demo.stop("-INT");
    for (row, clip) in [
        ("video_0", "street.mkv"),
        ("video_1", "bikes.mkv"),
        ("video_2", "phone.mkv"),
        ("video_3", "film.mkv"),
        ("audio_0", "film.mkv"),
        ("sensor_0", "imu.csv"),
    ] {
        let begins = format!("  {row:<18}{clip}: ");
        let line = out.lines().find(|line| line.starts_with(&begins));
        let line = line.unwrap_or_else(|| panic!("{row}: {out}"));
        assert!(line.contains("(beta)") && line.contains("(MAS)"), "{line}");
        assert!(!line.contains(": 0 "), "{line}");
    }
    let whole = out.lines().filter(|line| {
        ["video", "audio", "sensor"]
            .iter()
            .all(|sense| line.contains(sense))
            && line.contains("beta:")
    });
    assert!(whole.count() >= 1, "{out}");
}

#[test]
fn the_line_of_the_rig_of_four_cameras_runs_in_gst_launch() {
    let world = World::new();
    let line = print_pipeline(&mut world.example("rig4"));
    let (out, err) = launch(&line);
    for stream in [
        "video_0", "video_1", "video_2", "video_3", "audio_0", "sensor_0",
    ] {
        assert!(line.contains(&format!("window.{stream}")), "{line}");
    }
    assert!(out.contains("msao-draft"), "{line}\n{out}\n{err}");
}

fn print_pipeline(edge: &mut Command) -> String {
    finished(edge.arg("--print-pipeline")).0
}

/// Runs a line in gst-launch-1.0 to its end.
fn launch(line: &str) -> (String, String) {
    let plugin = plugin_folder();
    let mut launched = Command::new("sh");
    launched
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
        );
    finished(&mut launched)
}
