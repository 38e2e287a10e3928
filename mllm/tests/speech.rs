//! Silero VAD hears speech as speech, and nothing else.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;

use mllm::{Provider, SpeechDetector};

fn detector() -> SpeechDetector {
    mllm::runtime::init(Some(&common::library())).unwrap();
    let path = common::workspace().join(".cache/models/silero_vad.onnx");
    assert!(
        path.exists(),
        "{} is missing: run `make setup`",
        path.display()
    );
    SpeechDetector::load(&path, Provider::Cpu).unwrap()
}

fn speech() -> Vec<f32> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/speech.s16");
    let bytes = std::fs::read(path).unwrap();
    let (samples, _) = bytes.as_chunks::<2>();
    samples
        .iter()
        .map(|s| f32::from(i16::from_le_bytes(*s)) / 32_768.0)
        .collect()
}

fn greatest(detector: &mut SpeechDetector, samples: &[f32], piece: usize) -> f32 {
    let heard = samples
        .chunks(piece)
        .filter_map(|some| detector.push(some).unwrap());
    heard.fold(0.0, f32::max)
}

#[test]
fn speech_is_told_from_silence_tones_and_noise() {
    let mut detector = detector();
    assert!(greatest(&mut detector, &speech(), 8_000) > 0.8);
    detector.reset();
    let tone: Vec<f32> = (0..32_000).map(|i| 0.3 * (i as f32 * 0.2).sin()).collect();
    let mut state = 1u32;
    let noise: Vec<f32> = (0..32_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            0.1 * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        })
        .collect();
    for quiet in [vec![0.0; 32_000], tone, noise] {
        detector.reset();
        let found = greatest(&mut detector, &quiet, 8_000);
        assert!(found < 0.5, "{found}");
    }
}

#[test]
fn pieces_of_any_size_are_heard_alike() {
    let mut detector = detector();
    let (whole, mut small) = (greatest(&mut detector, &speech(), usize::MAX), 0.0);
    detector.reset();
    for piece in [1, 100, 511, 513] {
        small = greatest(&mut detector, &speech(), piece);
        assert_eq!(small, whole, "{piece}");
        detector.reset();
    }
    assert!(small > 0.8);
    // Too little to be judged, and what is not finite.
    assert_eq!(detector.push(&[0.0; 100]).unwrap(), None);
    let found = detector.push(&[f32::NAN; 1_000]).unwrap().unwrap();
    assert!((0.0..=1.0).contains(&found), "{found}");
}

#[test]
fn another_network_is_refused_and_named() {
    mllm::runtime::init(Some(&common::library())).unwrap();
    let other = common::model("msao-edge").join("vision_probe.onnx");
    let error = SpeechDetector::load(&other, Provider::Cpu)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("vision_probe.onnx") && error.contains("input"),
        "{error}"
    );
}
