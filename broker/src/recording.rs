//! Messages kept in files, and made again from them.

use time::{Duration, OffsetDateTime};
use ulid::Ulid;

use crate::{Caption, FeatureWindow, Rig, identity::WindowId};

pub use crate::features::file::{FileError, Reader, Writer};

/// What a replay changes in a message, so that it is of a new run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anew {
    /// The rig that it is to be of.
    pub rig: Rig,
    /// The run that it is to be of.
    pub epoch: Ulid,
    /// What is added to all of its UTC times; those of the media stay.
    pub later: Duration,
}

impl Anew {
    /// The window of the new run.
    pub fn window(&self, window: FeatureWindow) -> FeatureWindow {
        let later = |ns: i64| {
            let by = i64::try_from(self.later.whole_nanoseconds()).unwrap_or(0);
            ns.saturating_add(by)
        };
        FeatureWindow {
            id: self.id(&window.id),
            start_utc_ns: later(window.start_utc_ns),
            end_utc_ns: later(window.end_utc_ns),
            closed_utc_ns: later(window.closed_utc_ns),
            drafted_utc_ns: later(window.drafted_utc_ns),
            ..window
        }
    }

    /// The caption of the new run.
    pub fn caption(&self, caption: Caption) -> Caption {
        let later = |time: OffsetDateTime| time.checked_add(self.later).unwrap_or(time);
        Caption {
            id: self.id(&caption.id),
            start: later(caption.start),
            end: later(caption.end),
            time: later(caption.time),
            ..caption
        }
    }

    fn id(&self, id: &WindowId) -> WindowId {
        WindowId {
            rig: self.rig.clone(),
            epoch: self.epoch,
            seq: id.seq,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../tests/golden/features-1.1.arrow");

    /// Windows of two schemas: another number of channels is another.
    fn windows() -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut window = FeatureWindow::decode(GOLDEN).unwrap();
        let mut same = Vec::new();
        for seq in 0..3 {
            window.id.seq = seq;
            window.tokens.truncate(3 - seq as usize);
            same.push(window.encode().unwrap());
        }
        let mut other = FeatureWindow::decode(GOLDEN).unwrap();
        for token in &mut other.tokens {
            token.feature = [&*token.feature, &[1]].concat().into();
        }
        (same, other.encode().unwrap())
    }

    fn file(windows: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new(), &windows[0]).unwrap();
        for window in &windows[1..] {
            assert!(writer.push(window).unwrap());
        }
        let bytes = writer.bytes();
        let file = writer.finish().unwrap();
        assert_eq!(file.len() as u64, bytes + 8);
        file
    }

    #[test]
    fn what_is_written_comes_back_byte_for_byte() {
        let (windows, other) = windows();
        let mut writer = Writer::begin(Vec::new(), &windows[0]).unwrap();
        assert!(!writer.push(&other).unwrap());
        assert!(writer.push(b"no window").is_err());
        let read: Result<Vec<_>, _> = Reader::new(file(&windows).as_slice()).collect();
        assert_eq!(read.unwrap(), windows);
    }

    #[test]
    fn a_file_that_was_cut_off_is_read_up_to_there() {
        let (windows, _) = windows();
        let file = file(&windows);
        // Where windows end, from the last one back.
        let mut ends = Vec::new();
        for cut in 0..file.len() {
            let mut whole = 0;
            let mut last = None;
            for window in Reader::new(&file[..cut]) {
                match window {
                    Ok(window) => {
                        assert_eq!(window, windows[whole]);
                        whole += 1;
                    }
                    Err(error) => last = Some(error),
                }
            }
            match last {
                None => ends.push((cut, whole)),
                Some(error) => assert!(matches!(error, FileError::Cut), "{error}"),
            }
        }
        let whole: Vec<usize> = ends.iter().map(|(_, whole)| *whole).collect();
        // Nothing, a schema alone, and one, two, three windows.
        assert_eq!(whole, [0, 0, 1, 2, 3], "{ends:?}");
    }

    #[test]
    fn other_bytes_are_an_error_and_take_no_memory() {
        let huge = [&[0xff; 4][..], &u32::MAX.to_le_bytes()].concat();
        for bytes in [&b"no arrow stream"[..], &huge] {
            let read: Result<Vec<_>, _> = Reader::new(bytes).collect();
            assert!(read.is_err());
        }
    }

    #[test]
    fn a_new_run_has_another_identity_and_later_times() {
        let window = FeatureWindow::decode(GOLDEN).unwrap();
        let draft = Caption::draft(&window).unwrap();
        let anew = Anew {
            rig: "bus".parse().unwrap(),
            epoch: Ulid::from_parts(9, 9),
            later: Duration::seconds(60),
        };
        let (moved, caption) = (anew.window(window.clone()), anew.caption(draft.clone()));
        assert_eq!(moved.id, caption.id);
        assert_eq!(moved.id.to_string(), format!("bus/{}/7", anew.epoch));
        assert_eq!(moved.drafted_utc_ns - window.drafted_utc_ns, 60_000_000_000);
        assert_eq!(moved.start_running_ns, window.start_running_ns);
        assert_eq!(caption.time - draft.time, anew.later);
        // But for what stands in it, a draft is that of its window.
        assert_eq!(Caption::draft(&moved).unwrap(), caption);
        moved.encode().unwrap();
    }
}
