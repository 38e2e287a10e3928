//! What gates let through.

use std::time::Duration;

use mas::gate;
use proptest::prelude::*;

/// Settings of a gate that agree with each other.
fn gate_settings() -> impl Strategy<Value = gate::Settings> {
    let millis = |most: u64| (0..most).prop_map(Duration::from_millis);
    let shares = (0f32..=1.0, 0f32..=1.0);
    let thin = proptest::option::of(millis(1_000));
    let budget = prop_oneof![Just(0.0), 0.1..20.0];
    (shares, millis(300), millis(2_000), thin, budget).prop_map(
        |((threshold, share), min_interval, more, thin_interval, budget)| gate::Settings {
            threshold,
            hysteresis: threshold * share,
            min_interval,
            max_gap: min_interval + more,
            thin_interval,
            budget,
        },
    )
}

/// Steps of milliseconds and worth through a gate: what it kept, checked for the intervals between.
fn play(
    settings: &gate::Settings,
    steps: &[(u64, f32)],
) -> Result<Vec<(Duration, gate::Decision)>, TestCaseError> {
    settings.check().unwrap();
    let mut gate = gate::Gate::default();
    let mut running = Duration::ZERO;
    let mut kept: Vec<(Duration, gate::Decision)> = Vec::new();
    for (step, worth) in steps {
        running += Duration::from_millis(*step);
        let decision = gate.decide(settings, running, *worth);
        let last = kept.last().map(|(last, _)| running - *last);
        let heartbeat =
            !settings.max_gap.is_zero() && last.is_some_and(|gap| gap >= settings.max_gap);
        if decision.keeps() {
            prop_assert!(
                last.is_none_or(|gap| gap >= settings.min_interval),
                "{decision:?}"
            );
            kept.push((running, decision));
        } else {
            prop_assert!(last.is_some() && !heartbeat, "{decision:?}");
        }
    }
    Ok(kept)
}

proptest! {
    #[test]
    fn a_gate_keeps_its_interval_its_budget_and_its_heartbeat(
        settings in gate_settings(),
        steps in proptest::collection::vec((0u64..500, 0f32..1.0), 1..200),
    ) {
        let kept = play(&settings, &steps)?;
        // Any stretch of time that begins and ends with a frame within the budget.
        let spent: Vec<Duration> = kept
            .iter()
            .filter(|(_, decision)| *decision != gate::Decision::Heartbeat)
            .map(|(running, _)| *running)
            .collect();
        if settings.budget > 0.0 {
            for (first, from) in spent.iter().enumerate() {
                for (last, to) in spent.iter().enumerate().skip(first) {
                    let most = settings.budget * (*to - *from).as_secs_f64() + settings.burst();
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6, "{from:?} to {to:?}");
                }
            }
        }
    }

    #[test]
    fn a_gate_opens_at_its_threshold_and_shuts_below_its_hysteresis(
        settings in gate_settings(),
        steps in proptest::collection::vec((0u64..500, 0f32..1.0), 1..200),
    ) {
        let settings = gate::Settings {
            min_interval: Duration::ZERO, max_gap: Duration::ZERO, thin_interval: None, budget: 0.0, ..settings
        };
        let mut gate = gate::Gate::default();
        let (mut running, mut open) = (Duration::ZERO, false);
        for (step, worth) in steps {
            let first = running.is_zero();
            running += Duration::from_millis(step + 1);
            let keeps = gate.decide(&settings, running, worth).keeps();
            open = worth >= settings.threshold || open && worth >= settings.threshold - settings.hysteresis;
            prop_assert_eq!(keeps, open || first);
        }
    }

    #[test]
    fn what_is_worth_more_goes_on_if_what_is_worth_less_does(
        settings in gate_settings(),
        steps in proptest::collection::vec((0u64..500, 0f32..1.0), 1..100),
        (worth, more) in (0f32..1.0, 0f32..1.0),
    ) {
        let decide = |worth: f32| {
            let mut gate = gate::Gate::default();
            let mut running = Duration::ZERO;
            for (step, worth) in &steps {
                running += Duration::from_millis(*step);
                gate.decide(&settings, running, *worth);
            }
            gate.decide(&settings, running + Duration::from_millis(40), worth)
        };
        // A frame that goes on though not worth sending is no measure.
        if decide(worth) == gate::Decision::Open {
            prop_assert_eq!(decide((worth + more).min(1.0)), gate::Decision::Open);
        }
    }
}
