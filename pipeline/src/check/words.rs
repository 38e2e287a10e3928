//! What serde's derived code finds and expects, in the words of TOML.

use serde::de::{Expected, Unexpected};

/// The nearest of `known`, if it is near, or else all of them.
pub fn mend(word: &str, known: &[&str]) -> String {
    let distance = |other: &&&str| strsim::damerau_levenshtein(word, other);
    let near = known
        .iter()
        .filter(|_| word.len() <= 64)
        .min_by_key(distance);
    match near.filter(|near| distance(near) <= 1 + near.len() / 4) {
        Some(near) => format!(": did you mean `{near}`?"),
        None => format!(": it is one of {}", known.join(", ")),
    }
}

pub fn kind(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Str(_) => "a string",
        Unexpected::Seq => "an array",
        Unexpected::Map => "a table",
        _ => "something else",
    }
}

/// What serde's derived code expects, in the words of TOML.
pub fn words(expected: &dyn Expected) -> String {
    let expected = expected.to_string();
    match expected.as_str() {
        "f32" | "f64" => "a number".to_owned(),
        "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i64" => "a whole number".to_owned(),
        "a sequence" => "an array".to_owned(),
        struct_ if struct_.starts_with("struct ") => "a table".to_owned(),
        enum_ if enum_.starts_with("enum ") || enum_ == "string or table" => "a string".to_owned(),
        _ => expected,
    }
}
