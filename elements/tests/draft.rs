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
        start_utc_ns: 1_000,
        end_utc_ns: 2_000,
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
        tokens: positions
            .iter()
            .map(|position| Token {
                modality: Modality::Video,
                stream: stream.as_str().into(),
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
        closed_utc_ns: 3_000,
        drafted_utc_ns: 3_000,
        ..FeatureWindow::empty(WindowId {
            rig: "car-7".parse().unwrap(),
            epoch: ulid::Ulid::from_parts(1, 2),
            seq: 3,
        })
    }
}

fn draft() -> (Harness, gst::Element) {
    init();
    let element = make_with_model("msaodraft");
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps_str("application/x-msao-window,schema=features/1.1");
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
fn a_window_without_tokens_goes_on_without_a_draft() {
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

/// `msaodraft` with a model that hears and feels.
struct Sensing {
    harness: Harness,
    element: gst::Element,
}

fn sensing(properties: &[(&str, &str)]) -> Sensing {
    init();
    let element = make_with_model("msaodraft");
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps_str("application/x-msao-window,schema=features/1.1");
    Sensing { harness, element }
}

impl Sensing {
    fn config(&self) -> mllm::Config {
        mllm::Config::load(model().as_ref()).unwrap()
    }

    fn model(&self) -> mllm::CaptionModel {
        mllm::CaptionModel::load(model().as_ref(), mllm::Provider::Cpu).unwrap()
    }

    /// A window of picture, sound and sensors that starts at so many seconds.
    fn window(&self, second: u64) -> FeatureWindow {
        let config = self.config();
        let mut window = window(&[0, 6, 7, 48]);
        window.start_running_ns = second * 1_000 * MS;
        window.end_running_ns = window.start_running_ns + 1_000 * MS;
        for (modality, encoder) in [
            (Modality::Audio, config.audio_encoder.unwrap().encoder),
            (Modality::Sensor, config.sensor_encoder.unwrap().encoder),
        ] {
            let stream = format!("{modality}_0");
            for position in [1u16, 3, 6] {
                window.tokens.push(Token {
                    modality,
                    stream: stream.as_str().into(),
                    t: position % 2,
                    y: position / 2,
                    x: position % 2,
                    importance: f32::from(position) / 10.0,
                    scale: 0.02,
                    feature: (0..256)
                        .map(|i| ((i * 11 + i32::from(position) * 3) % 200 - 100) as i8)
                        .collect(),
                });
            }
            window.modalities.push(ModalityReport {
                modality,
                stream,
                encoder: encoder.id,
                encoder_sha256: encoder.sha256,
                ..window.modalities[0].clone()
            });
        }
        window.tokens_possible = 49 + 32 + 28;
        window
    }

    fn push(&mut self, window: &FeatureWindow) -> FeatureWindow {
        let out = self.harness.push_and_pull(buffer(window.encode().unwrap()));
        FeatureWindow::decode(&out.unwrap().map_readable().unwrap()).unwrap()
    }

    /// The events that went upstream since this was last asked.
    fn betas(&mut self) -> Vec<[f32; 3]> {
        let events = std::iter::from_fn(|| self.harness.try_pull_upstream_event());
        let beta = |event: gst::Event| {
            let structure = event.structure()?;
            let value = |name| structure.get::<f32>(name).unwrap();
            (structure.name() == "msao-beta").then(|| ["video", "audio", "sensor"].map(value))
        };
        events.filter_map(beta).collect()
    }

    fn refreshes(&self) -> u64 {
        stats(&self.element, "beta-refreshes")
    }
}

/// What a model reads of a window's first streams.
fn read(window: &FeatureWindow, config: &mllm::Config) -> mllm::Tokens {
    let mut tokens = mllm::Tokens::default();
    for (sent, read) in [
        (Modality::Video, mllm::Modality::Video),
        (Modality::Audio, mllm::Modality::Audio),
        (Modality::Sensor, mllm::Modality::Sensor),
    ] {
        if let Some(stream) = window.stream(sent) {
            let rows = (stream.tokens.iter())
                .map(|t| (t.t, t.y, t.x, t.scale, &*t.feature))
                .collect::<Vec<_>>();
            let (id, sha256) = (stream.encoder, stream.encoder_sha256);
            let received = mllm::ModalTokens::received(read, config, id, sha256, rows);
            *tokens.get_mut(read) = Some(received.unwrap());
        }
    }
    tokens
}

#[test]
fn sound_and_sensors_are_drafted_from_and_their_beta_is_on_the_window() {
    let mut sensing = sensing(&[]);
    let before = sensing.window(0);
    let after = sensing.push(&before);
    let draft = after.draft.clone().unwrap();
    let tokens = read(&before, &sensing.config());
    assert_eq!(tokens.present().count(), 3);
    let mut model = sensing.model();
    let caption = model.draft(&tokens, &before.prompt).unwrap();
    assert_eq!(draft.token_ids, caption.token_ids);
    let modal = (model.modal(&tokens, &before.prompt, &caption.token_ids)).unwrap();
    let expected = [modal.video, modal.audio, modal.sensor].map(|beta| beta.unwrap().max(0.1));
    assert_eq!(sensing.betas(), [expected]);
    assert!(expected.iter().any(|beta| *beta < 1.0), "{expected:?}");
    for (report, beta) in after.modalities.iter().zip(expected) {
        assert_eq!(report.beta, beta, "{}", report.stream);
        // 1 - MAS was 0.5 with a beta of 1.
        assert!((report.mas - (1.0 - beta * 0.5)).abs() < 1e-6);
        let known: f32 = stats(&sensing.element, &format!("beta-{}", report.modality));
        assert_eq!(known, beta);
    }
    assert_eq!(sensing.refreshes(), 1);
    assert!(stats::<u64>(&sensing.element, "beta-time") > 0);
    assert_eq!(after.tokens, before.tokens);
}

#[test]
fn a_window_of_sound_alone_is_drafted_but_tells_nothing_of_beta() {
    let mut sensing = sensing(&[]);
    let mut before = sensing.window(0);
    before
        .tokens
        .retain(|token| token.modality == Modality::Audio);
    let after = sensing.push(&before);
    assert!(after.draft.is_some());
    assert_eq!(after.modalities, before.modalities);
    assert_eq!((sensing.refreshes(), sensing.betas()), (0, vec![]));
    // The first window that can tell does.
    let next = sensing.window(1);
    sensing.push(&next);
    assert_eq!(sensing.refreshes(), 1);
}

#[test]
fn beta_is_measured_at_its_pace_and_when_the_prompt_changes() {
    let mut sensing = sensing(&[("beta-interval", "3000000000"), ("beta-budget", "0")]);
    let mut refreshed = Vec::new();
    for second in 0..8 {
        let mut window = sensing.window(second);
        if second >= 7 {
            window.prompt = "what is it?".to_owned();
        }
        sensing.push(&window);
        if !sensing.betas().is_empty() {
            refreshed.push(second);
        }
    }
    assert_eq!(refreshed, [0, 3, 6, 7]);
    assert_eq!(sensing.refreshes(), 4);
}

#[test]
fn a_measurement_beyond_its_budget_puts_the_next_ones_off() {
    // No measurement takes as little as 1 ns: the next is due in years.
    let mut sensing = sensing(&[("beta-interval", "1000000000"), ("beta-budget", "1")]);
    for second in 0..4 {
        let window = sensing.window(second);
        sensing.push(&window);
    }
    assert_eq!(sensing.refreshes(), 1);
    assert_eq!(sensing.betas().len(), 1);
}

#[test]
fn beta_may_be_left_out() {
    let mut sensing = sensing(&[("beta-interval", "0")]);
    let before = sensing.window(0);
    assert_eq!(sensing.push(&before).modalities, before.modalities);
    assert_eq!((sensing.refreshes(), sensing.betas()), (0, vec![]));
    assert_eq!(stats::<f32>(&sensing.element, "beta-audio"), 1.0);
}

#[test]
fn the_tokens_that_are_kept_are_of_the_window_and_the_draft_is_of_them() {
    let mut sensing = sensing(&[("keep-tokens", "4"), ("beta-interval", "0")]);
    let mut before = sensing.window(0);
    for (index, token) in before.tokens.iter_mut().enumerate() {
        token.importance = [0.1, 0.9, 0.5, 0.2, 0.8, 0.3, 0.05, 0.7, 0.4, 0.6][index];
    }
    let after = sensing.push(&before);
    assert_eq!(after.tokens.len(), 4);
    // In the window's order, unchanged.
    let mut of_before = before.tokens.iter();
    assert!(
        after
            .tokens
            .iter()
            .all(|kept| of_before.any(|token| token == kept))
    );
    let mut model = sensing.model();
    let draft = after.draft.as_ref().unwrap();
    let tokens = read(&after, &sensing.config());
    let caption = model.draft(&tokens, &after.prompt).unwrap();
    assert_eq!(draft.token_ids, caption.token_ids);
    assert_eq!(draft.text, caption.text);
    // Who verifies it with the same model on what was sent agrees with all of it.
    let verified = model.verify(
        &tokens,
        &after.prompt,
        &draft.token_ids,
        mllm::Agreement::Exact,
    );
    assert!(verified.unwrap().whole);

    sensing.element.set_property("keep-tokens", 10u32);
    let before = sensing.window(1);
    assert_eq!(sensing.push(&before).tokens, before.tokens);
}

fn stop_event(below: f64, audit: f64) -> gst::Event {
    let structure = gst::Structure::builder("msao-stop")
        .field("below", below)
        .field("audit", audit)
        .field("seed", 0u64);
    gst::event::CustomUpstream::new(structure.build())
}

#[test]
fn a_draft_that_is_not_worth_finishing_is_given_up_but_for_audits() {
    let (mut harness, element) = draft();
    let push = |harness: &mut Harness| {
        let bytes = window(&[0, 6, 7, 48]).encode().unwrap();
        let out = harness.push_and_pull(buffer(bytes)).unwrap();
        FeatureWindow::decode(&out.map_readable().unwrap()).unwrap()
    };
    // No draft is surer than 2; but how long a draft is nobody knows before the first.
    assert!(harness.push_upstream_event(stop_event(2.0, 0.0)));
    let first = push(&mut harness);
    assert_eq!(first.decision, Action::Verify);
    let stopped = push(&mut harness);
    assert_eq!(stopped.decision, Action::Offload);
    assert_eq!((stopped.draft, stopped.tokens), (None, first.tokens));
    assert_eq!(stopped.flags, ["stopped"]);
    assert!(stopped.drafted_utc_ns > stopped.closed_utc_ns);
    assert!(harness.push_upstream_event(stop_event(2.0, 1.0)));
    assert_eq!(push(&mut harness).draft, first.draft);
    assert!(harness.push_upstream_event(stop_event(0.0, 0.0)));
    assert_eq!(push(&mut harness).draft, first.draft);
    let count = |field| stats::<u64>(&element, field);
    assert_eq!(
        (count("windows"), count("drafted"), count("stopped")),
        (4, 3, 1)
    );
}

fn ask(element: &gst::Element, prompt: &str) -> gst::Structure {
    element.emit_by_name::<gst::Structure>("ask", &[&prompt])
}

#[test]
fn questions_are_about_the_latest_window_and_only_of_what_tells() {
    let mut sensing = sensing(&[("keep-tokens", "5")]);
    let early = ask(&sensing.element, "what is heard ?");
    assert!(early.get::<String>("error").unwrap().contains("window"));

    let before = sensing.window(0);
    let after = sensing.push(&before);
    assert_eq!(after.prompt, before.prompt);
    let mut model = sensing.model();
    for prompt in ["what is heard ?", "what is seen ?"] {
        let reply = ask(&sensing.element, prompt);
        let bytes = reply.get::<gst::glib::Bytes>("window").unwrap();
        let asked = FeatureWindow::decode(&bytes).unwrap();
        assert_eq!(
            (asked.prompt.as_str(), asked.id.seq),
            (prompt, before.id.seq)
        );
        assert_eq!(asked.flags.last().unwrap(), "asked");
        assert!(asked.id < before.id && asked.id.rig == before.id.rig);

        // All that the window came with is asked, whatever went on of it.
        let all = read(&before, &sensing.config());
        let first = model.draft(&all, prompt).unwrap();
        let modal = model.modal(&all, prompt, &first.token_ids).unwrap();
        let beta = |modality| match modality {
            Modality::Video => modal.video.unwrap(),
            Modality::Audio => modal.audio.unwrap(),
            Modality::Sensor => modal.sensor.unwrap(),
        };
        let mut told = before.tokens.clone();
        told.retain(|token| beta(token.modality) >= 0.1);
        assert_eq!(asked.tokens, told);
        let answer = model
            .draft(&read(&asked, &sensing.config()), prompt)
            .unwrap();
        let draft = asked.draft.unwrap();
        assert_eq!(
            (draft.text, draft.token_ids),
            (answer.text, answer.token_ids)
        );
        for report in &asked.modalities[1..] {
            assert_eq!(report.beta, beta(report.modality));
        }
    }
    let again = ask(&sensing.element, "what is seen ?");
    let long = ask(&sensing.element, &"why ? ".repeat(400));
    assert!(again.has_field("window"));
    assert!(long.get::<String>("error").unwrap().contains("prompt"));
}

#[test]
fn after_a_flush_there_is_no_latest_window_to_ask_about() {
    let mut sensing = sensing(&[]);
    let window = sensing.window(0);
    sensing.push(&window);
    assert!(ask(&sensing.element, "what is heard ?").has_field("window"));
    sensing.harness.push_event(gst::event::FlushStart::new());
    sensing.harness.push_event(gst::event::FlushStop::new(true));
    let error = ask(&sensing.element, "what is heard ?").get::<String>("error");
    assert!(error.unwrap().contains("window"));
}
