//! Fetching a file: resumed where it was cut, and put in its place only when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use cloud_sink::tls;
use indicatif::{ProgressBar, ProgressStyle};
use ureq::Body;
use ureq::http::{Response, StatusCode, header};

use super::manifest::{Entry, State};

/// Tries in a row that bring nothing.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// How long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Fetches `entry` to `place`, from a server that the authorities in the PEM file `ca` vouch for, or those that browsers trust.
///
/// # Errors
/// It has no URL, the server is not reached, not trusted or does not have it, what comes is not what the manifest says, or it cannot be
/// written.
pub fn pull(entry: &Entry, place: &Path, ca: Option<&Path>) -> Result<()> {
    let Some(url) = &entry.url else {
        bail!(
            "{} is in no other place: it comes with MSAO's source",
            place.display()
        );
    };
    let part = place.with_added_extension("part");
    let written = || format!("cannot write {}", part.display());
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder).with_context(written)?;
    }
    let bar = ProgressBar::new(entry.bytes).with_message(entry.path.clone());
    bar.set_style(ProgressStyle::with_template(
        "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta}",
    )?);
    let agent = agent(ca, PATIENCE)?;
    let mut failures = 0;
    loop {
        let there = fs::metadata(&part).map_or(0, |part| part.len());
        let fetched = if there < entry.bytes {
            fetch(&agent, url, entry, &part, there, &bar)
        } else {
            Ok(())
        };
        let Err(error) = fetched else { break };
        let more = fs::metadata(&part).map_or(0, |part| part.len()) > there;
        failures = if more { 0 } else { failures + 1 };
        if let Some(Hopeless::Other(what)) = error.downcast_ref() {
            bar.abandon();
            return Err(thrown_away(url, what, &part));
        }
        if failures == TRIES || error.downcast_ref::<Hopeless>().is_some() {
            bar.abandon();
            return Err(error.context(format!(
                "cannot fetch {url}: what came is kept, and the next pull goes on from there; or copy the file to {}",
                place.display()
            )));
        }
        std::thread::sleep(PAUSE * failures);
    }
    bar.finish_and_clear();
    match entry.state(&part)? {
        State::Whole => fs::rename(&part, place).with_context(written),
        found => {
            let what = match found {
                State::Other(what) => what,
                _ => "is gone".to_owned(),
            };
            Err(thrown_away(url, &what, &part))
        }
    }
}

fn agent(ca: Option<&Path>, patience: Duration) -> Result<ureq::Agent> {
    let config = ureq::Agent::config_builder()
        .tls_config(tls::trust(ca).map_err(|problem| anyhow!("--ca: {problem}"))?)
        .http_status_as_error(false)
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience));
    Ok(config.build().into())
}

/// What is at `url` is another file: removes what came of it.
fn thrown_away(url: &str, what: &str, part: &Path) -> anyhow::Error {
    if let Err(error) = fs::remove_file(part)
        && error.kind() != ErrorKind::NotFound
    {
        return anyhow!(error).context(format!("cannot remove {}", part.display()));
    }
    anyhow!(
        "what is at {url} {what}: what came is thrown away; is the manifest's file still there?"
    )
}

/// Another try would not help.
#[derive(Debug, thiserror::Error)]
enum Hopeless {
    #[error("the server answers {0}")]
    Refused(StatusCode),
    #[error("it {0}")]
    Other(String),
    #[error("cannot write {}: {error}", path.display())]
    Unwritten { path: PathBuf, error: io::Error },
    #[error(
        "{0}: give --ca the PEM file of the authority that signed the server's certificate, or correct the URL's host"
    )]
    Untrusted(ureq::Error),
}

/// Fetches what is missing after the first `there` bytes.
fn fetch(
    agent: &ureq::Agent,
    url: &str,
    entry: &Entry,
    part: &Path,
    there: u64,
    bar: &ProgressBar,
) -> Result<()> {
    let mut request = agent.get(url);
    if there > 0 {
        request = request.header("Range", format!("bytes={there}-"));
    }
    let answer = match request.call() {
        Err(error) if tls::is_untrusted(&error) => return Err(Hopeless::Untrusted(error).into()),
        answer => answer.context("is this machine online?")?,
    };
    if let Some(found) = length(&answer).filter(|found| *found != entry.bytes) {
        let what = format!("has {found} bytes, not {}", entry.bytes);
        return Err(Hopeless::Other(what).into());
    }
    let (there, file) = match answer.status() {
        StatusCode::PARTIAL_CONTENT => (there, OpenOptions::new().append(true).open(part)),
        // All of it, whatever was asked for.
        StatusCode::OK => (0, File::create(part)),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let what = format!("is shorter than {} bytes", entry.bytes);
            return Err(Hopeless::Other(what).into());
        }
        status if status.is_server_error() => bail!("the server answers {status}"),
        status => return Err(Hopeless::Refused(status).into()),
    };
    let unwritten = |error| Hopeless::Unwritten {
        path: part.to_path_buf(),
        error,
    };
    let mut file = file.map_err(unwritten)?;
    bar.set_position(there);
    // One more than there should be tells that it is another file.
    let body = answer
        .into_body()
        .into_reader()
        .take(entry.bytes - there + 1);
    let mut body = bar.wrap_read(body);
    let (mut copied, mut buffer) = (0, vec![0; 1 << 16]);
    loop {
        let read = body.read(&mut buffer).context("the connection was lost")?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(unwritten)?;
        copied += read as u64;
    }
    if there + copied < entry.bytes {
        bail!(
            "the connection was lost after {} of {} bytes",
            there + copied,
            entry.bytes
        );
    }
    Ok(())
}

/// How many bytes the server says that its whole file has.
fn length(answer: &Response<Body>) -> Option<u64> {
    let header = |name| answer.headers().get(name)?.to_str().ok();
    let length = match answer.status() {
        StatusCode::OK => header(header::CONTENT_LENGTH)?,
        // bytes 100-999/1000
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            header(header::CONTENT_RANGE)?.rsplit_once('/')?.1
        }
        _ => return None,
    };
    length.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_server_that_falls_silent_is_given_up_and_what_came_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a", listener.local_addr().unwrap());
        let (done, until) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&[7; 400]).unwrap();
            // The connection stays open.
            let _ = until.recv();
        });
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("a.part");
        let entry = Entry {
            path: "a".to_owned(),
            url: Some(url.clone()),
            bytes: 1000,
            sha256: String::new(),
        };
        let agent = agent(None, Duration::from_millis(200)).unwrap();
        let fetched = fetch(&agent, &url, &entry, &part, 0, &ProgressBar::hidden());
        let error = format!("{:#}", fetched.unwrap_err());
        assert!(error.contains("timeout"), "{error}");
        assert_eq!(fs::read(&part).unwrap(), [7; 400]);
        drop(done);
        server.join().unwrap();
    }
}
