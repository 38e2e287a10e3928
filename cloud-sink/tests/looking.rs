//! A model of pictures and text as the verifier: small, with random weights, in the layout of Hugging Face's exports.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use broker::{CaptionStatus, DraftReport, FeatureWindow, streams, test_server::TestServer};
use cloud_sink::{
    ChatSection, Config, Error, Fault, FullModel, LookingModel, Rule, Verifier, picture, run,
};
use common::{captions, connect, count, publish, until, workspace};
use image::codecs::jpeg::JpegEncoder;
use mllm::{
    Frame, Provider,
    hf::{ChatModel, Variant},
};

const MODELS: [&str; 2] = ["smolvlm", "qwen2vl"];

fn config(model: &str) -> Config {
    common::runtime();
    Config {
        provider: Provider::Cpu,
        agreement: Rule::Exact,
        chat: Some(ChatSection {
            max_tokens: 10,
            prompt: "what is on the road? {prompt}".to_owned(),
            ..ChatSection::default()
        }),
        ..Config::new(workspace("testdata/tiny_hf").join(model))
    }
}

fn jpeg(name: &str) -> Vec<u8> {
    let path = workspace("testdata/tiny_hf/pictures").join(name);
    let picture = image::open(path.with_extension("png")).unwrap();
    let mut jpeg = Vec::new();
    JpegEncoder::new(&mut jpeg)
        .encode_image(&picture.to_rgb8())
        .unwrap();
    jpeg
}

fn draft(text: &str) -> Option<DraftReport> {
    let draft = common::window(0).draft.unwrap();
    let text = text.to_owned();
    Some(DraftReport { text, ..draft })
}

/// A window as an edge sends it that sends keyframes.
fn window(seq: u64, name: &str, draft: Option<DraftReport>) -> FeatureWindow {
    FeatureWindow {
        keyframe: Some(jpeg(name)),
        tokens: vec![],
        draft,
        ..common::window(seq)
    }
}

/// What the model answers by itself.
fn own_answer(model: &str, jpeg: &[u8]) -> String {
    let folder = workspace("testdata/tiny_hf").join(model);
    let mut model = ChatModel::load(&folder, Variant::Fp32, Provider::Cpu).unwrap();
    let picture = picture(jpeg).unwrap();
    let frame = Frame::rgb(picture.width(), picture.height(), picture.as_raw()).unwrap();
    let caption = model.answer(&[frame], "what is on the road? describe the picture", 10);
    caption.unwrap().text
}

#[test]
fn windows_are_judged_by_their_pictures_together_as_alone() {
    for name in MODELS {
        let mut model = LookingModel::load(&config(name)).unwrap();
        assert_eq!((model.model(), model.provider().as_str()), (name, "cpu"));
        let windows = [
            window(0, "wide", None),
            FeatureWindow {
                keyframe: None,
                ..window(1, "wide", None)
            },
            window(2, "tall", draft("a dog runs")),
            FeatureWindow {
                keyframe: Some(vec![1, 2]),
                ..window(3, "wide", None)
            },
            common::window(4),
            // What the model could not have written is answered anew.
            window(5, "wide", draft("<|im_start|>")),
        ];
        let verdicts = model.verify_all(&windows);
        assert_eq!(verdicts.len(), windows.len());
        let told = |at: usize| verdicts[at].clone().unwrap().unwrap();
        for (at, picture) in [(0, "wide"), (2, "tall"), (5, "wide")] {
            let expected = own_answer(name, &jpeg(picture));
            assert_eq!(told(at).text, expected, "{name}, {at}");
            assert!(!told(at).confirmed);
        }
        assert_ne!(told(0).text, told(2).text);
        let accepted = [0, 2, 5].map(|at| told(at).accepted_tokens);
        assert_eq!(accepted, [None, Some(0), Some(0)]);
        assert_eq!(verdicts[1], Ok(None));
        for (at, words) in [(3, "not a JPEG"), (4, "payload = \"keyframes\"")] {
            let Err(Fault::Hopeless(reason)) = &verdicts[at] else {
                panic!("{:?}", verdicts[at]);
            };
            assert!(reason.contains(words), "{reason}");
        }
    }
}

#[test]
fn a_draft_that_the_rule_agrees_with_is_confirmed_in_its_own_words() {
    for name in MODELS {
        let lenient = Config {
            agreement: Rule::Margin,
            margin: Some(1e-30),
            ..config(name)
        };
        let mut model = LookingModel::load(&lenient).unwrap();
        let window = window(0, "wide", draft("a dog runs"));
        let verdict = model.verify(&window).unwrap().unwrap();
        assert!(verdict.confirmed, "{name}: {verdict:?}");
        assert_eq!(verdict.text, "a dog runs");
        // All of the three tokens that the edge says it has.
        assert_eq!(verdict.accepted_tokens, Some(3));
    }
}

#[test]
fn what_a_model_needs_or_does_not_take_is_said() {
    let error = |config: &Config| LookingModel::load(config).unwrap_err().to_string();
    let tiny = config("smolvlm");
    let margin = Config {
        agreement: Rule::Margin,
        ..tiny.clone()
    };
    assert!(error(&margin).contains("set margin"));
    // As far as it can be told without loading it.
    tiny.check_model().unwrap();
    let found = margin.check_model().unwrap_err().to_string();
    assert!(found.contains("set margin"), "{found}");
    let encoders = Some(workspace("testdata/models/msao-edge"));
    assert!(
        error(&Config {
            encoders,
            ..tiny.clone()
        })
        .contains("encoders")
    );
    let chat = Some(ChatSection {
        variant: Variant::Bnb4,
        ..ChatSection::default()
    });
    assert!(error(&Config { chat, ..tiny }).contains("fp32, fp16, q4, int8"));
    let ours = Config {
        model: Some(workspace("testdata/models/msao-cloud")),
        ..config("smolvlm")
    };
    let refused = FullModel::load(&ours).unwrap_err();
    assert!(matches!(&refused, Error::Config(reason) if reason.contains("[chat]")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_the_model_by_its_folder() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    publish(&connection, &window(0, "wide", draft("a dog runs"))).await;
    publish(&connection, &window(1, "tall", None)).await;
    let done = until("two captions", async || {
        count(&connection, streams::CAPTIONS).await == 2
    });
    let worker = Config {
        nats: common::config(&server).nats,
        ..config("smolvlm")
    };
    let summary = run(worker, done).await.unwrap();
    assert_eq!(
        (summary.captioned, summary.corrected, summary.dead),
        (2, 2, 0)
    );
    for (caption, picture) in captions(&connection).await.iter().zip(["wide", "tall"]) {
        assert_eq!(caption.status, CaptionStatus::Corrected);
        assert_eq!(caption.model, "smolvlm");
        assert_eq!(caption.text, own_answer("smolvlm", &jpeg(picture)));
    }
}
