//! What is wrong with a folder or a question is named, with the mend.

use std::fs;
use std::path::Path;

use mllm::frame::{Colour, Format, Plane};
use mllm::hf::{ChatModel, Variant};
use mllm::{Agreement, Error, Frame, Provider};
use serde_json::{Value, json};

use crate::common;
use crate::golden::{copy, edit, folder, frames, load, pictures};

fn error(folder: &Path, variant: Variant) -> String {
    mllm::runtime::init(Some(&common::library())).unwrap();
    let error = ChatModel::load(folder, variant, Provider::Cpu).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
    error.to_string()
}

#[test]
fn a_file_that_is_missing_or_broken_is_named() {
    for (model, file, content, words) in [
        ("smolvlm", "config.json", None, "cannot be read"),
        (
            "smolvlm",
            "config.json",
            Some("{\"model_type\": "),
            "not as expected",
        ),
        (
            "smolvlm",
            "config.json",
            Some("{\"model_type\": \"llava\"}"),
            "`llava`",
        ),
        (
            "smolvlm",
            "config.json",
            Some("{\"model_type\": \"smolvlm\"}"),
            "image_token_id",
        ),
        (
            "smolvlm",
            "generation_config.json",
            Some("{}"),
            "eos_token_id",
        ),
        (
            "smolvlm",
            "generation_config.json",
            Some("[3"),
            "not as expected",
        ),
        (
            "smolvlm",
            "preprocessor_config.json",
            Some("{}"),
            "image_mean",
        ),
        ("smolvlm", "processor_config.json", None, "cannot be read"),
        (
            "smolvlm",
            "processor_config.json",
            Some("{\"image_seq_len\": 0}"),
            "image_seq_len is 0",
        ),
        (
            "smolvlm",
            "processor_config.json",
            Some("{\"image_seq_len\": 5}"),
            "expected 5",
        ),
        ("smolvlm", "tokenizer.json", Some("{}"), "not a tokenizer"),
        ("smolvlm", "tokenizer_config.json", None, "cannot be read"),
        ("smolvlm", "chat_template.jinja", None, "chat_template"),
        (
            "smolvlm",
            "chat_template.jinja",
            Some("{% for %}"),
            "not a chat template",
        ),
        (
            "smolvlm",
            "chat_template.jinja",
            Some("{{ raise_exception('no users') }}"),
            "no users",
        ),
        (
            "smolvlm",
            "chat_template.jinja",
            Some("{{ nothing.at.all }}"),
            "fails",
        ),
        ("smolvlm", "onnx/vision_encoder.onnx", None, "fp16"),
        (
            "smolvlm",
            "onnx/decoder_model_merged.onnx",
            Some("onnx"),
            "not an ONNX network",
        ),
        (
            "qwen2vl",
            "chat_template.json",
            Some("{\"chat_template\": 1}"),
            "not as expected",
        ),
        ("qwen2vl", "onnx/embed_tokens.onnx", None, "fp16"),
    ] {
        let folder = copy(model);
        let path = folder.path().join(file);
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = error(folder.path(), Variant::Fp32);
        // Without its own file a template is looked for in the tokenizer's.
        let name = match (file, content) {
            ("chat_template.jinja", None) => "tokenizer_config.json",
            ("processor_config.json", Some(_)) if words == "expected 5" => "vision_encoder.onnx",
            _ => file,
        };
        assert!(
            error.contains(name) && error.contains(words),
            "{file}: {error}"
        );
    }
}

#[test]
fn variants_that_are_there_are_named() {
    let error = error(&folder("smolvlm"), Variant::Q4F16);
    let named = error.contains("decoder_model_merged_q4f16.onnx");
    assert!(named && error.ends_with("fp32, fp16, q4, int8"), "{error}");
}

#[test]
fn files_of_two_models_do_not_go_together() {
    let smolvlm = copy("smolvlm");
    for network in ["decoder_model_merged", "vision_encoder"] {
        let file = format!("onnx/{network}.onnx");
        let from = folder("qwen2vl").join(&file);
        let to = smolvlm.path().join(&file);
        let own = fs::read(&to).unwrap();
        fs::copy(from, &to).unwrap();
        let error = error(smolvlm.path(), Variant::Fp32);
        assert!(error.contains(network), "{error}");
        fs::write(to, own).unwrap();
    }
    fs::copy(
        folder("qwen2vl").join("config.json"),
        smolvlm.path().join("config.json"),
    )
    .unwrap();
    let error = error(smolvlm.path(), Variant::Fp32);
    assert!(error.contains("patch_size"), "{error}");
}

#[test]
fn values_out_of_range_are_named() {
    let folder = copy("qwen2vl");
    let path = folder.path().join("preprocessor_config.json");
    let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (key, value) in [
        ("resample", json!(0)),
        ("do_resize", json!(false)),
        ("rescale_factor", json!(0)),
        ("image_std", json!([1, 1, 0])),
        ("patch_size", json!(0)),
        ("max_pixels", json!(1_u64 << 40)),
        ("min_pixels", json!(10_000)),
        ("merge_size", json!("2")),
    ] {
        let mut changed = whole.clone();
        changed[key] = value;
        fs::write(&path, changed.to_string()).unwrap();
        let error = error(folder.path(), Variant::Fp32);
        let named = error.contains(key) || key == "merge_size" && error.contains("expected");
        assert!(
            named && error.contains("preprocessor_config.json"),
            "{error}"
        );
    }
    fs::write(&path, whole.to_string()).unwrap();
    edit(&folder.path().join("generation_config.json"), |config| {
        config["eos_token_id"] = json!(9999);
    });
    let error = error(folder.path(), Variant::Fp32);
    assert!(error.contains("9999"), "{error}");
}

#[test]
fn a_template_may_stand_where_exports_have_it() {
    let folder = copy("smolvlm");
    let jinja = folder.path().join("chat_template.jinja");
    let template = fs::read_to_string(&jinja).unwrap();
    fs::remove_file(jinja).unwrap();
    for value in [
        json!(template),
        json!([{"name": "tool", "template": "no"}, {"name": "default", "template": template}]),
    ] {
        edit(&folder.path().join("tokenizer_config.json"), |config| {
            config["chat_template"] = value;
        });
        mllm::runtime::init(Some(&common::library())).unwrap();
        let model = ChatModel::load(folder.path(), Variant::Fp32, Provider::Cpu).unwrap();
        let text = model.read(&[], "what?").unwrap().text;
        assert_eq!(
            text,
            "<|im_start|>User: what?<end_of_utterance>\nAssistant:"
        );
    }
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let folder = copy("smolvlm");
    let template =
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let error = error(folder.path(), Variant::Fp32);
    assert!(error.contains("chat_template.jinja"), "{error}");
}

#[test]
fn what_is_asked_is_checked() {
    let mut model = load("qwen2vl", Variant::Fp32);
    let shown = pictures(&["wide".into()]);
    let images = frames(&shown);
    let mut said = |images: &[Frame<'_>], prompt: &str| {
        model.answer(images, prompt, 4).unwrap_err().to_string()
    };
    // Or a question could end itself, or show pictures that are not there.
    let error = said(&images, "a <|image_pad|>?");
    assert!(error.contains("<|image_pad|>"), "{error}");
    assert!(said(&images, &"a".repeat(1 << 17)).contains("bytes long"));
    assert!(said(&images, &"a b ".repeat(1000)).contains("the model reads 1024"));
    let many: Vec<_> = std::iter::repeat_n(images[0], 70).collect();
    assert!(said(&many, "?").contains("the model reads 1024"));
    let flat = vec![0; 3 * 201];
    assert!(said(&[Frame::rgb(201, 1, &flat).unwrap()], "?").contains("200 times"));
    let plane = Plane {
        data: &flat,
        stride: 8,
    };
    let yuv = Frame::new(Format::Yuy2, 4, 4, &[plane], Colour::default()).unwrap();
    assert!(said(&[yuv], "?").contains("convert it to RGB"));

    let mut judged = |draft: &[u32], agreement| {
        let verified = model.verify(&images, "?", draft, 4, agreement);
        verified.unwrap_err().to_string()
    };
    assert!(judged(&[9999], Agreement::Exact).contains("vocabulary"));
    assert!(judged(&[1; 5], Agreement::Exact).contains("at most 4"));
    assert!(judged(&[44], Agreement::Exact).contains("the end"));
    assert!(judged(&[1], Agreement::Margin(1.5)).contains("1.5"));
    let error = model.tokens("a <|im_end|>").unwrap_err().to_string();
    assert!(error.contains("<|im_end|>"), "{error}");
}

#[test]
fn formats_with_red_green_and_blue_are_read_alike() {
    let model = load("smolvlm", Variant::Fp32);
    let shown = pictures(&["small".into()]);
    let (width, height) = shown[0].dimensions();
    let read = |frame: Frame<'_>| model.read(&[frame], "?").unwrap().pictures;
    let expected = read(frames(&shown)[0]);
    // With a stride that is no whole number of pixels.
    let stride = width as usize * 4 + 3;
    let mut data = vec![0; stride * height as usize];
    for (x, y, pixel) in shown[0].enumerate_pixels() {
        let at = y as usize * stride + x as usize * 4;
        let [red, green, blue] = pixel.0;
        data[at..at + 4].copy_from_slice(&[blue, green, red, 7]);
    }
    let plane = Plane {
        data: &data,
        stride,
    };
    let bgra = Frame::new(Format::Bgra, width, height, &[plane], Colour::default()).unwrap();
    assert_eq!(read(bgra), expected);
}
