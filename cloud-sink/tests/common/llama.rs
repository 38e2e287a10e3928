//! llama.cpp's server with a tiny model that sees.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// The key that it asks for.
pub const KEY: &str = "sk-tiny-0123456789";

/// A running server; it ends with its handle.
pub struct Llama {
    process: Child,
    pub url: String,
}

impl Llama {
    pub fn start() -> Self {
        let workspace = |path| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        let packages = workspace(".cache/llama");
        assert!(
            packages.join("xllamacpp").is_dir(),
            "there is no {}: run `setup/setup.sh llama`",
            packages.display()
        );
        let mut process = Command::new("python3")
            .arg(workspace("models/tiny_gguf/serve.py"))
            .arg(workspace("testdata/tiny_gguf"))
            .env("PYTHONPATH", packages)
            .env("MODEL_KEY", KEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut address).unwrap();
        assert!(
            address.starts_with("http://127.0.0.1:"),
            "it said `{address}`: does python3 import xllamacpp?"
        );
        let url = format!("{}/v1", address.trim());
        Self { process, url }
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
