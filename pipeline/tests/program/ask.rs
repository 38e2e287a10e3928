//! `msao ask`: two answers to a question, or a clear error.

use std::process::Output;
use std::time::{Duration, Instant};

use broker::CaptionStatus;

use crate::common::{media, msao, texts};
use crate::process::Process;
use crate::world::{World, listen, soon};

fn edge(world: &World, sure: f64) -> Process {
    let more = format!(
        "video = [{{ source = '{}' }}]
        prompts = ['what is seen ?']
        ask = {{ sure = {sure}, every = 1 }}",
        media("vtest.avi").display()
    );
    Process::start(world.edge(&more))
}

fn ask(world: &World, rig: &str, timeout: &str) -> Output {
    msao(world.path())
        .args([
            "ask",
            rig,
            "how many people are there ?",
            "--timeout",
            timeout,
        ])
        .args(["--nats", &world.server.url()])
        .output()
        .unwrap()
}

/// Asks until the edge is up and has seen a window.
fn ask_when_ready(world: &World, timeout: &str) -> Output {
    let begun = Instant::now();
    loop {
        let output = ask(world, "car", timeout);
        let (_, err) = texts(&output);
        let early = err.contains("no edge of rig") || err.contains("cannot answer");
        if !early || begun.elapsed() > Duration::from_secs(60) {
            return output;
        }
    }
}

#[test]
fn the_edge_answers_at_once_and_the_cloud_after_it() {
    let world = World::new();
    let _edge = edge(&world, 2.0);
    // Nobody verifies yet: the first answer comes all the same, and it is said what is missing.
    let output = ask_when_ready(&world, "1");
    let (out, err) = texts(&output);
    assert!(!output.status.success(), "{out}\n{err}");
    assert!(
        out.starts_with("edge  ") && err.contains("msao cloud"),
        "{out}\n{err}"
    );

    let _cloud = Process::start(world.cloud(""));
    let output = ask(&world, "car", "60");
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

    let asked = ["ask", "car", "what is seen ?", "--json", "--timeout", "60"];
    let mut asks = msao(world.path());
    let output = asks
        .args(asked)
        .args(["--nats", &world.server.url()])
        .output();
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
        let world = World::new();
        let mut captions = listen(&world.connect().await).await;
        let _cloud = Process::start(world.cloud("margin = 0.000001"));
        let _edge = edge(&world, sure);
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
        assert_eq!(soon("captions with the question", heard).await, statuses);
    }
}

#[test]
fn what_the_edge_is_sure_of_is_final() {
    let world = World::new();
    let _edge = edge(&world, 0.0);
    let output = ask_when_ready(&world, "20");
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(out.starts_with("edge, final"), "{out}");
}

#[test]
fn without_an_edge_or_a_broker_the_mend_is_named() {
    let mut world = World::new();
    let output = ask(&world, "nowhere", "5");
    let (_, err) = texts(&output);
    assert!(
        !output.status.success() && err.contains("'nowhere'"),
        "{err}"
    );
    world.server.kill();
    let output = ask(&world, "nowhere", "5");
    let (_, err) = texts(&output);
    assert!(!output.status.success(), "{err}");
    assert!(
        err.contains("nats-server") && err.contains(&world.server.url()),
        "{err}"
    );
}
