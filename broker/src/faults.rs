//! What is wrong with a configuration: all of it, so that it is mended in one go.

use std::{
    fmt::{self, Display},
    ops::RangeInclusive,
};

/// How many faults an error shows; of the rest it gives the number.
const SHOWN: usize = 8;
/// Longest fault that an error shows, in characters.
const LONGEST: usize = 200;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key that it is about, such as `video[1].gate.threshold`; empty if it is about the whole.
    pub key: String,
    /// What is wrong, with the key or the file in it, and what is right.
    pub reason: String,
}

/// All that is wrong; empty if nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Notes a fault.
    pub fn add(&mut self, key: impl Into<String>, reason: impl Display) {
        let (key, reason) = (key.into(), reason.to_string());
        self.0.push(Fault { key, reason });
    }

    /// Notes a fault unless it `holds`.
    pub fn ensure(&mut self, holds: bool, key: impl Into<String>, reason: impl Display) {
        if !holds {
            self.add(key, reason);
        }
    }

    /// Notes what `result` says is wrong.
    pub fn take<E: Display>(&mut self, key: impl Into<String>, result: Result<(), E>) {
        if let Err(reason) = result {
            self.add(key, reason);
        }
    }

    /// Notes a number that is given and out of `range`; `unit` ends the sentence, if it is not empty.
    pub fn range<T: PartialOrd + Display>(
        &mut self,
        key: impl Into<String>,
        value: Option<T>,
        range: RangeInclusive<T>,
        unit: &str,
    ) {
        let key = key.into();
        if let Some(value) = value
            && !range.contains(&value)
        {
            let (least, most) = range.into_inner();
            let gap = if unit.is_empty() { "" } else { " " };
            let reason = format!("{key} is {value}; it is {least} to {most}{gap}{unit}");
            self.add(key, reason);
        }
    }

    /// Adds what is wrong in the table `table`.
    pub fn add_all(&mut self, table: &str, faults: Self) {
        let under = |fault: Fault| Fault {
            key: match fault.key.as_str() {
                "" => table.to_owned(),
                key => format!("{table}.{key}"),
            },
            reason: format!("{table}: {}", fault.reason),
        };
        self.0.extend(faults.0.into_iter().map(under));
    }

    /// An error if something is wrong.
    ///
    /// # Errors
    /// Something is wrong.
    pub fn result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The faults, in the order in which they were found.
    pub fn into_vec(self) -> Vec<Fault> {
        self.0
    }
}

/// At most [`SHOWN`] of them, one a line.
impl Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().take(SHOWN).enumerate() {
            let line = if index == 0 { "" } else { "\n  " };
            let reason = &fault.reason;
            match reason.char_indices().nth(LONGEST) {
                Some((end, _)) => write!(f, "{line}{}...", &reason[..end])?,
                None => write!(f, "{line}{reason}")?,
            }
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more: `msao check` shows all"),
        }
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_kept_and_some_are_shown() {
        let mut faults = Faults::default();
        faults.range("a", Some(1.5_f32), 0.0..=1.0, "");
        faults.range("b", Some(f64::NAN), 0.0..=3600.0, "seconds");
        faults.range("c", Some(4), 0..=4, "");
        faults.range("d", None, 0..=4, "");
        assert_eq!(
            faults.to_string(),
            "a is 1.5; it is 0 to 1\n  b is NaN; it is 0 to 3600 seconds"
        );
        for _ in 0..100 {
            faults.add("e", "x".repeat(10_000));
        }
        let text = faults.to_string();
        assert!(
            text.len() < 2000 && text.contains("and 94 more"),
            "{} bytes",
            text.len()
        );
        assert!(Faults::default().result().is_ok());
        assert_eq!(faults.into_vec().len(), 102);
    }

    #[test]
    fn a_tables_faults_have_its_name() {
        let mut inner = Faults::default();
        inner.add("url", "no url");
        inner.add("", "two of them");
        let mut faults = Faults::default();
        faults.add_all("nats", inner);
        let keys: Vec<String> = faults.into_vec().into_iter().map(|f| f.key).collect();
        assert_eq!(keys, ["nats.url", "nats"]);
    }
}
