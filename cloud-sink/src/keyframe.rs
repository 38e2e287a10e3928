//! A window's keyframe to the video tokens that the edge would have made of it.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, ImageReader, Limits};
use mllm::{EncoderId, Frame, ModalTokens, Options, Probe, Trunk};

use crate::{Error, Fault};

/// Longest side of a keyframe, in pixels: a few bytes of JPEG can stand for a picture that fills the memory.
const LONGEST_SIDE: u32 = 4096;

/// The edge's vision encoder.
#[derive(Debug)]
pub(crate) struct Keyframes {
    probe: Probe,
    trunk: Trunk,
}

impl Keyframes {
    /// Loads the vision encoder in `folder`, which must be the one that the full model `reads`.
    pub fn load(folder: &Path, options: Options, reads: &EncoderId) -> Result<Self, Error> {
        let probe = Probe::load(folder, options)?;
        if probe.encoder() != reads {
            return Err(Error::Config(format!(
                "encoders: {} holds `{}` ({}), but the full model reads `{}` ({}): take the edge model of the same release",
                folder.display(),
                probe.encoder().id,
                probe.encoder().sha256,
                reads.id,
                reads.sha256,
            )));
        }
        let trunk = Trunk::load(folder, options)?;
        Ok(Self { probe, trunk })
    }

    /// All tokens of a JPEG picture, as they would have come over the wire.
    pub fn tokens(&mut self, jpeg: &[u8]) -> Result<ModalTokens, Fault> {
        let mut reader = ImageReader::with_format(Cursor::new(jpeg), ImageFormat::Jpeg);
        let mut limits = Limits::default();
        limits.max_image_width = Some(LONGEST_SIDE);
        limits.max_image_height = Some(LONGEST_SIDE);
        reader.limits(limits);
        let picture = reader.decode().map_err(|error| {
            Fault::Hopeless(format!(
                "its keyframe is not a JPEG picture of at most {LONGEST_SIDE} x {LONGEST_SIDE} pixels: {error}"
            ))
        })?;
        let picture = picture.into_rgb8();
        let frame = Frame::rgb(picture.width(), picture.height(), picture.as_raw())
            .map_err(|error| Fault::Hopeless(format!("its keyframe: {error}")))?;
        let failed = |error: mllm::Error| Fault::Passing(error.to_string());
        let seen = self.probe.run(&frame).map_err(failed)?;
        let features = self.trunk.run(&seen.features).map_err(failed)?;
        Ok(ModalTokens::all(features).as_received())
    }
}
