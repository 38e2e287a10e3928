//! `msao leaf`, and how commands take secrets.

use std::process::Output;

use broker::connect::AtStart;
use broker::test_server::TestServer;
use broker::{ConnectConfig, Connection};

use crate::common::{msao, texts};

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = msao(folder.path());
    command.args(arguments).envs(environment.iter().copied());
    command.output().unwrap()
}

async fn sources(server: &TestServer, stream: &str) -> Vec<Option<String>> {
    let config = ConnectConfig {
        url: server.url(),
        user: Some("admin".to_owned()),
        password: Some(server.secret("hush")),
        ..ConnectConfig::default()
    };
    let connection = Connection::open(&config, AtStart::Fail).await.unwrap();
    let stream = connection.jetstream().get_stream(stream).await.unwrap();
    let sources = stream.cached_info().config.sources.clone();
    let subjects = sources.unwrap_or_default().into_iter();
    subjects.map(|source| source.filter_subject).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_node_is_added_and_removed() {
    let server = TestServer::with_config(
        "accounts { MSAO { jetstream: enabled, users: [ { user: admin, password: hush } ] } }",
    );
    let url = server.url();
    let leaf = ["leaf", "street", "--nats", &url, "--user", "admin"];
    let password = ["--password", "env:HUB_PASSWORD"];
    let environment = [("HUB_PASSWORD", "hush")];
    let (stdout, stderr) = texts(&run(&[&leaf[..], &password].concat(), &environment));
    assert!(
        stdout.contains("takes in what edge-street stores"),
        "{stdout}{stderr}"
    );
    for (stream, subject) in [
        ("MSAO_FEATURES", "msao.v1.features.street"),
        ("MSAO_CAPTIONS", "msao.v1.captions.street"),
    ] {
        assert_eq!(sources(&server, stream).await, [Some(subject.to_owned())]);
    }
    let remove = [&leaf[..], &password, &["--remove"]].concat();
    let (stdout, _) = texts(&run(&remove, &environment));
    assert!(stdout.contains("no longer takes in"), "{stdout}");
    assert!(sources(&server, "MSAO_FEATURES").await.is_empty());
}

#[test]
fn a_secret_is_refused_without_being_repeated() {
    for arguments in [&["watch", "--token", "hunter2"][..], &["watch"]] {
        let output = run(arguments, &[("MSAO_NATS_TOKEN", "hunter2")]);
        let (stdout, stderr) = texts(&output);
        assert!(!output.status.success());
        assert!(
            stderr.contains("--token") && stderr.contains("env:NAME"),
            "{stderr}"
        );
        assert!(!stderr.contains("hunter2") && !stdout.contains("hunter2"));
    }
    let (help, _) = texts(&run(
        &["watch", "--help"],
        &[("MSAO_NATS_TOKEN", "hunter2")],
    ));
    assert!(help.contains("MSAO_NATS_TOKEN") && !help.contains("hunter2"));
}
