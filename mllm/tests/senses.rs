//! Sound and sensors beside the picture: their encoders, and how a language model reads all three.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use mllm::{
    CaptionModel, Config, Error, HopNetwork, LogMel, ModalTokens, Modality, Provider, Tokens,
    log_mel,
};
use ndarray::Array2;
use tempfile::TempDir;

/// A copy of the edge model that may be spoilt.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(common::model("msao-edge")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn read(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn edit(folder: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = folder.join("config.json");
    let mut config = read(&path);
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

/// Some tokens of a modality, the same for the same seed.
fn some(config: &Config, modality: Modality, seed: usize) -> ModalTokens {
    let positions = modality.positions(config);
    let features = Array2::from_shape_fn((positions, config.image_token_size), |(p, c)| {
        ((p * 31 + c * 17 + seed * 7) % 23) as f32 / 11.0 - 1.0
    });
    let keep: Vec<bool> = (0..positions).map(|p| p % 3 == 0).collect();
    ModalTokens::kept(&features, &keep)
}

fn all(config: &Config) -> Tokens {
    Tokens {
        video: Some(some(config, Modality::Video, 1)),
        audio: Some(some(config, Modality::Audio, 2)),
        sensor: Some(some(config, Modality::Sensor, 3)),
    }
}

#[test]
fn hops_become_grids_and_tokens() {
    let folder = folder();
    let mut audio = HopNetwork::audio(folder.path(), Provider::Cpu).unwrap();
    assert_eq!((audio.about().hops, audio.about().columns), (2, 4));
    let length = log_mel::CONTEXT_SAMPLES + log_mel::HOP_SAMPLES;
    let tone: Vec<f32> = (0..length).map(|i| (i as f32 * 0.3).sin()).collect();
    let heard = audio.run(LogMel::new().hop(&tone).view()).unwrap();
    assert_eq!((heard.grid.nrows(), heard.tokens.dim()), (16, (16, 256)));
    assert!(heard.tokens.iter().all(|value| value.is_finite()));
    let broken = audio
        .run(LogMel::new().hop(&[f32::NAN; 8_240]).view())
        .unwrap();
    assert!(broken.grid.iter().any(|value| !value.is_finite()));

    let mut sensor = HopNetwork::sensor(folder.path(), Provider::Cpu).unwrap();
    assert_eq!(sensor.shape(), [7, 50]);
    let felt = sensor.run(Array2::ones((7, 50)).view()).unwrap();
    assert_eq!((felt.grid.nrows(), felt.tokens.dim()), (14, (14, 256)));
    let error = sensor
        .run(Array2::ones((7, 40)).view())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("[7, 40]") && error.contains("[7, 50]"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_with_an_encoder_is_named() {
    let bare = common::model("msao-edge");
    if Config::load(&bare).unwrap().audio_encoder.is_none() {
        let error = HopNetwork::audio(&bare, Provider::Cpu)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("msao-edge") && error.contains("audio"),
            "{error}"
        );
    }
    let swapped = folder();
    std::fs::copy(
        swapped.path().join("sensor_encoder.onnx"),
        swapped.path().join("audio_encoder.onnx"),
    )
    .unwrap();
    let error = HopNetwork::audio(swapped.path(), Provider::Cpu)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("audio_encoder.sha256") && error.contains("audio_encoder.onnx"),
        "{error}"
    );
    for (key, value, word) in [
        ("columns", serde_json::json!(5), "columns"),
        ("hops", serde_json::json!(0), "hops"),
    ] {
        let folder = folder();
        edit(folder.path(), |config| config["audio_encoder"][key] = value);
        let error = HopNetwork::audio(folder.path(), Provider::Cpu)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("audio_encoder") && error.contains(word),
            "{error}"
        );
    }
    let missing = folder();
    std::fs::remove_file(missing.path().join("audio_projector.onnx")).unwrap();
    let error = CaptionModel::load(missing.path(), Provider::Cpu)
        .unwrap_err()
        .to_string();
    assert!(error.contains("audio_projector.onnx"), "{error}");
}

#[test]
fn any_modalities_are_read_and_each_counts() {
    let folder = folder();
    let mut model = CaptionModel::load(folder.path(), Provider::Cpu).unwrap();
    let config = model.config().clone();
    let tokens = all(&config);
    let both = model.modal(&tokens, "describe", &[20, 30, 40]).unwrap();
    let found = Modality::ALL.map(|modality| both.get(modality).unwrap());
    assert!(
        found.iter().all(|beta| (0.0..=1.0).contains(beta)),
        "{found:?}"
    );
    assert!(found.contains(&1.0), "{found:?}");
    for modality in Modality::ALL {
        let rest = tokens.without(modality);
        model.draft(&rest, "describe").unwrap();
        assert_eq!(
            model.modal(&rest, "describe", &[20]).unwrap().get(modality),
            &None
        );
    }
    // A modality alone is all there is.
    let alone = Tokens {
        audio: tokens.audio.clone(),
        ..Tokens::default()
    };
    model.draft(&alone, "What is heard?").unwrap();
    assert_eq!(model.modal(&alone, "", &[20]).unwrap().audio, Some(1.0));
    let error = model.draft(&Tokens::default(), "").unwrap_err().to_string();
    assert!(error.contains("none"), "{error}");
}

#[test]
fn what_a_model_does_not_read_is_refused_by_name() {
    let folder = folder();
    let reads = Config::load(folder.path()).unwrap();
    edit(folder.path(), |config| {
        config.as_object_mut().unwrap().remove("audio_encoder");
    });
    let mut model = CaptionModel::load(folder.path(), Provider::Cpu).unwrap();
    let error = model.draft(&all(&reads), "describe").unwrap_err();
    assert!(
        matches!(
            error,
            Error::Unread {
                modality: Modality::Audio,
                ..
            }
        ),
        "{error}"
    );
    let error = model.modal(&all(&reads), "describe", &[20]).unwrap_err();
    assert!(matches!(error, Error::Unread { .. }), "{error}");
}

#[test]
fn tokens_that_travelled_are_those_that_were_sent_in_any_order() {
    let config = Config::load(folder().path()).unwrap();
    let encoder = config.audio_encoder.clone().unwrap();
    let (id, sha256) = (&encoder.encoder.id, &encoder.encoder.sha256);
    let rows = [(1, 3, 2, 0.5, &[2i8, -4][..]), (0, 0, 1, 1.0, &[7, 0][..])];
    let received = ModalTokens::received(Modality::Audio, &config, id, sha256, rows).unwrap();
    assert_eq!(received.positions, [1, 16 + 3 * 4 + 2]);
    assert_eq!(received.features, ndarray::array![[7.0, 0.0], [1.0, -2.0]]);
    let other = ModalTokens::received(Modality::Audio, &config, id, "00", rows).unwrap_err();
    assert!(matches!(other, Error::Encoder { .. }), "{other}");
    let uneven = [(0, 0, 0, 1.0, &[1i8][..]), (0, 0, 1, 1.0, &[1, 2][..])];
    let error = ModalTokens::received(Modality::Audio, &config, id, sha256, uneven).unwrap_err();
    assert!(error.to_string().contains("one length"), "{error}");
}
