//! How far blocks are from what they should be, and the greatest of it in each cell of the token grid.
//!
//! Works row by row, so that what a row needs stays in the nearest cache.

use std::ops::Range;

use crate::fit::Fit;
use crate::rows::{greater, less, rows};
use crate::scene::Known;

/// Greatest residual that counts, in standard deviations.
const MOST: f32 = 30.0;
/// Kinds of deviation: against what was sent, of this frame and of what it and the one before agree on; and the same
/// against the range that the block moves in by itself.
const KINDS: usize = 4;

/// One row of each kind, or one value for each cell.
type Each = [Vec<f32>; KINDS];

fn each(length: usize) -> Each {
    std::array::from_fn(|_| vec![0.0; length])
}

/// Which of `cells` a block lies in.
pub(crate) fn cell(block: usize, cells: usize, blocks: usize) -> usize {
    block * cells / blocks
}

/// The blocks that lie in one of `cells`.
pub(crate) fn blocks_of(cell: usize, cells: usize, blocks: usize) -> Range<usize> {
    let first = |cell: usize| (cell * blocks).div_ceil(cells);
    first(cell)..first(cell + 1)
}

/// The greatest sum of 2 x 2 blocks in each of `cells` (rows, columns), over its standard deviation, of each kind.
pub(crate) fn peaks(known: &Known, fit: &Fit, cells: (usize, usize)) -> Each {
    let (height, width) = fit.residual.dim();
    let mut peaks = Peaks {
        height,
        cells,
        columns: (0..width).map(|x| cell(x, cells.1, width)).collect(),
        of_row: each(width),
        of_cells: each(cells.0 * cells.1),
    };
    let (mut above, mut here, mut deviations) = (each(width), each(width), each(width));
    let (mut inverse, mut now, mut before) = (vec![0.0; width], vec![0.0; width], vec![0.0; width]);
    let range = rows(&known.reference).zip(rows(&known.low).zip(rows(&known.high)));
    let noise = rows(&known.noise).zip(rows(&fit.slack));
    let residuals = rows(&fit.residual).zip(rows(&known.last));
    for (y, ((residual, last), (range, (noise, slack)))) in
        residuals.zip(range.zip(noise)).enumerate()
    {
        for (inverse, (noise, slack)) in inverse.iter_mut().zip(noise.iter().zip(slack)) {
            *inverse = (noise * noise + slack * slack).sqrt().recip();
        }
        let [one, two, beyond, both] = &mut deviations;
        deviate((residual, last), &inverse, (one, two));
        outside(residual, range, &mut now);
        outside(last, range, &mut before);
        deviate((&now, &before), &inverse, (beyond, both));
        for (sums, deviations) in here.iter_mut().zip(&deviations) {
            add_neighbours(deviations, sums);
        }
        if y > 0 {
            peaks.join(y - 1, &above, &here);
        }
        std::mem::swap(&mut above, &mut here);
    }
    // Below the last row lies the last row.
    if height > 0 {
        peaks.join(height - 1, &above, &above);
    }
    peaks.of_cells
}

/// How far residuals lie outside the range `(reference, (low, high))` of their blocks.
fn outside(residual: &[f32], range: (&[f32], (&[f32], &[f32])), out: &mut [f32]) {
    let (reference, (low, high)) = range;
    let blocks = residual.iter().zip(reference);
    for (out, ((r, reference), (low, high))) in out.iter_mut().zip(blocks.zip(low.iter().zip(high)))
    {
        let block = reference + r;
        *out = block - less(greater(block, *low), *high);
    }
}

/// Residuals (of this frame, of the one before) in standard deviations, whose inverse is given: of this frame, and of what both agree on.
fn deviate(residuals: (&[f32], &[f32]), inverse: &[f32], out: (&mut [f32], &mut [f32])) {
    let given = residuals.0.iter().zip(residuals.1).zip(inverse);
    for ((now, both), ((r, last), inverse)) in out.0.iter_mut().zip(out.1).zip(given) {
        let (a, b) = (
            (r * inverse).clamp(-MOST, MOST),
            (last * inverse).clamp(-MOST, MOST),
        );
        *now = a;
        // The smaller one if both have the same sign, else 0.
        *both = greater(less(a, b), 0.0) + less(greater(a, b), 0.0);
    }
}

/// Sums of neighbours to the right; the last has itself.
fn add_neighbours(row: &[f32], sums: &mut [f32]) {
    for (sum, (here, right)) in sums.iter_mut().zip(row.iter().zip(&row[1..])) {
        *sum = here + right;
    }
    if let (Some(sum), Some(last)) = (sums.last_mut(), row.last()) {
        *sum = last + last;
    }
}

struct Peaks {
    height: usize,
    cells: (usize, usize),
    /// The cell of each block of a row.
    columns: Vec<usize>,
    /// The greatest so far of the rows of a row of cells.
    of_row: Each,
    of_cells: Each,
}

impl Peaks {
    /// Takes in the 2 x 2 blocks whose upper ones are of row `y`, given the sums of neighbours in it and in the next.
    fn join(&mut self, y: usize, upper: &Each, lower: &Each) {
        for (peaks, (upper, lower)) in self.of_row.iter_mut().zip(upper.iter().zip(lower)) {
            for (peak, (upper, lower)) in peaks.iter_mut().zip(upper.iter().zip(lower)) {
                *peak = greater(*peak, (upper + lower).abs() / 2.0);
            }
        }
        let row = cell(y, self.cells.0, self.height);
        if y + 1 < self.height && cell(y + 1, self.cells.0, self.height) == row {
            return;
        }
        for (cells, peaks) in self.of_cells.iter_mut().zip(&mut self.of_row) {
            let cells = &mut cells[row * self.cells.1..];
            for (column, peak) in self.columns.iter().zip(peaks) {
                cells[*column] = greater(cells[*column], std::mem::take(peak));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn peaks_are_the_greatest_of_all_2_x_2_blocks_of_a_cell() {
        for (height, width) in [(1, 1), (7, 7), (9, 20), (90, 160)] {
            let mut random = 7u32;
            let mut noise = move || {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 16) as f32 / 4_096.0 - 8.0
            };
            let mut known = Known::new(&Array2::from_elem((height, width), 100.0));
            known.last = Array2::from_shape_simple_fn((height, width), &mut noise);
            let fit = Fit {
                terms: [0.0; 6],
                residual: Array2::from_shape_simple_fn((height, width), &mut noise),
                slack: Array2::zeros((height, width)),
            };
            let mut expected = [vec![0f32; 49], vec![0f32; 49]];
            for y in 0..height {
                for x in 0..width {
                    let (below, right) = ((y + 1).min(height - 1), (x + 1).min(width - 1));
                    let four = [(y, x), (y, right), (below, x), (below, right)];
                    let now: f32 = four.iter().map(|at| fit.residual[*at]).sum();
                    let both = four.iter().map(|at| {
                        let (a, b) = (fit.residual[*at], known.last[*at]);
                        if a * b > 0.0 {
                            a.signum() * a.abs().min(b.abs())
                        } else {
                            0.0
                        }
                    });
                    let p = cell(y, 7, height) * 7 + cell(x, 7, width);
                    expected[0][p] = expected[0][p].max(now.abs() / 2.0);
                    expected[1][p] = expected[1][p].max(both.sum::<f32>().abs() / 2.0);
                }
            }
            // The noise is 1 and the range that blocks move in is the reference alone.
            let [one, two, beyond, both] = peaks(&known, &fit, (7, 7));
            for (found, expected) in [one, two, beyond, both].iter().zip(expected.iter().cycle()) {
                for (found, expected) in found.iter().zip(expected) {
                    assert!(
                        (found - expected).abs() < 1e-3,
                        "{height} x {width}: {found} for {expected}"
                    );
                }
            }
        }
    }
}
