//! Links at work, measured.
//!
//! A loaded machine can only add delay: so the least round trip counts, of as many as it takes. It cannot slow the rate as
//! long as the queue, a quarter of a second of it, does not run empty.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use common::{broken, constant, ms, open};
use link::{Link, Mode, OpenError, Outage, Spec, measure};

const RATE: u64 = 8_000_000;
const DELAY: Duration = Duration::from_millis(20);

fn connect(link: &Link) -> TcpStream {
    let address = link.address();
    let connection = link
        .client(move || TcpStream::connect(address))
        .unwrap()
        .unwrap();
    connection.set_nodelay(true).unwrap();
    connection
}

fn round_trip(mode: Mode) {
    let echo = measure::echo_server().unwrap();
    let Some(link) = open(echo, &constant(RATE, DELAY), mode) else {
        return;
    };
    let mut least = Duration::MAX;
    let most = 2 * DELAY + DELAY / 5 + ms(5);
    for _ in 0..50 {
        let ping = link.client(|| measure::ping(link.address(), 20));
        least = least.min(ping.unwrap().unwrap()[0]);
        assert!(least >= 2 * DELAY, "{least:?}");
        if least <= most {
            return;
        }
    }
    panic!("of 1000 round trips the least takes {least:?}");
}

#[test]
fn a_round_trip_through_the_proxy_takes_twice_the_delay() {
    round_trip(Mode::Proxy);
}

#[test]
fn a_round_trip_between_namespaces_takes_twice_the_delay() {
    round_trip(Mode::Tun);
}

/// The share of the rate that comes as payload.
fn share(mode: Mode) -> Option<f64> {
    let sink = measure::Sink::start().unwrap();
    let link = open(sink.address, &constant(RATE, DELAY), mode)?;
    let measured = sink.throughput(&mut connect(&link), ms(3000)).unwrap();
    println!("{}: {:.3} of the rate", link.kind(), measured / RATE as f64);
    let (up, _) = link.counters();
    assert!(
        8.0 * up.bytes_out as f64 > 3.0 * 0.5 * RATE as f64,
        "{up:?}"
    );
    Some(measured / RATE as f64)
}

#[test]
fn the_proxy_passes_what_the_rate_allows() {
    let share = share(Mode::Proxy).unwrap();
    assert!((0.9..1.1).contains(&share), "{share}");
}

/// What TCP makes of it is up to its congestion control; it cannot be more than the rate, less headers.
#[test]
fn between_namespaces_no_more_passes_than_the_rate_allows() {
    if let Some(share) = share(Mode::Tun) {
        assert!((0.5..1.0).contains(&share), "{share}");
    }
}

/// In an outage nothing comes; after it, what waited does.
fn holds(mode: Mode) {
    let echo = measure::echo_server().unwrap();
    let works = constant(RATE, ms(5));
    let Some(link) = open(echo, &works, mode) else {
        return;
    };
    let mut connection = connect(&link);
    let mut answer = [0; 4];
    connection.write_all(b"once").unwrap();
    connection.read_exact(&mut answer).unwrap();

    link.set(broken(Outage::Hold), broken(Outage::Hold));
    connection.write_all(b"more").unwrap();
    connection.set_read_timeout(Some(ms(150))).unwrap();
    let error = connection.read(&mut answer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);

    link.set(works.clone(), works);
    connection.set_read_timeout(Some(ms(20_000))).unwrap();
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"more");
}

#[test]
fn an_outage_of_the_proxy_holds_what_comes() {
    holds(Mode::Proxy);
}

#[test]
fn an_outage_between_namespaces_holds_what_comes() {
    holds(Mode::Tun);
}

#[test]
fn a_cut_closes_connections_of_the_proxy() {
    let echo = measure::echo_server().unwrap();
    let works = constant(RATE, ms(5));
    let link = open(echo, &works, Mode::Proxy).unwrap();
    let ends = |connection: &mut TcpStream| {
        connection.set_read_timeout(Some(ms(20_000))).unwrap();
        match connection.read(&mut [0; 4]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    };
    let mut connection = connect(&link);
    link.set(broken(Outage::Cut), broken(Outage::Cut));
    assert!(ends(&mut connection));
    assert!(ends(&mut connect(&link)), "a new one, too");
    link.set(works.clone(), works);
    assert_eq!(measure::ping(link.address(), 1).unwrap().len(), 1);
}

/// Each direction ends by itself, and both see every byte.
#[test]
fn connections_share_the_proxy_and_end_in_order() {
    let echo = measure::echo_server().unwrap();
    let link = open(echo, &constant(80_000_000, ms(5)), Mode::Proxy).unwrap();
    let address = link.address();
    let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = TcpStream::connect(address).unwrap();
                connection.write_all(&sent).unwrap();
                connection.shutdown(std::net::Shutdown::Write).unwrap();
                let mut got = Vec::new();
                connection.read_to_end(&mut got).unwrap();
                assert!(got == sent);
            });
        }
    });
    let (up, down) = link.counters();
    assert_eq!((up.bytes_in, up.bytes_out), (800_000, 800_000));
    assert_eq!((down.bytes_in, down.bytes_out), (800_000, 800_000));
}

#[test]
fn connections_of_the_proxy_share_its_rate() {
    let echo = measure::echo_server().unwrap();
    let link = open(echo, &constant(RATE, ms(0)), Mode::Proxy).unwrap();
    let address = link.address();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = TcpStream::connect(address).unwrap();
                connection.write_all(&[0; 100_000]).unwrap();
                connection.read_exact(&mut [0; 100_000]).unwrap();
            });
        }
    });
    // 400 kB at 1 MB/s.
    assert!(start.elapsed() >= ms(400));
}

#[test]
fn commands_run_in_the_clients_namespace() {
    let echo = measure::echo_server().unwrap();
    let Some(link) = open(echo, &constant(RATE, DELAY), Mode::Tun) else {
        return;
    };
    let devices = |mut command: std::process::Command| {
        let output = command.args(["-brief", "address"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let client = devices(link.client_command("ip"));
    assert!(client.contains("198.18.0.1/30"), "{client}");
    let server = devices(link.server_command("ip").unwrap());
    assert!(server.contains("198.18.0.2/30"), "{server}");
    assert!(!devices(std::process::Command::new("ip")).contains("198.18.0."));
}

#[test]
fn the_congestion_control_is_as_asked_or_an_error() {
    let echo = measure::echo_server().unwrap();
    let trace = constant(RATE, DELAY);
    if open(echo, &trace, Mode::Tun).is_none() {
        return;
    }
    let asked = |name: &str| Spec {
        congestion: Some(name.to_owned()),
        ..Spec::new(echo, trace.clone())
    };
    let link = Link::open(&asked("reno"), Mode::Tun).unwrap();
    assert!(link.kind().to_string().ends_with("congestion control reno"));
    let error = Link::open(&asked("carrier-pigeon"), Mode::Tun)
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("'carrier-pigeon' is not one of reno "),
        "{error}"
    );
    let link = Link::open(&asked("carrier-pigeon"), Mode::Auto).unwrap();
    assert!(
        link.kind()
            .to_string()
            .contains("(no tun: congestion control")
    );
}

#[test]
fn only_loopback_is_used() {
    let server: SocketAddr = "192.0.2.1:4222".parse().unwrap();
    let spec = Spec::new(server, constant(RATE, DELAY));
    assert!(matches!(
        Link::open(&spec, Mode::Auto),
        Err(OpenError::NotLoopback(_))
    ));
    let small = Spec {
        queue_bytes: 1499,
        ..Spec::new("127.0.0.1:4222".parse().unwrap(), constant(RATE, DELAY))
    };
    assert!(matches!(
        Link::open(&small, Mode::Proxy),
        Err(OpenError::Queue(1499))
    ));
}
