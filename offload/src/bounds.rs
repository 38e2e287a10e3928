//! Numbers from outside, brought into their range.

/// A setting that no result can be defined for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name} is {value}: it must be {range}")]
pub struct Error {
    /// Name of the setting.
    pub name: &'static str,
    /// The value given.
    pub value: f64,
    /// The values allowed, in words.
    pub range: &'static str,
}

/// Refuses a setting that does not hold.
pub(crate) fn check(
    name: &'static str,
    value: f64,
    holds: bool,
    range: &'static str,
) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error { name, value, range })
    }
}

/// `value` within `[low, high]`; `nan` if it is not a number.
pub(crate) fn within(value: f64, low: f64, high: f64, nan: f64) -> f64 {
    if value.is_nan() {
        nan
    } else {
        value.clamp(low, high)
    }
}

/// The longest time that is reckoned with, in seconds: a day.
pub(crate) const LONGEST: f64 = 86_400.0;

/// Seconds within `[0, a day]`; what is not a number is a day.
pub(crate) fn seconds(value: f64) -> f64 {
    within(value, 0.0, LONGEST, LONGEST)
}

/// `value` to four significant digits: as close as any of these quantities is known, and short where it is stored.
pub(crate) fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
