//! A reader as it was with the first minor of each schema: columns and fields by name, the rest ignored. Not to be changed.

use arrow_array::{
    Array, FixedSizeListArray, Float32Array, Int8Array, ListArray, StringArray, StructArray,
    UInt64Array,
};
use arrow_ipc::reader::StreamReader;
use serde::Deserialize;

/// What it read of a feature window.
pub struct Window {
    pub rig: String,
    pub seq: u64,
    pub draft: Option<String>,
    /// Of each token.
    pub features: Vec<[f32; 4]>,
}

impl Window {
    pub fn read(bytes: &[u8]) -> Self {
        let mut batches = StreamReader::try_new(bytes, None).unwrap();
        let batch = batches.next().unwrap().unwrap();
        let version = &batch.schema_ref().metadata()["msao.schema"];
        assert!(version.starts_with("features/1."), "{version}");
        let column = |name: &str| batch.column_by_name(name).unwrap().as_any();
        let text = |name: &str| column(name).downcast_ref::<StringArray>().unwrap();
        let draft: &StructArray = column("draft").downcast_ref().unwrap();
        let drafted = draft.column_by_name("text").unwrap().as_any();
        let drafted: &StringArray = drafted.downcast_ref().unwrap();
        let tokens: &ListArray = column("tokens").downcast_ref().unwrap();
        let tokens = tokens.value(0);
        let tokens: &StructArray = tokens.as_any().downcast_ref().unwrap();
        let of_token = |name: &str| tokens.column_by_name(name).unwrap().as_any();
        let scales: &Float32Array = of_token("scale").downcast_ref().unwrap();
        let features: &FixedSizeListArray = of_token("feature").downcast_ref().unwrap();
        let feature = |index: usize| {
            let values = features.value(index);
            let values: &Int8Array = values.as_any().downcast_ref().unwrap();
            std::array::from_fn(|c| f32::from(values.value(c)) * scales.value(index))
        };
        Self {
            rig: text("rig").value(0).to_owned(),
            seq: column("seq")
                .downcast_ref::<UInt64Array>()
                .unwrap()
                .value(0),
            draft: (!draft.is_null(0)).then(|| drafted.value(0).to_owned()),
            features: (0..tokens.len()).map(feature).collect(),
        }
    }
}

#[derive(Deserialize)]
pub struct Caption {
    pub schema: String,
    pub id: String,
    pub revision: u32,
    pub status: String,
    pub text: String,
    pub mas: Vec<StreamMas>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "read to see that they are there")]
pub struct StreamMas {
    pub modality: String,
    pub stream: String,
    pub mas: f32,
}

#[derive(Deserialize)]
pub struct EdgeStatus {
    pub windows: u64,
    pub pending: u64,
}

#[derive(Deserialize)]
pub struct CloudStatus {
    pub captioned: u64,
    pub queue: u64,
}
