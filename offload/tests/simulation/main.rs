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
        }
    }

    /// The cost with what is above the target of risk charged.
    fn charged(&self) -> f64 {
        self.cost + WRONG * (self.risk - TARGET_RISK).max(0.0)
    }
}

/// How long after each end of an outage the mean latency of what is sent in 5 s is within the target, seconds.
fn recoveries(world: &World, fates: &[Fate], ends: &[f64]) -> Vec<f64> {
    let back = |from: &usize| {
        let sent = fates[*from..*from + 5].iter().filter(|fate| fate.sent);
        let latencies: Vec<f64> = sent.map(|fate| fate.latency).collect();
        !latencies.is_empty() && mean(&latencies) <= TARGET_LATENCY
    };
    ends.iter()
        .map(|end| {
            // Window seq ends at 1 + seq.
            let first = (end - 1.0).ceil() as usize;
            let from = (first..world.windows.len() - 5).find(back).unwrap();
            1.0 + from as f64 - end
        })
        .collect()
}

/// When the last window deferred in each outage was answered, seconds after its end.
fn drained(fates: &[Fate], world: &World) -> Vec<f64> {
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
         deferred {:.1} %",
        mean(&of(|f| f.cost)),
        mean(&of(|f| f.latency)),
        mean(&of(|f| f.p95)),
        100.0 * mean(&of(|f| f.risk)),
        100.0 * low,
        100.0 * high,
        100.0 * mean(&of(|f| f.sent)),
        100.0 * mean(&of(|f| f.audits)),
        100.0 * mean(&of(|f| f.deferred)),
    );
}

/// Runs every policy on 20 worlds, prints what came out, and asserts it.
fn compare(kind: Kind) {
    let baselines = [Action::Verify, Action::Offload, Action::Keep];
    let mut planner = Vec::new();
    let mut others = baselines.map(|_| Vec::new());
    let (mut oracle, mut back, mut cloud_back, mut backlog) = (vec![], vec![], vec![], vec![]);
    for seed in 0..SEEDS {
        let world = World::new(kind, seed);
        let fates = engine::run(&world, Policy::Planner, seed);
        planner.push(Figures::of(&world, &fates));
        let ends: Vec<f64> = world.outages.iter().map(|(_, to, _)| *to).collect();
        back.extend(recoveries(&world, &fates, &ends));
        let ends: Vec<f64> = world.stops.iter().map(|(_, to)| *to).collect();
        cloud_back.extend(recoveries(&world, &fates, &ends));
        backlog.extend(drained(&fates, &world));
        oracle.push(oracle::cost(&world, TARGET_RISK, TARGET_LATENCY));
        for (action, runs) in baselines.into_iter().zip(&mut others) {
            let fates = engine::run(&world, Policy::Always(action), seed);
            runs.push(Figures::of(&world, &fates));
        }
    }
    let distances = planner.iter().zip(&oracle).map(|(p, o)| p.cost - o);
    let distance = spread(distances.collect());
    let (back, backlog, cloud_back) = (spread(back), spread(backlog), spread(cloud_back));
    println!("{kind:?}");
    row("planner", &planner);
    for (action, runs) in baselines.iter().zip(&others) {
        row(&action.to_string(), runs);
    }
    println!(
        "  bound    cost {:.3} s; least, median, p95, greatest:",
        mean(&oracle)
    );
    println!("  planner above the bound {distance:.3?} s");
    println!("  back after an outage {back:.2?} s, deferred windows answered {backlog:.2?} s");
    println!("  back after the cloud was away {cloud_back:.2?} s");

    assert!(distance[0] > 0.0, "cheaper than what cannot be beaten");
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
    assert!(distance[3] <= 0.9, "{distance:?}");
    assert!(back[3] <= 5.0, "{back:?}");
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
