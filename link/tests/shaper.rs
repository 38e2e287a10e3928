//! The shaping itself, with the time passed in: exact, whatever the machine does meanwhile.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use link::{
    Conditions, Outage, Step, Trace,
    shaper::{Dropped, OnLoss, Shaper},
};
use proptest::prelude::*;

const PACKET: usize = 1500;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// A packet takes a millisecond.
fn twelve_megabits() -> Conditions {
    Conditions::new(12_000_000, ms(40))
}

fn shaper(trace: Trace) -> Shaper<u64> {
    Shaper::new(trace, 10 * PACKET, OnLoss::Drop, 7)
}

fn step(at: Duration, conditions: Conditions) -> Step {
    Step { at, conditions }
}

/// Runs from event to event until `end`; what arrived, and when.
fn arrivals(shaper: &mut Shaper<u64>, end: Duration) -> Vec<(Duration, u64)> {
    let mut found = Vec::new();
    while let Some(now) = shaper.next_event().filter(|now| *now <= end) {
        while let Some(item) = shaper.pop(now) {
            found.push((now, item));
        }
        shaper.advance(now);
    }
    shaper.advance(end);
    found
}

#[test]
fn packets_take_their_time_at_the_rate_and_then_the_delay() {
    let mut shaper = shaper(Trace::constant(twelve_megabits()).unwrap());
    for item in 0..3 {
        shaper.push(ms(5), item, PACKET).unwrap();
    }
    let expected = [(ms(46), 0), (ms(47), 1), (ms(48), 2)];
    assert_eq!(arrivals(&mut shaper, ms(100)), expected);
    // An idle link saves up nothing.
    shaper.push(ms(100), 3, PACKET).unwrap();
    assert_eq!(arrivals(&mut shaper, ms(200)), [(ms(141), 3)]);
}

#[test]
fn nothing_arrives_a_nanosecond_early() {
    let mut shaper = shaper(Trace::constant(twelve_megabits()).unwrap());
    shaper.push(ms(0), 0, PACKET).unwrap();
    assert_eq!(shaper.pop(ms(41) - Duration::from_nanos(1)), None);
    assert_eq!(shaper.pop(ms(41)), Some(0));
}

#[test]
fn a_caller_that_is_late_costs_no_throughput() {
    let trace = Trace::constant(twelve_megabits()).unwrap();
    let (mut late, mut prompt) = (shaper(trace.clone()), shaper(trace));
    for item in 0..10 {
        late.push(ms(0), item, PACKET).unwrap();
        prompt.push(ms(0), item, PACKET).unwrap();
    }
    assert_eq!(arrivals(&mut prompt, ms(50)).len(), 10);
    let mut items = Vec::new();
    while let Some(item) = late.pop(ms(50)) {
        items.push(item);
    }
    assert_eq!(items, (0..10).collect::<Vec<_>>());
    assert_eq!(late.counters(), prompt.counters());
}

#[test]
fn a_packet_under_way_follows_the_rate_as_it_changes() {
    let fast = twelve_megabits();
    let slow = Conditions {
        rate: 1_200_000,
        delay: ms(10),
        ..fast
    };
    let steps = vec![step(ms(0), fast), step(us(500), slow)];
    let mut shaper = shaper(Trace::steps(steps, None).unwrap());
    shaper.push(ms(0), 0, PACKET).unwrap();
    // Half of it in 0.5 ms, the other half at a tenth of the rate, then the delay of that time.
    assert_eq!(arrivals(&mut shaper, ms(100)), [(us(15_500), 0)]);
}

#[test]
fn a_full_queue_drops_what_comes_last() {
    let mut shaper = shaper(Trace::constant(twelve_megabits()).unwrap());
    for item in 0..10 {
        shaper.push(ms(0), item, PACKET).unwrap();
    }
    assert_eq!(shaper.push(ms(0), 10, PACKET), Err(Dropped::Full));
    // One has left.
    assert_eq!(shaper.push(ms(1), 11, PACKET), Ok(()));
    assert_eq!(shaper.counters().dropped_full, 1);
    assert_eq!(arrivals(&mut shaper, ms(100)).len(), 11);
}

#[test]
fn what_waits_in_an_outage_comes_after_it_and_what_is_cut_does_not() {
    for (outage, arrive) in [(Outage::Hold, vec![(ms(131), 0)]), (Outage::Cut, vec![])] {
        let works = Conditions {
            delay: ms(30),
            ..twelve_megabits()
        };
        let broken = Conditions { outage, ..works };
        let steps = vec![step(ms(0), broken), step(ms(100), works)];
        let mut shaper = shaper(Trace::steps(steps, None).unwrap());
        assert_eq!(
            shaper.push(ms(20), 0, PACKET).is_ok(),
            outage == Outage::Hold
        );
        assert_eq!(arrivals(&mut shaper, ms(99)), []);
        assert_eq!(arrivals(&mut shaper, ms(300)), arrive);
        let counters = shaper.counters();
        assert_eq!(counters.dropped_cut, u64::from(outage == Outage::Cut));
        assert_eq!(shaper.cuts(), counters.dropped_cut);
    }
}

#[test]
fn a_cut_loses_what_is_queued_but_not_what_is_on_its_way() {
    let works = twelve_megabits();
    let cut = Conditions {
        outage: Outage::Cut,
        ..works
    };
    let mut shaper = shaper(Trace::constant(works).unwrap());
    for item in 0..3 {
        shaper.push(ms(0), item, PACKET).unwrap();
    }
    shaper.set(us(1500), Trace::constant(cut).unwrap());
    assert!(shaper.is_cut());
    shaper.set(ms(2), Trace::constant(works).unwrap());
    assert_eq!(arrivals(&mut shaper, ms(100)), [(ms(41), 0)]);
    assert_eq!(shaper.counters().dropped_cut, 2);
}

#[test]
fn a_trace_that_is_set_begins_then() {
    let slow = Conditions::new(1_200_000, ms(0));
    let steps = vec![step(ms(0), slow), step(ms(5), twelve_megabits())];
    let mut shaper = shaper(Trace::constant(slow).unwrap());
    shaper.set(ms(1000), Trace::steps(steps, None).unwrap());
    shaper.push(ms(1000), 0, PACKET).unwrap();
    // Half in 5 ms, half in 0.5 ms, and 40 ms of delay.
    assert_eq!(arrivals(&mut shaper, ms(2000)), [(us(1_045_500), 0)]);
}

/// Ten thousand packets through a link of 20 % loss: how many arrived, and the counters.
fn lossy(on_loss: OnLoss, seed: u64) -> (Vec<(Duration, u64)>, link::Counters) {
    let conditions = Conditions {
        loss: 0.2,
        ..twelve_megabits()
    };
    let trace = Trace::constant(conditions).unwrap();
    let mut shaper = Shaper::new(trace, 10_000 * PACKET, on_loss, seed);
    for item in 0..10_000 {
        shaper.push(ms(0), item, PACKET).unwrap();
    }
    (arrivals(&mut shaper, ms(60_000)), shaper.counters())
}

#[test]
fn loss_takes_its_share_and_is_decided_by_the_seed() {
    let (arrived, counters) = lossy(OnLoss::Drop, 7);
    assert_eq!(arrived.len() as u64 + counters.dropped_lost, 10_000);
    // Five standard deviations.
    assert!(
        (1800..=2200).contains(&counters.dropped_lost),
        "{counters:?}"
    );
    assert_eq!(lossy(OnLoss::Drop, 7).0, arrived);
    assert_ne!(lossy(OnLoss::Drop, 8).0, arrived);
}

#[test]
fn a_stream_loses_nothing_but_waits_for_what_would_be_lost() {
    let (arrived, counters) = lossy(OnLoss::Late, 7);
    assert!(arrived.iter().map(|(_, item)| *item).eq(0..10_000));
    assert_eq!(counters.dropped_lost, 0);
    assert!((1800..=2200).contains(&counters.late), "{counters:?}");
    let late = arrived.iter().filter(|(at, item)| *at > ms(item + 41));
    assert!(late.count() as u64 > counters.late);
    assert!(arrived.iter().all(|(at, item)| *at <= ms(item + 41 + 280)));
}

#[test]
fn jitter_delays_within_its_bound_and_changes_no_order() {
    let jitter = ms(15);
    let conditions = Conditions {
        jitter,
        ..twelve_megabits()
    };
    let mut shaper = shaper(Trace::constant(conditions).unwrap());
    let mut arrived = Vec::new();
    for item in 0..500 {
        shaper.push(ms(item * 2), item, PACKET).unwrap();
        arrived.extend(arrivals(&mut shaper, ms(item * 2 + 1)));
    }
    arrived.extend(arrivals(&mut shaper, ms(2000)));
    assert!(arrived.iter().map(|(_, item)| *item).eq(0..500));
    let extra = |(at, item): &(Duration, u64)| *at - ms(item * 2 + 41);
    assert!(arrived.iter().all(|one| extra(one) < jitter));
    assert!(arrived.iter().map(extra).max().unwrap() > ms(14));
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let outage = prop_oneof![
        4 => Just(Outage::None),
        1 => Just(Outage::Hold),
        1 => Just(Outage::Cut),
    ];
    (
        1_000_u64..50_000_000,
        0_u64..100,
        0_u64..20,
        0.0..0.5,
        outage,
    )
        .prop_map(|(rate, delay, jitter, loss, outage)| Conditions {
            rate,
            delay: ms(delay),
            jitter: ms(jitter),
            loss,
            outage,
        })
}

fn trace() -> impl Strategy<Value = Trace> {
    let lengths = prop::collection::vec((conditions(), 1_u64..400_000_000), 1..8);
    (lengths, any::<bool>()).prop_map(|(lengths, repeats)| {
        let mut at = Duration::ZERO;
        let mut steps = Vec::new();
        for (conditions, length) in lengths {
            steps.push(step(at, conditions));
            at += Duration::from_nanos(length);
        }
        Trace::steps(steps, repeats.then_some(at)).unwrap()
    })
}

proptest! {
    #[test]
    fn no_more_passes_than_the_rate_allows(
        trace in trace(),
        calls in prop::collection::vec((0_u64..20_000_000, 0_usize..3000), 1..400),
        late in any::<bool>(),
    ) {
        const LIMIT: usize = 20_000;
        let on_loss = if late { OnLoss::Late } else { OnLoss::Drop };
        let mut shaper = Shaper::new(trace.clone(), LIMIT, on_loss, 3);
        let (mut now, mut taken, mut last, mut arrived) = (Duration::ZERO, 0, None, 0);
        for (item, (wait, bytes)) in calls.iter().enumerate() {
            now += Duration::from_nanos(*wait);
            if shaper.push(now, (item, *bytes), *bytes).is_ok() {
                taken += *bytes as u64;
            }
            while let Some((item, bytes)) = shaper.pop(now) {
                prop_assert!(last < Some(item), "out of order");
                last = Some(item);
                arrived += bytes as u64;
            }
            prop_assert_eq!(arrived, shaper.counters().bytes_out);
            prop_assert!(arrived <= trace.capacity(now));
            // What was cut from the queue was taken, too.
            if shaper.counters().dropped_cut == 0 {
                prop_assert!(taken <= trace.capacity(now) + LIMIT as u64);
            }
        }
    }

    /// With packets always waiting, all that the rate allows passes, but for the one under way.
    #[test]
    fn no_less_passes_than_the_rate_allows(rates in prop::collection::vec(1_000_000_u64..50_000_000, 1..8), every in 1_u64..5_000) {
        let steps = rates.iter().enumerate();
        let steps = steps.map(|(n, rate)| step(ms(50 * n as u64), Conditions::new(*rate, ms(0)))).collect();
        let trace = Trace::steps(steps, Some(ms(50 * rates.len() as u64))).unwrap();
        let mut shaper = Shaper::new(trace.clone(), 100 * PACKET, OnLoss::Drop, 3);
        let mut now = Duration::ZERO;
        while now < ms(1000) {
            while shaper.push(now, (), PACKET).is_ok() {}
            now += us(every);
            while shaper.pop(now).is_some() {}
            prop_assert!(shaper.counters().bytes_out + PACKET as u64 >= trace.capacity(now));
        }
    }
}
