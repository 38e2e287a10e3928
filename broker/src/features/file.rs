//! Encoded windows in a file, one after another: an Arrow IPC stream of one schema and a record batch of one row for each.
//! Messages go in and come out byte for byte, but none is compressed here.

use std::io::{self, Read, Write};

use super::{END, Error, compression, frame};

/// Appends encoded windows to a stream.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    schema: Vec<u8>,
    bytes: u64,
}

/// Reads encoded windows from a stream.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    /// Its message, once it was read.
    schema: Vec<u8>,
    ended: bool,
}

/// A recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk, or whatever holds it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What is in it, or was to be.
    #[error(transparent)]
    Window(#[from] Error),
    /// It ends within a window, as after a loss of power: all before are read.
    #[error("the file ends within a window: what wrote it was cut off")]
    Cut,
}

impl<W: Write> Writer<W> {
    /// Begins a stream with an encoded window.
    ///
    /// # Errors
    /// The bytes are no window's, or cannot be written.
    pub fn begin(mut out: W, message: &[u8]) -> Result<Self, FileError> {
        let message = compression::expand(message)?;
        let (schema, batch) = frame::split(&message)?;
        out.write_all(schema)?;
        out.write_all(batch)?;
        Ok(Self {
            out,
            schema: schema.to_vec(),
            bytes: (schema.len() + batch.len()) as u64,
        })
    }

    /// Appends an encoded window, or says that it is of another schema, and so of another file.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    pub fn push(&mut self, message: &[u8]) -> Result<bool, FileError> {
        let message = compression::expand(message)?;
        let (schema, batch) = frame::split(&message)?;
        if schema != self.schema {
            return Ok(false);
        }
        self.out.write_all(batch)?;
        self.bytes += batch.len() as u64;
        Ok(true)
    }

    /// How many bytes were written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it writes to.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&END)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<R: Read> Reader<R> {
    /// Reads from a file, or anything that has its bytes.
    pub fn new(from: R) -> Self {
        Self {
            from,
            schema: Vec::new(),
            ended: false,
        }
    }

    /// The next message; the bytes of its frame are appended to `to`. False at the end of the stream, or of the file,
    /// whose writer may not have come to end the stream.
    fn message(&mut self, to: &mut Vec<u8>) -> Result<bool, FileError> {
        let mut start = [0; 8];
        match fill(&mut self.from, &mut start)? {
            0 => return Ok(false),
            8 => {}
            _ => return Err(FileError::Cut),
        }
        let header = frame::header_len(start)?;
        if header == 0 {
            return Ok(false);
        }
        to.extend(start);
        let begins = to.len();
        self.take(header, to)?;
        let body = frame::body_len(&to[begins..])?;
        self.take(body, to)?;
        Ok(true)
    }

    /// Memory is taken as the bytes come, whatever length they claim.
    fn take(&mut self, len: usize, to: &mut Vec<u8>) -> Result<(), FileError> {
        let read = self.from.by_ref().take(len as u64).read_to_end(to)?;
        if read == len {
            Ok(())
        } else {
            Err(FileError::Cut)
        }
    }

    fn window(&mut self) -> Result<Option<Vec<u8>>, FileError> {
        if self.schema.is_empty() {
            let mut schema = Vec::new();
            if !self.message(&mut schema)? {
                return Ok(None);
            }
            self.schema = schema;
        }
        let mut bytes = self.schema.clone();
        if !self.message(&mut bytes)? {
            return Ok(None);
        }
        bytes.extend(END);
        Ok(Some(bytes))
    }
}

/// Each item is a window as [`FeatureWindow::decode`](super::FeatureWindow::decode) takes it, not yet looked into. After
/// an error there is nothing more.
impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Vec<u8>, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let window = self.window().transpose();
        self.ended = !matches!(window, Some(Ok(_)));
        window
    }
}

/// As many bytes as there are, up to the length of `to`.
fn fill(from: &mut impl Read, to: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < to.len() {
        match from.read(&mut to[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
