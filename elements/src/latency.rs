//! How long an element holds what passes it, as it answers the query for latency.

use std::sync::Mutex;
use std::time::Duration;

use gst::prelude::*;

use crate::lock;

/// Latency is told in whole steps of this.
const STEP: Duration = Duration::from_millis(20);
/// Of at least so many buffers, and of at most twice as many, the one that was held longest counts.
const RECENT: u32 = 32;

/// What is told, and what it rests on.
#[derive(Debug, Default)]
struct Told {
    steps: u32,
    /// Longest of the buffers before these, and of these.
    longest: [Duration; 2],
    count: u32,
}

impl Told {
    /// Notes how long a buffer was held; whether something else is told from now on. More is told at once, less when it
    /// is less by two steps, so that times about a step do not go back and forth.
    fn note(&mut self, held: Duration) -> bool {
        if self.count == RECENT {
            (self.longest, self.count) = ([self.longest[1], Duration::ZERO], 0);
        }
        self.longest[1] = self.longest[1].max(held);
        self.count += 1;
        let longest = self.longest[0].max(self.longest[1]);
        let steps = longest.as_nanos().div_ceil(STEP.as_nanos());
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let other = steps > self.steps || steps.saturating_add(1) < self.steps;
        if other {
            self.steps = steps;
        }
        other
    }

    fn latency(&self) -> gst::ClockTime {
        let latency = STEP.saturating_mul(self.steps);
        latency.try_into().unwrap_or(gst::ClockTime::MAX)
    }
}

/// The latency of an element.
#[derive(Debug, Default)]
pub(crate) struct Latency(Mutex<Told>);

impl Latency {
    /// Begins anew, as at an element's start.
    pub fn reset(&self) {
        *lock(&self.0) = Told::default();
    }

    /// Notes how long a buffer was held. If the latency changes by that, the pipeline is told to ask for it again.
    pub fn note(&self, element: &impl IsA<gst::Element>, held: Duration) {
        if lock(&self.0).note(held) {
            let message = gst::message::Latency::builder().src(element.upcast_ref());
            // Without a bus nobody listens.
            let _ = element.post_message(message.build());
        }
    }

    /// What is told by now.
    pub fn told(&self) -> gst::ClockTime {
        lock(&self.0).latency()
    }

    /// Adds the element's own to what upstream answered, if it is a query for latency from downstream.
    pub fn add_to(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) {
        if direction != gst::PadDirection::Src {
            return;
        }
        if let gst::QueryViewMut::Latency(latency) = query.view_mut() {
            let (live, min, max) = latency.result();
            let own = self.told();
            let sum = |time: gst::ClockTime| time.saturating_add(own);
            latency.set(live, sum(min), max.map(sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn more_is_told_at_once_and_less_when_it_lasts() {
        let mut told = Told::default();
        assert!(told.note(ms(5)));
        assert_eq!(told.latency().mseconds(), 20);
        assert!(!told.note(ms(19)));
        assert!(told.note(ms(90)));
        assert_eq!(told.latency().mseconds(), 100);
        let mut notes = 0;
        while !told.note(ms(30)) {
            notes += 1;
            assert!(notes < 2 * RECENT);
        }
        assert!(notes >= RECENT - 1, "{notes}");
        assert_eq!(told.latency().mseconds(), 40);
    }

    #[test]
    fn times_about_a_step_do_not_go_back_and_forth() {
        let mut told = Told::default();
        let times = [ms(39), ms(41)];
        let changes = (0..1_000).filter(|i| told.note(times[(i / 100) % 2]));
        assert_eq!(changes.count(), 2);
    }

    #[test]
    fn the_greatest_times_do_no_harm() {
        let mut told = Told::default();
        assert!(told.note(Duration::MAX));
        assert!(told.latency() > gst::ClockTime::from_seconds(3_600));
    }
}
