//! What scripts and shells rely on: exit codes, plain text in pipes, JSON, completions.

use std::path::Path;
use std::process::{Command, Output};

use broker::test_server::TestServer;
use serde_json::Value;

use crate::common::{msao, texts};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    msao(folder).args(arguments).output().unwrap()
}

#[test]
fn exit_codes_are_as_the_help_says() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = ["--nats", "nats://127.0.0.1:1"];
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["edge", "--help"], 0),
        (&["completions", "bash"], 0),
        (&["models", "list"], 0),
        (&[&["watch"], &nowhere[..]].concat(), 1),
        (&[&["doctor"], &nowhere[..]].concat(), 1),
        (&["cloud", "--config", "nowhere.toml"], 1),
        (&["edge", "--config", "nowhere.toml"], 1),
        (&[], 2),
        (&["edge"], 2),
        (&["wacth"], 2),
        (&["watch", "--rig", "a.b"], 2),
        (&["explain", "street"], 2),
        (&["completions", "tcsh"], 2),
    ] {
        let output = run(folder.path(), arguments);
        let (out, err) = texts(&output);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}\n{out}{err}"
        );
        assert!(!err.contains("panicked"), "{err}");
    }
    let (out, _) = texts(&run(folder.path(), &["--help"]));
    for words in ["First steps:", "Exit codes: 0", "NO_COLOR", "msao init"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (out, _) = texts(&run(folder.path(), &["watch", "--help"]));
    assert!(out.contains("Examples:\n  msao watch "), "{out}");
    // A slip is answered with what was meant.
    let (_, err) = texts(&run(folder.path(), &["wacth"]));
    assert!(err.contains("'watch'"), "{err}");
}

#[test]
fn there_are_no_colours_in_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let log = |command: &mut Command| {
        let output = command.env("MSAO_LOG", "debug").output().unwrap();
        let (out, err) = texts(&output);
        assert!(err.contains("DEBUG") || err.contains("INFO"), "{err}");
        out + &err
    };
    let doctor = ["doctor", "--nats", "nats://127.0.0.1:1"];
    let text = log(msao(folder.path()).args(doctor));
    assert!(!text.contains('\u{1b}'), "{text}");
    let text = log(msao(folder.path()).args(doctor).env("CLICOLOR_FORCE", "1"));
    assert!(text.contains('\u{1b}'), "{text}");
    let mut plain = msao(folder.path());
    plain.args(doctor).env("NO_COLOR", "1");
    let text = log(&mut plain);
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn results_are_json_for_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let json = |arguments: &[&str]| {
        let output = run(folder.path(), arguments);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{out}{err}");
        let lines = out.lines();
        let values = lines.map(|line| serde_json::from_str(line).unwrap());
        values.collect::<Vec<Value>>()
    };
    let report = json(&["doctor", "--json", "--nats", &server.url()]);
    assert_eq!(report[0]["ok"], true);
    let checks = report[0]["checks"].as_array().unwrap();
    let nats = checks.iter().find(|check| check["name"] == "NATS").unwrap();
    assert!(
        nats["found"].as_str().unwrap().contains(&server.url()),
        "{nats}"
    );
    // A full model of pictures and text is opened, too.
    for (name, variant, found) in [
        ("smolvlm", "fp32", "SmolVLM, fp32 on cpu"),
        ("qwen2vl", "fp16", "Qwen2-VL, fp16 on cpu"),
        ("qwen2vl", "bnb4", "that is there: fp32, fp16, q4, int8"),
    ] {
        let model = format!("testdata/tiny_hf/{name}");
        let mut doctor = vec!["doctor", "--json", "--provider", "cpu"];
        doctor.extend(["--cloud-model", &model, "--variant", variant]);
        let output = run(folder.path(), &doctor);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let model = checks.iter().find(|check| check["name"] == "full model");
        let said = model.unwrap().to_string();
        assert!(said.contains(found), "{said}");
    }
    // With a fault it is still JSON, and the exit code says so.
    let output = run(
        folder.path(),
        &["doctor", "--json", "--nats", "nats://127.0.0.1:1"],
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(output.status.code(), Some(1));
    let models = json(&["models", "list", "--json"]);
    let edge = models
        .iter()
        .find(|model| model["name"] == "msao-edge")
        .unwrap();
    assert_eq!(edge["files"], edge["files_here"], "{edge}");
}

/// What bash would offer for a line.
fn completed(script: &Path, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let asks = format!(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; _msao msao '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        quoted.join(" "),
        words.len() - 1
    );
    let output = Command::new("bash").args(["-c", &asks]).output().unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{err}");
    out.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("msao.bash");
    let output = run(folder.path(), &["completions", "bash"]);
    std::fs::write(&script, output.stdout).unwrap();
    assert_eq!(completed(&script, "msao che"), ["check"]);
    assert_eq!(completed(&script, "msao watch --j"), ["--json"]);
    assert_eq!(completed(&script, "msao dead re"), ["replay"]);
    assert_eq!(completed(&script, "msao check --kind e"), ["edge"]);
    for shell in ["zsh", "fish"] {
        let output = run(folder.path(), &["completions", shell]);
        let (out, _) = texts(&output);
        for word in ["check", "print-pipeline", "explain"] {
            assert!(out.contains(word), "{shell} lacks {word}");
        }
    }
}
