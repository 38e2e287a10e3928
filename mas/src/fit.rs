//! How exposure and shake explain a picture: `x − r ≈ o + g·(r − mean r) + a·X + b·Y + dx·∂r/∂x + dy·∂r/∂y`.

use ndarray::{Array2, Zip};

use crate::quantile;

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
        Zip::indexed(&mut residual)
            .and(&mut slack)
            .and(x)
            .and(reference)
            .for_each(|(row, column), residual, slack, x, reference| {
                let basis = basis.at(row, column);
                let light = dot(&basis[..4], &terms[..4]);
                let shift = dot(&basis[4..], &terms[4..]);
                let expected = (reference + light + shift).clamp(CLIP.0, CLIP.1);
                *residual = x - expected;
                *slack = SLACK.0 * light.abs() + SLACK.1 * shift.abs();
            });
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

    /// The terms that bring the reference nearest to `x`, whatever objects are in it.
    fn fit(&self, x: &Array2<f32>) -> [f32; TERMS] {
        let (height, width) = x.dim();
        let step = (x.len() / ENOUGH).clamp(1, 8);
        let mut rows: Vec<([f32; TERMS], f32)> = Vec::with_capacity(x.len() / step + height);
        for y in 0..height {
            for column in ((y * 3 % step)..width).step_by(step) {
                let change = x[[y, column]] - self.reference[[y, column]];
                rows.push((self.at(y, column), change));
            }
        }
        let mut differences: Vec<f32> = rows.iter().map(|row| row.1).collect();
        let mut terms = [0.0; TERMS];
        terms[0] = quantile(&mut differences, 0.5);
        let mut sorted = Vec::with_capacity(rows.len());
        for _ in 0..TURNS {
            let error = |(basis, d): &([f32; TERMS], f32)| (d - dot(basis, &terms)).abs();
            let mut weights: Vec<f32> = rows.iter().map(error).collect();
            sorted.clone_from(&weights);
            let scale = 4.685 * 1.4826 * quantile(&mut sorted, 0.5).max(0.2);
            for weight in &mut weights {
                let t = *weight / scale;
                *weight = if t < 1.0 { (1.0 - t * t).powi(2) } else { 0.0 };
            }
            terms = solve(&rows, &weights);
        }
        terms
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Weighted least squares with a little pull towards 0, so that what a flat picture
/// does not tell stays 0.
fn solve(rows: &[([f32; TERMS], f32)], weights: &[f32]) -> [f32; TERMS] {
    let mut matrix = [[0f64; TERMS + 1]; TERMS];
    for ((basis, d), weight) in rows.iter().zip(weights) {
        let column = basis.map(f64::from);
        for (i, row) in matrix.iter_mut().enumerate() {
            let scaled = f64::from(*weight) * column[i];
            for (sum, value) in row[i..TERMS].iter_mut().zip(&column[i..]) {
                *sum += scaled * value;
            }
            row[TERMS] += scaled * f64::from(*d);
        }
    }
    let upper = matrix;
    for (i, row) in matrix.iter_mut().enumerate() {
        for (value, above) in row.iter_mut().zip(&upper).take(i) {
            *value = above[i];
        }
        row[i] += 1e-3 * rows.len() as f64;
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
