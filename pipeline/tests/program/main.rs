//! The program `msao` as a user runs it.
#![cfg(feature = "edge")]
#![allow(clippy::unwrap_used)]

mod ask;
mod bench;
mod cameras;
mod captioned;
mod common;
mod dead;
mod demo;
mod docs;
mod explain;
mod faults;
mod leaf;
mod models;
mod pictures;
mod privacy;
mod rig;
mod rtsp;
mod workers;
