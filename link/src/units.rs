//! Rates and durations as people write them: `20M`, `40ms`.

use std::time::Duration;

/// The text is not a rate or a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUnit {
    /// Not a rate.
    #[error("'{0}' is not a rate in bits a second: write 64k, 20M or 1.5G")]
    Rate(String),
    /// Not a duration.
    #[error("'{0}' is not a duration: write 40ms or 1.5s")]
    Duration(String),
}

/// Reads a rate in bits a second, with `k`, `M` or `G` for thousands, millions or thousands of millions.
///
/// # Errors
/// It is none, or not within 1 and 10^12.
pub fn rate(text: &str) -> Result<u64, InvalidUnit> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'k')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        Some((at, 'G')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    match number.parse::<f64>().map(|number| number * unit) {
        Ok(rate) if (1.0..=1e12).contains(&rate) => Ok(rate.round() as u64),
        _ => Err(InvalidUnit::Rate(excerpt(text))),
    }
}

/// Reads a duration in `s` or `ms`.
///
/// # Errors
/// It is none, or below 0.
pub fn duration(text: &str) -> Result<Duration, InvalidUnit> {
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => ("", 1.0),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * unit).ok())
        .ok_or_else(|| InvalidUnit::Duration(excerpt(text)))
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        assert_eq!(rate("20M"), Ok(20_000_000));
        assert_eq!(rate("1.5G"), Ok(1_500_000_000));
        assert_eq!(rate("800"), Ok(800));
        assert_eq!(duration("40ms"), Ok(Duration::from_millis(40)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "M", "-1M", "0", "20m", "nan", "9999G", "2\u{20ac}"] {
            assert_eq!(rate(wrong), Err(InvalidUnit::Rate(wrong.to_owned())));
        }
        for wrong in ["", "ms", "40", "-1s", "nans", "infs"] {
            assert_eq!(
                duration(wrong),
                Err(InvalidUnit::Duration(wrong.to_owned()))
            );
        }
    }
}
