//! Properties of the metric: of any input, and of pictures that are made for the purpose.
#![allow(clippy::unwrap_used)]

mod gate;
mod meter;
mod scenes;
mod select;
