//! Modality Activation Sparsity (MAS): how much of a stream need not be sent.
//!
//! Everything here is a pure function of its arguments or a small state machine
//! that is handed its inputs: no I/O, no clock, no globals. A grid of features
//! `F[p, c]` holds one row a position (an image patch, for instance) and one
//! column a channel.
//!
//! | part | what it gives | range |
//! | --- | --- | --- |
//! | [`luma`] | tier T0: change of block means of a luma plane | score in \[0, 1\] |
//! | [`spatial`] | mask `s[p]`, spatial sparsity ρ = 1 − mean(s) | \[0, 1\] |
//! | [`temporal`] | change `u[p]` against what was last sent, redundancy γ | \[0, 1\] |
//! | [`fused`] | MAS = 1 − β · mean(s · u) | \[0, 1\] |
//! | [`select`] | the positions to send | |
//! | [`gate`] | which frames go on | |
//!
//! [`Meter`] holds the state of one stream and combines the first four.

mod codes;
mod fit;
pub mod fused;
pub mod gate;
pub mod luma;
mod meter;
mod peaks;
mod rows;
pub mod scene;
pub mod select;
mod sight;
pub mod spatial;
pub mod temporal;

pub use fused::Mas;
pub use meter::{Measurement, Meter, MeterSettings};

/// A setting or an input that no result can be defined for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A setting is out of its range.
    #[error("{name} is {value}: it must be {range}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The value given.
        value: f64,
        /// The values allowed, in words.
        range: &'static str,
    },
    /// A plane's bytes do not cover its size.
    #[error(
        "a luma plane of {width}x{height} with stride {stride} does not fit in {len} bytes: \
         width and height must be at least 1, stride at least the width"
    )]
    Plane {
        /// Pixels a row.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes from one row to the next.
        stride: usize,
        /// Bytes given.
        len: usize,
    },
}

/// The `q` quantile (lower nearest rank); 0 for no values. Reorders `values`.
fn quantile(values: &mut [f32], q: f32) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let rank = ((values.len() - 1) as f32 * q) as usize;
    *values.select_nth_unstable_by(rank, f32::total_cmp).1
}

/// Checks that a setting lies in a range, which `range` describes.
fn check(name: &'static str, value: f32, ok: bool, range: &'static str) -> Result<(), Error> {
    if ok {
        Ok(())
    } else {
        Err(Error::Setting {
            name,
            value: value.into(),
            range,
        })
    }
}
