//! Traces: what they refuse, what they say at each moment, and the generated ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use link::{Conditions, Lte, Outage, Step, Trace};
use proptest::prelude::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn step(at: u64, rate: u64) -> Step {
    Step {
        at: ms(at),
        conditions: Conditions::new(rate, ms(10)),
    }
}

#[test]
fn steps_hold_until_the_next_and_the_last_for_ever() {
    let trace = Trace::steps(vec![step(0, 8000), step(100, 16_000)], None).unwrap();
    let rates = [0, 99, 100, 5000].map(|at| trace.at(ms(at)).rate);
    assert_eq!(rates, [8000, 8000, 16_000, 16_000]);
    assert_eq!(trace.next_change(ms(99)), Some(ms(100)));
    assert_eq!(trace.next_change(ms(100)), None);
    // A byte a millisecond, then two.
    assert_eq!(trace.capacity(ms(150)), 200);
}

#[test]
fn a_trace_that_repeats_starts_over() {
    let trace = Trace::steps(vec![step(0, 8000), step(100, 16_000)], Some(ms(150))).unwrap();
    let rates = [149, 150, 249, 250, 15_000].map(|at| trace.at(ms(at)).rate);
    assert_eq!(rates, [16_000, 8000, 8000, 16_000, 8000]);
    assert_eq!(trace.next_change(ms(120)), Some(ms(150)));
    assert_eq!(trace.next_change(ms(150)), Some(ms(250)));
    assert_eq!(trace.capacity(ms(1500)), 2000);
}

#[test]
fn nothing_passes_in_an_outage() {
    let mut broken = step(100, 8000);
    broken.conditions.outage = Outage::Hold;
    let trace = Trace::steps(vec![step(0, 8000), broken, step(200, 8000)], None).unwrap();
    assert_eq!(trace.capacity(ms(300)), 200);
}

#[test]
fn wrong_traces_are_refused_by_name() {
    let constant = |change: fn(&mut Conditions)| {
        let mut conditions = Conditions::new(8000, ms(10));
        change(&mut conditions);
        Trace::constant(conditions)
    };
    let cases = [
        (Trace::steps(vec![], None), "at least one step"),
        (
            Trace::steps(vec![step(1, 8)], None),
            "the first step is at 0",
        ),
        (Trace::steps(vec![step(0, 8), step(0, 8)], None), "step 1"),
        (
            Trace::steps(vec![step(0, 8), step(9, 8)], Some(ms(9))),
            "repeat_after_ms",
        ),
        (constant(|c| c.rate = 0), "rate_bps"),
        (constant(|c| c.loss = f64::NAN), "loss is 0 to 1"),
        (constant(|c| c.loss = 1.1), "loss is 0 to 1"),
        (constant(|c| c.delay = Duration::MAX), "delay_ms"),
        (
            constant(|c| c.jitter = Duration::MAX),
            "delay_ms and jitter_ms",
        ),
    ];
    for (trace, part) in cases {
        let error = trace.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let lte = Lte::default();
    let cases = [
        (Lte { rate_min: 0, ..lte }, "rate_min"),
        (Lte { rate_max: 1, ..lte }, "rate_min"),
        (
            Lte {
                length: ms(0),
                ..lte
            },
            "length_ms",
        ),
        (
            Lte {
                length: Duration::MAX,
                ..lte
            },
            "length_ms",
        ),
        (
            Lte {
                bursts_per_minute: f64::NAN,
                ..lte
            },
            "bursts_per_minute",
        ),
        (
            Lte {
                handover: Duration::MAX,
                ..lte
            },
            "handover_ms",
        ),
        (Lte { loss: 2.0, ..lte }, "loss"),
    ];
    for (lte, part) in cases {
        let error = lte.trace().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn traces_are_read_from_json_and_checked() {
    let text = r#"{"steps": [
        {"at_ms": 0, "conditions": {"rate_bps": 20000000, "delay_ms": 40, "loss": 0.01}},
        {"at_ms": 2000, "conditions": {"rate_bps": 20000000, "outage": "cut"}}
    ], "repeat_after_ms": 2500.5}"#;
    let trace: Trace = serde_json::from_str(text).unwrap();
    assert_eq!(trace.at(ms(1)).delay, ms(40));
    assert_eq!(trace.at(ms(2001)).outage, Outage::Cut);
    assert_eq!(
        trace.next_change(ms(2001)),
        Some(Duration::from_micros(2_500_500))
    );
    let again = serde_json::from_str(&serde_json::to_string(&trace).unwrap()).unwrap();
    assert_eq!(trace, again);
    for wrong in [
        r#"{"steps": []}"#,
        r#"{"steps": [{"at_ms": -1, "conditions": {"rate_bps": 1}}]}"#,
        r#"{"steps": [{"at_ms": 0, "conditions": {"rate_bps": 1, "los": 1}}]}"#,
    ] {
        assert!(serde_json::from_str::<Trace>(wrong).is_err(), "{wrong}");
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// How alike logarithms of the rate are that lie `ticks` apart: 1 for the same, 0 for unrelated.
fn correlation(trace: &Trace, ticks: u64) -> f64 {
    let rate = |tick| (trace.at(ms(100 * tick)).rate as f64).ln();
    let middle = mean((0..3000).map(|tick| rate(tick as u64)));
    let product =
        |apart| {
            mean((0..3000).map(move |tick| {
                (rate(tick as u64) - middle) * (rate(tick as u64 + apart) - middle)
            }))
        };
    product(ticks) / product(0)
}

#[test]
fn a_mobile_link_wanders_bursts_and_hands_over() {
    let lte = Lte {
        length: ms(600_000),
        ..Lte::default()
    };
    let trace = lte.trace().unwrap();
    assert!(correlation(&trace, 1) > 0.8);
    assert!(correlation(&trace, 100).abs() < 0.3);
    let rates = trace.as_steps().iter().map(|step| step.conditions.rate);
    // It uses its range.
    assert!(rates.clone().min().unwrap() < 3_000_000 && rates.max().unwrap() > 30_000_000);
    let begins = |what: fn(&Conditions) -> bool| {
        let steps = trace.as_steps().windows(2);
        steps
            .filter(|pair| !what(&pair[0].conditions) && what(&pair[1].conditions))
            .count()
    };
    // In ten minutes 60 and 20 are expected; within four standard deviations.
    let bursts = begins(|c| c.delay > ms(25));
    assert!((29..=91).contains(&bursts), "{bursts}");
    let handovers = begins(|c| c.outage == Outage::Hold);
    assert!((3..=38).contains(&handovers), "{handovers}");
}

proptest! {
    #[test]
    fn generated_traces_keep_their_bounds_and_follow_their_seed(
        seed: u64,
        rate_min in 1_u64..10_000_000,
        more in 0_u64..100_000_000,
        length in 1_u64..30_000,
        (bursts, handovers) in (0.0..200.0, 0.0..200.0),
    ) {
        let lte = Lte {
            seed,
            length: ms(length),
            rate_min,
            rate_max: rate_min + more,
            bursts_per_minute: bursts,
            handovers_per_minute: handovers,
            ..Lte::default()
        };
        let trace = lte.trace().unwrap();
        for step in trace.as_steps() {
            let now = step.conditions;
            prop_assert!((rate_min..=lte.rate_max).contains(&now.rate));
            prop_assert!(now.delay >= lte.delay && now.delay <= lte.delay + lte.burst_delay);
        }
        prop_assert_eq!(&lte.trace().unwrap(), &trace);
        let json = serde_json::to_string(&lte).unwrap();
        prop_assert_eq!(serde_json::from_str::<Lte>(&json).unwrap().trace().unwrap(), trace.clone());
        if more > 1000 && length > 1000 {
            prop_assert_ne!(Lte { seed: seed ^ 1, ..lte }.trace().unwrap(), trace);
        }
    }
}
