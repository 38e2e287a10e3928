//! What is found in documents with mistakes.

use serde::Deserialize;

use toml::de::DeTable;

use super::read::{MOST_FAULTS, Read, place, read};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Rig {
    rig: String,
    model: String,
    #[serde(default)]
    video: Vec<Video>,
    #[serde(default)]
    gate: Gate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Video {
    source: String,
    #[serde(default)]
    pace: Pace,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pace {
    #[default]
    Realtime,
    Fast,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(dead_code)]
struct Gate {
    threshold: Option<f32>,
    frames: Option<u32>,
}

fn read_text(text: &str) -> (Option<Rig>, Vec<(String, String, String)>) {
    let table = DeTable::parse(text).unwrap();
    let Read { config, found } = read::<Rig>(&table);
    let found = found.into_iter();
    let found = found.map(|f| (f.key, text[f.span].to_owned(), f.message));
    (config, found.collect())
}

#[test]
fn all_mistakes_are_found_and_the_rest_is_read() {
    let (config, found) = read_text(
        "model = 5\nmodle = 'm'\n[[video]]\nsource = 'a'\npace = 'fats'\n[[video]]\nsuorce = 'b'\n\
         [gate]\nthreshold = 1\nframes = -1\ncolour = 'red'",
    );
    let expected = [
        ("modle", "modle", "did you mean `model`?"),
        ("model", "5", "model: it is a whole number, not a string"),
        ("video[0].pace", "'fats'", "did you mean `fast`?"),
        ("video[1].suorce", "suorce", "did you mean `source`?"),
        ("video[1].source", "[[video]]", "is missing"),
        ("gate.colour", "colour", "it is one of threshold, frames"),
        (
            "gate.frames",
            "-1",
            "it is integer `-1`, not a whole number, 0 or more",
        ),
        ("rig", "", "rig is missing"),
    ];
    for (key, text, message) in expected {
        let fault = found.iter().find(|fault| fault.0 == key);
        let fault = fault.unwrap_or_else(|| panic!("{key}: {found:#?}"));
        assert!(fault.2.contains(message), "{fault:?}");
        assert!(text.is_empty() || fault.1 == text, "{fault:?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    let config = config.unwrap();
    assert_eq!((config.video.len(), config.gate.threshold), (2, Some(1.0)));
}

#[test]
fn what_stands_in_an_array_goes_with_all_of_it() {
    let (config, found) = read_text("rig = 7\nmodel = 'm'\nvideo = [{ source = 'a' }, 5]");
    let keys: Vec<&str> = found.iter().map(|fault| fault.0.as_str()).collect();
    assert_eq!(keys.len(), 2, "{found:#?}");
    assert!(
        keys.contains(&"rig") && keys.contains(&"video[1]"),
        "{found:#?}"
    );
    assert_eq!(config.unwrap().video.len(), 0);
}

#[test]
fn the_number_of_faults_is_bounded() {
    let text: String = (0..500).map(|n| format!("key{n} = {n}\n")).collect();
    let (config, found) = read_text(&text);
    assert!(config.is_none());
    assert_eq!(found.len(), MOST_FAULTS);
}

#[test]
fn places_are_of_the_innermost_that_is_there() {
    let text = "a = 1\n[[b]]\nc = 'x'\n[[b]]\nc = 'y'";
    let table = DeTable::parse(text).unwrap();
    for (key, at) in [("a", "1"), ("b[1].c", "'y'"), ("b[0].d", "[[b]]")] {
        assert_eq!(&text[place(&table, key)], at, "{key}");
    }
}
