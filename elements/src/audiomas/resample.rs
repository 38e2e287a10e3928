//! Any sound as the audio encoder hears it: one channel, at the encoder's rate.

/// Zero crossings of the filter to each side, at the lower of the two rates.
const CROSSINGS: usize = 16;
/// The pass band ends at this share of half the lower rate.
const BAND: f64 = 0.92;

/// From one rate to another, by a windowed sinc.
///
/// Sample `k` of the output is there as soon as the input has reached its time, `k / to`: so many samples in, a hop ends
/// where it does. What it holds is of [`Resampler::delay`] before.
#[derive(Debug)]
pub(super) struct Resampler {
    /// The rates, divided by what they have in common.
    from: usize,
    to: usize,
    /// Taps of each of the `to` places that an output may have between two inputs.
    filters: Vec<Vec<f32>>,
    held: Vec<f32>,
    /// Where the next output is, in input samples times `to`, after the first of `held` that counts for it.
    next: usize,
}

impl Resampler {
    /// Both rates are above 0.
    pub fn new(from: u32, to: u32) -> Self {
        let common = gcd(from, to).max(1);
        let (from, to) = ((from / common) as usize, (to / common) as usize);
        // In input samples; shrinking the rate widens the filter.
        let scale = (to as f64 / from as f64).min(1.0);
        let half = (CROSSINGS as f64 / scale).ceil() as usize;
        let filters = (0..to).map(|place| filter(place as f64 / to as f64, half, scale * BAND));
        Self {
            from,
            to,
            filters: filters.collect(),
            held: vec![0.0; 2 * half - 1],
            next: 0,
        }
    }

    /// How much later than it came in, in input samples, a sound comes out.
    #[cfg(test)]
    pub fn delay(&self) -> usize {
        self.filters.first().map_or(0, |taps| taps.len() / 2)
    }

    /// Adds `input`; gives what that comes to.
    pub fn push(&mut self, input: impl IntoIterator<Item = f32>) -> Vec<f32> {
        self.held.extend(input);
        let mut out = Vec::new();
        loop {
            let (start, place) = (self.next / self.to, self.next % self.to);
            let taps = &self.filters[place];
            let Some(window) = self.held.get(start..start + taps.len()) else {
                break;
            };
            out.push(
                window
                    .iter()
                    .zip(taps)
                    .map(|(sample, tap)| sample * tap)
                    .sum(),
            );
            self.next += self.from;
        }
        let past = (self.next / self.to).min(self.held.len());
        self.held.drain(..past);
        self.next -= past * self.to;
        out
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The taps for an output `place` (0 to 1) of an input sample after the middle: a sinc of so much of the band under a
/// Hann window, whose sum is 1.
fn filter(place: f64, half: usize, band: f64) -> Vec<f32> {
    let taps = (0..2 * half).map(|tap| {
        let x = tap as f64 - (half as f64 - 1.0) - place;
        let phase = std::f64::consts::PI * x;
        let sinc = if x == 0.0 {
            band
        } else {
            (phase * band).sin() / phase
        };
        let window = (phase / (2.0 * half as f64)).cos().powi(2);
        sinc * window
    });
    let taps: Vec<f64> = taps.collect();
    let sum: f64 = taps.iter().sum();
    taps.iter().map(|tap| (tap / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: u32 = 16_000;

    /// A tone of so many Hz for half a second, in chunks of uneven length.
    fn tone(from: u32, hz: f64) -> (Vec<f32>, f64) {
        let mut resampler = Resampler::new(from, TO);
        let delay = resampler.delay() as f64 / f64::from(from);
        let count = from as usize / 2;
        let at = |i: usize| (std::f64::consts::TAU * hz * i as f64 / f64::from(from)).sin() as f32;
        let input: Vec<f32> = (0..count).map(at).collect();
        let mut out = Vec::new();
        let mut rest = &input[..];
        for length in [1, 480, 37, 1024, 3].into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, later) = rest.split_at(length.min(rest.len()));
            out.extend(resampler.push(chunk.iter().copied()));
            rest = later;
        }
        (out, delay)
    }

    #[test]
    fn half_a_second_stays_half_a_second_and_a_tone_the_same_tone() {
        for from in [
            8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000,
        ] {
            let (out, delay) = tone(from, 1_000.0);
            // What ends between two outputs counts for the later one.
            let exact = from / 2 * TO;
            assert_eq!(out.len() as u32, exact.div_ceil(from), "{from} Hz");
            let mut most = 0.0_f64;
            for (k, sample) in out.iter().enumerate().skip(100) {
                let time = k as f64 / f64::from(TO) - delay;
                let expected = (std::f64::consts::TAU * 1_000.0 * time).sin();
                most = most.max((f64::from(*sample) - expected).abs());
            }
            assert!(most < 0.01, "{from} Hz: off by {most}");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_left_out() {
        let (out, _) = tone(48_000, 12_000.0);
        let loudest = out
            .iter()
            .skip(100)
            .fold(0.0_f32, |most, v| most.max(v.abs()));
        assert!(loudest < 0.002, "{loudest}");
    }

    #[test]
    fn any_rate_will_do() {
        for from in [1, 7, 15_999, 16_001, 384_000] {
            let out = Resampler::new(from, TO).push((0..from).map(|_| 0.5));
            assert_eq!(out.len(), TO as usize, "{from} Hz");
        }
    }
}
