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

/// Runs `command` to its end, which is to be in order; gives what it wrote.
pub fn finished(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    (out, err)
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

/// The folders of the edge model and the full model.
pub fn models() -> (PathBuf, PathBuf) {
    let ships = |name: &str| root().join("testdata/models").join(name);
    (ships("msao-edge"), ships("msao-cloud"))
}

/// A copy in `folder` of the model folder `model`.
pub fn copy_of(model: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join(model.file_name().unwrap());
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(model).unwrap().flatten() {
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    copy
}
