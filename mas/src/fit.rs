//! How exposure and shake explain a picture: `x − r ≈ o + g·(r − mean r) + a·X + b·Y + dx·∂r/∂x + dy·∂r/∂y`.

use ndarray::Array2;

use crate::quantile;

/// Luma levels that a camera clips at; beyond them there is nothing to compare.
pub(crate) const CLIP: (f32, f32) = (17.0, 234.0);
/// Part of the explained change that is added to the noise, for light and for shift.
const SLACK: (f32, f32) = (0.08, 0.35);
/// Times that the fit is weighted anew.
const TURNS: usize = 3;
/// Numbers fitted.
const TERMS: usize = 6;

/// How exposure and shake explain a frame.
pub(crate) struct Fit {
    pub terms: [f32; TERMS],
    mean: f32,
    /// What the explanation may be wrong by, in luma levels.
    pub slack: Array2<f32>,
}

impl Fit {
    pub fn new(x: &Array2<f32>, reference: &Array2<f32>) -> Self {
        let mean = reference.mean().unwrap_or(0.0);
        let (height, width) = x.dim();
        let mut fit = Self {
            terms: [0.0; TERMS],
            mean,
            slack: Array2::zeros(x.dim()),
        };
        // Every other block, in a chequerboard, is enough for six numbers.
        let mut rows: Vec<([f32; TERMS], f32)> = Vec::with_capacity(x.len() / 2 + 1);
        for y in 0..height {
            for column in ((y % 2)..width).step_by(2) {
                let at = fit.basis(reference, y, column);
                rows.push((at, x[[y, column]] - reference[[y, column]]));
            }
        }
        let mut differences: Vec<f32> = rows.iter().map(|row| row.1).collect();
        fit.terms[0] = quantile(&mut differences, 0.5);
        for _ in 0..TURNS {
            let mut errors: Vec<f32> = rows
                .iter()
                .map(|(basis, d)| (d - dot(basis, &fit.terms)).abs())
                .collect();
            let scale = 4.685 * 1.4826 * quantile(&mut errors.clone(), 0.5).max(0.2);
            for error in &mut errors {
                let t = *error / scale;
                *error = if t < 1.0 { (1.0 - t * t).powi(2) } else { 0.0 };
            }
            fit.terms = solve(&rows, &errors);
        }
        for y in 0..height {
            for column in 0..width {
                let basis = fit.basis(reference, y, column);
                let light = dot(&basis[..4], &fit.terms[..4]).abs();
                let shift = dot(&basis[4..], &fit.terms[4..]).abs();
                fit.slack[[y, column]] = SLACK.0 * light + SLACK.1 * shift;
            }
        }
        fit
    }

    fn basis(&self, reference: &Array2<f32>, y: usize, x: usize) -> [f32; TERMS] {
        let (height, width) = reference.dim();
        let at = |y: usize, x: usize| reference[[y, x]];
        [
            1.0,
            at(y, x) - self.mean,
            x as f32 / width as f32 - 0.5,
            y as f32 / height as f32 - 0.5,
            (at(y, (x + 1).min(width - 1)) - at(y, x.saturating_sub(1))) / 2.0,
            (at((y + 1).min(height - 1), x) - at(y.saturating_sub(1), x)) / 2.0,
        ]
    }

    /// What the fit does not explain, in luma levels.
    pub fn residual(&self, x: &Array2<f32>, reference: &Array2<f32>) -> Array2<f32> {
        Array2::from_shape_fn(x.dim(), |(row, column)| {
            let change = dot(&self.basis(reference, row, column), &self.terms);
            let expected = (reference[[row, column]] + change).clamp(CLIP.0, CLIP.1);
            x[[row, column]] - expected
        })
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Weighted least squares with a little pull towards 0, so that what a flat picture
/// does not tell stays 0.
fn solve(rows: &[([f32; TERMS], f32)], weights: &[f32]) -> [f32; TERMS] {
    let mut matrix = [[0f64; TERMS + 1]; TERMS];
    for ((basis, d), weight) in rows
        .iter()
        .zip(weights)
        .filter(|(_, weight)| **weight > 0.0)
    {
        for (row, value) in matrix.iter_mut().zip(basis) {
            let scaled = f64::from(weight * value);
            for (sum, other) in row.iter_mut().zip(basis.iter().chain([d])) {
                *sum += scaled * f64::from(*other);
            }
        }
    }
    for (i, row) in matrix.iter_mut().enumerate() {
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
