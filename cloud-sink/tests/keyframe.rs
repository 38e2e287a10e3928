//! A window that comes as a picture, read with the models that ship.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Command;

use broker::{FeatureWindow, Token};
use cloud_sink::{Config, Error, Fault, FullModel, Verifier};
use common::workspace;
use mllm::{Frame, Probe, Provider, Trunk, tokens::quantise};

fn load(encoders: Option<&str>) -> Result<FullModel, Error> {
    common::runtime();
    FullModel::load(&Config {
        provider: Provider::Cpu,
        encoders: encoders.map(workspace),
        ..Config::new(workspace("testdata/models/msao-cloud"))
    })
}

/// The first picture of a street video, as JPEG.
fn picture() -> Vec<u8> {
    let media = workspace(".cache/media/vtest.avi");
    assert!(
        media.is_file(),
        "there is no {}: run `make setup`",
        media.display()
    );
    let folder = tempfile::tempdir().unwrap();
    let jpeg = folder.path().join("picture.jpg");
    let status = Command::new("gst-launch-1.0")
        .args(["-q", "filesrc"])
        .arg(format!("location={}", media.display()))
        .args(
            "! decodebin ! videoconvert ! identity eos-after=2 ! jpegenc snapshot=true".split(' '),
        )
        .args(["!", "filesink"])
        .arg(format!("location={}", jpeg.display()))
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::read(jpeg).unwrap()
}

fn window(keyframe: Option<Vec<u8>>) -> FeatureWindow {
    let config = mllm::Config::load(&workspace("testdata/models/msao-cloud")).unwrap();
    let mut window = common::window(0);
    window.prompt = config.default_prompt;
    window.modalities[0].encoder = config.vision_encoder.id;
    window.modalities[0].encoder_sha256 = config.vision_encoder.sha256;
    (window.draft, window.tokens) = (None, vec![]);
    window.keyframe = keyframe;
    window
}

#[test]
fn a_keyframe_is_captioned_as_all_of_its_features_are() {
    let jpeg = picture();
    let decoded = image::load_from_memory(&jpeg).unwrap().into_rgb8();
    assert_eq!(decoded.dimensions(), (768, 576));
    common::runtime();
    let edge = workspace("testdata/models/msao-edge");
    let mut probe = Probe::load(&edge, Provider::Cpu).unwrap();
    let mut trunk = Trunk::load(&edge, Provider::Cpu).unwrap();
    let frame = Frame::rgb(768, 576, decoded.as_raw()).unwrap();
    let seen = probe.run(&frame).unwrap();
    let features = trunk.run(&seen.features).unwrap();

    let mut featured = window(None);
    featured.tokens = features
        .outer_iter()
        .zip(0..)
        .map(|(row, at)| {
            let row = quantise(&row.to_vec());
            Token {
                y: at / 7,
                x: at % 7,
                scale: row.scale,
                feature: row.steps.into(),
                ..common::window(0).tokens[0].clone()
            }
        })
        .collect();

    let mut model = load(Some("testdata/models/msao-edge")).unwrap();
    let of_features = model.verify(&featured).unwrap().unwrap();
    let of_picture = model.verify(&window(Some(jpeg))).unwrap().unwrap();
    assert!(!of_picture.text.is_empty());
    assert_eq!(of_picture, of_features);
}

#[test]
fn what_cannot_be_read_is_hopeless_and_the_mend_is_named() {
    let hopeless = |model: &mut FullModel, keyframe: Vec<u8>, word: &str| {
        let Err(Fault::Hopeless(reason)) = model.verify(&window(Some(keyframe))) else {
            panic!("{word}: it was read")
        };
        assert!(reason.contains(word), "{reason}");
    };
    hopeless(&mut load(None).unwrap(), picture(), "`encoders`");
    let mut model = load(Some("testdata/models/msao-edge")).unwrap();
    hopeless(&mut model, b"no picture".to_vec(), "not a JPEG");
    hopeless(&mut model, picture()[..200].to_vec(), "not a JPEG");
    let error = load(Some("testdata/models/msao-cloud")).unwrap_err();
    assert!(error.to_string().contains("msao-cloud"), "{error}");
}
