//! Connecting and setting up, against real servers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use async_nats::jetstream::stream;
use broker::{
    ConnectConfig, Connection, StreamsConfig,
    connect::{AtStart, ConnectError},
    streams::{self, Limits, SetUpError},
    test_server::TestServer,
};
use common::connect;

async fn open(server: &TestServer, user: &str, password: &str) -> Result<Connection, ConnectError> {
    let config = ConnectConfig {
        url: server.url(),
        user: Some(user.to_owned()),
        password: Some(server.secret(password)),
        ..ConnectConfig::default()
    };
    Connection::open(&config, AtStart::Fail).await
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_with_url_and_mend() {
    let mut server = TestServer::start();
    server.kill();
    let config = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    let error = Connection::open(&config, AtStart::Fail)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&server.url()) && error.contains("nats-server -js"),
        "{error}"
    );
}

#[tokio::test]
async fn wrong_credentials_are_an_error_with_url_and_mend() {
    let server = TestServer::with_config("authorization { user: car, password: right }");
    assert!(open(&server, "car", "right").await.unwrap().is_connected());
    let error = open(&server, "car", "wrong").await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    let error = error.to_string();
    assert!(
        error.contains(&server.url()) && error.contains("password") && !error.contains("wrong"),
        "{error}"
    );
}

#[tokio::test]
async fn set_up_is_idempotent_and_safe_from_several_sides() {
    let server = TestServer::start();
    let (one, two) = (connect(&server).await, connect(&server).await);
    let config = StreamsConfig::default();
    let (first, second) = tokio::join!(
        streams::set_up(&one, &config),
        streams::set_up(&two, &config)
    );
    first.unwrap();
    second.unwrap();
    streams::set_up(&one, &config).await.unwrap();
    for name in [
        streams::FEATURES,
        streams::CAPTIONS,
        streams::DEAD,
        "KV_MSAO_LATEST",
    ] {
        let stream = one.jetstream().get_stream(name).await.unwrap();
        assert!(
            stream.cached_info().config.max_bytes > 0,
            "{name} is unbounded"
        );
    }
}

#[tokio::test]
async fn a_server_without_room_for_a_stream_is_named_with_the_bytes_and_the_mend() {
    let config = "jetstream { store_dir: nats-data, max_file_store: 100MB }\n";
    let server = TestServer::with_whole_config(config);
    let connection = connect(&server).await;
    let error = streams::set_up(&connection, &StreamsConfig::default())
        .await
        .unwrap_err()
        .to_string();
    for word in [
        "no 512 MiB left",
        streams::FEATURES,
        &server.url(),
        "max_file_store",
        "max_bytes",
    ] {
        assert!(error.contains(word), "{word}: {error}");
    }

    let limits = Limits {
        max_bytes: Some(1 << 20),
        ..Limits::default()
    };
    let small = StreamsConfig {
        features: limits,
        captions: limits,
        dead: limits,
        done: limits,
        ..StreamsConfig::default()
    };
    streams::set_up(&connection, &small).await.unwrap();
}

#[tokio::test]
async fn disk_bounded_as_configured_and_a_difference_is_named() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let bound = |max_bytes, age| StreamsConfig {
        features: Limits {
            max_bytes: Some(max_bytes),
            max_age_s: Some(age),
        },
        duplicate_window_s: Some(60),
        ..StreamsConfig::default()
    };
    streams::set_up(&connection, &bound(8 << 20, 120))
        .await
        .unwrap();
    let stream = connection
        .jetstream()
        .get_stream(streams::FEATURES)
        .await
        .unwrap();
    let made = &stream.cached_info().config;
    assert_eq!(
        (made.max_bytes, made.max_age),
        (8 << 20, Duration::from_secs(120))
    );
    assert_eq!(made.duplicate_window, Duration::from_secs(60));

    // Whoever configures no bounds takes what is there.
    streams::set_up(&connection, &StreamsConfig::default())
        .await
        .unwrap();
    let error = streams::set_up(&connection, &bound(9 << 20, 120))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SetUpError::Conflict {
                field: "max_bytes",
                ..
            }
        ),
        "{error}"
    );
    let error = error.to_string();
    assert!(
        error.contains("MSAO_FEATURES") && error.contains("8388608") && error.contains("9437184"),
        "{error}"
    );
}

#[tokio::test]
async fn a_stream_of_another_shape_is_a_conflict() {
    let server = TestServer::start();
    let connection = connect(&server).await;
    let other = stream::Config {
        name: streams::CAPTIONS.to_owned(),
        subjects: vec!["msao.v1.captions.car-7".to_owned()],
        ..stream::Config::default()
    };
    connection.jetstream().create_stream(other).await.unwrap();
    let error = streams::set_up(&connection, &StreamsConfig::default())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SetUpError::Conflict {
                field: "subjects",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_without_jetstream_is_an_error_with_mend() {
    let server =
        TestServer::with_config("accounts { PLAIN { users: [{user: car, password: right}] } }");
    let connection = open(&server, "car", "right").await.unwrap();
    let error = streams::set_up(&connection, &StreamsConfig::default())
        .await
        .unwrap_err();
    assert!(matches!(error, SetUpError::NoJetStream { .. }), "{error}");
}
