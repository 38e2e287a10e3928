//! `msao models` against a web server that can cut a download.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use crate::common::{msao, texts};

#[path = "../../../cloud-sink/tests/common/https.rs"]
mod https;

/// What a request asked for: its path, and from which byte on.
type Asked = Arc<Mutex<Vec<(String, Option<usize>)>>>;

/// Serves `content` as every file but `/none`, and hangs up after `cut` bytes of the first answer. Returns its address.
fn serve(content: Vec<u8>, cut: usize, asked: Asked) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = head
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else {
                continue;
            };
            let range = head.iter().find_map(|line| {
                let line = line.to_lowercase();
                line.strip_prefix("range: bytes=")?
                    .strip_suffix('-')?
                    .parse()
                    .ok()
            });
            let first = asked.lock().unwrap().is_empty();
            asked.lock().unwrap().push((path.to_owned(), range));
            if path == "/none" {
                stream
                    .write_all(
                        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    )
                    .unwrap();
                continue;
            }
            let length = content.len();
            if range.is_some_and(|from| from >= length) {
                let head = format!(
                    "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{length}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).unwrap();
                continue;
            }
            let rest = &content[range.unwrap_or(0)..];
            let status = if range.is_some() {
                "206 Partial Content"
            } else {
                "200 OK"
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                rest.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            let sent = if first {
                cut.min(rest.len())
            } else {
                rest.len()
            };
            // The client may have had enough.
            let _ = stream.write_all(&rest[..sent]);
        }
    });
    format!("http://{address}")
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

fn manifest(folder: &Path, files: &[(&str, &str, usize, &str)]) {
    let mut text = "[[model]]\nname = 'tiny'\nabout = 'a test'\nlicence = 'MIT'\n".to_owned();
    for (path, url, bytes, sha256) in files {
        write!(
            text,
            "[[model.file]]\npath = '{path}'\nurl = '{url}'\nbytes = {bytes}\nsha256 = '{sha256}'\n"
        )
        .unwrap();
    }
    std::fs::write(folder.join("models.toml"), text).unwrap();
}

fn models(folder: &Path, words: &[&str]) -> Output {
    let mut command = msao(folder);
    command.arg("models").args(words);
    command.arg("--manifest").arg(folder.join("models.toml"));
    command.arg("--folder").arg(folder.join("here"));
    command.output().unwrap()
}

#[test]
fn a_pull_that_is_cut_goes_on_where_it_was_and_what_is_whole_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..300_000_u32).map(|i| (i * 7 % 251) as u8).collect();
    let asked = Asked::default();
    let url = serve(content.clone(), 100_000, Arc::clone(&asked));
    let (bytes, digest) = (content.len(), hex(&content));
    let (a, b) = (format!("{url}/a"), format!("{url}/b"));
    manifest(
        folder.path(),
        &[
            ("a.onnx", &a, bytes, &digest),
            ("onnx/b.onnx", &b, bytes, &digest),
        ],
    );

    let (out, _) = texts(&models(folder.path(), &["list"]));
    assert!(
        out.contains("tiny") && out.contains("not here") && out.contains("MIT"),
        "{out}"
    );
    let missing = models(folder.path(), &["verify"]);
    let (out, err) = texts(&missing);
    assert!(
        !missing.status.success()
            && out.contains("onnx/b.onnx is missing")
            && err.contains("2 files"),
        "{out}{err}"
    );

    let pulled = models(folder.path(), &["pull", "tiny"]);
    let (out, err) = texts(&pulled);
    assert!(pulled.status.success(), "{out}{err}");
    let got = asked.lock().unwrap().clone();
    let expected = [("/a", None), ("/a", Some(100_000)), ("/b", None)];
    assert_eq!(got, expected.map(|(path, from)| (path.to_owned(), from)));
    assert_eq!(
        std::fs::read(folder.path().join("here/tiny/onnx/b.onnx")).unwrap(),
        content
    );
    assert!(models(folder.path(), &["verify"]).status.success());

    // One that was damaged is fetched again, and that alone.
    let damaged = folder.path().join("here/tiny/a.onnx");
    std::fs::write(&damaged, vec![0; bytes]).unwrap();
    let (out, _) = texts(&models(folder.path(), &["verify"]));
    assert!(out.contains("a.onnx has the SHA-256"), "{out}");
    assert!(models(folder.path(), &["pull"]).status.success());
    assert_eq!(asked.lock().unwrap()[3..], [("/a".to_owned(), None)]);
    assert_eq!(std::fs::read(damaged).unwrap(), content);
}

#[test]
fn a_server_over_https_is_trusted_by_the_authority_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let content = vec![7; 1000];
    let plain = serve(content.clone(), 300, Asked::default());
    let plain = plain.strip_prefix("http://").unwrap().parse().unwrap();
    let ca = folder.path().join("ca.pem");
    let address = https::in_front_of(plain, "127.0.0.1", &ca);
    let url = format!("https://{address}/a");
    manifest(folder.path(), &[("a", &url, content.len(), &hex(&content))]);

    let refused = models(folder.path(), &["pull"]);
    let (_, error) = texts(&refused);
    assert!(
        !refused.status.success()
            && ["invalid peer certificate", "give --ca", &url]
                .iter()
                .all(|words| error.contains(words)),
        "{error}"
    );
    let missing = models(folder.path(), &["pull", "--ca", "/no/such.pem"]);
    let (_, error) = texts(&missing);
    assert!(
        error.contains("--ca: /no/such.pem cannot be read"),
        "{error}"
    );

    // The first answer is cut: what is gone on with is trusted in the same way.
    let pulled = models(folder.path(), &["pull", "--ca", &ca.to_string_lossy()]);
    let (out, error) = texts(&pulled);
    assert!(pulled.status.success(), "{out}{error}");
    let here = std::fs::read(folder.path().join("here/tiny/a")).unwrap();
    assert_eq!(here, content);
}

#[test]
fn what_cannot_be_fetched_is_named_with_the_mend_and_leaves_nothing_wrong_behind() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve(vec![1; 1000], 1000, Asked::default());
    let pull = |path: &str, bytes: usize| {
        let url = if path == "gone" {
            "http://127.0.0.1:1/gone".to_owned()
        } else {
            format!("{url}/{path}")
        };
        manifest(folder.path(), &[("a", &url, bytes, &hex(&[2; 1000]))]);
        let output = models(folder.path(), &["pull"]);
        assert!(!output.status.success());
        let left: Vec<_> = std::fs::read_dir(folder.path().join("here/tiny"))
            .unwrap()
            .collect();
        assert!(left.is_empty(), "{left:?}");
        texts(&output).1
    };
    for (path, bytes, words) in [
        ("other", 1000, ["has the SHA-256", "thrown away"]),
        ("longer", 999, ["has 1000 bytes, not 999", "thrown away"]),
        ("shorter", 1001, ["has 1000 bytes, not 1001", "thrown away"]),
        ("none", 1000, ["404", "copy the file to"]),
        ("gone", 1000, ["http://127.0.0.1:1/gone", "online"]),
    ] {
        let error = pull(path, bytes);
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    // What came of another file before is gone, too: else each pull would go on from there.
    let part = folder.path().join("here/tiny/a.part");
    std::fs::write(part, [2; 1500]).unwrap();
    let error = pull("shorter", 2000);
    assert!(error.contains("has 1000 bytes, not 2000"), "{error}");
    let unknown = models(folder.path(), &["pull", "huge"]);
    assert!(
        texts(&unknown)
            .1
            .contains("there is no model 'huge': there are tiny")
    );
}

#[test]
fn a_full_disk_is_said_to_be_one_and_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let asked = Asked::default();
    let url = format!("{}/a", serve(vec![1; 1000], 1000, Arc::clone(&asked)));
    manifest(folder.path(), &[("a", &url, 1000, &hex(&[1; 1000]))]);
    let here = folder.path().join("here/tiny");
    std::fs::create_dir_all(&here).unwrap();
    std::os::unix::fs::symlink("/dev/full", here.join("a.part")).unwrap();
    let output = models(folder.path(), &["pull"]);
    let (_, error) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("a.part: No space left") && !error.contains("connection"),
        "{error}"
    );
    assert_eq!(asked.lock().unwrap().len(), 1);
}
