//! The gst-launch lines of the README and the docs run.

use std::process::Command;

use crate::common::{models, plugin_folder, root, texts};
use broker::test_server::TestServer;

/// Every command in a fenced block of `page` that begins with `program`, its continuation lines joined.
fn commands(page: &str, program: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(page))
        .unwrap()
        .replace("\\\n", " ");
    let blocks = text.split("```").skip(1).step_by(2);
    let lines =
        blocks.flat_map(|block| block.lines().skip(1).map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|line| line.starts_with(program)).collect()
}

#[test]
fn gst_launch_lines_run() {
    let server = TestServer::start();
    let folder = plugin_folder();
    let (model, _) = models();
    // Lines that write files write them into a folder of their own.
    let work = tempfile::tempdir().unwrap();
    for name in [".cache", "testdata"] {
        std::os::unix::fs::symlink(root().join(name), work.path().join(name)).unwrap();
    }
    let mut ran = 0;
    for page in ["README.md", "docs/elements.md"] {
        for line in commands(page, "gst-launch-1.0") {
            let here = line.replace("nats://127.0.0.1:4222", &server.url());
            let output = Command::new("sh")
                .args(["-c", &format!("timeout 300 {here}")])
                .current_dir(work.path())
                .env("GST_PLUGIN_PATH", folder.path())
                .env("GST_REGISTRY", folder.path().join("registry.bin"))
                .env(
                    "ORT_DYLIB_PATH",
                    root().join(".cache/onnxruntime/libonnxruntime.so"),
                )
                .env("MSAO_MODEL_DIR", &model)
                .output()
                .unwrap();
            let (out, err) = texts(&output);
            assert!(output.status.success(), "{page}: {line}\n{out}\n{err}");
            assert!(
                !out.contains("ERROR") && !err.contains("ERROR"),
                "{page}: {line}\n{out}\n{err}"
            );
            ran += 1;
        }
    }
    assert!(ran >= 5, "only {ran} lines were found");
}
