//! `msao check`: all that is wrong, with its place, and exit codes that a script can go by.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{msao, root, texts};

/// The exit code, and what was printed.
fn check(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = msao(folder).arg("check").args(arguments).output().unwrap();
    let (out, err) = texts(&output);
    assert!(!err.contains("panicked"), "{err}");
    (output.status.code().unwrap(), out, err)
}

fn check_text(text: &str, more: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rig.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_string_lossy();
    check(folder.path(), &[&["--config", &path], more].concat())
}

const BAD: &str = r#"# A rig with a fault of each kind.
rig = "car.7"
modle = "testdata/models/msao-edge"
provider = "gpu"

[[video]]
source = ".cache/media/vtest.avi"
pace = "fats"

[[video]]
source = "nowhere.mp4"
gate = { threshold = 1.5 }

[[audio]]
source = "nowhere.mp4"
pace = "fast"
vad = "nowhere.onnx"

[[sensor]]
source = "nats:car.imu"
loop = true

[window]
duration_s = "one"
max_tokens = -5
max_token = 49

[nats]
url = "nats://joe:secret@hub:4222"
password = "hunter2"
tls_cert = "cert.pem"

[queue]
messages = 0
"#;

#[test]
fn all_that_is_wrong_is_said_at_once_with_line_and_column() {
    let (code, out, err) = check_text(BAD, &[]);
    assert_eq!(code, 1, "{out}{err}");
    for (place, words) in [
        ("2:7", "'car.7' is not a valid rig name"),
        ("3:1", "did you mean `model`?"),
        ("1:1", "model is missing"),
        ("4:12", "`gpu` is not known"),
        ("8:8", "did you mean `fast`?"),
        ("11:10", "cannot open the video nowhere.mp4"),
        ("12:22", "video[1].gate.threshold is 1.5; it is 0 to 1"),
        ("10:1", "two paces"),
        ("15:10", "cannot open the sound nowhere.mp4"),
        ("17:7", "cannot open the speech model nowhere.onnx"),
        ("19:1", "needs channels"),
        ("21:8", "cannot loop"),
        ("24:14", "it is a string, not a number"),
        ("25:14", "not a whole number, 0 or more"),
        ("26:1", "did you mean `max_tokens`?"),
        ("29:7", "holds a user or a secret"),
        ("30:12", "say where the secret is"),
        ("34:12", "queue.messages is 0"),
    ] {
        let at = format!("rig.toml:{place}: ");
        let found = out
            .lines()
            .any(|line| line.contains(&at) && line.contains(words));
        assert!(found, "{place}: {words}\n{out}");
    }
    assert!(err.contains("`msao edge`"), "{err}");
    for secret in ["hunter2", "joe:secret", "secret@"] {
        assert!(!out.contains(secret) && !err.contains(secret), "{out}{err}");
    }
    let lines: Vec<usize> = (out.lines())
        .map(|line| line.split(':').nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(lines.is_sorted(), "{out}");
}

#[test]
fn a_script_reads_json() {
    let (code, out, _) = check_text(BAD, &["--json"]);
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["kind"], &report["ok"]),
        (&"edge".into(), &false.into())
    );
    let faults = report["faults"].as_array().unwrap();
    let typo = faults.iter().find(|fault| fault["key"] == "modle").unwrap();
    assert_eq!((&typo["line"], &typo["column"]), (&3.into(), &1.into()));
    let good = root().join("configs/cloud.toml");
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = check(
        folder.path(),
        &["--json", "--config", &good.to_string_lossy()],
    );
    assert_eq!(code, 0, "{out}{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["kind"], &report["ok"], &report["faults"]),
        (&"cloud".into(), &true.into(), &Value::Array(Vec::new()))
    );
}

#[test]
fn a_cloud_has_faults_of_its_own() {
    let text = "model = 'nowhere'\nencoders = 'nowhere'\nagreement = 'exact'\nmargin = 0.5\n[batch]\nmax = 0\n\
                [consumer]\nmax_deliver = 0\nack_wait_s = 0\nin_hnad = 3\n[streams.features]\nmax_bytes = 5\n[nats]\nnkey = 'nowhere.nk'\n";
    let (code, out, err) = check_text(text, &[]);
    assert_eq!(code, 1, "{out}{err}");
    for words in [
        "1:9: `nowhere/config.json`: cannot be read",
        "4:10: margin is given",
        "6:7: batch.max is 0",
        "8:15: consumer.max_deliver is 0",
        "9:14: consumer.ack_wait_s is 0",
        "10:1: consumer: there is no key `in_hnad` here: did you mean `in_hand`?",
        "max_bytes is below 1048576",
        "14:8: nats: nkey: cannot read nowhere.nk",
    ] {
        assert!(out.contains(words), "{words}\n{out}");
    }
    // As what it is not.
    let (code, out, _) = check_text("model = 'nowhere'", &["--kind", "edge"]);
    assert!(code == 1 && out.contains("rig is missing"), "{out}");
}

#[test]
fn a_cloud_whose_model_is_a_server_has_others() {
    let text = "threads = 2\n[server]\nurl = 'http://me:hunter2@host/v1'\nmodel = ''\nretries = 11\napi_key = 'env:MSAO_TEST_NOT_SET'\n\
                prompt = 'describe'\nprice = { input = -1 }\n[tensorrt]\nfp61 = true\n";
    let (code, out, err) = check_text(text, &[]);
    assert_eq!(code, 1, "{out}{err}");
    for words in [
        "3:7: server.url holds a user",
        "4:9: server.model is empty",
        "5:11: server.retries is 11",
        "6:11: server.api_key: the environment variable MSAO_TEST_NOT_SET is not set",
        "7:10: server.prompt lacks {prompt}",
        "8:19: server.price.input is -1",
        "10:1: tensorrt: there is no key `fp61` here: did you mean `fp16`?",
    ] {
        assert!(out.contains(words), "{words}\n{out}");
    }
    assert!(!out.contains("hunter2"), "{out}");
    let (_, out, _) = check_text("worker = 'a'", &[]);
    assert!(out.contains("1:1: there is no model"), "{out}");
}

#[test]
fn errors_of_syntax_are_all_said() {
    let (code, out, _) = check_text("rig = \"car\nmodel = \n[gate\nthreshold = 1\n", &[]);
    assert_eq!(code, 1);
    for line in ["rig.toml:1:", "rig.toml:2:", "rig.toml:3:"] {
        assert!(out.contains(line), "{line}\n{out}");
    }
}

#[test]
fn exit_codes_are_0_1_and_2() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["--config", "configs/edge.toml"][..], 0),
        (&["--config", "configs/rig4.toml"], 0),
        (&["--config", "configs/edge.toml", "--kind", "cloud"], 1),
        (&["--config", "nowhere.toml"], 1),
        (&[], 2),
        (&["--config", "configs/edge.toml", "--kind", "toaster"], 2),
    ] {
        let (code, out, err) = check(folder.path(), arguments);
        assert_eq!(code, expected, "{arguments:?}\n{out}{err}");
        assert!(code == 0 || !err.is_empty());
    }
}

#[test]
fn what_check_passes_the_edge_takes() {
    // The edge says the same of the same file.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.toml");
    let text =
        "rig = 'car'\nmodel = 'testdata/models/msao-edge'\n[[video]]\nsource = 'rtsp://camera/1'\n";
    let edge = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let mut command: Command = msao(folder.path());
        command.args(["edge", "--print-pipeline", "--config"]);
        command.arg(&path).output().unwrap()
    };
    let (code, out, err) = check_text(text, &[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(edge(text).status.success());
    let bad = format!("{text}gate = {{ threshold = 2, hysteresis = 3 }}\n");
    let (code, ..) = check_text(&bad, &[]);
    let (_, err) = texts(&edge(&bad));
    assert_eq!(code, 1);
    assert!(
        err.contains("gate.threshold is 2") && err.contains("gate.hysteresis is 3"),
        "{err}"
    );
}

#[test]
fn a_name_that_is_not_utf_8_and_a_reader_that_has_gone_are_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let odd = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    let file = odd(b"\xff.toml");
    std::fs::write(&file, "rig = 'car.7'").unwrap();
    let mut command = msao(folder.path());
    let output = command.args(["check", "--json", "--config"]).arg(&file);
    let output = output.output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["file"], file.to_string_lossy().as_ref());

    let mut command = msao(folder.path());
    let output = command.args(["demo", "--video"]).arg(odd(b"\xff.mp4"));
    let output = output.output().unwrap();
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("rename it"), "{err}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = msao(folder.path());
    command.args(["check", "--config", "nowhere.toml"]);
    let status = command.stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
}
