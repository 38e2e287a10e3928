//! The program `msao` as a user runs it.
#![cfg(feature = "edge")]
#![allow(clippy::unwrap_used)]

mod ask;
mod bench;
mod browser;
mod cameras;
mod captioned;
mod check;
mod common;
mod dash;
mod dash_page;
mod dash_scene;
mod dead;
mod demo;
mod docs;
mod exact;
mod examples;
mod explain;
mod exposition;
mod faults;
mod help;
mod init;
mod leaf;
mod metrics;
mod models;
mod pictures;
mod privacy;
mod process;
mod record;
mod rig;
mod rtsp;
mod server;
mod streams;
mod traces;
mod workers;
mod world;
