//! `msao ask`: two answers to a question, or a clear error.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use broker::captions::{self, From};
use broker::connect::AtStart;
use broker::test_server::TestServer;
use broker::{CaptionStatus, ConnectConfig, Connection, StreamsConfig};

use crate::common::{Killed, media, models, msao, texts};

fn start(folder: &Path, command: &str, config: &str) -> Killed {
    let path = folder.join(format!("{command}.toml"));
    std::fs::write(&path, config).unwrap();
    let mut process = msao(folder);
    process.args([command, "--config"]).arg(path);
    Killed(process.stdout(Stdio::null()).spawn().unwrap())
}

fn edge(folder: &Path, server: &TestServer, sure: f64) -> Killed {
    let (model, _) = models();
    let config = format!(
        "rig = 'street'
        model = '{}'
        video = [{{ source = '{}' }}]
        prompts = ['what is seen ?']
        ask = {{ sure = {sure}, every = 1 }}
        nats = {{ url = '{}' }}",
        model.display(),
        media("vtest.avi").display(),
        server.url()
    );
    start(folder, "edge", &config)
}

fn ask(folder: &Path, server: &TestServer, rig: &str, timeout: &str) -> Output {
    msao(folder)
        .args([
            "ask",
            rig,
            "how many people are there ?",
            "--timeout",
            timeout,
        ])
        .args(["--nats", &server.url()])
        .output()
        .unwrap()
}

/// Asks until the edge is up and has seen a window.
fn ask_when_ready(folder: &Path, server: &TestServer, timeout: &str) -> Output {
    let begun = Instant::now();
    loop {
        let output = ask(folder, server, "street", timeout);
        let (_, err) = texts(&output);
        let early = err.contains("no edge of rig") || err.contains("cannot answer");
        if !early || begun.elapsed() > Duration::from_secs(60) {
            return output;
        }
    }
}

#[test]
fn the_edge_answers_at_once_and_the_cloud_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let (_, full) = models();
    let _edge = edge(folder.path(), &server, 2.0);
    // Nobody verifies yet: the first answer comes all the same, and it is said what is missing.
    let output = ask_when_ready(folder.path(), &server, "1");
    let (out, err) = texts(&output);
    assert!(!output.status.success(), "{out}\n{err}");
    assert!(
        out.starts_with("edge  ") && err.contains("msao cloud"),
        "{out}\n{err}"
    );

    let config = format!(
        "model = '{}'\nnats = {{ url = '{}' }}",
        full.display(),
        server.url()
    );
    let _cloud = start(folder.path(), "cloud", &config);
    let output = ask(folder.path(), &server, "street", "60");
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(lines[0].starts_with("edge  "), "{out}");
    let second = ["confirmed", "corrected"];
    assert!(
        second.iter().any(|word| lines[1].starts_with(word)),
        "{out}"
    );

    let asked = [
        "ask",
        "street",
        "what is seen ?",
        "--json",
        "--timeout",
        "60",
    ];
    let mut asks = msao(folder.path());
    let output = asks.args(asked).args(["--nats", &server.url()]).output();
    let (out, err) = texts(&output.unwrap());
    let answers: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 2, "{out}{err}");
    assert_eq!(answers[0]["status"], "draft");
    assert_eq!(answers[0]["id"], answers[1]["id"]);
    assert_eq!(answers[1]["question"], "what is seen ?");
}

#[tokio::test(flavor = "multi_thread")]
async fn standing_prompts_are_asked_of_windows() {
    for (sure, statuses) in [
        (2.0, vec![CaptionStatus::Draft, CaptionStatus::Confirmed]),
        (0.0, vec![CaptionStatus::Draft]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::start();
        let (_, full) = models();
        let config = format!(
            "model = '{}'\nmargin = 0.000001\nnats = {{ url = '{}' }}",
            full.display(),
            server.url()
        );
        let connect = ConnectConfig {
            url: server.url(),
            ..ConnectConfig::default()
        };
        let connection = Connection::open(&connect, AtStart::Fail).await.unwrap();
        let streams = StreamsConfig::default();
        let captions = captions::subscribe(&connection, &streams, None, From::Beginning).await;
        let mut captions = captions.unwrap();
        let _cloud = start(folder.path(), "cloud", &config);
        let _edge = edge(folder.path(), &server, sure);
        let heard = async {
            let (mut first, mut told) = (None, Vec::new());
            while told.len() < statuses.len() {
                let caption = captions.next().await.unwrap();
                let asked = caption.question.as_deref() == Some("what is seen ?");
                if asked && *first.get_or_insert(caption.id.clone()) == caption.id {
                    assert_eq!(caption.is_final, sure == 0.0);
                    told.push(caption.status);
                }
            }
            told
        };
        let heard = tokio::time::timeout(Duration::from_secs(60), heard).await;
        assert_eq!(heard.expect("captions with the question"), statuses);
    }
}

#[test]
fn what_the_edge_is_sure_of_is_final() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let _edge = edge(folder.path(), &server, 0.0);
    let output = ask_when_ready(folder.path(), &server, "20");
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(out.starts_with("edge, final"), "{out}");
}

#[test]
fn without_an_edge_or_a_broker_the_mend_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = TestServer::start();
    let output = ask(folder.path(), &server, "nowhere", "5");
    let (_, err) = texts(&output);
    assert!(
        !output.status.success() && err.contains("'nowhere'"),
        "{err}"
    );
    server.kill();
    let output = ask(folder.path(), &server, "nowhere", "5");
    let (_, err) = texts(&output);
    assert!(!output.status.success(), "{err}");
    assert!(
        err.contains("nats-server") && err.contains(&server.url()),
        "{err}"
    );
}
