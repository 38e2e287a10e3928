//! What each target does.

use std::fmt::Display;
use std::path::Path;

use broker::status::AnyStatus;
use broker::{Caption, Compression, FeatureWindow, ask};
use gstmsao::sensorsrc::outside;

/// What becomes of bytes from outside.
pub struct Target {
    /// Its name, and that of the folder of its corpus.
    pub name: &'static str,
    /// Memory that it may take whatever the bytes are, such as that of caches which fill once.
    pub memory: usize,
    /// Reads the bytes; the error says why it does not.
    pub body: fn(&[u8]) -> Result<(), String>,
}

/// Memory for all but pictures.
const MESSAGE: usize = 2 << 20;
/// Memory for a picture of the longest sides: its pixels, and as much again four times to decode it.
const PICTURE: usize = 5 * 3 * (broker::limits::KEYFRAME_SIDE as usize).pow(2);

/// All targets.
pub const ALL: [Target; 10] = [
    target("features", MESSAGE, features),
    target("caption", MESSAGE, caption),
    target("status", MESSAGE, status),
    target("question", MESSAGE, question),
    target("sensor_csv", MESSAGE, sensor_csv),
    target("sensor_message", MESSAGE, sensor_message),
    target("config", MESSAGE, config),
    target("model_manifest", MESSAGE, model_manifest),
    target("keyframe", PICTURE, keyframe),
    target("recording", MESSAGE, recording),
];

const fn target(
    name: &'static str,
    memory: usize,
    body: fn(&[u8]) -> Result<(), String>,
) -> Target {
    Target { name, memory, body }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// A window's features.
fn features(bytes: &[u8]) -> Result<(), String> {
    let window = FeatureWindow::decode(bytes).map_err(text)?;
    let again = window.encode().expect("what was read can be written");
    let again = FeatureWindow::decode(&again).expect("what was written can be read");
    // Its negative zeros are equal to zeros.
    assert_eq!(window, again);
    let packed = Compression::Zstd.pack(window.encode().expect("it was written before"));
    let again = FeatureWindow::decode(&packed).expect("what was compressed can be read");
    assert_eq!(window, again);
    Ok(())
}

/// A caption.
fn caption(bytes: &[u8]) -> Result<(), String> {
    let caption = Caption::decode(bytes).map_err(text)?;
    let again = caption.encode().expect("what was read can be written");
    let again = Caption::decode(&again).expect("what was written can be read");
    assert_eq!(caption, again);
    Ok(())
}

/// A status of an edge and of a cloud worker.
fn status(bytes: &[u8]) -> Result<(), String> {
    let read = |bytes: &[u8]| {
        let name = |key: &str| {
            let fields: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
            fields[key].as_str().unwrap_or_default().to_owned()
        };
        let edge = format!("msao.v1.status.edge.{}", name("rig"));
        let cloud = format!("msao.v1.status.cloud.{}", name("worker"));
        AnyStatus::decode(&edge, bytes).or_else(|_| AnyStatus::decode(&cloud, bytes))
    };
    let status = read(bytes).map_err(text)?;
    let again = status.encode().expect("what was read can be written");
    assert_eq!(read(&again).expect("what was written can be read"), status);
    Ok(())
}

/// A question, and a reply to one.
fn question(bytes: &[u8]) -> Result<(), String> {
    let answer = match ask::read_question(bytes) {
        Ok(prompt) => {
            let again = ask::write_question(&prompt).expect("what was read can be written");
            assert_eq!(ask::read_question(&again).ok(), Some(prompt));
            return Ok(());
        }
        Err(error) => {
            let refusal = ask::write_answer(Err(error.to_string())).expect("an error is text");
            ask::read_answer(&refusal)
                .expect("what was written can be read")
                .expect_err("it is a refusal");
            ask::read_answer(bytes).map_err(text)?
        }
    };
    let again = ask::write_answer(answer.clone()).expect("what was read can be written");
    assert_eq!(ask::read_answer(&again).ok(), Some(answer));
    Ok(())
}

/// A recording of sensors.
fn sensor_csv(bytes: &[u8]) -> Result<(), String> {
    /// Times from here on (26 days) do not keep their nanoseconds in a `f64` of seconds.
    const EXACT: u64 = 1 << 51;
    /// Just under the longest gap: an hour can be a bit longer on another scale.
    const HOUR: u64 = 3_599_999_999_000;
    let mut written = String::new();
    let (mut rows, mut last, mut gap) = (0, 0, 0);
    let names = outside::recording(bytes, |at, values| {
        assert!(at >= last, "the time goes back");
        (rows, last, gap) = (rows + 1, at, gap.max(at - last));
        written.push_str(&format!("{}.{:09}", at / 1_000_000_000, at % 1_000_000_000));
        for value in values {
            assert!(!value.is_infinite());
            written.push_str(&format!(",{value:e}"));
        }
        written.push('\n');
    })?;
    assert!(rows > 0 && !names.is_empty());
    if last < EXACT && gap < HOUR {
        let first = format!("time,{}\n{written}", names.join(","));
        let mut again = String::new();
        let same = outside::recording(first.as_bytes(), |at, values| {
            again.push_str(&format!("{}.{:09}", at / 1_000_000_000, at % 1_000_000_000));
            values
                .iter()
                .for_each(|value| again.push_str(&format!(",{value:e}")));
            again.push('\n');
        });
        assert_eq!((same.as_ref(), &again), (Ok(&names), &written));
    }
    Ok(())
}

/// A row of a sensor as a message; the first byte says how many channels it should have.
fn sensor_message(bytes: &[u8]) -> Result<(), String> {
    let (&channels, payload) = bytes.split_first().unwrap_or((&1, &[]));
    let channels = usize::from(channels).max(1);
    let (_, values) = outside::message(payload, channels)?;
    assert_eq!(values.len(), channels);
    let raw: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    // Raw values can happen to be JSON.
    if raw.first() != Some(&b'{') {
        let (time, again) = outside::message(&raw, channels).expect("what was written can be read");
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!((time, bits(&again)), (None, bits(&values)));
    }
    Ok(())
}

/// Windows in a file.
fn recording(bytes: &[u8]) -> Result<(), String> {
    for window in broker::recording::Reader::new(bytes) {
        let window = window.map_err(text)?;
        FeatureWindow::decode(&window).map_err(text)?;
    }
    Ok(())
}

/// A configuration of an edge and of a cloud worker.
fn config(bytes: &[u8]) -> Result<(), String> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        for message in pipeline::check_config(text) {
            assert!(message.len() <= 2000, "{} bytes", message.len());
        }
    }
    let edge = pipeline::parse_config::<pipeline::EdgeConfig>(bytes);
    let cloud = pipeline::parse_config::<cloud_sink::Config>(bytes);
    match (edge, cloud) {
        (Ok(edge), _) => edge.check().map_err(text),
        (_, Ok(cloud)) => cloud.check().map(drop).map_err(text),
        (Err(edge), Err(cloud)) => Err(format!("{edge:#}{cloud:#}")),
    }
}

/// `config.json` and `preprocessor_config.json` of a model folder.
fn model_manifest(bytes: &[u8]) -> Result<(), String> {
    let path = Path::new("config.json");
    let picture = mllm::config::PreprocessorConfig::parse(path, bytes);
    match mllm::Config::parse(path, bytes) {
        Ok(config) => {
            for modality in mllm::Modality::ALL {
                assert!(modality.positions(&config) <= 1 << 24);
            }
            Ok(())
        }
        Err(error) => picture.map(drop).map_err(|other| format!("{error}{other}")),
    }
}

/// A keyframe.
fn keyframe(bytes: &[u8]) -> Result<(), String> {
    let picture = cloud_sink::picture(bytes)?;
    let side = broker::limits::KEYFRAME_SIDE;
    assert!(picture.width() <= side && picture.height() <= side);
    Ok(())
}
