//! An edge process that is killed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashSet,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use broker::{
    ConnectConfig, Connection, MessageId, connect::AtStart, streams, test_server::TestServer,
};

/// An edge that writes down in `ledger` what the broker acknowledged.
fn edge(url: &str, ledger: &Path) -> Child {
    let arguments = ["edge", "--url", url, "--rig", "car", "--seed", "1"];
    let mut edge = Command::new(env!("CARGO_BIN_EXE_soak"));
    edge.args(arguments)
        .args(["--rate", "200", "--duplicate-window-s", "600", "--ledger"])
        .arg(ledger);
    edge.spawn().unwrap()
}

/// What the ledger has under `stored`.
fn acknowledged(ledger: &Path) -> HashSet<String> {
    let text = std::fs::read_to_string(ledger).unwrap_or_default();
    let stored = (text.lines()).filter_map(|line| line.strip_prefix("stored ")?.split(' ').next());
    stored.map(str::to_owned).collect()
}

/// Waits until `more` messages are acknowledged, and kills the edge with -9.
fn kill_after(mut edge: Child, ledger: &Path, more: usize) -> HashSet<String> {
    let wanted = acknowledged(ledger).len() + more;
    let deadline = Instant::now() + Duration::from_secs(30);
    while acknowledged(ledger).len() < wanted {
        assert!(Instant::now() < deadline, "{wanted} are not acknowledged");
        std::thread::sleep(Duration::from_millis(5));
    }
    edge.kill().unwrap();
    edge.wait().unwrap();
    acknowledged(ledger)
}

#[test]
fn edge_killed_with_9_what_it_had_acknowledged_is_there_and_a_new_epoch_begins() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let server = TestServer::start();
    let first = kill_after(edge(&server.url(), &ledger), &ledger, 40);
    let both = kill_after(edge(&server.url(), &ledger), &ledger, 40);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stored: HashSet<String> = runtime.block_on(async {
        let config = ConnectConfig {
            url: server.url(),
            ..ConnectConfig::default()
        };
        let connection = Connection::open(&config, AtStart::Fail).await.unwrap();
        let mut ids = HashSet::new();
        for name in [streams::FEATURES, streams::CAPTIONS] {
            let stream = connection.jetstream().get_stream(name).await.unwrap();
            for sequence in 1..=stream.cached_info().state.last_sequence {
                let message = stream.get_raw_message(sequence).await.unwrap();
                let id = message.headers.get("Nats-Msg-Id").unwrap().to_string();
                assert!(ids.insert(id.clone()), "{id} is stored twice");
            }
        }
        ids
    });
    let lost: Vec<&String> = both.difference(&stored).collect();
    assert_eq!(lost, Vec::<&String>::new());
    let epochs = |ids: &HashSet<String>| -> HashSet<_> {
        let windows = ids.iter().map(|id| id.parse::<MessageId>().unwrap().window);
        windows.map(|window| window.epoch).collect()
    };
    assert_eq!((epochs(&first).len(), epochs(&both).len()), (1, 2));
    let newest = epochs(&both).into_iter().max();
    assert!(newest > epochs(&first).into_iter().max());
}
