//! Model folders that lack something, or hold something else: an error at load that names the file.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use mllm::config::files;
use mllm::{CaptionModel, Error, Probe, Provider, Trunk};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A copy of a model folder that a test may break.
fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(common::model(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn load_probe(folder: &Path) -> Result<(), Error> {
    Probe::load(folder, Provider::Cpu).map(|_| ())
}

fn load_trunk(folder: &Path) -> Result<(), Error> {
    Trunk::load(folder, Provider::Cpu).map(|_| ())
}

fn load_model(folder: &Path) -> Result<(), Error> {
    CaptionModel::load(folder, Provider::Cpu).map(|_| ())
}

type Load = fn(&Path) -> Result<(), Error>;

const NEEDED: [(Load, &[&str]); 3] = [
    (
        load_probe,
        &[
            files::CONFIG,
            files::PREPROCESSOR,
            files::PROBE,
            files::TRUNK,
        ],
    ),
    (load_trunk, &[files::CONFIG, files::PROBE, files::TRUNK]),
    (
        load_model,
        &[
            files::CONFIG,
            files::TOKENIZER,
            files::PROJECTOR,
            files::EMBED,
            files::DECODER,
        ],
    ),
];

/// Loads and returns the error, which must name `file` and a mend.
fn fails(load: Load, folder: &Path, file: &str, how: &str) -> String {
    let error = match load(folder) {
        Ok(()) => panic!("{file} {how}: loaded all the same"),
        Err(error) => error,
    };
    let Error::File { path, mend, .. } = &error else {
        panic!("{file} {how}: {error}");
    };
    assert_eq!(path.file_name().unwrap(), file, "{file} {how}: {error}");
    assert!(!mend.is_empty());
    error.to_string()
}

/// Rewrites `config.json` or another JSON file, and makes the encoder's hash right again.
fn edit(folder: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = folder.join(file);
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(&path, json.to_string()).unwrap();
}

/// Sets the hash in `config.json` to the one that the error of a wrong one tells.
fn rehash(folder: &Path) {
    let Err(error) = load_trunk(folder) else {
        return;
    };
    let message = error.to_string();
    let found = message
        .split("hash to ")
        .nth(1)
        .expect("an error about the hash");
    let hash = json!(&found[..64]);
    edit(folder, files::CONFIG, |config| {
        config["vision_encoder"]["sha256"] = hash
    });
}

#[test]
fn a_missing_file_is_named() {
    let folder = copy("msao-edge");
    for (load, needed) in NEEDED {
        load(folder.path()).unwrap();
        for file in needed {
            let (path, away) = (folder.path().join(file), folder.path().join("away"));
            fs::rename(&path, &away).unwrap();
            fails(load, folder.path(), file, "missing");
            fs::rename(&away, &path).unwrap();
        }
    }
}

#[test]
fn a_corrupt_file_is_named() {
    let folder = copy("msao-edge");
    for (load, needed) in NEEDED {
        for file in needed {
            // A change in the encoder shows in its hash, which config.json holds: that is its own test.
            if [files::PROBE, files::TRUNK].contains(file) {
                continue;
            }
            let path = folder.path().join(file);
            let whole = fs::read(&path).unwrap();
            for (how, bytes) in [
                ("empty", &b""[..]),
                ("of text", b"version https://example.com/pointer\nsize 7\n"),
                ("cut short", &whole[..whole.len() / 2]),
            ] {
                fs::write(&path, bytes).unwrap();
                fails(load, folder.path(), file, how);
            }
            fs::write(&path, whole).unwrap();
        }
    }
}

#[test]
fn another_encoder_is_noticed() {
    let folder = copy("msao-edge");
    for file in [files::PROBE, files::TRUNK] {
        let path = folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        for load in [load_probe as Load, load_trunk] {
            let error = fails(load, folder.path(), files::CONFIG, "another encoder");
            assert!(error.contains("vision_encoder.sha256"), "{error}");
        }
        // With a hash to match, the network itself is at fault.
        rehash(folder.path());
        let load = if file == files::PROBE {
            load_probe as Load
        } else {
            load_trunk
        };
        fails(load, folder.path(), file, "cut short, with its hash");
        fs::write(&path, whole).unwrap();
        rehash(folder.path());
    }
    load_probe(folder.path()).unwrap();
}

#[test]
fn sizes_that_do_not_fit_are_named() {
    for (load, key, value, file, words) in [
        (
            load_model as Load,
            "hidden_size",
            128,
            files::PROJECTOR,
            "[1,?,128]",
        ),
        (
            load_model,
            "image_token_size",
            64,
            files::PROJECTOR,
            "[1,?,64]",
        ),
        (
            load_trunk,
            "image_token_size",
            64,
            files::TRUNK,
            "[1,49,64]",
        ),
        (load_trunk, "image_tokens", 36, files::TRUNK, "[1,36,256]"),
        (load_probe, "image_tokens", 36, files::PROBE, "[1,36,96]"),
        (
            load_model,
            "num_hidden_layers",
            99,
            files::DECODER,
            "past_key_values",
        ),
        (
            load_model,
            "num_key_value_heads",
            7,
            files::DECODER,
            "[1,7,?,64]",
        ),
        (load_model, "head_dim", 32, files::DECODER, "[1,4,?,32]"),
        (load_model, "vocab_size", 5000, files::DECODER, "[1,?,5000]"),
        (
            load_model,
            "vocab_size",
            100,
            files::TOKENIZER,
            "the model knows 100",
        ),
        (
            load_model,
            "max_caption_tokens",
            0,
            files::CONFIG,
            "max_caption_tokens",
        ),
    ] {
        let folder = copy("msao-edge");
        edit(folder.path(), files::CONFIG, |config| {
            config[key] = json!(value)
        });
        let error = fails(load, folder.path(), file, key);
        assert!(error.contains(words), "{key}: {error}");
    }
    let folder = copy("msao-edge");
    edit(folder.path(), files::CONFIG, |config| {
        config["num_hidden_layers"] = json!(1)
    });
    let error = fails(load_model, folder.path(), files::DECODER, "too few layers");
    assert!(error.contains("past_key_values.1.key"), "{error}");
    let folder = copy("msao-edge");
    edit(folder.path(), files::PREPROCESSOR, |config| {
        config["size"]["height"] = json!(240)
    });
    let error = fails(load_probe, folder.path(), files::PROBE, "height");
    assert!(error.contains("[1,3,240,224]"), "{error}");
}

#[test]
fn networks_in_each_others_place_are_named() {
    let folder = copy("msao-edge");
    let path = |file| folder.path().join(file);
    fs::copy(path(files::EMBED), path(files::PROJECTOR)).unwrap();
    let error = fails(load_model, folder.path(), files::PROJECTOR, "replaced");
    assert!(
        error.contains("image_tokens") && error.contains("f32"),
        "{error}"
    );
    fs::copy(path(files::TRUNK), path(files::PROBE)).unwrap();
    rehash(folder.path());
    let error = fails(load_probe, folder.path(), files::PROBE, "replaced");
    assert!(error.contains("pixel_values"), "{error}");
}

#[test]
fn json_that_is_not_as_expected_is_named() {
    let folder = copy("msao-edge");
    for (load, file, key) in [
        (load_model as Load, files::CONFIG, "eos_token_id"),
        (load_trunk, files::CONFIG, "vision_encoder"),
        (load_probe, files::PREPROCESSOR, "image_std"),
    ] {
        let whole = fs::read(folder.path().join(file)).unwrap();
        for (change, word) in [(None, key), (Some(json!("text")), "text")] {
            edit(folder.path(), file, |config| {
                match change {
                    None => drop(config.as_object_mut().unwrap().remove(key)),
                    Some(value) => config[key] = value,
                };
            });
            let error = fails(load, folder.path(), file, key);
            assert!(error.contains(word), "{error}");
            fs::write(folder.path().join(file), &whole).unwrap();
        }
    }
    edit(folder.path(), files::PREPROCESSOR, |config| {
        config["resample"] = json!(3)
    });
    let error = fails(load_probe, folder.path(), files::PREPROCESSOR, "resample");
    assert!(error.contains("resample"), "{error}");
}

#[test]
fn a_prompt_is_read_whole_whatever_the_tokenizer_was_last_set_to() {
    let folder = copy("msao-edge");
    let length = |folder: &Path| {
        let model = CaptionModel::load(folder, Provider::Cpu).unwrap();
        model.prompt_length("how many people are there ?").unwrap()
    };
    let whole = length(folder.path());
    for (key, value) in [
        (
            "truncation",
            json!({ "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 }),
        ),
        (
            "padding",
            json!({
                "strategy": { "Fixed": 64 }, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"
            }),
        ),
    ] {
        edit(folder.path(), files::TOKENIZER, |tokenizer| {
            tokenizer["truncation"] = Value::Null;
            tokenizer[key] = value;
        });
        assert_eq!(length(folder.path()), whole, "{key}");
    }
}

#[test]
fn a_provider_that_is_not_there_is_an_error_by_name() {
    let folder = common::model("msao-edge");
    for (provider, library) in [
        (Provider::Cuda, "libonnxruntime_providers_cuda.so"),
        (Provider::TensorRt, "libnvinfer.so.10"),
    ] {
        let error = match CaptionModel::load(&folder, provider) {
            // On a machine that has it, it must be the one that runs.
            Ok(model) => {
                assert_eq!(model.provider(), provider);
                continue;
            }
            Err(error) => error,
        };
        assert!(
            matches!(error, Error::Provider { provider: p, .. } if p == provider),
            "{error}"
        );
        let message = error.to_string();
        assert!(message.contains(&provider.to_string()), "{message}");
        assert!(message.contains("vision_projector.onnx"), "{message}");
        assert!(
            message.contains(library),
            "the mend does not name {library}: {message}"
        );
    }
    let model = CaptionModel::load(&folder, Provider::Auto).unwrap();
    assert_ne!(model.provider(), Provider::Auto, "it says which one runs");
}
