//! How often the probe may run, so that frames take no longer than they may: a state machine that is handed its time.

use std::time::Duration;

/// So long the mean is taken before a step.
pub(super) const PERIOD: Duration = Duration::from_millis(500);
/// Of so many periods in a row each must be under the budget before a step back.
const PATIENCE: u32 = 2;
/// A step back may double the time of the probe, so there must be room for that, and some to spare.
const ROOM: f64 = 0.45;
/// Steps: after the last the probe runs on one frame of 32.
pub(super) const MOST: u32 = 5;

/// Backs off step by step while frames take longer than they may in the mean, each step halving how often the probe runs,
/// and recovers step by step when they take less than half of that.
#[derive(Debug, Default)]
pub(super) struct Pace {
    step: u32,
    /// When the mean was begun.
    since: Option<Duration>,
    total: Duration,
    frames: u32,
    /// Periods in a row with room.
    roomy: u32,
    /// Frames since the probe ran.
    skipped: u64,
}

impl Pace {
    /// How far it has backed off, 0 to [`MOST`].
    pub fn step(&self) -> u32 {
        self.step
    }

    /// The probe may run on one of so many frames.
    pub fn every(&self) -> u64 {
        1 << self.step
    }

    /// Whether the probe may run on the next frame.
    pub fn allows(&self) -> bool {
        self.skipped + 1 >= self.every()
    }

    /// Notes a frame: the time now, how long the frame took, whether the probe ran, and how long frames may take in the
    /// mean; no budget is one that is always kept. Returns whether it took a step.
    pub fn note(
        &mut self,
        now: Duration,
        took: Duration,
        probed: bool,
        budget: Option<Duration>,
    ) -> bool {
        self.skipped = if probed { 0 } else { self.skipped + 1 };
        let since = *self.since.get_or_insert(now);
        self.total = self.total.saturating_add(took);
        self.frames = self.frames.saturating_add(1);
        // Of so many frames the probe runs on the same number each time.
        let whole = u64::from(self.frames).is_multiple_of(self.every());
        if now.saturating_sub(since) < PERIOD || !whole {
            return false;
        }
        let mean = self.total.as_secs_f64() / f64::from(self.frames);
        let share = budget.map_or(0.0, |budget| mean / budget.as_secs_f64().max(1e-9));
        (self.since, self.total, self.frames) = (Some(now), Duration::ZERO, 0);
        self.roomy = if share < ROOM { self.roomy + 1 } else { 0 };
        let before = self.step;
        if share > 1.0 {
            self.step = (self.step + 1).min(MOST);
        } else if self.roomy >= PATIENCE {
            self.step = self.step.saturating_sub(1);
            self.roomy = 0;
        }
        self.step != before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    /// A camera of `fps` whose frames cost `cheap` ms, and `probe` ms more where the probe runs.
    struct Camera {
        pace: Pace,
        now: Duration,
        fps: f64,
    }

    impl Camera {
        fn new(fps: f64) -> Self {
            Self {
                pace: Pace::default(),
                now: Duration::ZERO,
                fps,
            }
        }

        /// Runs for so many seconds; returns the step after each frame.
        fn run(&mut self, seconds: f64, cheap: f64, probe: f64, budget: Option<f64>) -> Vec<u32> {
            let frames = (seconds * self.fps) as usize;
            let one = |_| {
                let probed = self.pace.allows();
                let took = ms(cheap + if probed { probe } else { 0.0 });
                self.now += ms(1e3 / self.fps).max(took);
                self.pace.note(self.now, took, probed, budget.map(ms));
                self.pace.step()
            };
            (0..frames).map(one).collect()
        }
    }

    #[test]
    fn it_backs_off_step_by_step_and_recovers_step_by_step() {
        let mut camera = Camera::new(20.0);
        let up = camera.run(10.0, 1.0, 40.0, Some(12.0));
        // 41, 21 and 11 ms a frame: two steps are enough.
        let mut steps = up.clone();
        steps.dedup();
        assert_eq!(steps, [0, 1, 2]);
        let mut steps = camera.run(20.0, 1.0, 2.0, Some(12.0));
        steps.dedup();
        assert_eq!(steps, [2, 1, 0]);
    }

    #[test]
    fn without_a_budget_the_probe_may_run_on_every_frame() {
        let steps = Camera::new(30.0).run(10.0, 50.0, 500.0, None);
        assert!(steps.iter().all(|step| *step == 0));
    }

    #[test]
    fn what_is_over_budget_without_the_probe_keeps_backing_off_to_the_last_step() {
        let mut camera = Camera::new(30.0);
        let steps = camera.run(20.0, 20.0, 10.0, Some(5.0));
        assert_eq!(steps.last(), Some(&MOST));
        assert_eq!(camera.pace.every(), 32);
    }

    proptest! {
        #[test]
        fn under_a_load_that_stays_it_comes_to_rest_and_keeps_the_budget_if_that_can_be(
            fps in 5.0..60.0f64,
            cheap in 0.01..5.0f64,
            probe in 0.1..200.0f64,
            budget in 0.1..50.0f64,
        ) {
            let mut camera = Camera::new(fps);
            camera.run(120.0, cheap, probe, Some(budget));
            let rest = camera.run(120.0, cheap, probe, Some(budget));
            let step = rest[0];
            prop_assert!(rest.iter().all(|other| *other == step), "{rest:?}");
            let mean = |step: u32| cheap + probe / f64::from(1u32 << step);
            prop_assert!(step == MOST || mean(step) <= budget * 1.001, "{step}: {}", mean(step));
            prop_assert!(step == 0 || mean(step) >= budget * ROOM * 0.999, "{step}: {}", mean(step));
        }

        #[test]
        fn whatever_comes_it_takes_one_step_a_period_at_most(
            frames in proptest::collection::vec((0u64..400, 0u64..400, any::<bool>()), 1..300),
            budget in 0u64..100,
        ) {
            let mut pace = Pace::default();
            let (mut now, mut last) = (Duration::ZERO, Duration::ZERO);
            for (after, took, probed) in frames {
                now += Duration::from_millis(after);
                let before = pace.step();
                let stepped = pace.note(now, Duration::from_millis(took), probed, Some(Duration::from_millis(budget)));
                prop_assert!(pace.step() <= MOST && before.abs_diff(pace.step()) == u32::from(stepped));
                if stepped {
                    prop_assert!(last.is_zero() || now - last >= PERIOD);
                    last = now;
                }
            }
        }

        #[test]
        fn the_probe_may_run_on_one_of_so_many_frames_and_no_more(step in 0..=MOST) {
            let mut pace = Pace { step, ..Pace::default() };
            let mut runs = 0;
            for _ in 0..320 {
                let probed = pace.allows();
                runs += u64::from(probed);
                pace.note(Duration::ZERO, Duration::ZERO, probed, None);
            }
            prop_assert_eq!(runs, 320 / pace.every());
        }
    }
}
