//! A network link of stated rate, delay, jitter, loss and outages between a client and a server on
//! this machine, for tests and benchmarks.
//!
//! A [`Trace`] says what one direction is like at each moment, [`Link::open`] emulates it: between
//! two network namespaces where the machine allows ([`Mode::Tun`]), or by a TCP proxy on loopback
//! ([`Mode::Proxy`]). `docs/benchmarks.md` says what each can and cannot do.

mod accept;
mod device;
mod direction;
mod link;
mod lte;
pub mod measure;
mod namespace;
mod proxy;
mod random;
pub mod shaper;
mod trace;
mod tun;
pub mod units;

pub use link::{Kind, Link, Mode, OpenError, Spec, UnknownMode};
pub use lte::Lte;
pub use shaper::Counters;
pub use trace::{Conditions, InvalidTrace, Outage, Step, Trace};
