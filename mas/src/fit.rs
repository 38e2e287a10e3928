//! How exposure and shake explain a picture: `x − r ≈ o + g·(r − mean r) + a·X + b·Y + dx·∂r/∂x + dy·∂r/∂y`.

use ndarray::Array2;

use crate::quantile;
use crate::rows::{greater, less, rows, rows_mut};

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

/// Blocks that terms are fitted to: of each the basis, column by column, and by how much it changed.
struct Samples {
    columns: [Vec<f32>; TERMS],
    change: Vec<f32>,
}

impl<'a> Basis<'a> {
    fn new(reference: &'a Array2<f32>) -> Self {
        let mean = reference.mean().unwrap_or(0.0);
        Self { reference, mean }
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
        let samples = self.samples(x);
        let mut sorted = samples.change.clone();
        let mut terms = [0.0; TERMS];
        terms[0] = quantile(&mut sorted, 0.5);
        let mut weights = vec![0.0; sorted.len()];
        for _ in 0..TURNS {
            samples.errors(&terms, &mut weights);
            sorted.clone_from(&weights);
            let scale = 4.685 * 1.4826 * greater(quantile(&mut sorted, 0.5), 0.2);
            for weight in &mut weights {
                let t = less(*weight / scale, 1.0);
                let left = 1.0 - t * t;
                *weight = left * left;
            }
            terms = samples.solve(&weights);
        }
        terms
    }

    /// Blocks of all of the picture, evenly.
    fn samples(&self, x: &Array2<f32>) -> Samples {
        let (height, width) = x.dim();
        let step = (x.len() / ENOUGH).max(1);
        let most = x.len() / step + height;
        let mut change = Vec::with_capacity(most);
        let mut columns: [Vec<f32>; TERMS] = std::array::from_fn(|_| Vec::with_capacity(most));
        let reference: Vec<&[f32]> = rows(self.reference).collect();
        for (y, (now, here)) in rows(x).zip(&reference).enumerate() {
            let above = reference[y.saturating_sub(1)];
            let below = reference[(y + 1).min(height - 1)];
            let down = y as f32 / height as f32 - 0.5;
            for column in ((y * 3 % step)..width).step_by(step) {
                let (before, after) = (column.saturating_sub(1), (column + 1).min(width - 1));
                change.push(now[column] - here[column]);
                let basis = [
                    1.0,
                    here[column] - self.mean,
                    column as f32 / width as f32 - 0.5,
                    down,
                    (here[after] - here[before]) / 2.0,
                    (below[column] - above[column]) / 2.0,
                ];
                for (values, value) in columns.iter_mut().zip(basis) {
                    values.push(value);
                }
            }
        }
        Samples { columns, change }
    }
}

/// Samples whose products are added up in single precision.
const CHUNK: usize = 64;
/// Sums that are added to side by side, so that the compiler can use vector instructions.
const LANES: usize = 8;

impl Samples {
    /// What the terms do not explain of each.
    fn errors(&self, terms: &[f32; TERMS], errors: &mut [f32]) {
        errors.copy_from_slice(&self.change);
        for (values, term) in self.columns.iter().zip(terms) {
            for (error, value) in errors.iter_mut().zip(values) {
                *error -= value * term;
            }
        }
        for error in errors {
            *error = error.abs();
        }
    }

    /// Weighted least squares with a little pull towards 0, so that what a flat picture
    /// does not tell stays 0.
    fn solve(&self, weights: &[f32]) -> [f32; TERMS] {
        let mut matrix = [[0f64; TERMS + 1]; TERMS];
        let mut weighted = [0f32; CHUNK];
        for start in (0..weights.len()).step_by(CHUNK) {
            let end = (start + CHUNK).min(weights.len());
            let weighted = &mut weighted[..end - start];
            for (i, (row, values)) in matrix.iter_mut().zip(&self.columns).enumerate() {
                let pairs = values[start..end].iter().zip(&weights[start..end]);
                for (weighted, (value, weight)) in weighted.iter_mut().zip(pairs) {
                    *weighted = value * weight;
                }
                // The matrix is symmetric: what is left of its diagonal is known.
                let others = self.columns[i..].iter().chain([&self.change]);
                for (sum, others) in row[i..].iter_mut().zip(others) {
                    *sum += f64::from(dot(weighted, &others[start..end]));
                }
            }
        }
        let upper = matrix;
        for (i, row) in matrix.iter_mut().enumerate() {
            for (value, above) in row.iter_mut().zip(&upper).take(i) {
                *value = above[i];
            }
            row[i] += 1e-3 * weights.len() as f64;
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
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, rest) = a.as_chunks::<LANES>();
    let (b, other) = b.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = rest.iter().zip(other).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
