//! A window's keyframe to the video tokens that the edge would have made of it.

use std::io::Cursor;
use std::path::Path;

use broker::identity::excerpt;
use image::{ImageFormat, ImageReader, Limits, RgbImage};
use mllm::{EncoderId, Frame, ModalTokens, Options, Probe, Trunk};

use crate::{Error, Fault};

const LONGEST_SIDE: u32 = broker::limits::KEYFRAME_SIDE;

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
        let picture = picture(jpeg).map_err(Fault::Hopeless)?;
        let frame = Frame::rgb(picture.width(), picture.height(), picture.as_raw())
            .map_err(|error| Fault::Hopeless(format!("its keyframe: {error}")))?;
        let failed = |error: mllm::Error| Fault::Passing(error.to_string());
        let seen = self.probe.run(&frame).map_err(failed)?;
        let features = self.trunk.run(&seen.features).map_err(failed)?;
        Ok(ModalTokens::all(features).as_received())
    }
}

/// A keyframe's picture. Its size is looked at before it is decoded.
#[doc(hidden)]
pub fn picture(jpeg: &[u8]) -> Result<RgbImage, String> {
    let mut reader = ImageReader::with_format(Cursor::new(jpeg), ImageFormat::Jpeg);
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| {
        let error = excerpt(&error.to_string());
        format!(
            "its keyframe is not a JPEG picture of at most {LONGEST_SIDE} x {LONGEST_SIDE} pixels: {error}"
        )
    })?;
    Ok(picture.into_rgb8())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use image::codecs::jpeg::JpegEncoder;

    use super::*;

    /// A JPEG picture that says it has another size than it has.
    fn claiming(width: u16, height: u16) -> Vec<u8> {
        let mut jpeg = Vec::new();
        let grey = RgbImage::from_pixel(16, 16, image::Rgb([90; 3]));
        JpegEncoder::new(&mut jpeg).encode_image(&grey).unwrap();
        // Marker, length and precision, then rows and columns.
        let frame = jpeg.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
        jpeg[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
        jpeg
    }

    #[test]
    fn a_picture_that_claims_too_many_pixels_is_not_decoded() {
        assert_eq!(picture(&claiming(16, 16)).unwrap().dimensions(), (16, 16));
        for (width, height) in [(4097, 16), (16, 4097), (u16::MAX, u16::MAX)] {
            let begun = Instant::now();
            let error = picture(&claiming(width, height)).unwrap_err();
            assert!(error.contains("at most 4096 x 4096"), "{error}");
            // 4,000,000,000 pixels take longer.
            assert!(begun.elapsed() < Duration::from_secs(1));
        }
    }
}
