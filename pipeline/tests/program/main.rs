//! The program `msao` as a user runs it.
#![cfg(feature = "edge")]
#![allow(clippy::unwrap_used)]

mod bench;
mod common;
mod demo;
mod docs;
mod faults;
mod rig;
