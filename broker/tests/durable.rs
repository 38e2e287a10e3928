//! The durable consumer that is there already, and a server that is too old.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, pull},
};
use broker::{
    ConnectConfig, Connection, StreamsConfig,
    connect::AtStart,
    consumer::{Consumer, ConsumerConfig},
    deliver::Deliverer,
    streams::{self, SetUpError},
    test_server::TestServer,
};
use common::connect;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

async fn open(connection: &Connection, ack_wait: Duration) -> Result<Consumer, SetUpError> {
    let config = ConsumerConfig {
        ack_wait,
        ..ConsumerConfig::default()
    };
    let streams = StreamsConfig::default();
    let deliverer = Arc::new(Deliverer::new(connection.clone(), streams));
    Consumer::open(deliverer, &streams, config).await
}

const WAIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn workers_of_one_name_share_its_configuration_and_a_difference_is_named() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let (one, two) = tokio::join!(open(&connection, WAIT), open(&connection, WAIT));
    assert!(one.is_ok() && two.is_ok());
    let error = open(&connection, Duration::from_millis(2500))
        .await
        .err()
        .unwrap();
    for word in [
        "msao-cloud",
        "ack_wait",
        "30s",
        "2.5s",
        "consumer.ack_wait_s",
        "--wait 2.5s",
    ] {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    // It is as it was.
    let stream = connection
        .jetstream()
        .get_stream(streams::FEATURES)
        .await
        .unwrap();
    assert_eq!(
        stream
            .consumer_info("msao-cloud")
            .await
            .unwrap()
            .config
            .ack_wait,
        WAIT
    );
}

/// Of two that come at once with different configurations one is refused, whoever is first.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_first_workers_that_differ_one_is_refused() {
    for _ in 0..5 {
        let server = TestServer::start();
        let connection = connect(&server).await;
        streams::set_up(&connection, &StreamsConfig::default())
            .await
            .unwrap();
        let (one, two) = tokio::join!(open(&connection, WAIT), open(&connection, WAIT * 2));
        assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
    }
}

#[tokio::test]
async fn a_consumer_of_another_kind_is_named_with_the_mend() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    streams::set_up(&connection, &StreamsConfig::default())
        .await
        .unwrap();
    let good = || pull::Config {
        durable_name: Some("msao-cloud".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: WAIT,
        max_deliver: -1,
        ..pull::Config::default()
    };
    let (ack_policy, filter) = (AckPolicy::All, "msao.v1.features.car-7".to_owned());
    let others = [
        (
            "max_deliver",
            "--max-deliver=-1",
            pull::Config {
                max_deliver: 7,
                ..good()
            },
        ),
        (
            "ack_policy",
            "nats consumer rm",
            pull::Config {
                ack_policy,
                ..good()
            },
        ),
        (
            "filter_subjects",
            "car-7",
            pull::Config {
                filter_subject: filter,
                ..good()
            },
        ),
        (
            "headers_only",
            "consumer.durable",
            pull::Config {
                headers_only: true,
                ..good()
            },
        ),
        (
            "backoff",
            "nats consumer rm",
            pull::Config {
                backoff: vec![WAIT],
                max_deliver: -1,
                ..good()
            },
        ),
    ];
    let stream = connection
        .jetstream()
        .get_stream(streams::FEATURES)
        .await
        .unwrap();
    for (field, mend, other) in others {
        stream.create_consumer(other).await.unwrap();
        let error = open(&connection, WAIT).await.err().unwrap();
        assert!(
            matches!(&error, SetUpError::Consumer { field: f, .. } if *f == field),
            "{error}"
        );
        let error = error.to_string();
        assert!(
            error.contains("msao-cloud") && error.contains(mend),
            "{error}"
        );
        stream.delete_consumer("msao-cloud").await.unwrap();
    }
    let pushed = jetstream::consumer::push::Config {
        durable_name: Some("msao-cloud".to_owned()),
        deliver_subject: "elsewhere".to_owned(),
        ack_wait: WAIT,
        ..Default::default()
    };
    stream.create_consumer(pushed).await.unwrap();
    let error = open(&connection, WAIT).await.err().unwrap().to_string();
    assert!(
        error.contains("deliver_subject") && error.contains("elsewhere"),
        "{error}"
    );
    stream.delete_consumer("msao-cloud").await.unwrap();
    // What only holds workers back is the operator's.
    let slow = pull::Config {
        max_ack_pending: 10,
        ..good()
    };
    stream.create_consumer(slow).await.unwrap();
    open(&connection, WAIT).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_acknowledges_nothing_is_a_conflict() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    streams::set_up(&connection, &StreamsConfig::default())
        .await
        .unwrap();
    let stream = connection
        .jetstream()
        .get_stream(streams::CAPTIONS)
        .await
        .unwrap();
    let mut config = stream.cached_info().config.clone();
    config.no_ack = true;
    connection.jetstream().update_stream(config).await.unwrap();
    let error = streams::set_up(&connection, &StreamsConfig::default())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SetUpError::Conflict {
                field: "no_ack",
                ..
            }
        ),
        "{error}"
    );
}

/// Speaks as a server of that version as far as a client needs to be connected.
async fn old_server(version: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let info = format!(
        r#"INFO {{"server_id":"OLD","server_name":"old","version":"{version}","go":"go1.19","host":"127.0.0.1","port":{port},"headers":true,"max_payload":1048576,"proto":1,"jetstream":true}}"#
    );
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let info = info.clone();
            tokio::spawn(async move {
                let (read, mut write) = client.into_split();
                let mut lines = BufReader::new(read).lines();
                let _ = write.write_all(format!("{info}\r\n").as_bytes()).await;
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.starts_with("PING") {
                        let _ = write.write_all(b"PONG\r\n").await;
                    }
                }
            });
        }
    });
    format!("nats://127.0.0.1:{port}")
}

#[tokio::test]
async fn a_server_that_is_too_old_is_named() {
    let url = old_server("2.9.10").await;
    let config = ConnectConfig {
        url: url.clone(),
        ..ConnectConfig::default()
    };
    let connection = Connection::open(&config, AtStart::Fail).await.unwrap();
    let error = streams::set_up(&connection, &StreamsConfig::default())
        .await
        .unwrap_err();
    assert!(matches!(error, SetUpError::TooOld { .. }), "{error}");
    let error = error.to_string();
    for word in [url.as_str(), "2.9.10", "2.11 or newer", "install"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    let error = open(&connection, WAIT).await.err().unwrap();
    assert!(matches!(error, SetUpError::TooOld { .. }), "{error}");
}
