//! How much a message may hold, in one place. What comes in is held against these before anything of a length that it
//! claims is allocated.

/// Longest message, in bytes: the highest `max_payload` that a NATS server can be given.
pub const MESSAGE: usize = 64 << 20;
/// Longest JSON message, in bytes: a caption with all of its texts at their longest has less.
pub const JSON: usize = 256 << 10;
/// Longest header of a part of an Arrow stream, in bytes; ours have some 2,500.
pub const ARROW_HEADER: usize = 64 << 10;
/// Most streams of a window.
pub const STREAMS: usize = 64;
/// Most tokens of a window.
pub const TOKENS: usize = 65_536;
/// Most channels of a token.
pub const CHANNELS: usize = 16_384;
/// Most tokens of a draft.
pub const DRAFT_TOKENS: usize = 4_096;
/// Most flags of a window.
pub const FLAGS: usize = 32;
/// Longest keyframe, in bytes of JPEG.
pub const KEYFRAME: usize = 4 << 20;
/// Longest side of a keyframe, in pixels: a few bytes of JPEG can stand for a picture that fills the memory.
pub const KEYFRAME_SIDE: u32 = 4_096;
/// Longest preview, in bytes of JPEG.
pub const PREVIEW: usize = 256 << 10;
/// Longest name of a rig, worker, stream or flag, in bytes.
pub const NAME: usize = 64;
/// Longest name of a model, encoder or provider, in bytes.
pub const SHORT_TEXT: usize = 256;
/// Longest prompt, draft, caption or plan, in bytes.
pub const TEXT: usize = 16_384;
/// Longest question, in bytes.
pub const QUESTION: usize = 4_096;

/// Something is longer than it may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} has length {len}, at most {max} is allowed")]
pub struct TooLong {
    /// What is too long.
    pub field: &'static str,
    /// Its length, in bytes or items.
    pub len: usize,
    /// The most that is allowed.
    pub max: usize,
}

/// Whether `field` is at most `max` long.
pub(crate) fn check(field: &'static str, len: usize, max: usize) -> Result<(), TooLong> {
    if len <= max {
        Ok(())
    } else {
        Err(TooLong { field, len, max })
    }
}
