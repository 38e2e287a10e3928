//! What happens, whatever is decided: the link, the cloud's other work, the windows and the truth about them.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Seconds that are simulated, one window each.
pub const SECONDS: u64 = 7200;
/// One way, seconds.
pub const DELAY: f64 = 0.01;
/// Bytes of a token, of a window beside its tokens, and of a caption.
pub const TOKEN: u32 = 290;
pub const FIXED: u32 = 5000;
pub const CAPTION: u32 = 600;
/// What the cloud takes for a draft confirmed, one corrected, a window without a draft, and another rig's, seconds.
pub const CONFIRMED: f64 = 0.06;
pub const CORRECTED: f64 = 0.11;
pub const CAPTIONED: f64 = 0.12;
pub const OTHER: f64 = 0.1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Steady,
    Stepped,
    Periodic,
    Bursty,
}

pub struct Random(Pcg64Mcg);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    /// Evenly in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Exponential.
    pub fn gap(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// A window, and whether the cloud would change its draft.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub empty: bool,
    pub confidence: f64,
    pub changed: bool,
    pub tokens: u32,
    pub keyframe: u32,
}

pub struct World {
    /// From when on the link has which rate, bytes a second.
    rates: Vec<(f64, f64)>,
    /// From when until when the link carries nothing, and whether the connection says so.
    pub outages: Vec<(f64, f64, bool)>,
    /// From when until when the cloud is away.
    pub stops: Vec<(f64, f64)>,
    pub windows: Vec<Window>,
    /// When other rigs' windows reach the cloud.
    pub others: Vec<f64>,
}

impl World {
    pub fn new(kind: Kind, seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            rates: rates(kind, &mut random),
            outages: outages(&mut random),
            stops: stops(&mut random),
            windows: (0..SECONDS).map(|seq| window(seq, &mut random)).collect(),
            others: others(&mut random),
        }
    }

    /// Bytes a second at a time, outages aside.
    pub fn rate(&self, at: f64) -> f64 {
        let next = self.rates.partition_point(|(from, _)| *from <= at);
        self.rates[next.max(1) - 1].1
    }

    /// When the link is up, from this time on.
    pub fn up(&self, at: f64) -> f64 {
        let down = self
            .outages
            .iter()
            .find(|(from, to, _)| (*from..*to).contains(&at));
        down.map_or(at, |(_, to, _)| *to)
    }

    /// When the cloud is there, from this time on.
    pub fn there(&self, at: f64) -> f64 {
        let away = self
            .stops
            .iter()
            .find(|(from, to)| (*from..*to).contains(&at));
        away.map_or(at, |(_, to)| *to)
    }

    /// When so many bytes have left that begin to at `from`.
    pub fn carried(&self, from: f64, bytes: f64) -> f64 {
        let (mut now, mut left) = (self.up(from), bytes);
        loop {
            let rate = self.rate(now);
            let next = self.next(now);
            if left <= rate * (next - now) {
                return now + left / rate;
            }
            left -= rate * (next - now);
            now = self.up(next);
        }
    }

    /// When the rate next changes, or an outage begins.
    fn next(&self, now: f64) -> f64 {
        let change = self.rates.partition_point(|(at, _)| *at <= now);
        let change = self.rates.get(change).map_or(f64::INFINITY, |(at, _)| *at);
        let outages = self.outages.iter().map(|(at, ..)| *at);
        outages.filter(|at| *at > now).fold(change, f64::min)
    }
}

fn rates(kind: Kind, random: &mut Random) -> Vec<(f64, f64)> {
    let mut rates = Vec::new();
    let mut at = 0.0;
    while at < SECONDS as f64 {
        let turn = at / 120.0 * std::f64::consts::TAU;
        let (rate, lasts) = match kind {
            Kind::Steady => (125e3, 1e9),
            Kind::Stepped => (random.between(4.0, 6.3).exp() * 1e3, 100.0),
            Kind::Periodic => (200e3 + 150e3 * turn.sin(), 1.0),
            Kind::Bursty if rates.len() % 2 == 0 => (500e3, random.gap(8.0)),
            Kind::Bursty => (40e3, random.gap(3.0)),
        };
        rates.push((at, rate));
        at += lasts;
    }
    rates.push((SECONDS as f64, 125e3));
    rates
}

/// Twenty-four, every other one announced by the connection.
fn outages(random: &mut Random) -> Vec<(f64, f64, bool)> {
    (0..24)
        .map(|n| {
            let from = 200.0 + 280.0 * f64::from(n) + random.between(0.0, 50.0);
            (from, from + random.between(5.0, 25.0), n % 2 == 1)
        })
        .collect()
}

/// Six.
fn stops(random: &mut Random) -> Vec<(f64, f64)> {
    [300.0, 1420.0, 2540.0, 3660.0, 4780.0, 5900.0]
        .map(|at| (at, at + random.between(5.0, 20.0)))
        .to_vec()
}

/// Drafts are surer of themselves than they should be. From the middle on they are changed more often at the same
/// confidence: the scene has become harder.
fn window(seq: u64, random: &mut Random) -> Window {
    let doubt = 0.75 * random.unit().powf(2.2);
    let harder = if seq >= SECONDS / 2 { 1.4 } else { 1.0 };
    let chance = harder * (0.01 + 0.85 * doubt.powf(0.75));
    Window {
        empty: random.unit() < 0.2,
        confidence: 1.0 - doubt,
        changed: random.unit() < chance,
        tokens: random.between(30.0, 110.0) as u32,
        keyframe: random.between(12e3, 40e3) as u32,
    }
}

/// Poisson, busier for 30 s in each 120 s.
fn others(random: &mut Random) -> Vec<f64> {
    let mut at = 0.0;
    let mut others = Vec::new();
    while at < SECONDS as f64 {
        let rate = if at % 120.0 < 30.0 { 6.0 } else { 3.0 };
        at += random.gap(1.0 / rate);
        others.push(at);
    }
    others
}
