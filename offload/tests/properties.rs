//! Properties of estimators and planner on any input.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use offload::cloud::{self, Answer, Cloud};
use offload::edge::{self, Edge, Stage};
use offload::link::{self, FASTEST, Link, SLOWEST};
use offload::planner::{self, Considered, Inputs, Payload, Planner, Window};
use offload::risk::{self, Risk};
use offload::thresholds::{self, Limits, Thresholds};
use offload::{Action, step};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde::{Serialize, de::DeserializeOwned};

/// Any bits: NaN, infinities, subnormals, huge values; and ordinary ones.
fn wild() -> impl Strategy<Value = f64> {
    prop_oneof![any::<u64>().prop_map(f64::from_bits), -2.0..2.0, Just(0.0)]
}

/// Any time, forwards and back.
fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0_u64..100_000).prop_map(Duration::from_millis),
        any::<u64>().prop_map(Duration::from_nanos),
        Just(Duration::MAX),
    ]
}

fn sane_inputs() -> impl Strategy<Value = Inputs> {
    let window = (
        any::<u64>(),
        prop_oneof![Just(0.0), 0.0..0.5],
        0_u32..200,
        1_u32..1000,
        0_u32..10_000,
        prop::option::of(0_u32..100_000),
    );
    let link = (1e3..1e8, 0.0..1.0, any::<bool>(), 0_u64..1_000_000);
    let cloud = (any::<bool>(), 0.0..5.0, 0.0..1.0, 0.0..1.0, 0.0..1.0);
    let limits = (0.0..1.0, 0.05..5.0);
    (window, link, cloud, limits, 0.0..1.0, 0.0..1.0).prop_map(
        |(window, link, cloud, limits, risk, load)| Inputs {
            window: Window {
                seq: window.0,
                empty: false,
                confidence: 1.0 - risk,
                draft_left: window.1,
                tokens: window.2,
                token_bytes: window.3,
                fixed_bytes: window.4,
                caption_bytes: 600,
                keyframe_bytes: window.5,
            },
            link: link::State {
                bandwidth: link.0,
                rtt: link.1,
                contact: link.2,
                away: if link.2 { 0.0 } else { 3.0 },
                in_flight: link.3,
            },
            edge: edge::State {
                stages: [0.1, 0.1, 0.1],
                budget: 1.0,
                load,
            },
            cloud: cloud::State {
                available: cloud.0,
                away: if cloud.0 { 0.0 } else { 3.0 },
                wait: cloud.1,
                confirmed: cloud.2,
                corrected: cloud.3,
                captioned: cloud.4,
            },
            risk,
            limits: Limits {
                risk: limits.0,
                latency: limits.1,
            },
        },
    )
}

fn wild_inputs() -> impl Strategy<Value = Inputs> {
    let numbers = prop::collection::vec(wild(), 18);
    (sane_inputs(), numbers, any::<bool>(), any::<[u32; 5]>()).prop_map(|(mut i, n, empty, c)| {
        i.window.empty = empty;
        (i.window.confidence, i.window.draft_left) = (n[0], n[1]);
        (i.window.tokens, i.window.token_bytes) = (c[0], c[1]);
        (i.window.fixed_bytes, i.window.caption_bytes) = (c[2], c[3]);
        i.window.keyframe_bytes = Some(c[4]);
        (i.link.bandwidth, i.link.rtt, i.link.away) = (n[2], n[3], n[4]);
        i.edge.stages = [n[5], n[6], n[7]];
        (i.edge.budget, i.edge.load) = (n[8], n[9]);
        (i.cloud.away, i.cloud.wait) = (n[10], n[11]);
        (i.cloud.confirmed, i.cloud.corrected, i.cloud.captioned) = (n[12], n[13], n[14]);
        (i.risk, i.limits.risk, i.limits.latency) = (n[15], n[16], n[17]);
        i
    })
}

fn planner() -> Planner {
    Planner::new(planner::Settings::default()).unwrap()
}

fn sends(option: &Considered) -> bool {
    matches!(option.action, Action::Verify | Action::Offload)
}

/// Options of two decisions, by pairs.
fn pairs<'a>(
    a: &'a planner::Decision,
    b: &'a planner::Decision,
) -> impl Iterator<Item = (&'a Considered, &'a Considered)> {
    a.considered.iter().zip(&b.considered)
}

#[derive(Debug, Clone)]
enum LinkEvent {
    Sent(u64),
    Acknowledged(u64),
    Abandoned(u64),
    Connected,
    Disconnected,
}

fn link_event() -> impl Strategy<Value = LinkEvent> {
    prop_oneof![
        prop_oneof![any::<u64>(), 0_u64..100_000].prop_map(LinkEvent::Sent),
        (0_u64..50).prop_map(LinkEvent::Acknowledged),
        (0_u64..50).prop_map(LinkEvent::Abandoned),
        Just(LinkEvent::Connected),
        Just(LinkEvent::Disconnected),
    ]
}

proptest! {
    #[test]
    fn the_link_is_bounded(events in prop::collection::vec((time(), link_event(), time()), 0..100)) {
        let mut link = Link::new(link::Settings::default()).unwrap();
        for (now, event, look) in events {
            match event {
                LinkEvent::Sent(bytes) => { link.sent(now, bytes); }
                LinkEvent::Acknowledged(id) => link.acknowledged(now, id),
                LinkEvent::Abandoned(id) => link.abandoned(id),
                LinkEvent::Connected => link.connected(now),
                LinkEvent::Disconnected => link.disconnected(now),
            }
            let state = link.state(look);
            prop_assert!((SLOWEST..=FASTEST).contains(&state.bandwidth), "{state:?}");
            prop_assert!(state.rtt.is_finite() && state.rtt >= 0.0, "{state:?}");
            prop_assert!(state.away.is_finite() && state.away >= 0.0, "{state:?}");
            prop_assert!(!state.contact || state.away == 0.0, "{state:?}");
        }
    }

    /// A link that is kept busy is measured to within 2 %, whatever its rate and the messages' sizes.
    #[test]
    fn a_busy_link_is_measured(
        rate in 10_000_u64..5_000_000,
        rtt_ms in 1_u64..100,
        sizes in prop::collection::vec(10_000_u64..200_000, 8..30),
    ) {
        let mut link = Link::new(link::Settings::default()).unwrap();
        link.connected(Duration::ZERO);
        let rtt = Duration::from_millis(rtt_ms);
        // One small message for the round trip, then all at once.
        let id = link.sent(Duration::ZERO, 100);
        link.acknowledged(rtt, id);
        let start = Duration::from_secs(1);
        // As much at once as outlasts a quarter of a round trip.
        let sizes: Vec<u64> = sizes.iter().map(|size| size + rate * rtt_ms / 2000).collect();
        let ids: Vec<u64> = sizes.iter().map(|size| link.sent(start, *size)).collect();
        let mut left = start;
        for (id, size) in ids.into_iter().zip(sizes) {
            left += Duration::from_secs_f64(size as f64 / rate as f64);
            link.acknowledged(left + rtt, id);
        }
        let measured = link.state(left + rtt).bandwidth;
        prop_assert!((measured / rate as f64 - 1.0).abs() < 0.02, "{measured} {rate}");
    }

    #[test]
    fn edge_and_cloud_are_bounded(
        events in prop::collection::vec((time(), 0..5, wild(), any::<u32>(), time()), 0..100),
    ) {
        let mut edge = Edge::new(Duration::from_secs(1)).unwrap();
        let mut cloud = Cloud::default();
        for (now, what, number, count, took) in events {
            match what {
                0 => cloud.heartbeat(now, count, number),
                1 => cloud.sent(now),
                2 => cloud.answered(Answer::Corrected, took),
                3 => edge.took(Stage::Draft, took),
                _ => edge.load(number),
            }
            let state = cloud.state(took);
            let bounded = |v: f64| (0.0..=86_400.0).contains(&v);
            prop_assert!(bounded(state.away) && bounded(state.wait), "{state:?}");
            prop_assert!(bounded(state.verified(number)) && bounded(state.captioned), "{state:?}");
            prop_assert!((0.0..=1.0).contains(&edge.state().busy()));
            prop_assert!(bounded(edge.state().takes(number)));
        }
    }

    #[test]
    fn risk_is_bounded_and_never_rises_with_confidence(
        labels in prop::collection::vec((wild(), wild(), any::<bool>()), 0..200),
        look in prop::collection::vec(0.0_f64..1.0, 10),
        limit in wild(),
    ) {
        let mut risk = Risk::new(risk::Settings::default()).unwrap();
        for (confidence, propensity, changed) in labels {
            risk.learn(confidence, propensity, changed);
        }
        let mut look = look;
        look.sort_by(f64::total_cmp);
        let estimates: Vec<f64> = look.iter().map(|c| risk.estimate(*c)).collect();
        prop_assert!(estimates.iter().all(|r| (0.0..=1.0).contains(r)), "{estimates:?}");
        prop_assert!(estimates.windows(2).all(|pair| pair[0] >= pair[1] - 1e-12), "{estimates:?}");
        prop_assert!((0.0..=1.0).contains(&risk.estimate(limit)));
        prop_assert!((0.0..=1.0).contains(&risk.confidence(limit)));
    }

    #[test]
    fn thresholds_stay_within_their_bounds(events in prop::collection::vec((wild(), wild()), 0..300)) {
        let settings = thresholds::Settings::default();
        let mut thresholds = Thresholds::new(settings).unwrap();
        for (kept, latency) in events {
            thresholds.decided(kept);
            thresholds.answered(latency);
            let limits = thresholds.limits();
            prop_assert!((settings.risk.0..=settings.risk.1).contains(&limits.risk), "{limits:?}");
            let (low, high) = settings.latency;
            prop_assert!((low..=high).contains(&(limits.latency / settings.target_latency)), "{limits:?}");
        }
    }

    #[test]
    fn a_decision_is_finite_possible_and_cheapest(inputs in wild_inputs()) {
        let decision = planner().decide(inputs);
        for option in &decision.considered {
            let numbers = [option.bytes, option.latency, option.link, option.cloud, option.cost];
            prop_assert!(numbers.iter().all(|v| v.is_finite() && *v >= 0.0), "{option:?}");
            prop_assert!((0.0..=1.0).contains(&option.risk), "{option:?}");
        }
        let chosen = decision.chosen().unwrap();
        prop_assert_eq!(chosen.refused, None);
        if decision.audit_of.is_none() {
            let possible = decision.considered.iter().filter(|o| o.refused.is_none());
            prop_assert!(possible.into_iter().all(|o| o.cost >= chosen.cost));
        }
        prop_assert_eq!(decision.inputs.bounded(), decision.inputs);
        prop_assert_eq!(&decision, &planner().decide(inputs));
        let said = decision.to_string();
        prop_assert!(said.contains(decision.action.name()), "{said}");
        prop_assert_eq!(said.lines().count(), 1 + decision.considered.len());
    }

    #[test]
    fn actions_agree_with_the_state(inputs in sane_inputs()) {
        let decision = planner().decide(inputs);
        let reachable = inputs.link.contact && inputs.cloud.available;
        match decision.action {
            Action::Skip => prop_assert!(inputs.window.empty),
            Action::Keep => prop_assert!(inputs.risk <= inputs.limits.risk),
            Action::Verify | Action::Offload => prop_assert!(reachable),
            Action::Defer => prop_assert!(!reachable),
        }
        let labelled = matches!(decision.action, Action::Verify | Action::Defer);
        prop_assert!(labelled || decision.propensity < 1.0);
        let empty = Inputs { window: Window { empty: true, ..inputs.window }, ..inputs };
        prop_assert_eq!(planner().decide(empty).action, Action::Skip);
    }

    #[test]
    fn a_slower_link_never_makes_sending_cheaper(inputs in sane_inputs(), slower in 0.001_f64..1.0) {
        let mut slow = inputs;
        slow.link.bandwidth *= slower;
        let (fast, slow) = (planner().decide(inputs), planner().decide(slow));
        for (fast, slow) in pairs(&fast, &slow) {
            prop_assert!(slow.cost >= fast.cost - 1e-9, "{slow:?} {fast:?}");
        }
    }

    #[test]
    fn a_faster_link_never_lowers_the_token_budget(inputs in wild_inputs(), bandwidths in [wild(), wild()]) {
        let budget = |bandwidth| {
            let link = link::State { bandwidth, ..inputs.link };
            planner().token_budget(&Inputs { link, ..inputs })
        };
        let [a, b] = bandwidths;
        prop_assume!(a <= b);
        prop_assert!(budget(a) <= budget(b));
        prop_assert!(budget(b) <= inputs.window.tokens);
    }

    #[test]
    fn a_budget_above_the_least_keeps_the_latency_limit(inputs in sane_inputs()) {
        let tokens = planner().token_budget(&inputs);
        let decision = planner().decide(inputs);
        let verify = decision.considered.iter().find(|o| o.action == Action::Verify).unwrap();
        prop_assert_eq!(verify.payload, Payload::Features { tokens });
        if tokens > 16.min(inputs.window.tokens) {
            prop_assert!(verify.latency <= inputs.limits.latency + 1e-9, "{verify:?}");
        }
    }

    #[test]
    fn a_higher_risk_never_turns_verify_into_keep(inputs in sane_inputs(), higher in 0.0_f64..1.0) {
        let mut risky = inputs;
        risky.risk += (1.0 - risky.risk) * higher;
        let (low, high) = (planner().decide(inputs), planner().decide(risky));
        if low.action == Action::Verify {
            prop_assert_ne!(high.action, Action::Keep);
        }
        for (low, high) in pairs(&low, &high).filter(|(low, _)| sends(low)) {
            prop_assert!(high.cost >= low.cost - 1e-9);
        }
    }

    #[test]
    fn stopping_is_monotone_and_never_early(
        logprobs in prop::collection::vec(-8.0_f32..0.0, 0..20),
        worse in prop::collection::vec(0.0_f32..4.0, 20),
        wild in prop::collection::vec(any::<u32>().prop_map(f32::from_bits), 0..20),
        length in 0_usize..40,
        threshold in 0.0_f64..1.0,
    ) {
        let settings = step::Settings::default();
        let lower: Vec<f32> = logprobs.iter().zip(&worse).map(|(l, w)| l - w).collect();
        let stops = |logprobs: &[f32]| step::stops(&settings, logprobs, length, threshold);
        prop_assert!(!stops(&logprobs) || stops(&lower));
        prop_assert!(logprobs.len() >= settings.least || !stops(&logprobs));
        prop_assert!(!step::stops(&settings, &logprobs, length, 0.0));
        prop_assert!(!stops(&logprobs) || step::stops(&settings, &logprobs, length, threshold + 0.1));
        prop_assert!((0.0..=1.0).contains(&step::expected(&settings, &wild, length)));
    }

    #[test]
    fn drafts_stop_only_for_a_cloud_that_is_there_and_cheaper(inputs in sane_inputs()) {
        let risk = Risk::new(risk::Settings::default()).unwrap();
        let below = planner().stop_below(&inputs, &risk);
        prop_assert!((0.0..=1.0).contains(&below));
        if below > 0.0 {
            prop_assert!(inputs.link.contact && inputs.cloud.available);
            // Anything below would not be kept, and is cheaper to offload than to verify.
            let confidence = (below - 0.01).max(0.0);
            let at = Inputs { risk: risk.estimate(confidence), ..inputs };
            prop_assert!(at.risk >= inputs.limits.risk - 1e-9);
            let decision = planner().decide(at);
            let cost = |action| {
                let of = decision.considered.iter().filter(move |o| o.action == action);
                of.map(|o| o.cost).fold(f64::INFINITY, f64::min)
            };
            prop_assert!(cost(Action::Offload) <= cost(Action::Verify));
        }
    }
}

/// Audits are drawn without regard to the window, and are the only labels of what is kept.
#[test]
fn audits_are_a_fair_share_of_what_is_kept() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = sane_inputs();
    let (mut kept, mut audits) = (0_u32, 0_u32);
    for seq in 0..20_000 {
        let mut inputs = strategy.new_tree(&mut runner).unwrap().current();
        inputs.window.seq = seq;
        let decision = planner().decide(inputs);
        match decision.audit_of.unwrap_or(decision.action) {
            Action::Keep => kept += 1,
            _ => continue,
        }
        assert!((decision.propensity - 0.15).abs() < 1e-12);
        audits += u32::from(decision.audit_of.is_some());
    }
    let share = f64::from(audits) / f64::from(kept);
    assert!(
        kept > 5000 && (share - 0.15).abs() < 0.02,
        "{audits} of {kept}"
    );
}

/// What `msao explain` prints must be storable.
#[test]
fn decisions_can_be_stored() {
    fn storable<T: Serialize + DeserializeOwned>() {}
    storable::<planner::Decision>();
    storable::<offload::context::Revision>();
}
