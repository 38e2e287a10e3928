//! What models there are: where their files come from, and what they must be.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A manifest: `[[model]]`, each with its `[[model.file]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    #[serde(default, rename = "model")]
    pub models: Vec<Model>,
}

/// A model: a folder of files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name, and its folder's.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// The licence of its weights.
    pub licence: String,
    #[serde(rename = "file")]
    pub files: Vec<Entry>,
}

/// A file of a model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its path in the model's folder.
    pub path: String,
    /// Where it is fetched; left out for what comes with MSAO.
    pub url: Option<String>,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits in lower case.
    pub sha256: String,
}

/// What a file is found to be.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// As the manifest says.
    Whole,
    /// Not there.
    Missing,
    /// Something else, in words.
    Other(String),
}

impl Manifest {
    /// Checks what the file says.
    ///
    /// # Errors
    /// A name, path, URL or digest is not of its form, or a name or path comes twice.
    pub fn check(&self) -> Result<()> {
        let mut names = HashSet::new();
        for model in &self.models {
            let name = &model.name;
            ensure!(
                is_file_name(name) && names.insert(name),
                "model '{name}': a name is a folder's, and each has its own"
            );
            model.check().with_context(|| format!("model '{name}'"))?;
        }
        Ok(())
    }

    /// The models of these names, or all if there are none.
    ///
    /// # Errors
    /// There is no such model.
    pub fn named(&self, names: &[String]) -> Result<Vec<&Model>> {
        for name in names {
            if self.models.iter().all(|model| model.name != *name) {
                let known: Vec<_> = self.models.iter().map(|m| m.name.as_str()).collect();
                bail!("there is no model '{name}': there are {}", known.join(", "));
            }
        }
        let wanted = |model: &&Model| names.is_empty() || names.contains(&model.name);
        Ok(self.models.iter().filter(wanted).collect())
    }
}

impl Model {
    fn check(&self) -> Result<()> {
        ensure!(!self.files.is_empty(), "it has no file");
        let mut paths = HashSet::new();
        for Entry {
            path, url, sha256, ..
        } in &self.files
        {
            let within = (Path::new(path).components()).all(|c| matches!(c, Component::Normal(_)));
            ensure!(
                within && !path.is_empty() && paths.insert(path),
                "file '{path}': a path is within the model's folder, and each file has its own"
            );
            let scheme = url.as_deref().and_then(|url| url.split_once("://"));
            ensure!(
                url.is_none() || matches!(scheme, Some(("http" | "https", _))),
                "file '{path}': url is neither http:// nor https://"
            );
            let digits = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
            ensure!(
                sha256.len() == 64 && sha256.bytes().all(digits),
                "file '{path}': sha256 is not 64 hexadecimal digits in lower case"
            );
        }
        Ok(())
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Where a file of it is, among the models in `folder`.
    pub fn place(&self, folder: &Path, entry: &Entry) -> PathBuf {
        folder.join(&self.name).join(&entry.path)
    }
}

impl Entry {
    /// What is at `path`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn state(&self, path: &Path) -> Result<State> {
        let at = || format!("cannot read {}", path.display());
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::Missing),
            file => file.with_context(at)?,
        };
        let found = file.metadata().with_context(at)?.len();
        if found != self.bytes {
            let what = format!("has {found} bytes, not {}", self.bytes);
            return Ok(State::Other(what));
        }
        let digest = digest(file).with_context(at)?;
        Ok(if digest == self.sha256 {
            State::Whole
        } else {
            State::Other(format!("has the SHA-256 {digest}, not {}", self.sha256))
        })
    }
}

fn is_file_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    )
}

fn digest(mut file: File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn fault(model: &str) -> String {
        let checked = parse::<Manifest>(model.as_bytes()).and_then(|manifest| manifest.check());
        format!("{:#}", checked.unwrap_err())
    }

    #[test]
    fn mistakes_are_named() {
        let model = |name: &str, file: &str| {
            format!(
                "[[model]]\nname = '{name}'\nabout = 'x'\nlicence = 'MIT'\n[[model.file]]\n{file}\n"
            )
        };
        let digest = "0f".repeat(32);
        let file = |path: &str, url: &str| {
            format!("path = '{path}'\nurl = '{url}'\nbytes = 1\nsha256 = '{digest}'")
        };
        let good = model("a", &file("b/c.onnx", "https://host/c"));
        let manifest: Manifest = parse(good.as_bytes()).unwrap();
        manifest.check().unwrap();
        assert!(
            manifest
                .named(&["b".to_owned()])
                .unwrap_err()
                .to_string()
                .contains("there are a")
        );
        for (text, word) in [
            (model("../a", &file("c", "http://h/c")), "'../a'"),
            (model("a", &file("../c", "http://h/c")), "'../c'"),
            (model("a", &file("/c", "http://h/c")), "'/c'"),
            (model("a", &file("c", "ftp://h/c")), "neither http"),
            (
                model("a", "path = 'c'\nbytes = 1\nsha256 = 'AB'"),
                "64 hexadecimal",
            ),
            (format!("{good}{good}"), "each has its own"),
            (
                model("a", "path = 'c'\nbytes = 1\nsha = 'AB'"),
                "unknown field",
            ),
        ] {
            assert!(fault(&text).contains(word), "{}", fault(&text));
        }
    }

    #[test]
    fn the_manifest_that_comes_with_msao_is_of_the_models_that_do() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let manifest: Manifest = crate::config::load(&root.join("configs/models.toml")).unwrap();
        manifest.check().unwrap();
        for model in &manifest.models {
            for file in model.files.iter().filter(|file| file.url.is_none()) {
                let path = model.place(&root.join("testdata/models"), file);
                assert_eq!(
                    file.state(&path).unwrap(),
                    State::Whole,
                    "{}",
                    path.display()
                );
            }
        }
    }
}
