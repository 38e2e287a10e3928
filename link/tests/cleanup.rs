//! What is left of a link that is dropped: nothing. One test, as it looks at the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    net::{TcpListener, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use common::{constant, ms, open};
use link::Mode;

/// The process's threads of links, and its descriptors of namespaces and devices.
fn leftovers() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    let targets = targets.map(|target| target.to_string_lossy().into_owned());
    names
        .filter(|name| name.starts_with("link"))
        .chain(targets.filter(|name| name.starts_with("net:") || name == "/dev/net/tun"))
        .collect()
}

fn until(condition: impl Fn(&[String]) -> bool) {
    let deadline = Instant::now() + ms(10_000);
    while !condition(&leftovers()) {
        assert!(Instant::now() < deadline, "{:?}", leftovers());
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_left_of_a_link() {
    // Nobody accepts here: a connection that waits must not keep the link.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    for mode in [Mode::Proxy, Mode::Tun] {
        for panics in [false, true] {
            let trace = constant(8_000_000, ms(5));
            let Some(link) = open(server.local_addr().unwrap(), &trace, mode) else {
                continue;
            };
            let address = link.address();
            let connection = link.client(move || TcpStream::connect(address)).unwrap();
            connection.unwrap();
            // A thread names itself once it runs.
            until(|found| !found.is_empty());
            let dropped = catch_unwind(AssertUnwindSafe(move || {
                let _held = link;
                assert!(!panics, "on purpose");
            }));
            assert_eq!(dropped.is_err(), panics);
            // The kernel lists a thread that has ended for a moment more.
            until(<[String]>::is_empty);
            if mode == Mode::Proxy {
                assert!(TcpStream::connect(address).is_err());
            }
        }
    }
}
