//! Versions of the schemas: `name/major.minor`.

use crate::{identity::excerpt, limits};

/// A schema that this build writes, and whose other minors it reads.
pub(crate) struct Schema {
    pub name: &'static str,
    pub major: u32,
    pub minor: u32,
}

/// The message's schema is not one that this build reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "schema '{found}' is not readable here: this build reads {name}/{major}.x; run the same version of msao on both sides"
)]
pub struct UnreadableSchema {
    found: String,
    name: &'static str,
    major: u32,
}

impl Schema {
    /// The schema's text on the wire.
    pub fn text(&self) -> String {
        format!("{}/{}.{}", self.name, self.major, self.minor)
    }

    /// Accepts this name and major; a newer minor gives a warning, as fields may be ignored.
    pub fn check(&self, found: &str) -> Result<(), UnreadableSchema> {
        let refuse = || UnreadableSchema {
            found: excerpt(found),
            name: self.name,
            major: self.major,
        };
        if found.len() > limits::NAME {
            return Err(refuse());
        }
        let (name, version) = found.split_once('/').ok_or_else(refuse)?;
        let (major, minor) = version.split_once('.').ok_or_else(refuse)?;
        let minor: u32 = minor.parse().map_err(|_| refuse())?;
        if name != self.name || major.parse() != Ok(self.major) {
            return Err(refuse());
        }
        if minor > self.minor {
            tracing::warn!(
                found,
                reads = self.text(),
                "newer minor schema: what it adds is ignored"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_major_is_refused_and_newer_minor_is_read() {
        let schema = Schema {
            name: "features",
            major: 1,
            minor: 0,
        };
        assert_eq!(schema.text(), "features/1.0");
        schema.check("features/1.0").unwrap();
        schema.check("features/1.7").unwrap();
        for bad in [
            "features/2.0",
            "features/0.9",
            "caption/1.0",
            "features",
            "features/1",
            "features/1.x",
            &format!("features/1.{}", "0".repeat(100)),
            "",
        ] {
            assert!(
                schema
                    .check(bad)
                    .unwrap_err()
                    .to_string()
                    .contains("features/1.x"),
                "{bad}"
            );
        }
    }
}
