//! Time that does not go back.

use std::time::Duration;

/// Turns the time handed in into one that never goes back: after a jump back it goes on from where it was.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    last: Duration,
    ahead: Duration,
}

impl Clock {
    /// The time at `now`, which becomes the least that is given from here on.
    pub fn advance(&mut self, now: Duration) -> Duration {
        let time = now.saturating_add(self.ahead);
        if time < self.last {
            self.ahead = self.last.saturating_sub(now);
        } else {
            self.last = time;
        }
        self.last
    }

    /// The time at `now`.
    pub fn read(&self, now: Duration) -> Duration {
        now.saturating_add(self.ahead).max(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_after_a_jump_back() {
        let mut clock = Clock::default();
        let at = Duration::from_secs;
        assert_eq!(clock.advance(at(10)), at(10));
        assert_eq!(clock.advance(at(2)), at(10));
        assert_eq!(clock.advance(at(5)), at(13));
        assert_eq!(clock.read(at(6)), at(14));
    }
}
