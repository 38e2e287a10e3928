//! A recording: a folder of files with feature windows, `features-00001.arrows`, and files with captions, `captions-00001.jsonl`.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use broker::recording::{FileError, Reader, Writer};
use broker::{Caption, FeatureWindow, Rig, limits, subjects};

const FEATURES: (&str, &str) = ("features-", ".arrows");
const CAPTIONS: (&str, &str) = ("captions-", ".jsonl");

/// When a file ends and the next one begins.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// At most so many bytes, and one message.
    pub bytes: u64,
    /// At most so long.
    pub age: Duration,
}

/// A recording that is being written.
pub struct Folder {
    path: PathBuf,
    rotation: Rotation,
    features: Option<(Writer<BufWriter<File>>, Instant)>,
    captions: Option<(BufWriter<File>, u64, Instant)>,
    /// The numbers of the files that were begun.
    files: (u32, u32),
}

impl Folder {
    /// Begins a recording.
    ///
    /// # Errors
    /// The folder cannot be made, or holds a recording already.
    pub fn create(path: &Path, rotation: Rotation) -> Result<Self> {
        let made = fs::create_dir_all(path);
        made.with_context(|| format!("cannot make the folder {}", path.display()))?;
        ensure!(
            files(path, FEATURES)?.is_empty() && files(path, CAPTIONS)?.is_empty(),
            "{} holds a recording already: name another folder",
            path.display()
        );
        Ok(Self {
            path: path.to_owned(),
            rotation,
            features: None,
            captions: None,
            files: (0, 0),
        })
    }

    /// Appends an encoded window that came on `subject`. False if it is none, as the log says.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn window(&mut self, subject: &str, message: &[u8]) -> Result<bool> {
        let window = FeatureWindow::decode(message).map_err(anyhow::Error::new);
        if !is_of_rig(subject, window.map(|window| window.id.rig)) {
            return Ok(false);
        }
        let Rotation { bytes, age } = self.rotation;
        let goes_on = match &mut self.features {
            Some((writer, begun)) if writer.bytes() < bytes && begun.elapsed() < age => {
                writer.push(message)
            }
            _ => Ok(false),
        };
        // The first of a file, or the first of another schema.
        if !goes_on.map_err(|error| self.unwritten(error))? {
            self.end_features()?;
            self.files.0 += 1;
            let file = self.begin(FEATURES, self.files.0)?;
            let writer = Writer::begin(file, message).map_err(|error| self.unwritten(error))?;
            self.features = Some((writer, Instant::now()));
        }
        Ok(true)
    }

    /// Appends a caption that came on `subject`, as it is on the wire. False if it is none, as the log says.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn caption(&mut self, subject: &str, message: &[u8]) -> Result<bool> {
        let caption = Caption::decode(message).map_err(anyhow::Error::new);
        if !is_of_rig(subject, caption.map(|caption| caption.id.rig)) {
            return Ok(false);
        }
        let mut line = message.to_vec();
        // A writer of another language may have broken the line, which in JSON is a blank.
        line.iter_mut()
            .filter(|byte| matches!(byte, b'\n' | b'\r'))
            .for_each(|byte| *byte = b' ');
        line.push(b'\n');
        let Rotation { bytes, age } = self.rotation;
        let is_full =
            |(_, written, begun): &(_, u64, Instant)| *written >= bytes || begun.elapsed() >= age;
        if self.captions.as_ref().is_none_or(is_full) {
            self.end_captions()?;
            self.files.1 += 1;
            let file = self.begin(CAPTIONS, self.files.1)?;
            self.captions = Some((file, 0, Instant::now()));
        }
        if let Some((file, written, _)) = &mut self.captions {
            let done = file.write_all(&line);
            *written += line.len() as u64;
            done.map_err(|error| self.unwritten(error))?;
        }
        Ok(true)
    }

    /// Writes what waits in memory, so that the files can be read up to here.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        let mut done = Ok(());
        if let Some((writer, _)) = &mut self.features {
            done = done.and(writer.get_mut().flush());
        }
        if let Some((file, ..)) = &mut self.captions {
            done = done.and(file.flush());
        }
        done.map_err(|error| self.unwritten(error))
    }

    /// Ends the files, and says how many there are.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn finish(mut self) -> Result<u32> {
        self.end_features()?;
        self.end_captions()?;
        Ok(self.files.0 + self.files.1)
    }

    fn end_features(&mut self) -> Result<()> {
        let Some((writer, _)) = self.features.take() else {
            return Ok(());
        };
        let ended = writer.finish();
        ended.map(drop).map_err(|error| self.unwritten(error))
    }

    fn end_captions(&mut self) -> Result<()> {
        let Some((mut file, ..)) = self.captions.take() else {
            return Ok(());
        };
        file.flush().map_err(|error| self.unwritten(error))
    }

    fn begin(&self, (begin, end): (&str, &str), number: u32) -> Result<BufWriter<File>> {
        let path = self.path.join(format!("{begin}{number:05}{end}"));
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("cannot begin {}", path.display()))?;
        Ok(BufWriter::new(file))
    }

    fn unwritten(&self, error: impl Into<anyhow::Error>) -> anyhow::Error {
        let path = self.path.display();
        error
            .into()
            .context(format!("cannot write to {path}: is there room?"))
    }
}

/// Whether a message on `subject` was read, and is of the rig that it may speak for; the log says why not.
fn is_of_rig(subject: &str, rig: Result<Rig>) -> bool {
    let own = rig.and_then(|rig| Ok(subjects::speaks_for(subject, rig.as_str())?));
    if let Err(error) = &own {
        tracing::warn!("a stored message is left out: {error:#}");
    }
    own.is_ok()
}

/// The encoded windows of the recording in `folder`. What a file lost at its end is told by the log.
///
/// # Errors
/// There is no such folder. An item is an error if a file cannot be read or holds something else.
pub fn windows(folder: &Path) -> Result<impl Iterator<Item = Result<Vec<u8>>>> {
    let files = files(folder, FEATURES)?;
    Ok(files.into_iter().flat_map(|path| {
        let opened = File::open(&path);
        let (reader, fault) = match opened {
            Ok(file) => (Some(Reader::new(BufReader::new(file))), None),
            Err(error) => (None, Some(Err(unread(&path, error)))),
        };
        let windows = reader.into_iter().flatten();
        let windows = windows.filter_map(move |window| match window {
            Ok(window) => Some(Ok(window)),
            Err(error @ FileError::Cut) => {
                tracing::warn!("{}: {error}", path.display());
                None
            }
            Err(error) => Some(Err(unread(&path, error))),
        });
        windows.chain(fault)
    }))
}

/// The captions of the recording in `folder`, as they were on the wire.
///
/// # Errors
/// There is no such folder. An item is an error if a file cannot be read or holds something else.
pub fn captions(folder: &Path) -> Result<impl Iterator<Item = Result<Caption>>> {
    let files = files(folder, CAPTIONS)?;
    Ok(files.into_iter().flat_map(|path| {
        let (lines, fault) = match File::open(&path) {
            Ok(file) => (Some(BufReader::new(file)), None),
            Err(error) => (None, Some(Err(unread(&path, error)))),
        };
        let captions = lines.into_iter().flat_map(move |mut lines| {
            let path = path.clone();
            std::iter::from_fn(move || line(&mut lines, &path).transpose())
        });
        captions.chain(fault)
    }))
}

/// The caption in the next line. A last line without an end was cut off.
fn line(lines: &mut impl BufRead, path: &Path) -> Result<Option<Caption>> {
    let mut line = Vec::new();
    let most = limits::JSON as u64 + 1;
    let read = lines.take(most).read_until(b'\n', &mut line);
    read.map_err(|error| unread(path, error))?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => {
            let caption = Caption::decode(&line).map_err(|error| unread(path, error))?;
            Ok(Some(caption))
        }
        Some(_) if line.len() as u64 + 1 < most => {
            tracing::warn!(
                "{} ends within a caption: what wrote it was cut off",
                path.display()
            );
            Ok(None)
        }
        Some(_) => bail!(
            "{} has a line that is too long for a caption",
            path.display()
        ),
    }
}

fn unread(path: &Path, error: impl Into<anyhow::Error>) -> anyhow::Error {
    error
        .into()
        .context(format!("cannot read {}", path.display()))
}

/// The files of one kind in the order of their numbers.
fn files(folder: &Path, (begin, end): (&str, &str)) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder);
    let entries =
        entries.with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let number = name
            .strip_prefix(begin)
            .and_then(|rest| rest.strip_suffix(end));
        if let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) {
            files.push((number, folder.join(name.as_ref())));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}
