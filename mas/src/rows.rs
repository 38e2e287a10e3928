//! Arrays in rows, which the compiler turns into vector instructions.

use ndarray::Array2;

/// The rows of an array that lies row by row, top to bottom.
pub(crate) fn rows(array: &Array2<f32>) -> impl Iterator<Item = &[f32]> {
    let width = array.ncols().max(1);
    array.as_slice().unwrap_or_default().chunks_exact(width)
}

/// The same, to be written.
pub(crate) fn rows_mut(array: &mut Array2<f32>) -> impl Iterator<Item = &mut [f32]> {
    let width = array.ncols().max(1);
    let values = array.as_slice_mut().unwrap_or_default();
    values.chunks_exact_mut(width)
}

/// The less of two numbers, in one instruction: `f32::min` also looks for NaN.
pub(crate) fn less(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// The greater of two numbers.
pub(crate) fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}
