//! The streams as they must be, and whether what the server has is that.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use super::{CAPTIONS, DEAD, FEATURES, Limits, SetUpError, StreamsConfig};
use crate::subjects;

/// One stream as it must be.
pub(super) struct Wanted {
    pub name: &'static str,
    subject: String,
    limits: Limits,
    default_bytes: i64,
    default_age_s: u64,
    duplicate_window_s: Option<u64>,
    per_subject: i64,
    /// What goes when it is full.
    discard: DiscardPolicy,
}

const MIB: i64 = 1 << 20;
const DAY_S: u64 = 24 * 3600;

fn stream(
    config: &StreamsConfig,
    name: &'static str,
    subject: &str,
    limits: Limits,
    mib: i64,
    default_age_s: u64,
) -> Wanted {
    Wanted {
        name,
        subject: subject.to_owned(),
        limits,
        default_bytes: mib * MIB,
        default_age_s,
        duplicate_window_s: config.duplicate_window_s,
        per_subject: -1,
        discard: DiscardPolicy::Old,
    }
}

pub(super) fn wanted(config: &StreamsConfig) -> [Wanted; 4] {
    let (features, captions) = (config.features, config.captions);
    let latest = Wanted {
        // The server bounds a bucket's duplicate window itself.
        duplicate_window_s: None,
        per_subject: 1,
        // A bucket refuses what does not fit.
        discard: DiscardPolicy::New,
        ..stream(
            config,
            "KV_MSAO_LATEST",
            "$KV.MSAO_LATEST.>",
            Limits::default(),
            16,
            0,
        )
    };
    [
        stream(config, FEATURES, subjects::FEATURES, features, 512, 3600),
        stream(
            config,
            CAPTIONS,
            subjects::CAPTIONS,
            captions,
            128,
            7 * DAY_S,
        ),
        stream(config, DEAD, subjects::DEAD, config.dead, 64, 7 * DAY_S),
        latest,
    ]
}

pub(super) fn wanted_done(config: &StreamsConfig) -> Wanted {
    let (name, subject) = ("KV_MSAO_DONE", "$KV.MSAO_DONE.>");
    Wanted {
        duplicate_window_s: None,
        per_subject: 1,
        // Unlike in other buckets: a worker must not be held up by records of long ago.
        discard: DiscardPolicy::Old,
        ..stream(config, name, subject, config.done, 32, 7 * DAY_S)
    }
}

impl Wanted {
    /// Whether the configured bounds make sense.
    pub fn validate(&self) -> Result<(), SetUpError> {
        let reason = if self.limits.max_bytes.is_some_and(|bytes| bytes < MIB) {
            "max_bytes is below 1048576"
        } else if self.limits.max_age_s == Some(0) {
            "max_age_s is 0; it is at least 1"
        } else if self.duplicate_window_s == Some(0) {
            "duplicate_window_s is 0; it is at least 1"
        } else if self
            .duplicate_window_s
            .is_some_and(|window| window > self.age_s())
        {
            "duplicate_window_s is longer than max_age_s"
        } else {
            return Ok(());
        };
        Err(SetUpError::Config {
            stream: self.name,
            reason: reason.to_owned(),
        })
    }

    /// The most it may hold.
    pub fn bytes(&self) -> i64 {
        self.limits.max_bytes.unwrap_or(self.default_bytes)
    }

    fn age_s(&self) -> u64 {
        self.limits.max_age_s.unwrap_or(self.default_age_s)
    }

    /// What to ask the server for.
    pub fn create(&self) -> Config {
        let bucket = self.per_subject == 1;
        // Not longer than the age, which the server refuses.
        let default_window_s = if bucket { 120 } else { 600 };
        let longest_window_s = match self.age_s() {
            0 => u64::MAX,
            age => age,
        };
        let duplicate_window_s = self
            .duplicate_window_s
            .unwrap_or(longest_window_s.min(default_window_s));
        Config {
            name: self.name.to_owned(),
            subjects: vec![self.subject.clone()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: self.discard,
            max_bytes: self.bytes(),
            max_age: Duration::from_secs(self.age_s()),
            max_messages: -1,
            max_messages_per_subject: self.per_subject,
            duplicate_window: Duration::from_secs(duplicate_window_s),
            num_replicas: 1,
            allow_direct: true,
            allow_rollup: bucket,
            deny_delete: bucket,
            ..Config::default()
        }
    }

    /// What the publisher and the consumer rely on, and the bounds that were configured.
    pub fn compare(&self, found: &Config) -> Result<(), SetUpError> {
        let conflict = |field, found: String, expected: String| {
            if found == expected {
                return Ok(());
            }
            Err(SetUpError::Conflict {
                stream: self.name.to_owned(),
                field,
                found,
                expected,
            })
        };
        let asked = self.create();
        conflict(
            "subjects",
            found.subjects.join(","),
            asked.subjects.join(","),
        )?;
        conflict(
            "retention",
            format!("{:?}", found.retention),
            format!("{:?}", asked.retention),
        )?;
        conflict(
            "storage",
            format!("{:?}", found.storage),
            format!("{:?}", asked.storage),
        )?;
        conflict(
            "discard",
            format!("{:?}", found.discard),
            format!("{:?}", asked.discard),
        )?;
        conflict(
            "max_msgs_per_subject",
            found.max_messages_per_subject.to_string(),
            self.per_subject.to_string(),
        )?;
        // Without an acknowledgement nothing would ever count as stored.
        conflict("no_ack", found.no_ack.to_string(), false.to_string())?;
        conflict("sealed", found.sealed.to_string(), false.to_string())?;
        if let Some(max_bytes) = self.limits.max_bytes {
            conflict(
                "max_bytes",
                found.max_bytes.to_string(),
                max_bytes.to_string(),
            )?;
        }
        if let Some(age) = self.limits.max_age_s {
            conflict(
                "max_age",
                format!("{:?}", found.max_age),
                format!("{:?}", Duration::from_secs(age)),
            )?;
        }
        if let Some(window) = self.duplicate_window_s {
            let window = Duration::from_secs(window);
            conflict(
                "duplicate_window",
                format!("{:?}", found.duplicate_window),
                format!("{window:?}"),
            )?;
        }
        if found.max_bytes <= 0 {
            conflict("max_bytes", "unlimited".to_owned(), "a limit".to_owned())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_bounds_are_refused() {
        let config = StreamsConfig {
            duplicate_window_s: Some(7200),
            ..StreamsConfig::default()
        };
        let error = wanted(&config)[0].validate().unwrap_err().to_string();
        assert!(
            error.contains("MSAO_FEATURES") && error.contains("duplicate_window_s"),
            "{error}"
        );
        let tiny = Limits {
            max_bytes: Some(10),
            max_age_s: None,
        };
        let config = StreamsConfig {
            captions: tiny,
            ..StreamsConfig::default()
        };
        assert!(wanted(&config)[1].validate().is_err());
    }
}
