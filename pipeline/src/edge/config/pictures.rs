//! `payload`, `[keyframe]` and `[preview]`: what of the streams leaves the box. Pictures only where that is asked for:
//! keyframes for the cloud's model, previews for people.

use std::fmt::{self, Display, Formatter};

use broker::Faults;
use serde::Deserialize;

/// What of the streams may leave the box with a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// Features, captions and figures; no pixel and no sample of sound.
    #[default]
    Features,
    /// A picture in place of the features of video, for a cloud whose model looks at pictures.
    Keyframes,
}

impl Display for Payload {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Features => "features",
            Self::Keyframes => "keyframes",
        })
    }
}

/// The picture that goes with a window in place of its video tokens, with `payload = "keyframes"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keyframe {
    /// Pixels of its longer side at most, 16 to 4,096; smaller frames stay as they are.
    pub side: u32,
    /// Quality of the JPEG, 1 to 100.
    pub quality: u32,
}

impl Default for Keyframe {
    fn default() -> Self {
        Self {
            side: 640,
            quality: 85,
        }
    }
}

/// Small pictures of each camera for people who watch, with the importance of their positions. None are made if the
/// table is left out.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preview {
    /// Pictures a second at most, 1 to 30.
    pub per_second: u32,
    /// Pixels of the longer side at most, 16 to 1,280.
    pub side: u32,
}

impl Default for Preview {
    fn default() -> Self {
        Self {
            per_second: 2,
            side: 320,
        }
    }
}

const PREVIEW_QUALITY: u32 = 70;

impl Keyframe {
    /// Notes numbers that are out of their ranges.
    pub fn check(&self, faults: &mut Faults) {
        faults.range("keyframe.side", Some(self.side), 16..=4096, "");
        faults.range("keyframe.quality", Some(self.quality), 1..=100, "");
    }

    /// What makes them of a camera's frames.
    pub fn line(&self) -> String {
        jpeg(self.side, self.quality)
    }
}

impl Preview {
    /// Notes numbers that are out of their ranges.
    pub fn check(&self, faults: &mut Faults) {
        faults.range("preview.per_second", Some(self.per_second), 1..=30, "");
        faults.range("preview.side", Some(self.side), 16..=1280, "");
    }

    /// What makes them of a camera's frames, and holds up nothing.
    pub fn line(&self) -> String {
        format!(
            "queue leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0 ! videorate drop-only=true max-rate={} ! {}",
            self.per_second,
            jpeg(self.side, PREVIEW_QUALITY)
        )
    }
}

fn jpeg(side: u32, quality: u32) -> String {
    format!(
        r#"videoconvertscale ! capsfilter caps="video/x-raw,width=[1,{side}],height=[1,{side}],pixel-aspect-ratio=1/1" ! jpegenc quality={quality}"#
    )
}
