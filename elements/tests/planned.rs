//! `msaooffload` and `msaonatssink` against a real nats-server that is killed under them, with a cloud that confirms all.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use broker::caption::Verdict;
use broker::connect::{AtStart, Secret};
use broker::consumer::{Consumer, ConsumerConfig, Outcome};
use broker::deliver::Deliverer;
use broker::headers::TraceParent;
use broker::test_server::TestServer;
use broker::{
    Caption, CloudStatus, ConnectConfig, Connection, FeatureWindow, LatencyMs, Message,
    StreamsConfig, status,
};
use common::*;
use gst::prelude::*;
use gst_check::Harness;
use offload::planner::Decision;

/// The permissions of an edge with a planner, as documented.
const ACCOUNTS: &str = r#"accounts { MSAO { jetstream: enabled, users: [
    { user: cloud, password: right },
    { user: edge, password: right, permissions: {
        publish: [
            "msao.v1.features.car-7", "msao.v1.captions.car-7", "msao.v1.status.edge.car-7",
            "$KV.MSAO_LATEST.car-7", "$JS.API.DIRECT.GET.KV_MSAO_LATEST.$KV.MSAO_LATEST.car-7", "$JS.API.STREAM.INFO.*",
            "$JS.API.CONSUMER.CREATE.MSAO_CAPTIONS.*.msao.v1.captions.car-7", "$JS.API.CONSUMER.MSG.NEXT.MSAO_CAPTIONS.*",
        ],
        subscribe: [ "_INBOX.edge.>", "msao.v1.status.cloud.*" ],
    } },
] } }"#;

/// As the cloud.
async fn connect(url: &str, password: &Secret) -> Connection {
    let config = ConnectConfig {
        url: url.to_owned(),
        user: Some("cloud".to_owned()),
        password: Some(password.clone()),
        ..ConnectConfig::default()
    };
    Connection::open(&config, AtStart::Fail).await.unwrap()
}

/// Says each 50 ms that it is there, and confirms each draft that it gets.
async fn cloud(
    url: String,
    password: Secret,
    answered: tokio::sync::mpsc::UnboundedSender<FeatureWindow>,
) {
    let connection = connect(&url, &password).await;
    let deliverer = Deliverer::new(connection.clone(), StreamsConfig::default());
    let deliverer = Arc::new(deliverer);
    let streams = StreamsConfig::default();
    let consumer = Consumer::open(Arc::clone(&deliverer), &streams, ConsumerConfig::default());
    let mut consumer = consumer.await.unwrap();
    let heartbeats = async {
        let mut status = CloudStatus::new("worker", "full", "CPU");
        status.service_rate = 20.0;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            status::publish_cloud(&connection, &status).await.unwrap();
        }
    };
    let seen = Mutex::new(HashSet::new());
    let verified = consumer.run(std::future::pending(), |delivery| {
        let window = FeatureWindow::decode(&delivery.payload).unwrap();
        let (deliverer, answered, seen) = (&deliverer, &answered, &seen);
        async move {
            let verdict = Verdict {
                confirmed: true,
                text: format!("window {}", window.id.seq),
                tokens: 2,
                confidence: 0.9,
                accepted_tokens: Some(2),
                model: "full".to_owned(),
            };
            let latency = LatencyMs {
                cloud: Some(20.0),
                ..LatencyMs::default()
            };
            let caption = Caption::verified(&window, verdict, latency);
            let message = Message::caption(&caption, TraceParent::generate()).unwrap();
            deliverer.deliver(&message).await.unwrap();
            // What was not acknowledged before the kill comes again.
            if seen.lock().unwrap().insert(window.id.seq) {
                answered.send(window).unwrap();
            }
            Outcome::Done
        }
    });
    tokio::join!(heartbeats, verified);
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
    let mut server = TestServer::with_config(ACCOUNTS);
    let password = server.secret("right");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let streams = StreamsConfig::default();
        let connection = connect(&server.url(), &password).await;
        broker::streams::set_up(&connection, &streams)
            .await
            .unwrap();
    });
    let line = format!(
        "msaooffload name=offload ! msaonatssink name=sink async=false flush-timeout=20000000000 \
         user=edge password={password} url={}",
        server.url()
    );
    let bin = gst::parse::bin_from_description(&line, true).unwrap();
    let offload = bin.by_name("offload").unwrap();
    let mut harness = Harness::with_element(&bin, Some("sink"), None);
    harness.use_systemclock();
    harness.set_src_caps_str("application/x-msao-window,schema=features/1.1");

    let (send, mut answered) = tokio::sync::mpsc::unbounded_channel();
    runtime.spawn(cloud(server.url(), password.clone(), send));
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
    let before = risk(&server.url(), &password, &runtime, 0);
    let mut seq = 0;
    let learnt = (0..20).any(|_| {
        seq += 1;
        push(&mut harness, seq);
        next();
        risk(&server.url(), &password, &runtime, seq) < before
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
fn risk(url: &str, password: &Secret, runtime: &tokio::runtime::Runtime, seq: u64) -> f64 {
    use broker::captions::{From, subscribe};
    runtime.block_on(async {
        let connection = connect(url, password).await;
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
