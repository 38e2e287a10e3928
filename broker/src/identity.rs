//! Who a message is about: a rig, and a window of it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::limits;

/// Whether `name` is 1 to 64 of `A-Z a-z 0-9 _ -`: one NATS subject token, one key, one path segment.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=limits::NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The text is not a name that can stand in a subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is not a valid {what} name: use 1 to 64 of A-Z, a-z, 0-9, '_' and '-'")]
pub struct InvalidName {
    what: &'static str,
    name: String,
}

impl InvalidName {
    pub(crate) fn new(what: &'static str, name: &str) -> Self {
        Self {
            what,
            name: excerpt(name),
        }
    }
}

/// At most 80 printable characters of `text`, for an error message about text that others wrote.
pub fn excerpt(text: &str) -> String {
    text.chars()
        .take(80)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// The name of a rig: one edge process and the cameras, microphones and sensors that it watches.
///
/// 1 to 64 of `A-Z a-z 0-9 _ -`, so that it is one token of a NATS subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rig(String);

impl Rig {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Rig {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::try_from(name.to_owned())
    }
}

impl TryFrom<String> for Rig {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if is_name(&name) {
            Ok(Self(name))
        } else {
            Err(InvalidName::new("rig", &name))
        }
    }
}

impl From<Rig> for String {
    fn from(rig: Rig) -> Self {
        rig.0
    }
}

impl fmt::Display for Rig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identity of a window, written `rig/epoch/seq`.
///
/// Windows of one rig are ordered by `(epoch, seq)`: ULIDs sort by the time they were made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WindowId {
    /// The rig that saw the window.
    pub rig: Rig,
    /// Made when the rig's edge process started.
    pub epoch: Ulid,
    /// Counts windows from 0 within the epoch.
    pub seq: u64,
}

/// The text is not the identity of a window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a window identity: expected rig/epoch/seq, {reason}")]
pub struct InvalidWindowId {
    text: String,
    reason: String,
}

impl FromStr for WindowId {
    type Err = InvalidWindowId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason: String| InvalidWindowId {
            text: excerpt(text),
            reason,
        };
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let [rig, epoch, seq] = parts[..] else {
            return Err(fail("three parts with '/' between them".to_owned()));
        };
        Ok(Self {
            rig: rig.parse().map_err(|e: InvalidName| fail(e.to_string()))?,
            epoch: parse_epoch(epoch)
                .ok_or_else(|| fail("the epoch a ULID of 26 characters".to_owned()))?,
            seq: parse_seq(seq)
                .ok_or_else(|| fail("seq a whole number without leading zeros".to_owned()))?,
        })
    }
}

/// One text for one value, so that identities can be compared as text.
pub(crate) fn parse_epoch(text: &str) -> Option<Ulid> {
    Ulid::from_string(text)
        .ok()
        .filter(|epoch| epoch.to_string() == text)
}

fn parse_seq(text: &str) -> Option<u64> {
    text.parse()
        .ok()
        .filter(|seq: &u64| seq.to_string() == text)
}

impl TryFrom<String> for WindowId {
    type Error = InvalidWindowId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<WindowId> for String {
    fn from(id: WindowId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for WindowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.rig, self.epoch, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rig_is_one_subject_token() {
        for good in ["a", "car-7", "Line_2", &"x".repeat(64)] {
            assert_eq!(good.parse::<Rig>().unwrap().as_str(), good);
        }
        for bad in ["", "a.b", "a b", "*", ">", "a/b", "é", &"x".repeat(65)] {
            let error = bad.parse::<Rig>().unwrap_err().to_string();
            assert!(error.contains("valid rig name"), "{error}");
        }
    }

    #[test]
    fn hostile_name_is_quoted_in_bounds() {
        let error = "\u{1b}[2J\n"
            .repeat(500)
            .parse::<Rig>()
            .unwrap_err()
            .to_string();
        assert!(
            error.len() < 400 && !error.contains('\n') && !error.contains('\u{1b}'),
            "{error}"
        );
    }

    #[test]
    fn window_id_round_trips_and_orders() {
        let early = WindowId {
            rig: "car".parse().unwrap(),
            epoch: Ulid::from_parts(1, 7),
            seq: 9,
        };
        let late = WindowId {
            epoch: Ulid::from_parts(2, 0),
            seq: 0,
            ..early.clone()
        };
        assert_eq!(early.to_string().parse::<WindowId>().unwrap(), early);
        assert!(early < late);
        for bad in [
            "",
            "car",
            "car/x/1",
            "car/00000000010000000000000007/01",
            "car/00000000010000000000000007/1/2",
        ] {
            assert!(bad.parse::<WindowId>().is_err(), "{bad}");
        }
    }
}
