//! How much a window may send.

use crate::bounds::{LONGEST, seconds, within};
use crate::link;

/// Bytes that the link carries, beside what is in flight, so that the whole takes `limit` seconds; never negative.
/// `elsewhere` is what passes off the link, seconds: on the edge, in the cloud's queue, at work.
#[must_use]
pub fn bytes(link: &link::State, limit: f64, elsewhere: f64) -> f64 {
    let time = within(limit, 0.0, LONGEST, 0.0) - seconds(elsewhere) - seconds(link.rtt);
    (time * bandwidth(link) - link.in_flight as f64).max(0.0)
}

/// Tokens of `token_bytes` bytes each that fit into `bytes` beside `fixed` others, within `range` (least, most). It
/// never falls as bandwidth rises.
#[must_use]
pub fn tokens(bytes: f64, fixed: f64, token_bytes: u32, range: (u32, u32)) -> u32 {
    let room = (bytes - fixed) / f64::from(token_bytes.max(1));
    // A cast of a float saturates: below 0 is 0.
    (room as u32).clamp(range.0.min(range.1), range.1)
}

/// Bandwidth within the range that is reckoned with; what is not a number is the slowest.
pub(crate) fn bandwidth(link: &link::State) -> f64 {
    within(link.bandwidth, link::SLOWEST, link::FASTEST, link::SLOWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_takes_the_limit() {
        let link = link::State {
            bandwidth: 100_000.0,
            rtt: 0.1,
            contact: true,
            away: 0.0,
            in_flight: 10_000,
        };
        let bytes = bytes(&link, 0.7, 0.2);
        assert!((bytes - 30_000.0).abs() < 1e-6, "{bytes}");
        assert_eq!(tokens(bytes, 5000.0, 290, (16, 109)), 86);
        assert_eq!(tokens(0.0, 5000.0, 290, (16, 109)), 16);
        assert_eq!(tokens(1e9, 5000.0, 290, (16, 109)), 109);
        assert_eq!(tokens(1e9, 5000.0, 290, (16, 9)), 9);
    }
}
