//! Reads a TOML document into a configuration and goes on after a mistake: what is wrong is noted with its place, left out,
//! and the rest read again, by the same `Deserialize` that the program itself uses.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::ops::Range;

use broker::identity::excerpt;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Expected, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::words::{kind, mend, words};

/// After so many faults the rest is not looked for: each costs a pass.
pub const MOST_FAULTS: usize = 100;
/// What stands in for a text that is missing.
const PLACEHOLDER: &str = "missing";

/// Something that is wrong with the document.
#[derive(Debug)]
pub struct Found {
    /// The key, as `video[1].gate.threshold`; empty for the document.
    pub key: String,
    /// Where it stands, in bytes.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
}

/// What was read: the configuration, unless nothing could be made of it, and all that is wrong. Keys in `found` are left
/// out of `config`, or hold a placeholder.
pub struct Read<T> {
    pub config: Option<T>,
    pub found: Vec<Found>,
}

/// Reads `table`.
pub fn read<T: DeserializeOwned>(table: &Spanned<DeTable<'_>>) -> Read<T> {
    let mut state = State::default();
    loop {
        let root = Value {
            key: String::new(),
            content: Content::Table(table.get_ref()),
            state: &mut state,
        };
        let error = match T::deserialize(root) {
            Ok(config) => return state.read(Some(config)),
            Err(error) => error,
        };
        let (key, span) = error.place.unwrap_or_else(|| (String::new(), table.span()));
        let goes_on = match error.what {
            What::Missing(field) => {
                let key = join(&key, field);
                let message = format!("{key} is missing");
                // A value that was struck is known to be wrong.
                if !state.struck.contains(&key) {
                    state.note(key.clone(), span, message);
                }
                state.filled.insert(key)
            }
            // A placeholder of another type than the text that it is.
            What::Wrong(_) if state.filled.contains(&key) => false,
            What::Wrong(message) => {
                // What stands in an array goes with all of it: the places of the others must not move.
                let struck = key.split('[').next().unwrap_or_default();
                let whole = if key.ends_with(']') { struck } else { &key };
                let goes_on = state.struck.insert(whole.to_owned()) && !key.is_empty();
                state.note(key, span, message);
                goes_on
            }
        };
        if !goes_on || state.found.len() >= MOST_FAULTS {
            return state.read(None);
        }
    }
}

/// The key `field` of the table `table`.
pub fn join(table: &str, field: &str) -> String {
    match table {
        "" => field.to_owned(),
        table => format!("{table}.{field}"),
    }
}

/// The place of `key` in the document, or of the innermost table or array on the way to it that is there.
pub fn place(table: &Spanned<DeTable<'_>>, key: &str) -> Range<usize> {
    let mut span = table.span();
    let mut value: Option<&DeValue<'_>> = None;
    for part in key.split(['.', '[']) {
        let inner = match (value, part.strip_suffix(']')) {
            (None, _) => table.get_ref().get(part),
            (Some(DeValue::Table(table)), _) => table.get(part),
            (Some(DeValue::Array(array)), Some(index)) => {
                index.parse().ok().and_then(|index: usize| array.get(index))
            }
            _ => None,
        };
        let Some(inner) = inner else { break };
        span = inner.span();
        value = Some(inner.get_ref());
    }
    span
}

#[derive(Default)]
struct State {
    found: Vec<Found>,
    /// Keys that are passed over.
    struck: BTreeSet<String>,
    /// Keys that are missing, and get a placeholder.
    filled: BTreeSet<String>,
}

impl State {
    fn read<T>(self, config: Option<T>) -> Read<T> {
        let found = self.found;
        Read { config, found }
    }

    fn note(&mut self, key: String, span: Range<usize>, message: String) {
        if self.found.len() < MOST_FAULTS {
            self.found.push(Found { key, span, message });
        }
    }
}

/// Why a value was not read.
#[derive(Debug)]
struct Fault {
    what: What,
    /// Set by the innermost value that it passes.
    place: Option<(String, Range<usize>)>,
}

#[derive(Debug)]
enum What {
    Missing(&'static str),
    Wrong(String),
}

impl Fault {
    fn wrong(message: String) -> Self {
        Self {
            what: What::Wrong(message),
            place: None,
        }
    }

    /// The fault is of `key`, and its message begins with `name`, unless an inner value said so already.
    fn at(mut self, name: &str, key: &str, span: &Range<usize>) -> Self {
        if self.place.is_none() {
            self.place = Some((key.to_owned(), span.clone()));
            if let What::Wrong(message) = &mut self.what
                && !name.is_empty()
            {
                *message = format!("{}: {message}", excerpt(name));
            }
        }
        self
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Missing(field) => write!(f, "{field} is missing"),
            What::Wrong(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        Self::wrong(message.to_string())
    }

    /// Without the value, which may be a secret.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong(format!("it is {}, not {}", kind(&found), words(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong(format!("it is {found}, not {}", words(expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let mend = mend(variant, expected);
        Self::wrong(format!("`{}` is not known{mend}", excerpt(variant)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let mend = mend(field, expected);
        Self::wrong(format!("there is no key `{}` here{mend}", excerpt(field)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            what: What::Missing(field),
            place: None,
        }
    }
}

enum Content<'a, 'i> {
    Table(&'a DeTable<'i>),
    Value(&'a DeValue<'i>),
    Placeholder,
}

/// A value of the document, and what is known of it.
struct Value<'a, 'i, 's> {
    key: String,
    content: Content<'a, 'i>,
    state: &'s mut State,
}

impl<'de, 'a, 'i> de::Deserializer<'de> for Value<'a, 'i, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.content {
            Content::Table(table) => visitor.visit_map(Table::new(self.key, table, self.state)),
            Content::Placeholder => visitor.visit_str(PLACEHOLDER),
            Content::Value(value) => match value {
                DeValue::String(text) => visitor.visit_str(text),
                DeValue::Integer(number) => {
                    let (digits, radix) = (number.as_str(), number.radix());
                    match (
                        i64::from_str_radix(digits, radix),
                        u64::from_str_radix(digits, radix),
                    ) {
                        (Ok(number), _) => visitor.visit_i64(number),
                        (_, Ok(number)) => visitor.visit_u64(number),
                        _ => Err(Fault::wrong("the number is too large".to_owned())),
                    }
                }
                DeValue::Float(number) => match number.as_str().parse() {
                    Ok(number) => visitor.visit_f64(number),
                    Err(_) => Err(Fault::wrong("it is no number".to_owned())),
                },
                DeValue::Boolean(value) => visitor.visit_bool(*value),
                DeValue::Datetime(_) => Err(Fault::wrong(
                    "it is a time, which nothing here is".to_owned(),
                )),
                DeValue::Array(array) => visitor.visit_seq(Array {
                    key: self.key,
                    values: array.iter().enumerate(),
                    state: self.state,
                }),
                DeValue::Table(table) => visitor.visit_map(Table::new(self.key, table, self.state)),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// All that occur are names.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.content {
            Content::Value(DeValue::String(text)) => {
                StrDeserializer::<Fault>::new(text).deserialize_enum(name, variants, visitor)
            }
            _ => Err(Fault::wrong(format!(
                "it is one of {}, as a string",
                variants.join(", ")
            ))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Array<'a, 'i, 's, I: Iterator<Item = (usize, &'a Spanned<DeValue<'i>>)>>
where
    'i: 'a,
{
    key: String,
    values: I,
    state: &'s mut State,
}

impl<'de, 'a, 'i, I> de::SeqAccess<'de> for Array<'a, 'i, '_, I>
where
    I: Iterator<Item = (usize, &'a Spanned<DeValue<'i>>)>,
{
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some((index, value)) = self.values.next() else {
            return Ok(None);
        };
        let (key, span) = (format!("{}[{index}]", self.key), value.span());
        let value = Value {
            key: key.clone(),
            content: Content::Value(value.get_ref()),
            state: self.state,
        };
        let read = seed.deserialize(value);
        read.map(Some).map_err(|fault| fault.at(&key, &key, &span))
    }
}

/// A key, where it stands, and its value; none for a placeholder.
type Entry<'a, 'i> = (Cow<'a, str>, Range<usize>, Option<&'a Spanned<DeValue<'i>>>);

struct Table<'a, 'i, 's> {
    key: String,
    entries: std::vec::IntoIter<Entry<'a, 'i>>,
    /// The entry whose key was given last.
    next: Option<Entry<'a, 'i>>,
    state: &'s mut State,
}

impl<'a, 'i, 's> Table<'a, 'i, 's> {
    fn new(key: String, table: &'a DeTable<'i>, state: &'s mut State) -> Self {
        let stays = |name: &str| !state.struck.contains(&join(&key, name));
        let given = (table.iter())
            .filter(|(name, _)| stays(name.get_ref()))
            .map(|(name, value)| (Cow::from(name.get_ref().as_ref()), name.span(), Some(value)));
        let mut entries: Vec<Entry<'a, 'i>> = given.collect();
        for filled in &state.filled {
            let (parent, name) = filled.rsplit_once('.').unwrap_or(("", filled));
            if parent == key {
                entries.push((Cow::Owned(name.to_owned()), 0..0, None));
            }
        }
        let entries = entries.into_iter();
        Self {
            key,
            entries,
            next: None,
            state,
        }
    }
}

impl<'de> de::MapAccess<'de> for Table<'_, '_, '_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        self.next = self.entries.next();
        let Some((name, span, _)) = &self.next else {
            return Ok(None);
        };
        let read = seed.deserialize(StrDeserializer::new(name));
        let read = read.map_err(|fault: Fault| fault.at(&self.key, &join(&self.key, name), span));
        read.map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some((name, span, value)) = self.next.take() else {
            return Err(Fault::wrong("a value without a key".to_owned()));
        };
        let (key, span) = (join(&self.key, &name), value.map_or(span, Spanned::span));
        let content = value.map(|value| Content::Value(value.get_ref()));
        let read = seed.deserialize(Value {
            key: key.clone(),
            content: content.unwrap_or(Content::Placeholder),
            state: self.state,
        });
        read.map_err(|fault| fault.at(&key, &key, &span))
    }
}
