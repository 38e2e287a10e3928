//! The planner against a bound that knows the future, and against doing always the same.
//!
//! `cargo test -p offload --test simulation -- --nocapture` prints the tables.
#![allow(clippy::unwrap_used)]

mod engine;
mod oracle;
mod world;

use engine::{Fate, Policy};
use offload::Action;
use world::{Kind, World};

const SEEDS: u64 = 20;
/// The default targets.
const TARGET_RISK: f64 = 0.05;
const TARGET_LATENCY: f64 = 1.0;
/// What a wrong window above the target is charged, seconds.
const WRONG: f64 = 10.0;

/// One run in figures, over the windows in which something happened.
#[derive(Debug, Clone, Copy)]
struct Figures {
    cost: f64,
    latency: f64,
    p95: f64,
    risk: f64,
    sent: f64,
    audits: f64,
    deferred: f64,
    /// The part of the latency that deferred windows make.
    waiting: f64,
}

impl Figures {
    fn of(world: &World, fates: &[Fate]) -> Self {
        let fates = world.windows.iter().zip(fates);
        let fates: Vec<Fate> = fates.filter(|(w, _)| !w.empty).map(|(_, f)| *f).collect();
        let mean = |of: fn(&Fate) -> f64| fates.iter().map(of).sum::<f64>() / fates.len() as f64;
        let mut latencies: Vec<f64> = fates.iter().map(|f| f.latency).collect();
        latencies.sort_by(f64::total_cmp);
        Self {
            cost: mean(|f| f.latency + f.link + f.cloud),
            latency: mean(|f| f.latency),
            p95: latencies[latencies.len() * 95 / 100],
            risk: mean(|f| f64::from(f.wrong)),
            sent: mean(|f| f64::from(f.sent)),
            audits: mean(|f| f64::from(f.audit)),
            deferred: mean(|f| f64::from(f.deferred)),
            waiting: mean(|f| if f.deferred { f.latency } else { 0.0 }),
        }
    }

    /// The cost with what is above the target of risk charged.
    fn charged(&self) -> f64 {
        self.cost + WRONG * (self.risk - TARGET_RISK).max(0.0)
    }
}

/// After each outage, latencies of what is sent of the windows that end so many seconds after it.
fn latencies(world: &World, fates: &[Fate], after: (f64, f64)) -> Vec<Vec<f64>> {
    let sent = |end: f64| {
        // Window seq ends at 1 + seq.
        let during =
            |(seq, _): &(usize, &Fate)| (after.0..after.1).contains(&(1.0 + *seq as f64 - end));
        let fates = fates.iter().enumerate().filter(during);
        fates
            .filter(|(_, fate)| fate.sent)
            .map(|(_, fate)| fate.latency)
            .collect()
    };
    world.outages.iter().map(|(_, to, _)| sent(*to)).collect()
}

/// When the last window deferred in each outage was answered, seconds after its end.
fn drained(world: &World, fates: &[Fate]) -> Vec<f64> {
    let outages = world.outages.iter();
    outages
        .map(|(from, to, _)| {
            let during = *from as usize..*to as usize + 2;
            let deferred = during.filter(|seq| fates[*seq].deferred);
            let answered = deferred.map(|seq| 1.0 + seq as f64 + fates[seq].latency - to);
            answered.fold(0.0, f64::max)
        })
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Least, median, 95th percentile, greatest.
fn spread(mut values: Vec<f64>) -> [f64; 4] {
    values.sort_by(f64::total_cmp);
    [0, 50, 95, 100].map(|percent| values[(values.len() - 1) * percent / 100])
}

fn row(name: &str, runs: &[Figures]) {
    let of = |value: fn(&Figures) -> f64| runs.iter().map(value).collect::<Vec<f64>>();
    let [low, _, _, high] = spread(of(|f| f.risk));
    println!(
        "  {name:<8} cost {:.3} s, latency {:.3} s (p95 {:.3} s), risk {:.1} % ({:.1} to {:.1}), sent {:.0} %, audits {:.1} %, \
         deferred {:.1} % ({:.3} s of the latency)",
        mean(&of(|f| f.cost)),
        mean(&of(|f| f.latency)),
        mean(&of(|f| f.p95)),
        100.0 * mean(&of(|f| f.risk)),
        100.0 * low,
        100.0 * high,
        100.0 * mean(&of(|f| f.sent)),
        100.0 * mean(&of(|f| f.audits)),
        100.0 * mean(&of(|f| f.deferred)),
        mean(&of(|f| f.waiting)),
    );
}

/// Runs every policy on 20 worlds, prints what came out, and asserts it.
fn compare(kind: Kind) {
    let baselines = [Action::Verify, Action::Offload, Action::Keep];
    let mut planner = Vec::new();
    let mut others = baselines.map(|_| Vec::new());
    let (mut oracle, mut backlog) = (Vec::new(), Vec::new());
    let (mut just_after, mut later) = (Vec::new(), Vec::new());
    for seed in 0..SEEDS {
        let world = World::new(kind, seed);
        let fates = engine::run(&world, Policy::Planner, seed);
        planner.push(Figures::of(&world, &fates));
        just_after.extend(latencies(&world, &fates, (5.0, 10.0)));
        later.extend(latencies(&world, &fates, (12.0, 24.0)));
        backlog.extend(drained(&world, &fates));
        oracle.push(oracle::cost(&world, TARGET_RISK, TARGET_LATENCY));
        for (action, runs) in baselines.into_iter().zip(&mut others) {
            let fates = engine::run(&world, Policy::Always(action), seed);
            runs.push(Figures::of(&world, &fates));
        }
    }
    let distances = planner.iter().zip(&oracle).map(|(p, o)| p.cost - o);
    let distance = spread(distances.collect());
    just_after.retain(|latencies| !latencies.is_empty());
    let on_time = just_after
        .iter()
        .map(|sent| f64::from(mean(sent) <= TARGET_LATENCY));
    let on_time = mean(&on_time.collect::<Vec<f64>>());
    let (just_after, later) = (mean(&just_after.concat()), mean(&later.concat()));
    println!("{kind:?}");
    row("planner", &planner);
    for (action, runs) in baselines.iter().zip(&others) {
        row(action.name(), runs);
    }
    println!("  bound    cost {:.3} s", mean(&oracle));
    println!("  planner above the bound: least, median, p95, greatest {distance:.3?} s");
    println!(
        "  sent 5 to 10 s after an outage: latency {just_after:.3} s, 12 to 24 s after {later:.3} s; mean within the target \
         after {:.1} % of outages",
        100.0 * on_time
    );
    println!(
        "  last deferred window answered after an outage: {:.2?} s",
        spread(backlog)
    );

    assert!(distance[0] > 0.0, "cheaper than what cannot be beaten");
    assert!(distance[3] <= 0.9, "{distance:?}");
    assert!(just_after <= 1.2 * later, "{just_after} {later}");
    assert!(on_time >= 0.97, "{on_time}");
    let risk = mean(&planner.iter().map(|run| run.risk).collect::<Vec<f64>>());
    assert!((risk - TARGET_RISK).abs() <= 0.01, "{risk}");
    for (seed, run) in planner.iter().enumerate() {
        let off = (run.risk - TARGET_RISK).abs();
        assert!(off <= 0.02, "seed {seed}: risk {}", run.risk);
        for (action, runs) in baselines.iter().zip(&others) {
            let (planner, other) = (run.charged(), runs[seed].charged());
            assert!(
                planner < other,
                "seed {seed}: {planner} against {action} {other}"
            );
        }
    }
}

#[test]
fn steady() {
    compare(Kind::Steady);
}

#[test]
fn stepped() {
    compare(Kind::Stepped);
}

#[test]
fn periodic() {
    compare(Kind::Periodic);
}

#[test]
fn bursty() {
    compare(Kind::Bursty);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let world = World::new(Kind::Bursty, 1);
    let run = || Figures::of(&world, &engine::run(&world, Policy::Planner, 1));
    assert_eq!(format!("{:?}", run()), format!("{:?}", run()));
}
