//! Encoded windows as Zstandard frames (RFC 8878), which say of themselves what they are.

use std::borrow::Cow;

use serde::Deserialize;
use zstd::{bulk, zstd_safe};

use super::Error;
use crate::limits;

/// The value of `Content-Encoding`.
pub(crate) const ENCODING: &str = "zstd";
/// Begins a frame; no Arrow stream begins so.
const MAGIC: [u8; 4] = zstd_safe::MAGICNUMBER.to_le_bytes();
/// Higher ones find nothing more in features, and take longer.
const LEVEL: i32 = 1;
/// Most bytes for each byte of a frame: a window has three to five, and what claims more could fill the memory.
const MOST: usize = 16;

/// How encoded windows travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// In Zstandard frames.
    #[default]
    Zstd,
    /// As they are, for readers that cannot expand such frames.
    None,
}

impl Compression {
    /// An encoded window as it travels: as it was, too, if compressed it is no shorter, or so short that no reader takes it.
    pub fn pack(self, window: Vec<u8>) -> Vec<u8> {
        let frame = match self {
            Self::Zstd => bulk::compress(&window, LEVEL).ok(),
            Self::None => None,
        };
        frame
            .filter(|frame| frame.len() < window.len() && window.len() <= MOST * frame.len())
            .unwrap_or(window)
    }
}

/// Whether these bytes begin as a Zstandard frame does.
pub(crate) fn is_compressed(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The encoded window of a frame, or the bytes themselves if they are none. What the frame claims to hold is held against
/// the limits before memory is taken for it.
pub(super) fn expand(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    if !is_compressed(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    let malformed = |what: &str| Error::Malformed(format!("its Zstandard frame {what}"));
    let len = zstd_safe::get_frame_content_size(bytes)
        .ok()
        .flatten()
        .ok_or_else(|| malformed("does not say how much it holds"))?;
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    limits::check("the message in its Zstandard frame", len, limits::MESSAGE)
        .map_err(|long| Error::Malformed(long.to_string()))?;
    if len > MOST * bytes.len() {
        return Err(malformed(
            "claims to hold more than 16 times its own length",
        ));
    }
    let expanded = bulk::decompress(bytes, len).map_err(|error| malformed(&error.to_string()))?;
    if expanded.len() == len {
        Ok(Cow::Owned(expanded))
    } else {
        Err(malformed("is cut short"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As compressible as features: 16 values in no order.
    fn window(len: u32) -> Vec<u8> {
        (0..len)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 28) as u8)
            .collect()
    }

    #[test]
    fn frames_are_expanded_and_all_else_is_left_as_it_is() {
        let bytes = [&[0xff; 4][..], &window(10_000)].concat();
        let frame = Compression::Zstd.pack(bytes.clone());
        assert_eq!(Compression::None.pack(bytes.clone()), bytes);
        assert!(is_compressed(&frame) && frame.len() < 6_000);
        assert_eq!(expand(&frame).unwrap(), bytes);
        assert!(matches!(expand(&bytes).unwrap(), Cow::Borrowed(same) if same == bytes));
        // Not worth it, and too good to be believed.
        for plain in [vec![0xff, 1, 2], vec![0; 100_000]] {
            assert_eq!(Compression::Zstd.pack(plain.clone()), plain);
        }
    }

    #[test]
    fn a_bad_frame_is_an_error_that_says_so() {
        let frame = Compression::Zstd.pack(window(10_000));
        let error = |bytes: &[u8]| expand(bytes).unwrap_err().to_string();
        assert!(error(&frame[..frame.len() - 1]).contains("Zstandard frame"));
        assert!(error(&MAGIC).contains("does not say how much it holds"));
        let two = [&frame[..], &frame].concat();
        assert!(error(&two).contains("Zstandard frame"));
        let large = bulk::compress(&vec![0; limits::MESSAGE + 1], LEVEL).unwrap();
        assert!(large.len() < 10_000);
        assert!(error(&large).contains("at most 67108864"));
        let zeros = bulk::compress(&vec![0; 100_000], LEVEL).unwrap();
        assert!(error(&zeros).contains("more than 16 times"));
        // No length is in a frame that was written in pieces.
        let streamed = zstd::stream::encode_all(&window(10_000)[..], LEVEL).unwrap();
        assert!(error(&streamed).contains("does not say how much it holds"));
    }
}
