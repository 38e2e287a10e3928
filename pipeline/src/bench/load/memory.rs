//! Memory of a process while windows go through.

use std::time::Duration;

use serde::Serialize;

use super::path::Seen;

/// Windows after which what is remembered of them is at its bound.
const FILLED: u64 = 20_000;
/// How much more memory may be held at the end than at the start, and still be called flat.
const TOLERANCE: f64 = 0.05;
const EVERY: Duration = Duration::from_millis(100);

/// What a process held at a time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Held {
    /// Windows that had gone through.
    pub windows: u64,
    /// Resident memory, bytes.
    pub bytes: u64,
}

/// Notes what this process holds, for as long as it is polled.
pub async fn watch(seen: &Seen, held: &mut Vec<Held>) {
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        if let Some(bytes) = resident("self") {
            let windows = seen.windows();
            held.push(Held { windows, bytes });
        }
    }
}

/// Resident memory of a process, bytes.
pub fn resident(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// Whether memory grew.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Growth {
    /// Windows that went through.
    pub windows: u64,
    /// Bytes, the mean of the first quarter after the warm-up.
    pub first: f64,
    /// Bytes, the mean of the last quarter.
    pub last: f64,
    /// Most bytes at any time.
    pub most: u64,
}

impl Growth {
    /// From what was held after the first tenth of the windows, and after `FILLED` if there are more than twice as many.
    pub fn of(held: &[Held]) -> Option<Self> {
        let windows = held.last()?.windows;
        let warm = if windows > 2 * FILLED { FILLED } else { 0 }.max(windows / 10);
        let counted: Vec<f64> = (held.iter())
            .filter(|held| held.windows >= warm)
            .map(|held| held.bytes as f64)
            .collect();
        let quarter = (counted.len() / 4).max(1);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        Some(Self {
            windows,
            first: mean(counted.get(..quarter)?),
            last: mean(counted.get(counted.len() - quarter..)?),
            most: held.iter().map(|held| held.bytes).max()?,
        })
    }

    /// Whether it stayed as it was.
    pub fn is_flat(&self) -> bool {
        self.last <= self.first * (1.0 + TOLERANCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_not_flat() {
        let held = |leak: u64| {
            let of = |n: u64| Held {
                windows: 1_000 * n,
                // Filled at the start, whatever comes after it.
                bytes: 40_000_000 + 100_000 * n.min(20) + leak * 1_000 * n,
            };
            Growth::of(&(0..=200).map(of).collect::<Vec<_>>()).unwrap()
        };
        assert!(held(0).is_flat());
        assert!(!held(30).is_flat(), "30 bytes a window");
        assert_eq!(held(0).windows, 200_000);
        assert!(Growth::of(&[]).is_none());
    }
}
