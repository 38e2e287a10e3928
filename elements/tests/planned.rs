//! `msaooffload` and `msaonatssink` against a real nats-server that is killed under them, with a cloud that confirms all.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use broker::caption::Verdict;
use broker::connect::AtStart;
use broker::deliver::Deliverer;
use broker::headers::TraceParent;
use broker::test_server::TestServer;
use broker::{
    Caption, CloudStatus, ConnectConfig, Connection, FeatureWindow, LatencyMs, Message,
    StreamsConfig, status,
};
use common::*;
use futures::StreamExt;
use gst::prelude::*;
use gst_check::Harness;
use offload::planner::Decision;

/// Says each 50 ms that it is there, and confirms each draft that it gets.
async fn cloud(url: String, answered: tokio::sync::mpsc::UnboundedSender<FeatureWindow>) {
    let config = ConnectConfig {
        url,
        ..ConnectConfig::default()
    };
    let connection = Connection::open(&config, AtStart::Fail).await.unwrap();
    let deliverer = Deliverer::new(connection.clone(), StreamsConfig::default());
    let features = connection.client().subscribe("msao.v1.features.*").await;
    let mut features = features.unwrap();
    let mut status = CloudStatus::new("worker", "full", "CPU");
    status.service_rate = 20.0;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            _ = tick.tick() => status::publish_cloud(&connection, &status).await.unwrap(),
            Some(message) = features.next() => {
                let window = FeatureWindow::decode(&message.payload).unwrap();
                let verdict = Verdict {
                    confirmed: true,
                    text: format!("window {}", window.id.seq),
                    tokens: 2,
                    confidence: 0.9,
                    accepted_tokens: Some(2),
                    model: "full".to_owned(),
                };
                let latency = LatencyMs { cloud: Some(20.0), ..LatencyMs::default() };
                let caption = Caption::verified(&window, verdict, latency);
                let message = Message::caption(&caption, TraceParent::generate()).unwrap();
                deliverer.deliver(&message, || {}).await.unwrap();
                answered.send(window).unwrap();
            }
        }
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_the_sink_hears_decides_and_windows_outlive_an_outage() {
    init();
    let mut server = TestServer::start();
    let line = format!(
        "msaooffload name=offload ! msaonatssink name=sink async=false flush-timeout=20000000000 url={}",
        server.url()
    );
    let bin = gst::parse::bin_from_description(&line, true).unwrap();
    let offload = bin.by_name("offload").unwrap();
    let mut harness = Harness::with_element(&bin, Some("sink"), None);
    harness.use_systemclock();
    harness.set_src_caps_str("application/x-msao-window,schema=features/1.1");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (send, mut answered) = tokio::sync::mpsc::unbounded_channel();
    runtime.spawn(cloud(server.url(), send));
    let mut next = || {
        let next = async { tokio::time::timeout(Duration::from_secs(20), answered.recv()).await };
        runtime.block_on(next).unwrap().unwrap()
    };
    let push = |harness: &mut Harness, seq| {
        let window = drafted(seq, 0.3);
        let buffer = gst::Buffer::from_slice(window.encode().unwrap());
        harness.push(buffer).unwrap();
    };
    let is = |field: &str| stats::<bool>(&offload, field);

    wait_until("contact and a cloud", || is("contact") && is("cloud"));
    push(&mut harness, 0);
    let first = next();
    assert_eq!((first.id.seq, first.decision), (0, offload::Action::Verify));
    // Its record went with its draft.
    assert_eq!(first.plan, None);
    wait_until("a measured link", || stats::<u64>(&offload, "rtt") > 0);

    // What the cloud says is learnt: the same confidence is less of a risk.
    let before = risk(&server.url(), &runtime, 0);
    let mut seq = 0;
    let learnt = (0..20).any(|_| {
        seq += 1;
        push(&mut harness, seq);
        next();
        risk(&server.url(), &runtime, seq) < before
    });
    assert!(learnt, "{before}");

    server.kill();
    wait_until("the loss of contact", || !is("contact"));
    for more in 1..=2 {
        push(&mut harness, seq + more);
    }
    assert_eq!(stats::<u64>(&offload, "waiting"), 2);
    server.restart();
    let waited = next();
    assert_eq!(waited.id.seq, seq + 1);
    assert_eq!(waited.flags, ["deferred"]);
    // The caption went before: this record is of another decision.
    let plan: Decision = serde_json::from_str(&waited.plan.unwrap()).unwrap();
    assert_eq!(plan.action, offload::Action::Verify);
    assert_eq!(next().id.seq, seq + 2);
    harness.push_event(gst::event::Eos::new());
    assert_eq!(stats::<u64>(&offload, "waiting"), 0);
    assert_eq!(stats::<u64>(&offload, "dropped"), 0);
}

/// The risk of window `seq` in the record that its draft carries.
fn risk(url: &str, runtime: &tokio::runtime::Runtime, seq: u64) -> f64 {
    use broker::captions::{From, subscribe};
    runtime.block_on(async {
        let config = ConnectConfig {
            url: url.to_owned(),
            ..ConnectConfig::default()
        };
        let connection = Connection::open(&config, AtStart::Fail).await.unwrap();
        let streams = StreamsConfig::default();
        let captions = subscribe(&connection, &streams, None, From::Beginning).await;
        let mut captions = captions.unwrap();
        loop {
            let caption = captions.next().await.unwrap();
            if caption.id.seq == seq && caption.revision == 0 {
                let plan: Decision = serde_json::from_value(caption.plan.unwrap()).unwrap();
                return plan.inputs.risk;
            }
        }
    })
}
