//! From rows at any times to samples at a fixed rate.

use crate::sensor::length;

/// Rounding of times that are written in seconds: a row this much (ns) before a sample's
/// time still gives it.
const TOLERANCE: u64 = 1_000;

/// What was measured at one time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Nanoseconds on the source's own scale.
    pub at: u64,
    /// One value a channel; NaN for one that is missing.
    pub values: Vec<f32>,
}

/// Interpolates linearly between rows. Sample k is at k / rate after the first row.
/// Between a missing value and any other the samples are missing, too.
#[derive(Debug)]
pub(super) struct Resampler {
    rate: u32,
    origin: u64,
    /// The samples given out.
    given: u64,
    before: Option<Row>,
    latest: Option<Row>,
}

impl Resampler {
    pub fn new(rate: u32) -> Self {
        Self {
            rate,
            origin: 0,
            given: 0,
            before: None,
            latest: None,
        }
    }

    /// Takes the next row, which must not be earlier than the one before. Only after
    /// [`Self::sample`] has nothing more to give.
    pub fn feed(&mut self, row: Row) {
        if self.latest.is_none() {
            self.origin = row.at;
        }
        self.before = self.latest.replace(row);
    }

    /// Appends the next sample, one value a channel, if the rows reach that far.
    pub fn sample(&mut self, out: &mut Vec<f32>) -> bool {
        let Some(latest) = &self.latest else {
            return false;
        };
        let at = self
            .origin
            .saturating_add(length(self.given, self.rate).nseconds());
        if at > latest.at.saturating_add(TOLERANCE) {
            return false;
        }
        match &self.before {
            Some(before) if at < latest.at => {
                let since = at.saturating_sub(before.at) as f64;
                let share = since / (latest.at - before.at) as f64;
                let pairs = before.values.iter().zip(&latest.values);
                out.extend(pairs.map(|(a, b)| between(*a, *b, share)));
            }
            _ => out.extend(&latest.values),
        }
        self.given += 1;
        true
    }
}

fn between(a: f32, b: f32, share: f64) -> f32 {
    // A row's own values come out as they are, whatever the other one holds.
    if share == 0.0 {
        return a;
    }
    let (a, b) = (f64::from(a), f64::from(b));
    (a + (b - a) * share) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples of rows of one channel: (ms, value).
    fn samples(rate: u32, rows: &[(u64, f32)]) -> Vec<f32> {
        let mut resampler = Resampler::new(rate);
        let mut out = Vec::new();
        for (ms, value) in rows {
            resampler.feed(Row {
                at: ms * 1_000_000,
                values: vec![*value],
            });
            while resampler.sample(&mut out) {}
        }
        out
    }

    #[test]
    fn up_down_and_the_same_rate() {
        let rows = [(500, 0.0), (510, 1.0), (520, 4.0)];
        assert_eq!(samples(100, &rows), [0.0, 1.0, 4.0]);
        assert_eq!(samples(200, &rows), [0.0, 0.5, 1.0, 2.5, 4.0]);
        assert_eq!(samples(50, &rows), [0.0, 4.0]);
        assert_eq!(samples(100, &rows[..1]), [0.0]);
        assert!(samples(100, &[]).is_empty());
    }

    #[test]
    fn irregular_rows_and_a_step() {
        let rows = [(0, 0.0), (7, 7.0), (7, 20.0), (25, 2.0)];
        let samples = samples(100, &rows);
        assert_eq!(samples, [0.0, 17.0, 7.0]);
    }

    #[test]
    fn a_missing_value_spreads_to_its_neighbours_but_not_to_rows() {
        let rows = [(0, 1.0), (20, f32::NAN), (40, 3.0)];
        let missing: Vec<bool> = samples(100, &rows).iter().map(|v| v.is_nan()).collect();
        assert_eq!(missing, [false, true, true, true, false]);
    }
}
