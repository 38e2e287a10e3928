//! `msao explain` on windows that are stored, and on those that are not.

use std::time::Duration;

use broker::deliver::Deliverer;
use broker::headers::TraceParent;
use broker::test_server::TestServer;
use broker::{Caption, FeatureWindow, Message, StreamsConfig};
use offload::Action;
use offload::planner::Window;
use offload::runtime::{Runtime, Settings};

use crate::common::{msao, texts};
use crate::world::connect;

pub const EPOCH: &str = "01J00000000000000000000000";

pub fn window(seq: u64, decision: Action) -> FeatureWindow {
    FeatureWindow {
        decision,
        draft: Some(broker::DraftReport {
            text: "two people walk".to_owned(),
            token_ids: vec![5],
            logprobs: vec![-0.5],
            confidence: 0.6,
            model: "draft".to_owned(),
        }),
        ..FeatureWindow::empty(format!("car/{EPOCH}/{seq}").parse().unwrap())
    }
}

/// The record of a decision on window `seq` without contact, and with contact and a cloud.
fn records(seq: u64) -> [String; 2] {
    let mut runtime = Runtime::new(Settings::default()).unwrap();
    let window = Window {
        seq,
        empty: false,
        confidence: 0.6,
        draft_left: 0.0,
        tokens: 49,
        token_bytes: 290,
        fixed_bytes: 5000,
        caption_bytes: 0,
        keyframe_bytes: None,
    };
    let now = Duration::from_secs(5);
    let before = runtime.decide(now, window);
    runtime.connected(now);
    runtime.heartbeat(now, "a", 3, 20.0);
    let after = runtime.decide(now, window);
    [before, after].map(|decision| serde_json::to_string(&decision).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_of_a_window_is_told_in_words() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let run = |window: &str| {
        let mut command = msao(folder.path());
        command.args(["explain", window, "--nats", &server.url()]);
        let output = command.output().unwrap();
        let (out, err) = texts(&output);
        (output.status.success(), out, err)
    };
    // On a server that never stored anything.
    let (done, out, err) = run(&format!("car/{EPOCH}/7"));
    assert!(!done && out.is_empty(), "{out}");
    assert!(
        err.contains(&format!("nothing is stored of window car/{EPOCH}/7")),
        "{err}"
    );

    let connection = connect(&server).await;
    let deliverer = Deliverer::new(connection, StreamsConfig::default());
    let trace = TraceParent::generate();
    let caption = async |window: &FeatureWindow| {
        let message = Message::caption(&Caption::draft(window).unwrap(), trace).unwrap();
        deliverer.deliver(&message).await.unwrap();
    };
    // More than are read at a time.
    for seq in 0..300 {
        caption(&window(seq, Action::Verify)).await;
    }
    let [before, after] = records(300);
    let mut waits = window(300, Action::Defer);
    waits.plan = Some(before);
    caption(&waits).await;
    let mut goes = window(300, Action::Verify);
    goes.plan = Some(after);
    let message = Message::features(&goes, goes.encode().unwrap(), trace);
    deliverer.deliver(&message).await.unwrap();
    let mut kept = window(301, Action::Keep);
    kept.flags.push("deferred".to_owned());
    caption(&kept).await;

    let (done, out, err) = run(&format!("car/{EPOCH}/300"));
    assert!(done, "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("draft, revision 0, stored "), "{out}");
    assert!(lines[0].ends_with(": two people walk"), "{out}");
    assert!(lines[1].starts_with("  window 300: defer"), "{out}");
    assert!(lines[1].contains("no contact for 5.0 s"), "{out}");
    let second = lines
        .iter()
        .position(|line| line.starts_with("features"))
        .unwrap();
    assert!(lines[second].ends_with("to verify"), "{out}");
    assert!(
        lines[second + 1].contains("window 300: verify with 49 tokens"),
        "{out}"
    );
    assert!(lines[second + 1].contains("cloud waits 150 ms"), "{out}");

    let mut command = msao(folder.path());
    command.args(["explain", "--json", &format!("car/{EPOCH}/300")]);
    let output = command.args(["--nats", &server.url()]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["window"], format!("car/{EPOCH}/300"));
    let (caption, features) = (&report["stored"][0], &report["stored"][1]);
    assert_eq!(caption["caption"]["text"], "two people walk");
    assert!(caption["caption"]["plan"].is_object(), "{report}");
    assert_eq!(
        (&features["kind"], &features["decision"]),
        (&"features".into(), &"verify".into())
    );
    assert!(features["plan"].is_object(), "{report}");

    let (done, out, _) = run(&format!("car/{EPOCH}/301"));
    assert!(done && out.starts_with("draft, kept, revision 2"), "{out}");
    assert!(
        out.contains("away for longer than a window may wait"),
        "{out}"
    );
    let (done, out, _) = run(&format!("car/{EPOCH}/0"));
    assert!(done && out.contains("no decision is stored"), "{out}");
    let (done, _, err) = run(&format!("car/{EPOCH}/302"));
    assert!(!done && err.contains("nothing is stored"), "{err}");
    let (done, _, err) = run("car/302");
    assert!(!done && err.contains("expected rig/epoch/seq"), "{err}");
}

#[test]
fn without_a_broker_the_error_names_the_url() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = msao(folder.path());
    let url = "nats://127.0.0.1:1";
    command.args(["explain", &format!("car/{EPOCH}/1"), "--nats", url]);
    let output = command.output().unwrap();
    let (_, err) = texts(&output);
    assert!(!output.status.success() && err.contains(url), "{err}");
}
