//! The link to the broker: bandwidth, round-trip time, contact.
//!
//! **Bandwidth** comes from acknowledged bytes over the time that the link was busy with them. A message was in service
//! from when the one before it was acknowledged, or from a round trip after it was sent, whichever is later, until its own
//! acknowledgement; bytes over that time is a sample (packet-pair dispersion; Keshav, *A control-theoretic approach to
//! flow control*, 1991). A message of less than [`Settings::little`] bytes is none, and one in service for less than a
//! quarter of a round trip shows only that the link is at least as fast as bytes over the whole time, so it may raise the
//! estimate but not lower it (the rule for application-limited samples of BBR; Cardwell and others, *BBR:
//! congestion-based congestion control*, 2016). The estimate is the median of the last five samples, and at most what
//! the message that is waited for now allows.
//!
//! **Round-trip time** is the fastest acknowledgement of the last [`Settings::recent`].
//!
//! **Contact** is what the connection's events say, until something is in flight and nothing was acknowledged for
//! [`Settings::silence`]; the next acknowledgement, or an event, restores it.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounds::{Error, check};
use crate::clock::Clock;

/// Least bandwidth that is reckoned with, bytes a second.
pub const SLOWEST: f64 = 100.0;
/// Greatest bandwidth that is reckoned with, bytes a second.
pub const FASTEST: f64 = 1e11;

/// Samples that the median is of.
const SAMPLES: usize = 5;
/// Messages in flight, and round trips, that are remembered; the oldest are let go.
const REMEMBERED: usize = 4096;
/// In service for less than this, a message is no measure of bandwidth.
const SHORTEST: Duration = Duration::from_millis(1);

/// Settings of a [`Link`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Bandwidth assumed until it was measured, bytes a second, from [`SLOWEST`] to [`FASTEST`].
    pub assumed: f64,
    /// Messages of fewer bytes are no measure of bandwidth; at least 1.
    pub little: u64,
    /// How long an acknowledgement counts towards the round-trip time; more than 0.
    pub recent: Duration,
    /// With something in flight, contact is lost after so long without an acknowledgement; more than 0.
    pub silence: Duration,
}

impl Default for Settings {
    /// 1 Mbit/s assumed, 4 KiB, 30 s, 3 s.
    fn default() -> Self {
        Self {
            assumed: 125_000.0,
            little: 4096,
            recent: Duration::from_secs(30),
            silence: Duration::from_secs(3),
        }
    }
}

/// The link as it is seen at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Bytes a second, from [`SLOWEST`] to [`FASTEST`].
    pub bandwidth: f64,
    /// Round-trip time, seconds; 0 until it was measured.
    pub rtt: f64,
    /// Whether the other side is there.
    pub contact: bool,
    /// How long it has not been, seconds; 0 while there is contact.
    pub away: f64,
    /// Bytes that were sent and not acknowledged.
    pub in_flight: u64,
}

#[derive(Debug)]
struct Flight {
    id: u64,
    bytes: u64,
    sent: Duration,
}

/// What is known of one link.
#[derive(Debug)]
pub struct Link {
    settings: Settings,
    clock: Clock,
    flights: VecDeque<Flight>,
    in_flight: u64,
    next: u64,
    connected: bool,
    /// When the connection last came or went.
    event: Duration,
    last_ack: Option<Duration>,
    /// Acknowledgements, each slower than the one before it: the first is the fastest.
    rtts: VecDeque<(Duration, Duration)>,
    rates: VecDeque<f64>,
}

impl Link {
    /// A link of which nothing is known; without contact until an event or an acknowledgement.
    ///
    /// # Errors
    /// A setting is out of its range.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let Settings {
            assumed,
            little,
            recent,
            silence,
        } = settings;
        let holds = (SLOWEST..=FASTEST).contains(&assumed);
        check("assumed", assumed, holds, "from 100 to 1e11 bytes a second")?;
        check("little", little as f64, little > 0, "1 byte or more")?;
        let range = "more than 0 s";
        check("recent", recent.as_secs_f64(), !recent.is_zero(), range)?;
        check("silence", silence.as_secs_f64(), !silence.is_zero(), range)?;
        Ok(Self {
            settings,
            clock: Clock::default(),
            flights: VecDeque::new(),
            in_flight: 0,
            next: 0,
            connected: false,
            event: Duration::ZERO,
            last_ack: None,
            rtts: VecDeque::new(),
            rates: VecDeque::new(),
        })
    }

    /// The connection came up.
    pub fn connected(&mut self, now: Duration) {
        self.event = self.clock.advance(now);
        self.connected = true;
    }

    /// The connection went down.
    pub fn disconnected(&mut self, now: Duration) {
        let now = self.clock.advance(now);
        if self.connected {
            self.event = now;
        }
        self.connected = false;
    }

    /// A message of so many bytes was handed to the link. The number is what [`Self::acknowledged`] asks for.
    pub fn sent(&mut self, now: Duration, bytes: u64) -> u64 {
        let sent = self.clock.advance(now);
        let id = self.next;
        self.next += 1;
        self.in_flight = self.in_flight.saturating_add(bytes);
        self.flights.push_back(Flight { id, bytes, sent });
        if self.flights.len() > REMEMBERED {
            let oldest = self.flights.front().map(|flight| flight.id);
            oldest.map(|id| self.land(id));
        }
        id
    }

    /// The message with this number was acknowledged. A number that is not in flight changes nothing.
    pub fn acknowledged(&mut self, now: Duration, id: u64) {
        let now = self.clock.advance(now);
        let Some(flight) = self.land(id) else {
            return;
        };
        let took = now.saturating_sub(flight.sent);
        self.remember(now, took);
        self.measure(now, took, &flight);
        self.last_ack = Some(now);
        if !self.connected {
            self.connected = true;
            self.event = now;
        }
    }

    /// The message with this number will not be acknowledged: it was given up.
    pub fn abandoned(&mut self, id: u64) {
        self.land(id);
    }

    /// The link as it is seen at `now`.
    #[must_use]
    pub fn state(&self, now: Duration) -> State {
        let now = self.clock.read(now);
        let away = self.away(now);
        State {
            bandwidth: self.bandwidth(now),
            rtt: self.rtt().as_secs_f64(),
            contact: away.is_none(),
            away: away.map_or(0.0, |away| away.as_secs_f64()),
            in_flight: self.in_flight,
        }
    }

    fn land(&mut self, id: u64) -> Option<Flight> {
        let at = self.flights.binary_search_by_key(&id, |f| f.id).ok()?;
        let flight = self.flights.remove(at)?;
        self.in_flight = self
            .flights
            .iter()
            .map(|f| f.bytes)
            .fold(0, u64::saturating_add);
        Some(flight)
    }

    fn remember(&mut self, now: Duration, took: Duration) {
        while self.rtts.back().is_some_and(|(_, rtt)| *rtt >= took) {
            self.rtts.pop_back();
        }
        self.rtts.push_back((now, took));
        let oldest = now.saturating_sub(self.settings.recent);
        while self.rtts.len() > REMEMBERED || self.rtts.front().is_some_and(|(at, _)| *at < oldest)
        {
            self.rtts.pop_front();
        }
    }

    fn measure(&mut self, now: Duration, took: Duration, flight: &Flight) {
        if flight.bytes < self.settings.little {
            return;
        }
        let busy = now.saturating_sub(self.service(flight));
        let bytes = flight.bytes as f64;
        let sample = if busy >= (self.rtt() / 4).max(SHORTEST) {
            bytes / busy.as_secs_f64()
        } else {
            let least = bytes / took.max(SHORTEST).as_secs_f64();
            if least <= self.median() {
                return;
            }
            least
        };
        self.rates.push_back(sample.clamp(SLOWEST, FASTEST));
        if self.rates.len() > SAMPLES {
            self.rates.pop_front();
        }
    }

    /// When the link began to carry this message, as far as acknowledgements tell.
    fn service(&self, flight: &Flight) -> Duration {
        let free = flight.sent.saturating_add(self.rtt());
        self.last_ack.map_or(free, |ack| ack.max(free))
    }

    fn rtt(&self) -> Duration {
        self.rtts.front().map_or(Duration::ZERO, |(_, rtt)| *rtt)
    }

    fn median(&self) -> f64 {
        let mut rates: Vec<f64> = self.rates.iter().copied().collect();
        rates.sort_by(f64::total_cmp);
        let middle = rates.len() / 2;
        rates.get(middle).copied().unwrap_or(self.settings.assumed)
    }

    fn bandwidth(&self, now: Duration) -> f64 {
        let Some(oldest) = self.flights.front() else {
            return self.median();
        };
        let waited = now.saturating_sub(self.service(oldest)).as_secs_f64();
        let most = oldest.bytes.max(self.settings.little) as f64 / waited.max(1e-9);
        self.median().min(most).max(SLOWEST)
    }

    /// How long there has been no contact; `None` while there is.
    fn away(&self, now: Duration) -> Option<Duration> {
        if !self.connected {
            return Some(now.saturating_sub(self.event));
        }
        let oldest = self.flights.front()?.sent;
        let heard = self.last_ack.unwrap_or_default().max(self.event);
        let silent = now.saturating_sub(oldest.max(heard));
        (silent >= self.settings.silence).then_some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn link() -> Link {
        let mut link = Link::new(Settings::default()).unwrap();
        link.connected(Duration::ZERO);
        link
    }

    /// Sends a small and a large message each second over a link of this bandwidth and a round trip of 20 ms.
    fn drive(link: &mut Link, from: u64, seconds: u64, bytes: u64, bandwidth: u64) {
        for second in from..from + seconds {
            let start = second * 1000;
            let small = link.sent(ms(start), 500);
            let large = link.sent(ms(start), bytes);
            link.acknowledged(ms(start + 20), small);
            link.acknowledged(ms(start + 20 + bytes * 1000 / bandwidth), large);
        }
    }

    #[test]
    fn measures_bandwidth_and_rtt() {
        let mut link = link();
        drive(&mut link, 0, 5, 20_000, 100_000);
        let state = link.state(ms(5000));
        assert!((state.bandwidth - 100_000.0).abs() < 1000.0, "{state:?}");
        assert!((state.rtt - 0.02).abs() < 1e-6, "{state:?}");
        assert!(state.contact && state.in_flight == 0);
    }

    #[test]
    fn follows_a_step_within_three_messages() {
        let mut link = link();
        drive(&mut link, 0, 10, 20_000, 100_000);
        drive(&mut link, 10, 3, 20_000, 1_000_000);
        let fast = link.state(ms(13_000)).bandwidth;
        assert!((fast - 1e6).abs() < 1e5, "{fast}");
        drive(&mut link, 13, 3, 20_000, 50_000);
        let slow = link.state(ms(16_000)).bandwidth;
        assert!((slow - 5e4).abs() < 5e3, "{slow}");
    }

    #[test]
    fn little_in_flight_does_not_lower_the_estimate() {
        let mut link = link();
        drive(&mut link, 0, 10, 1_000_000, 10_000_000);
        let before = link.state(ms(10_000)).bandwidth;
        assert!((before - 1e7).abs() < 1e5, "{before}");
        for second in 10..60 {
            // Some milliseconds of jitter would look like 20 KB/s, and like 1.25 MB/s.
            let start = second * 1000;
            let id = link.sent(ms(start), 300);
            link.acknowledged(ms(start + 35), id);
            let id = link.sent(ms(start + 500), 5000);
            link.acknowledged(ms(start + 520 + 4), id);
        }
        let after = link.state(ms(60_000)).bandwidth;
        assert!(after >= before * 0.99, "{before} {after}");
    }

    #[test]
    fn waiting_lowers_the_estimate_and_then_loses_contact() {
        let mut link = link();
        drive(&mut link, 0, 10, 20_000, 200_000);
        let id = link.sent(ms(10_000), 20_000);
        let waiting = link.state(ms(12_000));
        assert!(
            waiting.contact && waiting.bandwidth < 11_000.0,
            "{waiting:?}"
        );
        let lost = link.state(ms(13_000));
        assert!(!lost.contact && (lost.away - 3.0).abs() < 1e-9, "{lost:?}");
        link.acknowledged(ms(20_000), id);
        assert!(link.state(ms(20_000)).contact);
        link.disconnected(ms(21_000));
        assert!(!link.state(ms(21_500)).contact);
        link.connected(ms(22_000));
        assert!(link.state(ms(22_000)).contact);
    }

    #[test]
    fn nothing_in_flight_keeps_contact_for_ever() {
        let link = link();
        assert!(link.state(Duration::from_secs(1_000_000)).contact);
    }
}
