//! How exposure and shake explain a picture: `x − r ≈ o + g·(r − mean r) + a·X + b·Y + dx·∂r/∂x + dy·∂r/∂y`.

use ndarray::Array2;

use crate::quantile;
use crate::rows::{rows, rows_mut};

/// Luma levels that a camera clips at; beyond them there is nothing to compare.
pub(crate) const CLIP: (f32, f32) = (17.0, 234.0);
/// Part of the explained change that is added to the noise, for light and for shift.
const SLACK: (f32, f32) = (0.08, 0.35);
/// Times that the fit is weighted anew.
const TURNS: usize = 3;
/// Numbers fitted.
const TERMS: usize = 6;

/// Blocks that six numbers are fitted to, about.
const ENOUGH: usize = 1200;

/// How exposure and shake explain a frame.
pub(crate) struct Fit {
    pub terms: [f32; TERMS],
    /// What the fit does not explain, in luma levels.
    pub residual: Array2<f32>,
    /// What the explanation may be wrong by, in luma levels.
    pub slack: Array2<f32>,
}

impl Fit {
    pub fn new(x: &Array2<f32>, reference: &Array2<f32>) -> Self {
        let basis = Basis::new(reference);
        let terms = basis.fit(x);
        let mut residual = Array2::zeros(x.dim());
        let mut slack = Array2::zeros(x.dim());
        let (mut light, mut shift) = (vec![0.0; x.ncols()], vec![0.0; x.ncols()]);
        let out = rows_mut(&mut residual).zip(rows_mut(&mut slack));
        let given = rows(x).zip(rows(reference));
        for (y, ((residual, slack), (x, r))) in out.zip(given).enumerate() {
            basis.light(y, r, &terms, &mut light);
            basis.shift(y, r, &terms, &mut shift);
            let explained = light.iter().zip(&shift);
            for ((residual, (x, r)), (light, shift)) in residual
                .iter_mut()
                .zip(x.iter().zip(r))
                .zip(explained.clone())
            {
                *residual = x - (r + light + shift).clamp(CLIP.0, CLIP.1);
            }
            for (slack, (light, shift)) in slack.iter_mut().zip(explained) {
                *slack = SLACK.0 * light.abs() + SLACK.1 * shift.abs();
            }
        }
        Self {
            terms,
            residual,
            slack,
        }
    }
}

/// What the terms are factors of, for each block of a reference.
struct Basis<'a> {
    reference: &'a Array2<f32>,
    mean: f32,
}

/// A block's basis, by how much it changed, and nothing.
type Sample = [f32; TERMS + 2];

impl<'a> Basis<'a> {
    fn new(reference: &'a Array2<f32>) -> Self {
        let mean = reference.mean().unwrap_or(0.0);
        Self { reference, mean }
    }

    fn at(&self, y: usize, x: usize) -> [f32; TERMS] {
        let (height, width) = self.reference.dim();
        let at = |y: usize, x: usize| self.reference[[y, x]];
        [
            1.0,
            at(y, x) - self.mean,
            x as f32 / width as f32 - 0.5,
            y as f32 / height as f32 - 0.5,
            (at(y, (x + 1).min(width - 1)) - at(y, x.saturating_sub(1))) / 2.0,
            (at((y + 1).min(height - 1), x) - at(y.saturating_sub(1), x)) / 2.0,
        ]
    }

    /// What the first four terms explain of a row.
    fn light(&self, y: usize, row: &[f32], terms: &[f32; TERMS], light: &mut [f32]) {
        let (height, width) = self.reference.dim();
        let [offset, gain, across, down, ..] = *terms;
        let first = offset + down * (y as f32 / height as f32 - 0.5) - 0.5 * across;
        let step = across / width as f32;
        for (x, (light, r)) in (0i32..).zip(light.iter_mut().zip(row)) {
            *light = first + step * x as f32 + gain * (r - self.mean);
        }
    }

    /// What the last two explain of it.
    fn shift(&self, y: usize, row: &[f32], terms: &[f32; TERMS], shift: &mut [f32]) {
        let (height, width) = self.reference.dim();
        let [.., right, down] = terms.map(|term| term / 2.0);
        let beside = |y: usize| rows(self.reference).nth(y).unwrap_or_default();
        let (above, below) = (beside(y.saturating_sub(1)), beside((y + 1).min(height - 1)));
        for (shift, (above, below)) in shift.iter_mut().zip(above.iter().zip(below)) {
            *shift = down * (below - above);
        }
        let inner = shift.iter_mut().skip(1);
        for (shift, (before, after)) in inner.zip(row.iter().zip(row.iter().skip(2))) {
            *shift += right * (after - before);
        }
        shift[0] += right * (row[1.min(width - 1)] - row[0]);
        if width > 1 {
            shift[width - 1] += right * (row[width - 1] - row[width - 2]);
        }
    }

    /// The terms that bring the reference nearest to `x`, whatever objects are in it.
    fn fit(&self, x: &Array2<f32>) -> [f32; TERMS] {
        let (height, width) = x.dim();
        let step = (x.len() / ENOUGH).max(1);
        let mut samples: Vec<Sample> = Vec::with_capacity(x.len() / step + height);
        for y in 0..height {
            for column in ((y * 3 % step)..width).step_by(step) {
                let change = x[[y, column]] - self.reference[[y, column]];
                let [a, b, c, d, e, f] = self.at(y, column);
                samples.push([a, b, c, d, e, f, change, 0.0]);
            }
        }
        let mut differences: Vec<f32> = samples.iter().map(|sample| sample[TERMS]).collect();
        let mut terms = [0.0; TERMS];
        terms[0] = quantile(&mut differences, 0.5);
        let mut sorted = Vec::with_capacity(samples.len());
        for _ in 0..TURNS {
            let error = |sample: &Sample| (sample[TERMS] - dot(sample, &terms)).abs();
            let mut weights: Vec<f32> = samples.iter().map(error).collect();
            sorted.clone_from(&weights);
            let scale = 4.685 * 1.4826 * quantile(&mut sorted, 0.5).max(0.2);
            for weight in &mut weights {
                let t = (*weight / scale).min(1.0);
                *weight = (1.0 - t * t).powi(2);
            }
            terms = solve(&samples, &weights);
        }
        terms
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Samples whose products are added up in single precision.
const CHUNK: usize = 64;

/// Weighted least squares with a little pull towards 0, so that what a flat picture
/// does not tell stays 0.
fn solve(samples: &[Sample], weights: &[f32]) -> [f32; TERMS] {
    let mut matrix = [[0f64; TERMS + 2]; TERMS];
    for (samples, weights) in samples.chunks(CHUNK).zip(weights.chunks(CHUNK)) {
        let mut sums = [[0f32; TERMS + 2]; TERMS];
        for (sample, weight) in samples.iter().zip(weights) {
            for (i, (row, value)) in sums.iter_mut().zip(sample).enumerate() {
                let scaled = weight * value;
                // The matrix is symmetric: of the last rows the last half is enough.
                let first = if i < 4 { 0 } else { 4 };
                for (sum, value) in row[first..].iter_mut().zip(&sample[first..]) {
                    *sum += scaled * value;
                }
            }
        }
        for (row, sums) in matrix.iter_mut().zip(sums) {
            for (value, sum) in row.iter_mut().zip(sums) {
                *value += f64::from(sum);
            }
        }
    }
    let upper = matrix;
    for (i, row) in matrix.iter_mut().enumerate() {
        for (value, above) in row.iter_mut().zip(&upper).take(i) {
            *value = above[i];
        }
        row[i] += 1e-3 * samples.len() as f64;
    }
    // Gaussian elimination; the matrix is positive definite.
    for i in 0..TERMS {
        let pivot = matrix[i];
        for row in matrix.iter_mut().skip(i + 1) {
            let factor = row[i] / pivot[i];
            for (value, above) in row.iter_mut().zip(&pivot).skip(i) {
                *value -= factor * above;
            }
        }
    }
    let mut terms = [0f64; TERMS];
    for i in (0..TERMS).rev() {
        let known: f64 = (i + 1..TERMS).map(|j| matrix[i][j] * terms[j]).sum();
        terms[i] = (matrix[i][TERMS] - known) / matrix[i][i];
    }
    terms.map(|term| if term.is_finite() { term as f32 } else { 0.0 })
}
