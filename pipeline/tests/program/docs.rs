//! The gst-launch lines of the README and the docs run.

use std::path::Path;
use std::process::Command;

use crate::common::{models, msao, plugin_folder, root, texts};
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

/// What a line prints to, run by a shell in `work` as the docs have it, with `msao` on the PATH.
fn shell(work: &Path, url: &str, line: &str) {
    let path = std::env::var("PATH").unwrap();
    let output = msao(work)
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .fold(Command::new("sh"), |mut command, (name, value)| {
            command.env(name, value);
            command
        })
        .args(["-c", &format!("timeout 120 {line}")])
        .current_dir(work)
        .env("PATH", format!("{}:{path}", work.join("bin").display()))
        .env("HOME", work)
        .env("MSAO_NATS", url)
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{line}\n{out}\n{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_about_configurations_and_recordings_run() {
    let server = TestServer::start();
    let work = tempfile::tempdir().unwrap();
    for name in [".cache", "testdata", "configs"] {
        std::os::unix::fs::symlink(root().join(name), work.path().join(name)).unwrap();
    }
    for folder in ["bin", ".local/share/bash-completion/completions"] {
        std::fs::create_dir_all(work.path().join(folder)).unwrap();
    }
    let program = work.path().join("bin/msao");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_msao"), program).unwrap();
    crate::record::store(&server, "car").await;
    let text = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut ran = 0;
    for section in [
        "Completions of commands",
        "## Configurations",
        "## Recordings",
    ] {
        let (_, section) = text.split_once(section).unwrap();
        // The block that the section begins with.
        let block = section.split("```").nth(1).unwrap_or_default();
        // One that goes on until it is stopped has a test of its own.
        let lines = block.lines().filter(|line| line.starts_with("msao "));
        for line in lines.filter(|line| !line.contains("--follow")) {
            shell(work.path(), &server.url(), line);
            ran += 1;
        }
    }
    assert!(ran >= 9, "only {ran} lines were found");
    for file in [
        "car.toml",
        "car.vtt",
        "ride.vtt",
        "ride/features-00001.arrows",
    ] {
        assert!(work.path().join(file).exists(), "{file}");
    }
}
