//! What a model reads of pictures and a question: text, tokens, positions and pixels.

use mllm::Provider;
use mllm::hf::{Architecture, ChatModel, Layout, Variant};

use crate::common;
use crate::golden::{MODELS, apart, cases, copy, edit, frames, load, pictures, tensors};

#[test]
fn text_tokens_positions_and_pixels_are_those_of_transformers() {
    for name in MODELS {
        let model = load(name, Variant::Fp32);
        for (case, asked) in cases(name) {
            let golden = tensors(name, &case);
            let ids = &golden["input_ids"];
            let places = &golden["position_ids"];
            let mut worst = 0.0_f64;
            for (index, question) in asked.questions.iter().enumerate() {
                let shown = pictures(&asked.pictures[index]);
                let read = model.read(&frames(&shown), question).unwrap();
                assert_eq!(read.text, asked.prompts[index], "{name}, {case}");

                // Sequences end together: padding is on the left.
                let mask = golden["attention_mask"].part(index).values;
                let padding = mask.iter().take_while(|&&seen| seen == 0.0).count();
                let expected = &ids.part(index).values[padding..];
                let tokens: Vec<f64> = read.token_ids.iter().map(|&id| f64::from(id)).collect();
                assert_eq!(tokens, expected, "{name}, {case}");
                for axis in 0..3 {
                    // Of M-RoPE the first of three sizes is the axis.
                    let expected = match places.shape.len() {
                        3 => places.part(axis).part(index),
                        _ => places.part(index),
                    };
                    let ours: Vec<f64> = read
                        .positions
                        .iter()
                        .map(|place| place[axis] as f64)
                        .collect();
                    assert_eq!(ours, expected.values[padding..], "{name}, {case}, {axis}");
                }

                let grid: Vec<f64> = (read.pictures.iter())
                    .filter_map(|seen| match seen.layout {
                        Layout::Grid(grid) => Some(grid.map(|size| size as f64)),
                        Layout::Tiles { .. } => None,
                    })
                    .flatten()
                    .collect();
                if let (Some(theirs), 1) = (golden.get("image_grid_thw"), asked.questions.len()) {
                    assert_eq!(grid, theirs.values, "{name}, {case}");
                }
                if let Some(theirs) = golden.get("pixel_values") {
                    let ours = read
                        .pictures
                        .iter()
                        .flat_map(|seen| seen.pixels.iter().copied());
                    worst = worst.max(apart(ours, &theirs.values));
                }
            }
            println!("{name}, {case}: pixels differ by at most {worst:e}");
            assert!(worst < 1e-6, "{name}, {case}: {worst}");
        }
    }
}

#[test]
fn a_picture_is_as_many_tiles_as_it_needs() {
    let model = load("smolvlm", Variant::Fp32);
    assert_eq!(model.architecture(), Architecture::Smolvlm);
    let shown = pictures(&["wide", "tile"].map(String::from));
    let read = model.read(&frames(&shown), "?").unwrap();
    let layouts: Vec<_> = read.pictures.iter().map(|seen| seen.layout).collect();
    let tiles = |rows, columns| Layout::Tiles { rows, columns };
    assert_eq!(layouts, [tiles(2, 3), tiles(3, 3)]);
    assert_eq!(read.pictures[0].pixels.shape(), [7, 3, 32, 32]);
}

#[test]
fn a_picture_that_is_not_split_is_one_tile() {
    let folder = copy("smolvlm");
    edit(&folder.path().join("preprocessor_config.json"), |config| {
        config["do_image_splitting"] = false.into();
    });
    // The other name of the architecture.
    edit(&folder.path().join("config.json"), |config| {
        config["model_type"] = "smolvlm".into();
    });
    mllm::runtime::init(Some(&common::library())).unwrap();
    let model = ChatModel::load(folder.path(), Variant::Fp32, Provider::Cpu).unwrap();
    let shown = pictures(&["wide".into()]);
    let read = model.read(&frames(&shown), "what is on the road?").unwrap();
    let golden = tensors("smolvlm", "unsplit");
    let ids: Vec<f64> = read.token_ids.iter().map(|&id| f64::from(id)).collect();
    assert_eq!(ids, golden["input_ids"].values);
    let pixels = read.pictures[0].pixels.iter().copied();
    assert!(apart(pixels, &golden["pixel_values"].values) < 1e-6);
}

#[test]
fn the_range_of_pixels_may_be_called_size() {
    let folder = copy("qwen2vl");
    edit(&folder.path().join("preprocessor_config.json"), |config| {
        let config = config.as_object_mut().unwrap();
        assert!(config.remove("min_pixels").is_some() && config.remove("max_pixels").is_some());
    });
    let whole = load("qwen2vl", Variant::Fp32);
    let model = ChatModel::load(folder.path(), Variant::Fp32, Provider::Cpu).unwrap();
    let shown = pictures(&["wide".into(), "small".into()]);
    let read = |model: &ChatModel| model.read(&frames(&shown), "?").unwrap();
    assert_eq!(read(&model), read(&whole));
}
