//! Links for tests.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{net::SocketAddr, path::Path, time::Duration};

use link::{Conditions, Kind, Link, Mode, Outage, Spec, Trace};

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Why this machine cannot do without a proxy, if so. Anything else that keeps [`Mode::Tun`] from
/// working is a failure.
fn no_tun() -> Option<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(effective.unwrap().trim(), 16).unwrap();
    // CAP_NET_ADMIN and CAP_SYS_ADMIN, which root has but for some containers.
    if effective >> 12 & effective >> 21 & 1 == 0 {
        return Some("not root, or not allowed what root is");
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("there is no /dev/net/tun");
    }
    None
}

/// Opens a link; none, and why on standard error, if the mode is tun and this machine has no such thing.
pub fn open(server: SocketAddr, trace: &Trace, mode: Mode) -> Option<Link> {
    if let (Mode::Tun, Some(why)) = (mode, no_tun()) {
        eprintln!("skipped: no link between namespaces: {why}");
        return None;
    }
    let spec = Spec::new(server, trace.clone());
    let link = Link::open(&spec, mode).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(matches!(link.kind(), Kind::Tun { .. }), mode == Mode::Tun);
    Some(link)
}

pub fn constant(rate: u64, delay: Duration) -> Trace {
    Trace::constant(Conditions::new(rate, delay)).unwrap()
}

pub fn broken(outage: Outage) -> Trace {
    let conditions = Conditions::new(8_000_000, ms(5));
    Trace::constant(Conditions {
        outage,
        ..conditions
    })
    .unwrap()
}
