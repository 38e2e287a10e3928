//! How much each modality contributes to the drafts (β), measured now and then.

use std::time::{Duration, Instant};

use gst::ClockTime;
use mllm::{CaptionModel, Modality, Tokens};

use crate::beta::{Betas, LEAST_BETA, UNKNOWN};

/// Weight of a new measurement in what is known.
const WEIGHT: f32 = 0.5;

/// How often β is measured, and how long that may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// From one measurement to the next; 0 for never.
    pub interval: ClockTime,
    /// How long one may take; those after a longer one come less often by as much. 0 for no bound.
    pub budget: Duration,
}

/// What is known of β.
#[derive(Debug)]
pub(super) struct Contribution {
    betas: Betas,
    /// Modalities measured for the prompt.
    measured: Vec<Modality>,
    prompt: Option<String>,
    /// Running time of the latest window seen, and of the next measurement.
    latest: ClockTime,
    due: ClockTime,
    pub refreshes: u64,
    pub time: Duration,
}

impl Default for Contribution {
    fn default() -> Self {
        Self {
            betas: UNKNOWN,
            measured: Vec::new(),
            prompt: None,
            latest: ClockTime::ZERO,
            due: ClockTime::ZERO,
            refreshes: 0,
            time: Duration::ZERO,
        }
    }
}

impl Contribution {
    /// β of each modality as it is known; 1 for one that was never measured.
    pub fn betas(&self) -> Betas {
        self.betas
    }

    /// Measures β on a window with its draft, if it is time to. Whether it did.
    ///
    /// One modality alone cannot be told from the others, so such a window is passed over.
    pub fn refresh(
        &mut self,
        model: &mut CaptionModel,
        (tokens, prompt, answer): (&Tokens, &str, &[u32]),
        running: ClockTime,
        pace: Pace,
    ) -> Result<bool, mllm::Error> {
        if tokens.present().count() < 2 || !self.is_due(prompt, running, pace) {
            return Ok(false);
        }
        let begun = Instant::now();
        let modal = model.modal(tokens, prompt, answer)?;
        let spent = begun.elapsed();
        if self.prompt.as_deref() != Some(prompt) {
            self.prompt = Some(prompt.to_owned());
            self.measured.clear();
        }
        for modality in Modality::ALL {
            if let Some(beta) = *modal.get(modality) {
                self.learn(modality, beta);
            }
        }
        self.due = running.saturating_add(wait(pace, spent));
        self.refreshes += 1;
        self.time += spent;
        Ok(true)
    }

    /// Another prompt asks for a measurement at once, and so does time that jumps back.
    fn is_due(&mut self, prompt: &str, running: ClockTime, pace: Pace) -> bool {
        let back = running < std::mem::replace(&mut self.latest, running);
        let other = self.prompt.as_deref() != Some(prompt);
        pace.interval > ClockTime::ZERO && (other || back || running >= self.due)
    }

    fn learn(&mut self, modality: Modality, beta: f32) {
        let known = self.betas.get_mut(modality);
        let new = if self.measured.contains(&modality) {
            *known + WEIGHT * (beta - *known)
        } else {
            self.measured.push(modality);
            beta
        };
        *known = new.clamp(LEAST_BETA, 1.0);
    }
}

/// From a measurement that took so long to the next.
fn wait(pace: Pace, spent: Duration) -> ClockTime {
    let (spent, budget) = (spent.as_nanos(), pace.budget.as_nanos());
    let interval = u128::from(pace.interval.nseconds());
    let wait = match budget {
        0 => interval,
        budget => interval.saturating_mul(spent.max(budget)) / budget,
    };
    // The greatest value is no time.
    let most = u64::MAX - 1;
    ClockTime::from_nseconds(u64::try_from(wait).map_or(most, |wait| wait.min(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: ClockTime = ClockTime::SECOND;

    fn pace(interval: u64, budget: u64) -> Pace {
        Pace {
            interval: interval * SECOND,
            budget: Duration::from_millis(budget),
        }
    }

    #[test]
    fn what_takes_longer_than_its_budget_comes_less_often_by_as_much() {
        let waits = |budget, spent| wait(pace(5, budget), Duration::from_millis(spent));
        assert_eq!(waits(100, 40), 5 * SECOND);
        assert_eq!(waits(100, 100), 5 * SECOND);
        assert_eq!(waits(100, 300), 15 * SECOND);
        assert_eq!(waits(0, 300), 5 * SECOND);
        assert!(wait(pace(u64::MAX / 1_000_000_000, 1), Duration::from_secs(9)) > 9 * SECOND);
    }

    #[test]
    fn measurements_are_smoothed_and_none_is_nought() {
        let mut known = Contribution::default();
        known.learn(Modality::Audio, 0.2);
        assert_eq!(known.betas().audio, 0.2);
        known.learn(Modality::Audio, 0.6);
        assert!((known.betas().audio - 0.4).abs() < 1e-6);
        known.learn(Modality::Sensor, 0.0);
        assert_eq!(known.betas().sensor, LEAST_BETA);
        assert_eq!(known.betas().video, 1.0);
    }

    #[test]
    fn when_it_is_time() {
        let mut known = Contribution {
            prompt: Some("describe".to_owned()),
            due: 10 * SECOND,
            ..Contribution::default()
        };
        let mut due =
            |prompt, at: u64, interval| known.is_due(prompt, at * SECOND, pace(interval, 1));
        assert!(!due("describe", 9, 5));
        assert!(due("describe", 10, 5));
        assert!(due("how many?", 10, 5));
        assert!(!due("how many?", 10, 0));
        assert!(due("describe", 3, 5), "time jumped back");
        assert!(!due("describe", 4, 5));
    }
}
