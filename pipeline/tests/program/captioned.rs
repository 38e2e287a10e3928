//! Captions on the picture: a draft first, then the cloud's word in its place.

use std::process::Command;

use crate::common::{finished, media, models, plugin_folder, root, texts};
use crate::process::Process;
use crate::world::World;

/// Frames of a video as gray pictures of 320 x 240, ten a second.
fn frames(video: &std::path::Path) -> Vec<Vec<u8>> {
    let output = Command::new("gst-launch-1.0")
        .args(["-q", "filesrc"])
        .arg(format!("location={}", video.display()))
        .args("! decodebin ! videoconvert ! videoscale ! videorate".split(' '))
        .args("! video/x-raw,format=GRAY8,width=320,height=240,framerate=10/1 ! fdsink".split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    let frames = output.stdout.chunks_exact(320 * 240);
    frames.map(<[u8]>::to_vec).collect()
}

/// How many pixels of the lower third are as white as the text.
fn white(frame: &[u8]) -> usize {
    frame[320 * 160..].iter().filter(|&&y| y > 220).count()
}

#[test]
fn a_draft_is_on_the_picture_at_once_and_the_last_word_replaces_it() {
    let work = World::new();
    let _worker = Process::start(work.cloud(""));
    let (url, folder) = (work.server.url(), plugin_folder());
    let clip = media("bikes.mp4");
    let line = format!(
        "gst-launch-1.0 filesrc location={clip} ! decodebin ! videoconvert ! clocksync ! tee name=video \
         video. ! queue ! msaovideomas ! msaogate ! msaowindow rig=bikes ! msaodraft ! msaonatssink url={url} \
         video. ! queue ! videoscale ! video/x-raw,width=640,height=480 ! \
             textoverlay name=overlay font-desc='Sans 24' wait-text=false ! videoconvert ! \
             x264enc tune=zerolatency ! mp4mux ! filesink location=captioned.mp4 \
         msaocaptionsrc rig=bikes url={url} num-buffers=90 ! tee name=text ! queue ! overlay.text_sink \
         text. ! queue ! multifilesink location=%05d.txt next-file=buffer",
        clip = clip.display()
    );
    let mut launch = Command::new("sh");
    launch
        .args(["-c", &format!("timeout 60 {line}")])
        .current_dir(work.path())
        .env("GST_PLUGIN_PATH", folder.path())
        .env("GST_REGISTRY", folder.path().join("registry.bin"))
        .env("MSAO_MODEL_DIR", models().0)
        .env(
            "ORT_DYLIB_PATH",
            root().join(".cache/onnxruntime/libonnxruntime.so"),
        );
    finished(&mut launch);
    if let Some(kept) = std::env::var_os("MSAO_KEEP") {
        std::fs::copy(work.path().join("captioned.mp4"), kept).unwrap();
    }

    // What is on the screen, a file for each tenth of a second.
    let said: Vec<String> = (0..)
        .map_while(|n| std::fs::read_to_string(work.path().join(format!("{n:05}.txt"))).ok())
        .collect();
    let is_draft = |text: &str| text.ends_with(" …");
    let replaced = said.windows(2).any(|two| {
        let [before, after] = [two[0].as_str(), two[1].as_str()];
        is_draft(before) && !after.is_empty() && !is_draft(after)
    });
    assert!(replaced, "no draft was replaced: {said:?}");

    let plain = frames(&clip);
    let captioned = frames(&work.path().join("captioned.mp4"));
    assert!(
        captioned.len().abs_diff(plain.len()) <= 5,
        "{} frames, {} of them captioned",
        plain.len(),
        captioned.len()
    );
    let written = plain.iter().zip(&captioned);
    let written = written.filter(|(plain, captioned)| white(captioned) > white(plain) + 100);
    assert!(
        written.count() > plain.len() / 2,
        "text is on less than half of the frames"
    );
}
