//! What the sensor elements share: the format of their buffers, as it stands in caps.

use broker::identity::excerpt;
use broker::limits;

/// Media type of buffers of numeric channels: whole rows of interleaved F32LE samples.
pub const SENSOR_MEDIA_TYPE: &str = "application/x-msao-sensor";

/// Most channels of a stream.
pub(crate) const MOST_CHANNELS: usize = 256;
/// Highest rate of a stream in Hz.
pub(crate) const MOST_RATE: u32 = 100_000;
/// Longest line of a recording, and longest message of a row, in bytes.
pub(crate) const MOST_ROW: usize = 64 * 1024;

/// Channels and rate of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SensorFormat {
    pub channels: usize,
    /// Samples of each channel a second.
    pub rate: u32,
    /// The channels' names, if they are known.
    pub names: Option<Vec<String>>,
}

impl SensorFormat {
    /// Caps of any format.
    pub fn any_caps() -> gst::Caps {
        gst::Caps::builder(SENSOR_MEDIA_TYPE)
            .field(
                "channels",
                gst::IntRange::new(1, i32::try_from(MOST_CHANNELS).unwrap_or(i32::MAX)),
            )
            .field(
                "rate",
                gst::IntRange::new(1, i32::try_from(MOST_RATE).unwrap_or(i32::MAX)),
            )
            .field("format", "F32LE")
            .field("layout", "interleaved")
            .build()
    }

    /// The caps of this format.
    pub fn to_caps(&self) -> gst::Caps {
        gst::Caps::builder(SENSOR_MEDIA_TYPE)
            .field("channels", self.channels as i32)
            .field("rate", self.rate as i32)
            .field("format", "F32LE")
            .field("layout", "interleaved")
            .field_if_some("names", self.names.as_ref().map(|names| names.join(",")))
            .build()
    }

    /// The format that fixed caps say, unless they say none.
    pub fn from_caps(caps: &gst::CapsRef) -> Option<Self> {
        let structure = caps.structure(0)?;
        let number = |name| structure.get::<i32>(name).ok();
        Some(Self {
            channels: usize::try_from(number("channels")?)
                .ok()
                .filter(|n| *n > 0)?,
            rate: u32::try_from(number("rate")?).ok().filter(|n| *n > 0)?,
            names: structure
                .get::<String>("names")
                .ok()
                .map(|names| split_names(&names)),
        })
    }
}

/// The names in a list with commas between them.
pub(crate) fn split_names(names: &str) -> Vec<String> {
    names
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect()
}

/// Checks the names of a stream's channels: 1 to 256, each once and of 1 to 64 bytes without comma, quote and backslash.
///
/// # Errors
/// What is wrong.
pub fn check_names(names: &[String]) -> Result<(), String> {
    if names.is_empty() || names.len() > MOST_CHANNELS {
        let count = names.len();
        return Err(format!(
            "{count} channels: there must be 1 to {MOST_CHANNELS}"
        ));
    }
    for (index, name) in names.iter().enumerate() {
        let shown = excerpt(name);
        let fits = (1..=limits::NAME).contains(&name.len());
        if !fits || name.contains([',', '"', '\\']) || name.chars().any(char::is_control) {
            return Err(format!(
                "`{shown}` cannot name a channel: use 1 to 64 bytes without comma, quote and backslash"
            ));
        }
        if names[..index].contains(name) {
            return Err(format!("two channels are named `{shown}`: rename one"));
        }
    }
    Ok(())
}

/// The length of so many samples, rounded down to ns.
pub(crate) fn length(samples: u64, rate: u32) -> gst::ClockTime {
    let ns = u128::from(samples) * 1_000_000_000 / u128::from(rate.max(1));
    gst::ClockTime::from_nseconds(u64::try_from(ns).unwrap_or(u64::MAX - 1))
}
