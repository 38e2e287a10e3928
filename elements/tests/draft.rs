//! `msaodraft`: what it adds to a window, and what it refuses.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use broker::{FeatureWindow, Modality, ModalityReport, Token, WindowId};
use common::*;
use gst::prelude::*;
use gst_check::Harness;
use offload::Action;

/// A window with tokens at `positions`.
fn window(positions: &[u16]) -> FeatureWindow {
    let config = mllm::Config::load(Path::new(&model())).unwrap();
    let stream = "video_0".to_owned();
    FeatureWindow {
        id: WindowId {
            rig: "car-7".parse().unwrap(),
            epoch: ulid::Ulid::from_parts(1, 2),
            seq: 3,
        },
        start_utc_ns: 1_000,
        end_utc_ns: 2_000,
        start_running_ns: 0,
        end_running_ns: 1_000,
        prompt: config.default_prompt,
        decision: Action::Offload,
        modalities: vec![ModalityReport {
            modality: Modality::Video,
            stream: stream.clone(),
            rho: 0.5,
            gamma: 0.5,
            beta: 1.0,
            mas: 0.5,
            encoder: config.vision_encoder.id,
            encoder_sha256: config.vision_encoder.sha256,
        }],
        draft: None,
        tokens: positions
            .iter()
            .map(|position| Token {
                modality: Modality::Video,
                stream: stream.clone(),
                t: 0,
                y: position / 7,
                x: position % 7,
                importance: 0.5,
                scale: 0.01,
                feature: (0..256)
                    .map(|i| ((i * 7 + i32::from(*position)) % 200 - 100) as i8)
                    .collect(),
            })
            .collect(),
        tokens_possible: 49,
        frames_in: 10,
        frames_kept: 2,
        flags: vec![],
        closed_utc_ns: 3_000,
        drafted_utc_ns: 3_000,
    }
}

fn draft() -> (Harness, gst::Element) {
    init();
    let element = make_with_model("msaodraft");
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps_str("application/x-msao-window,schema=features/1.0");
    (harness, element)
}

fn buffer(bytes: Vec<u8>) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(bytes);
    let inner = buffer.get_mut().unwrap();
    inner.set_pts(gst::ClockTime::from_seconds(7));
    inner.set_duration(gst::ClockTime::SECOND);
    buffer
}

#[test]
fn a_window_gets_a_draft_and_is_to_be_verified() {
    let (mut harness, element) = draft();
    let bus = bus(&element);
    let before = window(&[0, 6, 7, 48]);
    let out = harness
        .push_and_pull(buffer(before.encode().unwrap()))
        .unwrap();
    assert_eq!(out.pts(), Some(gst::ClockTime::from_seconds(7)));
    assert_eq!(out.duration(), Some(gst::ClockTime::SECOND));
    let mut after = FeatureWindow::decode(&out.map_readable().unwrap()).unwrap();
    let draft = after.draft.take().unwrap();
    assert_eq!(after.decision, Action::Verify);
    assert!(after.drafted_utc_ns > 3_000);
    after.decision = before.decision;
    after.drafted_utc_ns = before.drafted_utc_ns;
    assert_eq!(after, before);

    // The model itself says the same of the same tokens.
    let mut model = mllm::CaptionModel::load(Path::new(&model()), mllm::Provider::Cpu).unwrap();
    let rows: Vec<f32> = before
        .tokens
        .iter()
        .flat_map(|token| mllm::tokens::restore(token.scale, &token.feature))
        .collect();
    let tokens = mllm::Tokens::from(mllm::ModalTokens {
        positions: vec![0, 6, 7, 48],
        features: ndarray::Array2::from_shape_vec((4, 256), rows).unwrap(),
    });
    let caption = model.draft(&tokens, &before.prompt).unwrap();
    assert_eq!(
        (draft.text, draft.token_ids),
        (caption.text, caption.token_ids)
    );

    let message = bus.pop_filtered(&[gst::MessageType::Element]).unwrap();
    let structure = message.structure().unwrap();
    assert_eq!(structure.name(), "msao-draft");
    assert_eq!(
        structure.get::<String>("id").unwrap(),
        before.id.to_string()
    );
    assert_eq!(
        structure.get::<f32>("confidence").unwrap(),
        draft.confidence
    );
    assert_eq!(stats::<u64>(&element, "drafted"), 1);
}

#[test]
fn a_window_without_video_goes_on_without_a_draft() {
    let (mut harness, element) = draft();
    let before = window(&[]);
    let out = harness
        .push_and_pull(buffer(before.encode().unwrap()))
        .unwrap();
    assert_eq!(
        FeatureWindow::decode(&out.map_readable().unwrap()).unwrap(),
        before
    );
    assert_eq!(stats::<u64>(&element, "windows"), 1);
    assert_eq!(stats::<u64>(&element, "drafted"), 0);
}

#[test]
fn what_is_no_window_or_of_another_encoder_is_an_error() {
    let (mut harness, element) = draft();
    let bus = bus(&element);
    assert_eq!(
        harness.push(buffer(b"garbage".to_vec())),
        Err(gst::FlowError::Error)
    );
    assert!(error_on(&bus).starts_with("not a window"));
    let mut other = window(&[1]);
    other.modalities[0].encoder = "elsewhere".to_owned();
    other.modalities[0].encoder_sha256 = "0".repeat(64);
    assert_eq!(
        harness.push(buffer(other.encode().unwrap())),
        Err(gst::FlowError::Error)
    );
    let error = error_on(&bus);
    assert!(
        error.contains("`elsewhere`") && error.contains("one release"),
        "{error}"
    );
}

#[test]
fn a_model_that_does_not_load_is_an_error_that_names_the_file() {
    init();
    let folder = model_copy();
    std::fs::write(
        folder.path().join("decoder_model_merged.onnx"),
        b"not a network",
    )
    .unwrap();
    let element = make("msaodraft");
    element.set_property("model", folder.path().to_str());
    let error = start_failure(&element);
    assert!(error.contains("decoder_model_merged.onnx"), "{error}");
}
