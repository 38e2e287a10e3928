//! What the tests need from outside: ONNX Runtime, the models, real pictures.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

use mllm::Frame;
use rand_core::Rng;
use rand_pcg::Pcg32;

/// Size of the pictures from [`pictures`].
pub const WIDTH: u32 = 640;
pub const HEIGHT: u32 = 480;

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// ONNX Runtime's shared library.
pub fn library() -> PathBuf {
    let set = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    existing(set.unwrap_or_else(|| workspace().join(".cache/onnxruntime/libonnxruntime.so")))
}

/// A model folder, with ONNX Runtime loaded.
pub fn model(name: &str) -> PathBuf {
    mllm::runtime::init(Some(&library())).unwrap();
    existing(workspace().join("testdata/models").join(name))
}

/// The first `count` pictures, `per_second` of each second, of a video: I420 without padding, in BT.601.
pub fn pictures(media: &str, count: usize, per_second: u32) -> Vec<Vec<u8>> {
    let media = existing(workspace().join(".cache/media").join(media));
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("pictures");
    let status = Command::new("gst-launch-1.0")
        .args(["-q", "filesrc"])
        .arg(format!("location={}", media.display()))
        .args("! decodebin ! videoconvert ! videoscale ! videorate !".split(' '))
        .arg(format!(
            "video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={per_second}/1,\
             pixel-aspect-ratio=1/1,colorimetry=bt601"
        ))
        .args(["!", "identity"])
        .arg(format!("eos-after={count}"))
        .args(["!", "filesink"])
        .arg(format!("location={}", raw.display()))
        .status()
        .expect("gst-launch-1.0 is not installed: run `make setup`");
    assert!(
        status.success(),
        "gst-launch-1.0 failed on {}",
        media.display()
    );
    let bytes = std::fs::read(raw).unwrap();
    let size = (WIDTH * HEIGHT * 3 / 2) as usize;
    let pictures: Vec<_> = bytes
        .chunks_exact(size)
        .take(count)
        .map(<[u8]>::to_vec)
        .collect();
    assert_eq!(pictures.len(), count, "pictures in {}", media.display());
    pictures
}

pub fn frame(picture: &[u8]) -> Frame<'_> {
    Frame::i420(WIDTH, HEIGHT, picture).unwrap()
}

/// A random subset of `count` positions: at least one, most of them seldom.
pub fn subset(random: &mut Pcg32, count: usize) -> Vec<bool> {
    let share = random.next_u32() % 50;
    let mut keep: Vec<bool> = (0..count)
        .map(|_| random.next_u32() % 100 < share)
        .collect();
    keep[random.next_u32() as usize % count] = true;
    keep
}

fn existing(path: PathBuf) -> PathBuf {
    path.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}: run `make setup`", path.display()))
}
