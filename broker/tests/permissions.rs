//! Who may do what at the hub of configs/nats/hub.conf.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{pin::pin, sync::Arc, time::Duration};

use broker::{
    Caption, Connection, FeatureWindow, Message, Preview, Publisher, PublisherConfig,
    StreamsConfig, WindowId,
    answers::Answers,
    ask::{self, Answer, AnswerStatus},
    captions::{self, From},
    consumer::{Consumer, ConsumerConfig, Outcome},
    deliver::Deliverer,
    done::{Decision, Done, Record},
    headers::TraceParent,
    latest, preview, streams,
    test_server::{TestServer, binary, reached},
};
use common::{
    hub::{config, count, free_port, open, street, street_window},
    message, until,
};
use futures::{FutureExt, StreamExt};

/// A hub whose streams are made, with a listener for all that is published.
async fn hub() -> (TestServer, Connection) {
    let hub = TestServer::with_whole_config(&config("hub.conf", free_port()));
    let admin = open(&hub, "admin").await;
    let cloud = open(&hub, "cloud").await;
    let streams = StreamsConfig::default();
    streams::set_up(&cloud, &streams).await.unwrap();
    Done::open(cloud, &streams).await.unwrap();
    (hub, admin)
}

/// Which of `subjects` the server takes from `from`.
async fn taken(admin: &Connection, from: &Connection, subjects: &[&'static str]) -> Vec<String> {
    let mut heard = admin.client().subscribe(">").await.unwrap();
    reached(admin).await;
    for subject in subjects {
        let sent = from.client().publish(*subject, "x".into()).await;
        sent.unwrap();
    }
    reached(from).await;
    // The end of what it sent: the server hands messages on in order.
    let end = admin.client().new_inbox();
    admin
        .client()
        .publish(end.clone(), "".into())
        .await
        .unwrap();
    let mut taken = Vec::new();
    while let Some(message) = heard.next().await {
        if message.subject.as_str() == end {
            break;
        }
        if message.subject.starts_with("msao.") || message.subject.starts_with("$KV.") {
            taken.push(message.subject.to_string());
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn another_rigs_subject_is_refused_by_the_server() {
    let (hub, admin) = hub().await;
    let rig = open(&hub, "street").await;
    let own = [
        "msao.v1.features.street",
        "msao.v1.status.edge.street",
        "msao.v1.preview.street",
    ];
    let others = [
        "msao.v1.features.car-7",
        "msao.v1.captions.car-7",
        "msao.v1.status.edge.car-7",
        "msao.v1.preview.car-7",
        "msao.v1.status.cloud.worker",
        "msao.v1.dead.street",
        "msao.v1.ask.car-7",
        "$KV.MSAO_LATEST.car-7",
        "$KV.MSAO_DONE.x",
    ];
    assert_eq!(taken(&admin, &rig, &own).await, own);
    assert_eq!(taken(&admin, &rig, &others).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rig_does_all_that_an_edge_does() {
    let (hub, admin) = hub().await;
    let (rig, reader) = (open(&hub, "street").await, open(&hub, "reader").await);
    let config = PublisherConfig::default();
    let publisher = Publisher::start(rig.clone(), StreamsConfig::default(), config).unwrap();
    let publisher = Arc::new(publisher);
    let window = street_window(0);
    publisher.publish(message(&window)).unwrap();
    let draft = Caption::draft(&window).unwrap();
    let draft = Message::caption(&draft, TraceParent::generate()).unwrap();
    publisher.publish(draft).unwrap();
    until("both are acknowledged", async || {
        publisher.counters().acknowledged == 2
    })
    .await;
    let streams = StreamsConfig::default();
    let bucket = streams::set_up(&admin, &streams).await.unwrap();
    let latest = latest::get(&bucket, &street()).await.unwrap();
    assert_eq!(latest.unwrap().id, window.id);
    let mut back = captions::subscribe(&rig, &streams, Some(&street()), From::Beginning)
        .await
        .unwrap();
    assert_eq!(back.next().await.unwrap().id, window.id);

    let mut questions = pin!(ask::questions(&rig, &street()).await.unwrap());
    reached(&rig).await;
    let answer = Answer {
        id: window.id.clone(),
        text: "a siren".to_owned(),
        confidence: 0.9,
        status: AnswerStatus::Final,
        model: "draft".to_owned(),
    };
    let serve = async {
        let asked = questions.next().await.unwrap();
        asked.answer(&rig, Ok(answer.clone())).await.unwrap();
    };
    let rig_name = street();
    let asking = ask::ask(
        &reader,
        &rig_name,
        "what is heard ?",
        Duration::from_secs(10),
    );
    let ((), answered) = tokio::join!(serve, asking);
    assert_eq!(answered.unwrap(), answer);
}

/// Whether the server answers `request` of what JetStream does.
async fn is_answered(from: &Connection, request: &str) -> bool {
    let patience = async_nats::Request::new().timeout(Some(Duration::from_millis(300)));
    let subject = format!("$JS.API.{request}");
    from.client().send_request(subject, patience).await.is_ok()
}

/// What the server answers to one goes over a subject, too: nobody else may listen there.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_what_is_answered_to_others() {
    let (hub, admin) = hub().await;
    let cloud = open(&hub, "cloud").await;
    let others = [open(&hub, "street").await, open(&hub, "reader").await];
    let heard = async |by: &Connection| {
        let mut all = Vec::new();
        for subject in ["_INBOX.>", "_INBOX.cloud.>", "_INBOX.*.>"] {
            all.push(by.client().subscribe(subject).await.unwrap());
        }
        reached(by).await;
        futures::stream::select_all(all)
    };
    let mut to_admin = heard(&admin).await;
    let mut to_others = Vec::new();
    for other in &others {
        to_others.push(heard(other).await);
    }
    // An answer to the worker, as windows come to it, too, and one to each of the others after it.
    cloud
        .jetstream()
        .get_stream(streams::FEATURES)
        .await
        .unwrap();
    for other in &others {
        reached(other).await;
    }
    assert!(to_admin.next().await.is_some(), "the admin hears all");
    for mut heard in to_others {
        assert!(heard.next().now_or_never().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rig_reads_its_own_captions_alone() {
    let (hub, _admin) = hub().await;
    let rig = open(&hub, "street").await;
    for (allowed, request) in [
        (
            true,
            "CONSUMER.CREATE.MSAO_CAPTIONS.x.msao.v1.captions.street",
        ),
        (
            false,
            "CONSUMER.CREATE.MSAO_CAPTIONS.x.msao.v1.captions.car-7",
        ),
        (false, "CONSUMER.CREATE.MSAO_CAPTIONS.x"),
        (false, "CONSUMER.CREATE.MSAO_CAPTIONS"),
        (true, "DIRECT.GET.KV_MSAO_LATEST.$KV.MSAO_LATEST.street"),
        (false, "DIRECT.GET.KV_MSAO_LATEST.$KV.MSAO_LATEST.car-7"),
        (false, "DIRECT.GET.KV_MSAO_LATEST"),
    ] {
        assert_eq!(is_answered(&rig, request).await, allowed, "{request}");
    }
    // Under its own subject it asks for another's.
    let asked = serde_json::json!({
        "stream_name": streams::CAPTIONS,
        "config": { "name": "x", "ack_policy": "none", "filter_subject": "msao.v1.captions.car-7" },
    });
    let subject = "$JS.API.CONSUMER.CREATE.MSAO_CAPTIONS.x.msao.v1.captions.street";
    let answer = (rig.client())
        .request(subject, asked.to_string().into())
        .await;
    let answer: serde_json::Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
    assert_eq!(answer["error"]["err_code"], 10131, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_captions_and_publishes_nothing() {
    let (hub, admin) = hub().await;
    let reader = open(&hub, "reader").await;
    let streams = StreamsConfig::default();
    let deliverer = Deliverer::new(open(&hub, "cloud").await, streams);
    let draft = Caption::draft(&street_window(0)).unwrap();
    let draft = Message::caption(&draft, TraceParent::generate()).unwrap();
    deliverer.deliver(&draft).await.unwrap();
    let mut captions = captions::subscribe(&reader, &streams, None, From::Beginning)
        .await
        .unwrap();
    assert_eq!(captions.next().await.unwrap().id.rig, street());
    let mut last = captions::subscribe(&reader, &streams, None, From::Last(1))
        .await
        .unwrap();
    assert_eq!(last.next().await.unwrap().id.rig, street());
    let bucket = streams::set_up(&reader, &streams).await.unwrap();
    assert!(latest::get(&bucket, &street()).await.unwrap().is_some());
    // A caption of another rig than the key says, and what is none, are not believed.
    let another = Caption::draft(&street_window(0)).unwrap().encode().unwrap();
    for (key, value) in [("car-7", another), ("car-8", b"none".to_vec())] {
        let put = admin
            .jetstream()
            .get_key_value(streams::LATEST)
            .await
            .unwrap();
        put.put(key, value.into()).await.unwrap();
    }
    let all = latest::all(&reader, 8).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].id.rig, street());
    assert_eq!(latest::all(&reader, 0).await.unwrap(), []);
    let subjects = [
        "msao.v1.features.street",
        "msao.v1.captions.street",
        "msao.v1.status.edge.street",
        "msao.v1.preview.street",
        "msao.v1.status.cloud.worker",
        "msao.v1.dead.street",
        "$KV.MSAO_LATEST.street",
    ];
    assert_eq!(taken(&admin, &reader, &subjects).await, [""; 0]);
    // Nor does it see features, or take a worker's windows.
    for request in [
        "CONSUMER.CREATE.MSAO_FEATURES",
        "STREAM.MSG.GET.MSAO_FEATURES",
        "STREAM.DELETE.MSAO_CAPTIONS",
    ] {
        assert!(!is_answered(&reader, request).await, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_a_rigs_previews() {
    let (hub, _admin) = hub().await;
    let (rig, reader) = (open(&hub, "street").await, open(&hub, "reader").await);
    let mut seen = pin!(preview::subscribe(&reader, None).await.unwrap());
    reached(&reader).await;
    let sent = Preview {
        rig: street(),
        stream: "front".to_owned(),
        time: time::OffsetDateTime::UNIX_EPOCH,
        mas: 0.5,
        rows: 1,
        columns: 2,
        importance: vec![0, 255],
        jpeg: vec![0xff, 0xd8, 0xff, 0xd9].into(),
    };
    sent.publish(&rig).await.unwrap();
    let other = Preview {
        jpeg: vec![0; 4].into(),
        ..sent.clone()
    };
    assert!(other.publish(&rig).await.is_err());
    assert_eq!(seen.next().await.unwrap().unwrap(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_does_all_that_it_must_and_is_no_rig() {
    let (hub, admin) = hub().await;
    let (rig, cloud) = (open(&hub, "street").await, open(&hub, "cloud").await);
    let config = PublisherConfig::default();
    let publisher = Publisher::start(rig, StreamsConfig::default(), config).unwrap();
    publisher.publish(message(&street_window(0))).unwrap();
    let streams = StreamsConfig::default();
    let deliverer = Arc::new(Deliverer::new(cloud.clone(), streams));
    let opened = Consumer::open(Arc::clone(&deliverer), &streams, ConsumerConfig::default()).await;
    let answers = Answers::open(deliverer, &streams).await.unwrap();
    let mut consumer = opened.unwrap().answering(Arc::new(answers));
    let done = Done::open(cloud.clone(), &streams).await.unwrap();
    let done = &done;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let mut stop = Some(stop);
    let run = consumer.run(async { stopped.await.unwrap_or_default() }, |delivery| {
        let stop = stop.take();
        async move {
            let window = FeatureWindow::decode(&delivery.payload).unwrap();
            let other = WindowId {
                seq: 7,
                ..window.id
            };
            let record = Record::Captioned(2);
            done.insert(&other, &record).await.unwrap();
            assert_eq!(done.get(&other).await.unwrap(), Some(record.clone()));
            let decided = done.decide(&other, 0, &Record::Buried { replays: 0 });
            assert!(matches!(decided.await, Decision::Found(found, _) if found == record));
            stop.unwrap().send(()).unwrap();
            Outcome::Dead("as an example".to_owned())
        }
    });
    tokio::time::timeout(Duration::from_secs(20), run)
        .await
        .unwrap();
    assert_eq!(count(&admin, streams::DEAD).await, 1);
    let buried = done.get(&street_window(0).id).await.unwrap();
    assert_eq!(buried, Some(Record::Buried { replays: 0 }));
    let own = ["msao.v1.status.cloud.worker"];
    assert_eq!(taken(&admin, &cloud, &own).await, own);
    let subjects = [
        "msao.v1.features.street",
        "msao.v1.status.edge.street",
        "msao.v1.ask.street",
    ];
    assert_eq!(taken(&admin, &cloud, &subjects).await, [""; 0]);
}

#[test]
fn the_configurations_run_as_they_are() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/nats");
    for name in ["dev.conf", "hub.conf", "edge.conf"] {
        let checked = std::process::Command::new(binary())
            .arg("-t")
            .arg("-c")
            .arg(folder.join(name))
            .envs(
                ["ADMIN", "CLOUD", "READER", "STREET"]
                    .map(|user| (format!("MSAO_{user}_PASSWORD"), "\"a secret\"")),
            )
            .env(
                "MSAO_HUB_LEAF",
                "nats-leaf://street-leaf:secret@127.0.0.1:7422",
            )
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{name}: {said}");
    }
}
