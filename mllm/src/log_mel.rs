//! Log-mel: the energy of sound in bands that are as wide as hearing tells them apart.

use std::sync::Arc;

use ndarray::Array2;
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// Samples a second, of one channel.
pub const SAMPLE_RATE: u32 = 16_000;
/// Samples of a hop: half a second.
pub const HOP_SAMPLES: usize = 8_000;
/// Samples before a hop that its first frame reaches back to.
pub const CONTEXT_SAMPLES: usize = 240;
/// Frames of a hop.
pub const FRAMES: usize = 50;
/// Bands.
pub const BANDS: usize = 64;

const FRAME: usize = 400;
const STEP: usize = 160;
const FFT: usize = 512;
const LOWEST: f64 = 20.0;
/// Energy of silence, so that its logarithm is finite.
const SILENCE: f32 = 1e-6;

/// Turns hops of sound into log-mel.
///
/// Frame i is samples 160 i to 160 i + 400 of context and hop, times a periodic Hann window, padded with zeros to 512. Its
/// power spectrum |FFT|² goes through 64 triangular filters of height 1 whose 66 edges are equally spaced on the mel scale
/// 2595 log10(1 + f / 700) from 20 to 8,000 Hz. A value is ln(energy + 10⁻⁶).
pub struct LogMel {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    /// For each band: its first bin, and weights from there on.
    filters: Vec<(usize, Vec<f32>)>,
    padded: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
}

impl std::fmt::Debug for LogMel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogMel").finish_non_exhaustive()
    }
}

impl Default for LogMel {
    fn default() -> Self {
        Self::new()
    }
}

impl LogMel {
    /// Prepares window and filters.
    pub fn new() -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(FFT);
        let turn = |i: usize| std::f64::consts::TAU * i as f64 / FRAME as f64;
        Self {
            window: (0..FRAME)
                .map(|i| (0.5 - 0.5 * turn(i).cos()) as f32)
                .collect(),
            filters: filters(),
            padded: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            fft,
        }
    }

    /// Log-mel `[50, 64]` (frames, bands from low to high) of [`CONTEXT_SAMPLES`] and then [`HOP_SAMPLES`] samples in
    /// \[-1, 1\]. Samples that are missing at the end count as 0; a sample that is not finite makes its frames so.
    pub fn hop(&mut self, samples: &[f32]) -> Array2<f32> {
        let mut values = Array2::zeros((FRAMES, BANDS));
        for (frame, mut row) in values.outer_iter_mut().enumerate() {
            let rest = samples.get(frame * STEP..).unwrap_or_default();
            self.padded.fill(0.0);
            for ((padded, sample), weight) in self.padded.iter_mut().zip(rest).zip(&self.window) {
                *padded = sample * weight;
            }
            // It fails only for buffers of other lengths than its own.
            if self
                .fft
                .process(&mut self.padded, &mut self.spectrum)
                .is_err()
            {
                row.fill(f32::NAN);
                continue;
            }
            for (value, (first, weights)) in row.iter_mut().zip(&self.filters) {
                let bins = &self.spectrum[*first..*first + weights.len()];
                let energy: f32 = bins
                    .iter()
                    .zip(weights)
                    .map(|(bin, weight)| bin.norm_sqr() * weight)
                    .sum();
                *value = (energy + SILENCE).ln();
            }
        }
        values
    }
}

fn filters() -> Vec<(usize, Vec<f32>)> {
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let (low, high) = (mel(LOWEST), mel(f64::from(SAMPLE_RATE) / 2.0));
    let edge = |i: usize| {
        let mel = low + (high - low) * i as f64 / (BANDS + 1) as f64;
        700.0 * (10f64.powf(mel / 2595.0) - 1.0)
    };
    let hertz = |bin: usize| bin as f64 * f64::from(SAMPLE_RATE) / FFT as f64;
    (0..BANDS)
        .map(|band| {
            let (left, middle, right) = (edge(band), edge(band + 1), edge(band + 2));
            let weight = |bin: usize| {
                let rise = (hertz(bin) - left) / (middle - left);
                let fall = (right - hertz(bin)) / (right - middle);
                rise.min(fall).max(0.0) as f32
            };
            let all: Vec<f32> = (0..=FFT / 2).map(weight).collect();
            let first = all.iter().position(|w| *w > 0.0).unwrap_or(0);
            let last = all.iter().rposition(|w| *w > 0.0).unwrap_or(0);
            (first, all[first..=last].to_vec())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: usize = CONTEXT_SAMPLES + HOP_SAMPLES;

    /// Energy of a band of a frame by the definition: a plain sum of sines and cosines.
    fn naive(samples: &[f32], frame: usize, band: usize) -> f32 {
        let tau = std::f64::consts::TAU;
        let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
        let edges: Vec<f64> = (0..66)
            .map(|i| mel(20.0) + (mel(8000.0) - mel(20.0)) * f64::from(i) / 65.0)
            .map(|mel| 700.0 * (10f64.powf(mel / 2595.0) - 1.0))
            .collect();
        let mut energy = 0.0;
        for bin in 0..257 {
            let hertz = f64::from(bin) * 31.25;
            let weight = ((hertz - edges[band]) / (edges[band + 1] - edges[band]))
                .min((edges[band + 2] - hertz) / (edges[band + 2] - edges[band + 1]));
            if weight <= 0.0 {
                continue;
            }
            let (mut re, mut im) = (0.0, 0.0);
            for i in 0..400 {
                let hann = 0.5 - 0.5 * (tau * i as f64 / 400.0).cos();
                let sample = f64::from(samples[160 * frame + i]) * hann;
                let angle = tau * f64::from(bin) * i as f64 / 512.0;
                re += sample * angle.cos();
                im += sample * angle.sin();
            }
            energy += (re * re + im * im) * weight;
        }
        (energy + 1e-6).ln() as f32
    }

    #[test]
    fn it_is_the_definition() {
        let mut state = 1u32;
        let samples: Vec<f32> = (0..ALL)
            .map(|i| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
                0.3 * (i as f32 * 0.2).sin() + 0.1 * noise
            })
            .collect();
        let values = LogMel::new().hop(&samples);
        for (frame, band) in [(0, 0), (0, 63), (7, 5), (23, 31), (49, 12), (49, 40)] {
            let wanted = naive(&samples, frame, band);
            assert!(
                (values[[frame, band]] - wanted).abs() < 1e-3,
                "{frame} {band}: {wanted}"
            );
        }
    }

    #[test]
    fn a_tone_is_in_its_band() {
        // 1 kHz is 999.99 mel; the bands' middles are 42.5 mel apart from 74.2 on.
        let samples: Vec<f32> = (0..ALL)
            .map(|i| (std::f32::consts::TAU * 1000.0 * i as f32 / 16_000.0).sin())
            .collect();
        let values = LogMel::new().hop(&samples);
        for row in values.outer_iter() {
            let best = row
                .iter()
                .enumerate()
                .max_by(|a, b| a.1.total_cmp(b.1))
                .map(|(band, _)| band);
            assert!(matches!(best, Some(21..=23)), "{best:?}");
        }
    }

    #[test]
    fn silence_and_what_is_missing_have_the_least_value() {
        let mut log_mel = LogMel::new();
        let silence = SILENCE.ln();
        assert!(
            log_mel
                .hop(&[0.0; ALL])
                .iter()
                .all(|value| *value == silence)
        );
        assert!(log_mel.hop(&[]).iter().all(|value| *value == silence));
        assert!(
            log_mel
                .hop(&[f32::NAN; ALL])
                .iter()
                .all(|value| value.is_nan())
        );
    }
}
