//! The whole way on real video: broker, edge and cloud as processes of their own.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::common::{media, msao, processes_of, texts};

#[test]
fn captions_are_drafted_and_then_confirmed_or_corrected() {
    let folder = tempfile::tempdir().unwrap();
    let output = msao(folder.path())
        .args(["demo", "--fast", "--video"])
        .arg(media("bikes.mp4"))
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");
    let count = |word: &str| {
        out.lines()
            .filter(|line| line.contains(&format!(" s  {word}")))
            .count()
    };
    let (drafts, kept) = (count("draft"), count("kept"));
    let answered = count("confirmed") + count("corrected");
    assert!(drafts + kept >= 5, "{out}");
    // A draft that waited may be kept in the end, and one that was given up is captioned in the cloud.
    let finals = answered + kept;
    assert!(drafts <= finals, "{out}\n{err}");
    let windows =
        format!("windows           {finals}, {finals} with a final caption, {kept} of these");
    assert!(out.contains(&windows), "{windows}: {out}");
    assert!(
        out.contains(&format!("decisions         {kept} keep, ")),
        "{out}"
    );
    assert!(out.contains("250 in, "), "{out}");
    for row in ["tokens", "bytes", "drafts accepted"] {
        assert!(
            out.lines().any(|line| line.trim_start().starts_with(row)),
            "{row}: {out}"
        );
    }
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());
}

#[test]
fn an_interrupt_ends_it_with_a_summary_and_nothing_running() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = msao(folder.path())
        .args(["demo", "--video"])
        .arg(media("vtest.avi"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line.contains(" s  draft")));
    assert!(!processes_of(folder.path()).is_empty());
    let sent = Command::new("kill")
        .args(["-INT", &demo.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let rest: Vec<_> = lines.collect();
    assert!(demo.wait().unwrap().success());
    assert!(
        rest.iter().any(|line| line.contains("time to final")),
        "{rest:?}"
    );
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());
}
