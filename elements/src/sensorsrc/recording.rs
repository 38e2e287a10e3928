//! Recordings of sensors: CSV files with a header, a column `time` in seconds and a
//! column for each channel.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use broker::identity::excerpt;
use csv::{ReaderBuilder, StringRecord, Trim};

use super::resample::Row;
use crate::sensor::{MOST_ROW, check_names};

/// Longest time between two rows, in seconds: more is a fault of the clock.
const MOST_GAP: f64 = 3600.0;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{}: {error}", .path.display())]
    File {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: {problem}", .path.display())]
    Content { path: PathBuf, problem: String },
    #[error("{}: line {line}: {problem}", .path.display())]
    Line {
        path: PathBuf,
        line: u64,
        problem: String,
    },
}

/// A file that is read row by row.
#[derive(Debug)]
pub(super) struct Recording<R = BufReader<File>> {
    path: PathBuf,
    reader: R,
    header: StringRecord,
    /// Of each channel its column and name.
    channels: Vec<(usize, String)>,
    line: u64,
    /// Times of the first row and of the latest, in seconds.
    times: Option<(f64, f64)>,
}

impl Recording {
    /// Opens a file and reads its header. `wanted`: names of the channels to read, in
    /// this order; otherwise all.
    pub fn open(path: &Path, wanted: Option<&[String]>) -> Result<Self, Error> {
        let fail = |error| Error::File {
            path: path.to_owned(),
            error,
        };
        let file = File::open(path).map_err(fail)?;
        Self::read(path, BufReader::new(file), wanted)
    }
}

impl<R: BufRead + Seek> Recording<R> {
    /// Reads the header. `path`: what errors call it.
    pub fn read(path: &Path, reader: R, wanted: Option<&[String]>) -> Result<Self, Error> {
        let mut recording = Self {
            path: path.to_owned(),
            reader,
            header: StringRecord::new(),
            channels: Vec::new(),
            line: 0,
            times: None,
        };
        let header = recording.cells()?.ok_or_else(|| {
            recording.content("the file is empty: the first line must be `time,CHANNEL,...`")
        })?;
        let mut cells = header.iter().map(str::to_owned);
        let first = cells.next().unwrap_or_default();
        if first != "time" {
            return Err(recording.wrong(&format!(
                "the first column is `{}`: it must be `time`, in seconds",
                excerpt(&first)
            )));
        }
        let names: Vec<String> = cells.collect();
        check_names(&names).map_err(|problem| recording.wrong(&problem))?;
        let column = |name: &String| {
            let index = names.iter().position(|found| found == name);
            let missing = || {
                let there = excerpt(&names.join(","));
                let name = excerpt(name);
                recording.wrong(&format!(
                    "there is no channel `{name}`: the file has {there}"
                ))
            };
            Ok((index.ok_or_else(missing)? + 1, name.clone()))
        };
        let wanted = wanted.unwrap_or(&names).iter();
        recording.channels = wanted.map(column).collect::<Result<_, _>>()?;
        recording.header = header;
        Ok(recording)
    }

    /// Names of the channels.
    pub fn names(&self) -> Vec<String> {
        let names = self.channels.iter().map(|(_, name)| name.clone());
        names.collect()
    }

    /// The next row, its time counted from the first one's.
    pub fn row(&mut self) -> Result<Option<Row>, Error> {
        let Some(cells) = self.cells()? else {
            if self.times.is_none() {
                return Err(self.content("there is no row after the header"));
            }
            return Ok(None);
        };
        if cells.len() != self.header.len() {
            let (found, expected) = (cells.len(), self.header.len());
            return Err(self.wrong(&format!(
                "{found} cells, and the header has {expected}: a missing value is an empty cell"
            )));
        }
        let text = cells.get(0).unwrap_or_default();
        let time: f64 = text.parse().unwrap_or(f64::NAN);
        if !time.is_finite() {
            let text = excerpt(text);
            return Err(self.wrong(&format!("the time `{text}` is not a number of seconds")));
        }
        let (first, last) = self.times.unwrap_or((time, time));
        if time < last {
            return Err(self.wrong(&format!(
                "the time goes back from {last} to {time}: sort the rows"
            )));
        }
        if time - last > MOST_GAP {
            return Err(self.wrong(&format!(
                "the time jumps from {last} to {time}: split the file where more than an hour is missing"
            )));
        }
        self.times = Some((first, time));
        let value = |(column, name): &(usize, String)| {
            let text = cells.get(*column).unwrap_or_default();
            let wrong = || {
                let text = excerpt(text);
                self.wrong(&format!(
                    "`{text}` in column `{name}` is not a number: leave the cell of a missing value empty"
                ))
            };
            value(text).ok_or_else(wrong)
        };
        Ok(Some(Row {
            at: ((time - first) * 1e9).round() as u64,
            values: self.channels.iter().map(value).collect::<Result<_, _>>()?,
        }))
    }

    /// Goes back to the first row.
    pub fn rewind(&mut self) -> Result<(), Error> {
        let path = &self.path;
        let fail = |error| Error::File {
            path: path.clone(),
            error,
        };
        self.reader.seek(SeekFrom::Start(0)).map_err(fail)?;
        self.line = 0;
        self.times = None;
        if self.cells()?.as_ref() != Some(&self.header) {
            return Err(self.content("the header changed while the file was replayed"));
        }
        Ok(())
    }

    /// The cells of the next line that is not blank.
    fn cells(&mut self) -> Result<Option<StringRecord>, Error> {
        loop {
            let mut line = Vec::new();
            let mut reader = (&mut self.reader).take(MOST_ROW as u64 + 1);
            if let Err(error) = reader.read_until(b'\n', &mut line) {
                let path = self.path.clone();
                return Err(Error::File { path, error });
            }
            if line.is_empty() {
                return Ok(None);
            }
            self.line += 1;
            if line.len() > MOST_ROW {
                return Err(self.wrong("the line is longer than 64 KiB: is this a CSV file?"));
            }
            let marked = line
                .strip_prefix(BYTE_ORDER_MARK)
                .filter(|_| self.line == 1);
            let text = marked.unwrap_or(&line);
            if text.trim_ascii().is_empty() {
                continue;
            }
            let mut cells = StringRecord::new();
            ReaderBuilder::new()
                .has_headers(false)
                .trim(Trim::All)
                .buffer_capacity(text.len())
                .from_reader(text)
                .read_record(&mut cells)
                .map_err(|_| self.wrong("the line is not UTF-8: save the file as UTF-8"))?;
            return Ok(Some(cells));
        }
    }

    fn content(&self, problem: &str) -> Error {
        Error::Content {
            path: self.path.clone(),
            problem: problem.to_owned(),
        }
    }

    fn wrong(&self, problem: &str) -> Error {
        Error::Line {
            path: self.path.clone(),
            line: self.line,
            problem: problem.to_owned(),
        }
    }
}

/// The value in a cell; NaN for an empty cell.
fn value(text: &str) -> Option<f32> {
    if text.is_empty() || text.eq_ignore_ascii_case("nan") {
        return Some(f32::NAN);
    }
    text.parse().ok().filter(|value: &f32| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: impl AsRef<[u8]>) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    /// Rows of a text as (ns, values), or the error.
    fn rows(text: impl AsRef<[u8]>, wanted: Option<&str>) -> Result<Vec<(u64, Vec<f32>)>, String> {
        let file = file(text);
        let wanted = wanted.map(crate::sensor::split_names);
        let mut recording =
            Recording::open(file.path(), wanted.as_deref()).map_err(|e| e.to_string())?;
        let mut rows = Vec::new();
        while let Some(row) = recording.row().map_err(|e| e.to_string())? {
            rows.push((row.at, row.values));
        }
        Ok(rows)
    }

    #[test]
    fn rows_with_times_from_the_first() {
        let text = "\u{feff}time, a ,\"b\"\r\n1700000000.25,1,-2e3\r\n\r\n 1700000000.5 ,\"3\",.5";
        let both = vec![(0, vec![1.0, -2000.0]), (250_000_000, vec![3.0, 0.5])];
        assert_eq!(rows(text, None), Ok(both));
        let one = vec![(0, vec![-2000.0]), (250_000_000, vec![0.5])];
        assert_eq!(rows(text, Some("b")), Ok(one));
    }

    #[test]
    fn missing_values_are_nan() {
        let rows = rows("time,a,b,c\n0,,NaN,1\n", None).unwrap();
        let values = &rows[0].1;
        assert!(values[0].is_nan() && values[1].is_nan() && values[2] == 1.0);
    }

    #[test]
    fn errors_name_the_line_and_the_mend() {
        let long = format!("time,a\n0,{}\n", "1".repeat(70_000));
        let ones = "1".repeat(60_000);
        let wide = format!("{ones},a\n0,1\n");
        let (late, odd) = (
            format!("time,a\nx{ones},1\n"),
            format!("time,a\n0,x{ones}\n"),
        );
        for (text, expected) in [
            ("", "is empty: the first line must be `time,CHANNEL,...`"),
            ("time,a\n", "there is no row after the header"),
            (
                "t,a\n",
                "line 1: the first column is `t`: it must be `time`",
            ),
            ("time\n0\n", "line 1: 0 channels: there must be 1 to 256"),
            ("time,a,a\n", "line 1: two channels are named `a`"),
            ("time,\"a,b\"\n", "line 1: `a,b` cannot name a channel"),
            (
                "time,a\n0,1\n0.1\n",
                "line 3: 1 cells, and the header has 2",
            ),
            ("time,a\n\n0,1,2\n", "line 3: 3 cells, and the header has 2"),
            ("time,a\nnan,1\n", "line 2: the time `nan` is not a number"),
            ("time,a\n0,x\n", "line 2: `x` in column `a` is not a number"),
            (
                "time,a\n0,inf\n",
                "line 2: `inf` in column `a` is not a number",
            ),
            ("time,a\n0,1e99\n", "line 2: `1e99` in column `a`"),
            (
                "time,a\n1,1\n0.5,1\n",
                "line 3: the time goes back from 1 to 0.5",
            ),
            (
                "time,a\n1,1\n1e9,1\n",
                "line 3: the time jumps from 1 to 1000000000",
            ),
            (long.as_str(), "line 2: the line is longer than 64 KiB"),
            (wide.as_str(), "line 1: the first column is `1111"),
            (late.as_str(), "line 2: the time `x111"),
            (odd.as_str(), "line 2: `x111"),
        ] {
            let error = rows(text, None).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(error.len() < 400, "{expected}: {} bytes", error.len());
        }
        let error = rows(b"time,a\n0,\xff\n", None).unwrap_err();
        assert!(error.contains("line 2: the line is not UTF-8"), "{error}");
        let error = rows("time,a,b\n", Some("a,x")).unwrap_err();
        assert!(
            error.contains("there is no channel `x`: the file has a,b"),
            "{error}"
        );
        let error = Recording::open(Path::new("/nowhere.csv"), None).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere.csv: "), "{error}");
    }

    #[test]
    fn again_from_the_first_row() {
        let file = file("time,a\n5,1\n6,2\n");
        let mut recording = Recording::open(file.path(), None).unwrap();
        let pass = |recording: &mut Recording| {
            let rows = std::iter::from_fn(|| recording.row().unwrap());
            rows.map(|row| (row.at, row.values[0])).collect::<Vec<_>>()
        };
        let expected = [(0, 1.0), (1_000_000_000, 2.0)];
        assert_eq!(pass(&mut recording), expected);
        recording.rewind().unwrap();
        assert_eq!(pass(&mut recording), expected);
        std::fs::write(file.path(), "time,b\n5,1\n").unwrap();
        let error = recording.rewind().unwrap_err().to_string();
        assert!(error.contains("the header changed"), "{error}");
    }
}
