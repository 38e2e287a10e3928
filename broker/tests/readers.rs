//! Whoever listens: captions and statuses, against a real server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use broker::{
    Caption, CloudStatus, Message, Preview, Status, StreamsConfig, captions,
    deliver::Deliverer,
    headers::TraceParent,
    preview,
    status::{self, AnyStatus},
    test_server::TestServer,
};
use common::{connect, window};
use futures::{FutureExt, StreamExt};
use tokio::task::unconstrained;

#[tokio::test(flavor = "multi_thread")]
async fn a_caption_on_another_rigs_subject_is_not_believed() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let streams = StreamsConfig::default();
    let captions = captions::subscribe(&connection, &streams, None, captions::From::Beginning);
    let mut captions = captions.await.unwrap();
    let caption = Caption::draft(&window(0)).unwrap();
    for subject in ["msao.v1.captions.car-8", "msao.v1.captions.car-7"] {
        let bytes = caption.encode().unwrap();
        let sent = connection.jetstream().publish(subject, bytes.into()).await;
        sent.unwrap().await.unwrap();
    }
    let error = captions.next().await.unwrap_err().to_string();
    assert!(
        error.contains("car-8") && error.contains("speaks for 'car-7'"),
        "{error}"
    );
    assert_eq!(captions.next().await.unwrap(), caption);
    let mut status = Status::new(common::rig(), caption.id.epoch, "cpu");
    status.windows = 3;
    let bytes = serde_json::to_vec(&status).unwrap();
    assert!(AnyStatus::decode("msao.v1.status.edge.car-7", &bytes).is_ok());
    assert!(AnyStatus::decode("msao.v1.status.edge.car-8", &bytes).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn captions_come_once_each_through_a_kill() {
    let mut server = TestServer::start();
    let connection = connect(&server).await;
    let deliverer = Deliverer::new(connection.clone(), StreamsConfig::default());
    let caption = |seq| Caption::draft(&window(seq)).unwrap();
    let publish = async |seq| {
        let message = Message::caption(&caption(seq), TraceParent::generate()).unwrap();
        deliverer.deliver(&message).await.unwrap();
    };
    publish(0).await;
    let streams = StreamsConfig::default();
    let mut live = captions::subscribe(
        &connection,
        &streams,
        Some(&common::rig()),
        captions::From::Now,
    )
    .await
    .unwrap();
    let mut all = captions::subscribe(&connection, &streams, None, captions::From::Beginning)
        .await
        .unwrap();
    let other = "other".parse().unwrap();
    let mut other = captions::subscribe(
        &connection,
        &streams,
        Some(&other),
        captions::From::Beginning,
    )
    .await
    .unwrap();
    publish(1).await;
    assert_eq!(live.next().await.unwrap(), caption(1));
    server.restart();
    // Stored twice, as after an outage longer than the duplicate window.
    let again = caption(1).encode().unwrap();
    connection.connected().await;
    let subject = "msao.v1.captions.car-7";
    connection
        .jetstream()
        .publish(subject, again.into())
        .await
        .unwrap()
        .await
        .unwrap();
    connection
        .jetstream()
        .publish(subject, "no caption".into())
        .await
        .unwrap()
        .await
        .unwrap();
    publish(2).await;
    assert!(
        live.next()
            .await
            .unwrap_err()
            .to_string()
            .contains("not a caption")
    );
    assert_eq!(live.next().await.unwrap(), caption(2));
    for seq in [0, 1] {
        assert_eq!(all.next().await.unwrap(), caption(seq));
    }
    assert!(all.next().await.is_err());
    assert_eq!(all.next().await.unwrap(), caption(2));
    tokio::select! {
        biased;
        other = other.next() => panic!("a caption of another rig: {other:?}"),
        () = publish(3) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_reach_whoever_listens() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let mut statuses = Box::pin(status::subscribe(&connection).await.unwrap());
    let edge = Status {
        frames_in: 10,
        ..Status::new(common::rig(), common::id(0).epoch, "CPU")
    };
    status::publish_edge(&connection, &edge).await.unwrap();
    assert_eq!(
        statuses.next().await.unwrap().unwrap(),
        AnyStatus::Edge(edge)
    );
    let cloud = CloudStatus::new("gpu0", "msao-cloud-v1", "CPU");
    status::publish_cloud(&connection, &cloud).await.unwrap();
    assert_eq!(
        statuses.next().await.unwrap().unwrap(),
        AnyStatus::Cloud(cloud)
    );
    connection
        .client()
        .publish("msao.v1.status.edge.car-7", "{}".into())
        .await
        .unwrap();
    assert!(statuses.next().await.unwrap().is_err());
    let bad = CloudStatus::new("gpu.0", "m", "CPU");
    assert!(
        status::publish_cloud(&connection, &bad)
            .await
            .unwrap_err()
            .to_string()
            .contains("gpu.0")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_flood_that_nobody_reads_a_bounded_part_waits_and_then_it_goes_on() {
    const WAITING: usize = 1024;
    let server = TestServer::start();
    let (reader, writer) = (connect(&server).await, connect(&server).await);
    let mut previews = std::pin::pin!(preview::subscribe(&reader, None).await.unwrap());
    let mut marks = reader.client().subscribe("mark").await.unwrap();
    mark_of(&reader).await;
    marks.next().await.unwrap();
    let publish = async |importance: u8| {
        let preview = Preview {
            rig: common::rig(),
            stream: "front".to_owned(),
            time: time::OffsetDateTime::UNIX_EPOCH,
            mas: 0.5,
            rows: 1,
            columns: 1,
            importance: vec![importance],
            jpeg: vec![0xff, 0xd8].into(),
        };
        preview.publish(&writer).await.unwrap();
    };
    for _ in 0..3 * WAITING {
        publish(0).await;
    }
    // What came before the mark is kept or dropped when the mark is there.
    mark_of(&writer).await;
    marks.next().await.unwrap();
    let mut waited = 0;
    while let Some(preview) = unconstrained(previews.next()).now_or_never() {
        assert_eq!(preview.unwrap().unwrap().importance, [0]);
        waited += 1;
    }
    assert_eq!(waited, WAITING);
    publish(1).await;
    assert_eq!(previews.next().await.unwrap().unwrap().importance, [1]);
}

async fn mark_of(connection: &broker::Connection) {
    let sent = connection.client().publish("mark", "".into());
    sent.await.unwrap();
}
