//! CPU time of the benchmark and of its nats-server: unlike windows a second, hardly less on a machine that does other
//! things, too.

use serde::Serialize;

use crate::demo::nats::Server;

/// Linux counts CPU time in hundredths of a second, wherever it tells of it.
const TICKS_A_SECOND: f64 = 100.0;

/// CPU time, seconds; of a rate, microseconds a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Of this process: edges and worker, or whoever uses JetStream alone.
    pub own: f64,
    /// Of nats-server.
    pub server: f64,
}

impl Cpu {
    /// What was used up to now.
    pub fn now(server: &Server) -> Self {
        let of = |id: &str| used(id).unwrap_or_default();
        Self {
            own: of("self"),
            server: server.id().map_or(0.0, |id| of(&id.to_string())),
        }
    }

    /// What was used since `before`, by each of so many windows, in microseconds.
    pub fn a_window_since(self, before: Self, windows: u64) -> Self {
        let each = |now: f64, before: f64| 1e6 * (now - before) / windows.max(1) as f64;
        Self {
            own: each(self.own, before.own),
            server: each(self.server, before.server),
        }
    }

    /// The mean of several.
    pub fn mean(all: &[Self]) -> Self {
        let mean =
            |part: fn(&Self) -> f64| all.iter().map(part).sum::<f64>() / all.len().max(1) as f64;
        Self {
            own: mean(|cpu| cpu.own),
            server: mean(|cpu| cpu.server),
        }
    }

    /// Of both.
    pub fn sum(self) -> f64 {
        self.own + self.server
    }
}

fn used(process: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may hold anything; user and system time are the 14th and 15th.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: Vec<f64> = ticks.map_while(|ticks| ticks.parse().ok()).collect();
    (ticks.len() == 2).then(|| ticks.iter().sum::<f64>() / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_cpu_time() {
        let before = used("self").unwrap();
        let begun = std::time::Instant::now();
        // As long as it takes, on however busy a machine.
        while used("self").unwrap() < before + 0.05 {
            assert!(begun.elapsed().as_secs() < 60);
        }
        assert!(used("0").is_none());
    }

    #[test]
    fn it_is_shared_among_windows() {
        let of = |own, server| Cpu { own, server };
        let each = of(3.0, 2.5).a_window_since(of(1.0, 2.0), 1000);
        assert_eq!((each, each.sum()), (of(2000.0, 500.0), 2500.0));
        assert_eq!(Cpu::mean(&[of(1.0, 2.0), of(3.0, 4.0)]), of(2.0, 3.0));
    }
}
