//! Fetching a file: resumed where it was cut, and put in its place only when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use cloud_sink::tls;
use indicatif::{ProgressBar, ProgressStyle};
use ureq::http::StatusCode;

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
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .tls_config(tls::trust(ca).map_err(|problem| anyhow!("--ca: {problem}"))?)
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .build()
        .into();
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
            fs::remove_file(&part).with_context(written)?;
            let what = match found {
                State::Other(what) => what,
                _ => "is gone".to_owned(),
            };
            bail!(
                "what came from {url} {what}: it is thrown away; is the manifest's file still there?"
            )
        }
    }
}

/// Another try would not help.
#[derive(Debug, thiserror::Error)]
enum Hopeless {
    #[error("the server answers {0}")]
    Refused(StatusCode),
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
    let (there, file) = match answer.status() {
        StatusCode::PARTIAL_CONTENT => (there, OpenOptions::new().append(true).open(part)),
        // All of it, whatever was asked for.
        StatusCode::OK => (0, File::create(part)),
        status if status.is_server_error() => bail!("the server answers {status}"),
        status => return Err(Hopeless::Refused(status).into()),
    };
    let mut file = file.with_context(|| format!("cannot write {}", part.display()))?;
    bar.set_position(there);
    // One more than there should be tells that it is another file.
    let body = answer
        .into_body()
        .into_reader()
        .take(entry.bytes - there + 1);
    let copied = io::copy(&mut bar.wrap_read(body), &mut file);
    file.flush()?;
    let copied = copied.context("the connection was lost")?;
    if there + copied < entry.bytes {
        bail!(
            "the connection was lost after {} of {} bytes",
            there + copied,
            entry.bytes
        );
    }
    Ok(())
}
