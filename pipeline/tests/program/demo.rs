//! The whole way on real video: broker, edge and cloud as processes of their own.

use crate::common::{finished, media, msao, processes_of};
use crate::process::Process;

#[test]
fn captions_are_drafted_and_then_confirmed_or_corrected() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = msao(folder.path());
    demo.args(["demo", "--fast", "--video"]);
    let (out, err) = finished(demo.arg(media("bikes.mp4")));
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
    let mut demo = msao(folder.path());
    demo.args(["demo", "--video"]).arg(media("vtest.avi"));
    let demo = Process::start(demo);
    demo.line(" s  draft");
    assert!(!processes_of(folder.path()).is_empty());
    let said = demo.stop("-INT");
    assert!(said.contains("time to final"), "{said}");
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());
}
