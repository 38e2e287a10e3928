//! What the tests of the program share.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A sample video.
pub fn media(name: &str) -> PathBuf {
    let path = root().join(".cache/media").join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make setup`",
        path.display()
    );
    path
}

/// `msao`, run from the workspace, with its temporary files in `folder`.
pub fn msao(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msao"));
    let library = root().join(".cache/onnxruntime/libonnxruntime.so");
    assert!(
        library.exists(),
        "{} is missing: run `make setup`",
        library.display()
    );
    command
        .current_dir(root())
        .env("TMPDIR", folder)
        .stdin(Stdio::null());
    command.env("ORT_DYLIB_PATH", library);
    command.env("NATS_SERVER", root().join(".cache/bin/nats-server"));
    command
}

/// What a command wrote to standard output and standard error.
pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Command lines of processes that name `folder`.
pub fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&folder))
        .collect()
}

/// A folder with the plugin as built for this test, and nothing else.
pub fn plugin_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let built = std::env::current_exe()
        .unwrap()
        .with_file_name("libgstmsao.so");
    std::os::unix::fs::symlink(&built, folder.path().join("libgstmsao.so")).unwrap();
    folder
}

/// A copy in `folder` of a model that ships, which hears and feels: with encoders of random weights if it does not yet.
pub fn model_with_senses(name: &str, folder: &Path) -> PathBuf {
    let copy = folder.join(name);
    std::fs::create_dir(&copy).unwrap();
    let link = |from: &Path| {
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            let to = copy.join(entry.file_name());
            if !to.exists() {
                std::os::unix::fs::symlink(entry.path(), to).unwrap();
            }
        }
    };
    let read = |path: &Path| -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let (model, encoders) = (
        root().join("testdata/models").join(name),
        root().join("testdata/encoders"),
    );
    let mut config = read(&model.join("config.json"));
    if config.contains_key("audio_encoder") {
        link(&model);
        return copy;
    }
    config.extend(read(&encoders.join("hops.json")));
    std::fs::write(
        copy.join("config.json"),
        serde_json::to_vec(&config).unwrap(),
    )
    .unwrap();
    link(&model);
    link(&encoders);
    copy
}
