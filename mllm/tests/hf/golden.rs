//! What `models/tiny_hf` wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use mllm::hf::{ChatModel, Variants};
use mllm::{Frame, Provider};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::common;

pub const MODELS: [&str; 2] = ["smolvlm", "qwen2vl"];
/// Tokens that answers were cut at.
pub const LONGEST: usize = 10;

pub fn folder(model: &str) -> PathBuf {
    let folder = common::workspace().join("testdata/tiny_hf").join(model);
    folder.canonicalize().unwrap()
}

pub fn load(model: &str, variants: impl Into<Variants>) -> ChatModel {
    mllm::runtime::init(Some(&common::library())).unwrap();
    ChatModel::load(&folder(model), variants, Provider::Cpu).unwrap()
}

/// A model's folder, to be changed.
pub fn copy(model: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("onnx")).unwrap();
    for inner in ["", "onnx"] {
        for file in fs::read_dir(folder(model).join(inner)).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                let to = copy.path().join(inner).join(file.file_name());
                fs::copy(file.path(), to).unwrap();
            }
        }
    }
    copy
}

/// Changes a JSON file.
pub fn edit(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Questions asked together, and what was made of them.
#[derive(Debug, Deserialize)]
pub struct Case {
    pub prompts: Vec<String>,
    pub questions: Vec<String>,
    pub pictures: Vec<Vec<String>>,
    pub answers: Vec<Answer>,
}

#[derive(Debug, Deserialize)]
pub struct Answer {
    pub tokens: Vec<u32>,
    pub ended: bool,
    pub text: String,
}

pub fn cases(model: &str) -> BTreeMap<String, Case> {
    let text = std::fs::read_to_string(folder(model).join("golden/cases.json")).unwrap();
    let cases: BTreeMap<String, Case> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 6);
    cases
}

/// Pictures, held for the frames that show them.
pub fn pictures(names: &[String]) -> Vec<RgbImage> {
    let folder = folder("pictures");
    let open = |name: &String| image::open(folder.join(name).with_extension("png")).unwrap();
    names.iter().map(|name| open(name).to_rgb8()).collect()
}

pub fn frames(pictures: &[RgbImage]) -> Vec<Frame<'_>> {
    (pictures.iter())
        .map(|picture| Frame::rgb(picture.width(), picture.height(), picture.as_raw()).unwrap())
        .collect()
}

/// A tensor of a safetensors file, whatever its type is.
#[derive(Debug)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Tensor {
    /// The part at `index` of its first axis.
    pub fn part(&self, index: usize) -> Self {
        let shape = self.shape[1..].to_vec();
        let size: usize = shape.iter().product();
        let values = self.values[index * size..(index + 1) * size].to_vec();
        Self { shape, values }
    }
}

pub fn tensors(model: &str, case: &str) -> BTreeMap<String, Tensor> {
    let path = folder(model).join("golden").join(case);
    let bytes = std::fs::read(path.with_extension("safetensors")).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
    let tensor = |(name, entry): (String, Value)| {
        let number = |value: &Value| value.as_u64().unwrap() as usize;
        let offsets = &entry["data_offsets"];
        let data = &data[number(&offsets[0])..number(&offsets[1])];
        let values = match entry["dtype"].as_str().unwrap() {
            "F32" => (data.as_chunks::<4>().0.iter())
                .map(|four| f64::from(f32::from_le_bytes(*four)))
                .collect(),
            "I64" => (data.as_chunks::<8>().0.iter())
                .map(|eight| i64::from_le_bytes(*eight) as f64)
                .collect(),
            "U8" => data.iter().map(|&byte| f64::from(byte)).collect(),
            other => panic!("{other}"),
        };
        let shape = entry["shape"].as_array().unwrap();
        let shape = shape.iter().map(number).collect();
        (name, Tensor { shape, values })
    };
    let entries = header
        .into_iter()
        .filter(|(name, _)| name != "__metadata__");
    entries.map(tensor).collect()
}

/// The largest difference.
pub fn apart(ours: impl IntoIterator<Item = f32>, theirs: &[f64]) -> f64 {
    let ours: Vec<f32> = ours.into_iter().collect();
    assert_eq!(ours.len(), theirs.len());
    let pairs = ours.iter().zip(theirs);
    pairs
        .map(|(&ours, &theirs)| (f64::from(ours) - theirs).abs())
        .fold(0.0, f64::max)
}
