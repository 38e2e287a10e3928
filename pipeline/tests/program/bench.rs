//! The benchmark of edge and cloud, with few windows on one link.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use crate::common::{msao, processes_of, texts};

/// Windows that differ, with a picture, a second of sound and of seven channels at 100 a second.
fn windows(folder: &Path, count: u32) {
    let mut items = String::new();
    for n in 0..count {
        let name = |kind: &str| format!("{n}.{kind}");
        let picture = RgbImage::from_fn(224, 224, |x, y| {
            let inside = (40 + 10 * n..140).contains(&x) && (60..160).contains(&y);
            Rgb(if inside {
                [200, 30, 30]
            } else {
                [(x ^ y) as u8, 120, (y / 2) as u8]
            })
        });
        picture.save(folder.join(name("png"))).unwrap();
        let floats = |count: u32, step: f32| -> Vec<u8> {
            let value = |i: u32| 0.1 * (i as f32 * step * (n + 1) as f32).sin();
            (0..count).flat_map(|i| value(i).to_le_bytes()).collect()
        };
        std::fs::write(folder.join(name("f32")), floats(16_000, 0.3)).unwrap();
        std::fs::write(folder.join(name("imu")), floats(700, 0.1)).unwrap();
        let (prompt, kind) = match n % 2 {
            0 => ("What is heard?", "heard"),
            _ => ("describe", "caption"),
        };
        let item = json!({
            "image": name("png"), "audio": name("f32"), "sensor": name("imu"),
            "prompt": prompt, "kind": kind, "right": ["a red square"],
        });
        items += &format!("{item}\n");
    }
    std::fs::write(folder.join("items.jsonl"), items).unwrap();
    let flops = json!({
        "vision": 1e6, "picture": 49, "projector": {"video": 10.0, "audio": 10.0, "sensor": 10.0},
        "token": 1e3, "attention": 1.0,
    });
    std::fs::write(folder.join("flops.json"), flops.to_string()).unwrap();
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn each_method_captions_the_same_windows_in_its_own_way() {
    let folder = tempfile::tempdir().unwrap();
    windows(folder.path(), 6);
    let out = folder.path().join("out");
    let output = msao(folder.path())
        .args([
            "bench",
            "offload",
            "--mode",
            "proxy",
            "--links",
            "20 Mbit/s",
        ])
        .args(["--methods", "cloud only,edge only,layer split,MSAO"])
        .args(["--seconds", "0.9", "--pace", "150", "--windows"])
        .arg(folder.path().join("items.jsonl"))
        .arg("--flops")
        .arg(folder.path().join("flops.json"))
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    let (text, errors) = texts(&output);
    assert!(output.status.success(), "{text}\n{errors}");
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());

    let mut by_method: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines(&out.join("windows.jsonl")) {
        let method = line["method"].as_str().unwrap().to_owned();
        by_method
            .entry(method)
            .or_default()
            .push(line["window"].clone());
    }
    assert_eq!(by_method.len(), 4);
    let tokens = |window: &Value| -> u64 {
        let tokens = window["tokens"].as_object().unwrap();
        tokens.values().map(|count| count.as_u64().unwrap()).sum()
    };
    for (method, windows) in &by_method {
        let items: Vec<u64> = windows
            .iter()
            .map(|w| w["item"].as_u64().unwrap())
            .collect();
        assert_eq!(items, [0, 1, 2, 3, 4, 5], "{method}");
        for window in windows {
            let (drafted, sent) = (!window["draft"].is_null(), !window["cloud"].is_null());
            assert!(!window["last"].is_null(), "{method}: {window}");
            match method.as_str() {
                "cloud only" => {
                    assert!(!drafted && sent, "{window}");
                    assert_eq!(
                        (window["keyframe"].as_bool(), tokens(window)),
                        (Some(true), 60)
                    );
                }
                "edge only" => assert!(drafted && !sent && tokens(window) == 0, "{window}"),
                "layer split" => assert!(!drafted && sent && tokens(window) == 109, "{window}"),
                _ => {
                    assert!(drafted && tokens(window) < 109, "{window}");
                    let first = window["draft"]["after"].as_f64().unwrap();
                    assert!(
                        first <= window["last"]["after"].as_f64().unwrap(),
                        "{window}"
                    );
                    assert_eq!(sent, window["decision"] != "keep", "{window}");
                }
            }
        }
    }

    let results = std::fs::read_to_string(out.join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let cells = results["cells"].as_array().unwrap();
    let figure = |method: &str, name: &str| {
        let cell = cells.iter().find(|cell| cell["method"] == method).unwrap();
        cell[name].as_f64().unwrap()
    };
    assert!(figure("cloud only", "bytes_up") > figure("layer split", "message_bytes") / 2.0);
    assert!(figure("layer split", "bytes_up") > figure("edge only", "bytes_up"));
    // The whole of the payload goes over the link, not beside it.
    for method in by_method.keys() {
        let (link, messages) = (figure(method, "bytes_up"), figure(method, "message_bytes"));
        assert!(link >= messages, "{method}: {link} of {messages}");
        assert_eq!(
            figure(method, "cloud_flops") > 0.0,
            method != "edge only",
            "{method}"
        );
    }
    assert!(figure("cloud only", "cloud_flops") > 1e6);
    for name in ["edge_memory", "cloud_memory"] {
        let memory = results["all_links"][0][name].as_f64().unwrap();
        assert!(memory > 1e6, "{name}: {memory}");
    }
    for name in ["accuracy", "final-p50", "bytes-up", "memory"] {
        let svg = std::fs::read_to_string(out.join(name).with_extension("svg")).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("MSAO"), "{name}");
    }
    assert!(
        text.contains("20 Mbit/s") && text.contains("FLOPs in the cloud, 65 % less"),
        "{text}"
    );
}

/// The table of `bench/paper_scale_table.py`, of windows as the benchmark writes them.
#[test]
fn what_was_sent_is_put_into_figures_of_the_papers_size() {
    let folder = tempfile::tempdir().unwrap();
    let step = |ms: f64| json!({"ms": 2.0 * ms, "graph_ms": ms, "flops": ms * 1e11});
    let kept = |share: f64, prefill: f64, decode: f64, verify: f64| json!({"share": share, "prefill": step(prefill), "decode": step(decode), "verify": step(verify)});
    let encoder = json!({"ms": 100.0, "graph_ms": null, "flops": 1e13});
    let kept = [kept(1.0, 40.0, 10.0, 12.0), kept(0.5, 20.0, 8.0, 10.0)];
    let picture = json!({"encoder": encoder, "kept": kept});
    let scale = json!({
        "draft_tokens": 10,
        "models": {"Qwen2.5-VL-7B": {"pictures": {"1280 x 720": picture}}},
    });
    let draft = json!({"after": 0.1, "text": "a", "tokens": 4});
    let window = |method: &str,
                  decision: &str,
                  video: u32,
                  keyframe: bool,
                  accepted: Option<u32>| {
        let window = json!({
            "decision": decision, "tokens": {"video": video}, "keyframe": keyframe,
            "draft": accepted.map(|_| &draft), "verified": accepted.is_some(), "accepted": accepted,
        });
        json!({"method": method, "link": "20 Mbit/s", "window": window}).to_string()
    };
    let windows = [
        window("cloud only", "offload", 0, true, None),
        window("edge only", "keep", 0, false, None),
        window("layer split", "offload", 49, false, None),
        window("MSAO", "keep", 0, false, None),
        // Fewer than were measured: taken for half of them.
        window("MSAO", "verify", 12, false, Some(2)),
        window("MSAO", "verify", 49, false, Some(4)),
    ];
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("scale.json"), scale.to_string()).unwrap();
    std::fs::write(at("windows.jsonl"), windows.join("\n")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/paper_scale_table.py");
    let table = |windows: &str| {
        let mut python = Command::new("python3");
        python.arg(&script).arg(at(windows)).arg(at("scale.json"));
        texts(&python.output().unwrap())
    };
    let (found, errors) = table("windows.jsonl");
    for row in [
        // The encoder 100, the prefill 40, ten steps of 10.
        "| cloud only | 100 % | 100 % |  | 240 ms | 240 ms | 24.00 | 100 % |",
        "| edge only | 0 % |  |  |  | 0 ms | 0.00 | 0 % |",
        "| layer split | 100 % | 100 % |  | 140 ms | 140 ms | 14.00 | 58 % |",
        // 20 + 10 + five steps of 8, and 40 + 12.
        "| MSAO | 67 % | 62 % | 75 % | 61 ms | 41 ms | 4.07 | 17 % |",
    ] {
        assert!(found.contains(row), "{row}\n{found}\n{errors}");
    }
    assert!(found.contains("(measured)") && found.contains("(calculated)"));
    std::fs::write(at("none.jsonl"), "").unwrap();
    let (_, errors) = table("none.jsonl");
    assert!(errors.contains("make bench-offload"), "{errors}");
    // The figures that ship are of the form that it reads.
    let mut python = Command::new("python3");
    let (found, errors) = texts(
        &python
            .arg(&script)
            .arg(at("windows.jsonl"))
            .output()
            .unwrap(),
    );
    assert!(
        found.contains("| layer split | 100 % | 100 % |  | 145 ms |"),
        "{found}\n{errors}"
    );
}

#[test]
fn what_cannot_be_measured_is_named() {
    let folder = tempfile::tempdir().unwrap();
    windows(folder.path(), 1);
    for (arguments, word) in [
        (
            vec!["--windows", "nowhere/items.jsonl"],
            "nowhere/items.jsonl",
        ),
        (vec!["--methods", "magic"], "layer split"),
        (vec!["--links", "5G"], "LTE trace"),
    ] {
        let items = folder.path().join("items.jsonl");
        let mut command = msao(folder.path());
        command
            .args(["bench", "offload", "--out"])
            .arg(folder.path().join("out"));
        if !arguments.contains(&"--windows") {
            command.arg("--windows").arg(items);
        }
        let output = command.args(&arguments).output().unwrap();
        let (_, errors) = texts(&output);
        assert!(
            !output.status.success() && errors.contains(word),
            "{errors}"
        );
    }
}

#[test]
fn cameras_cost_cpu_time_with_our_elements_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let output = msao(folder.path())
        .args([
            "bench",
            "cameras",
            "--frames",
            "60",
            "--rounds",
            "1",
            "--heights",
            "180",
        ])
        .args(["--work".as_ref(), folder.path().as_os_str()])
        .args(["--out".as_ref(), folder.path().as_os_str()])
        .env("GST_DEBUG", "msaovideomas:4")
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");
    // What GStreamer is asked to log goes where the program's own log goes.
    let line = err.lines().find(|line| line.contains("probe runs on"));
    let line = line.unwrap_or_else(|| panic!("{err}"));
    assert!(
        line.contains("INFO") && line.contains("gstmsao") && line.contains("msaovideomas"),
        "{line}"
    );
    let results = std::fs::read_to_string(folder.path().join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let costs = results["costs"].as_array().unwrap();
    assert_eq!(costs.len(), 3 * 4, "{out}");
    for of_scene in costs.chunks(4) {
        let value = |way: usize, key: &str| of_scene[way][key].as_f64().unwrap();
        // Nothing, T0, T1 now and then, T1 as T0 asks.
        let probed: Vec<f64> = (0..4).map(|way| value(way, "probed")).collect();
        assert_eq!(probed[0], 0.0, "{out}");
        assert!(probed.is_sorted() && probed[3] <= 1.1, "{out}");
        for way in 0..4 {
            let more = value(way, "ms") / value(0, "ms") - 1.0;
            assert!(
                value(way, "ms") > 0.0 && (value(way, "more") - more).abs() < 1e-9,
                "{out}"
            );
        }
    }
    // The clips are kept.
    let clips = std::fs::read_dir(folder.path()).unwrap().flatten();
    let clips = clips.filter(|file| file.path().extension().is_some_and(|end| end == "mkv"));
    assert_eq!(clips.count(), 3);
}
