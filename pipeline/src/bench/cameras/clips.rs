//! Clips of three scenes as cameras send them: H.264, 30 frames a second.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use gst::prelude::*;

use super::{RATE, launch, text, wait_for_end};

/// What is before a camera.
#[derive(Clone, Copy, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scene {
    /// One frame of a street, held, with a sensor's noise.
    Still,
    /// People walking on a street; 10 frames a second shown at 30.
    Normal,
    /// A moving crowd; 25 frames a second shown at 30.
    Busy,
}

impl Scene {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Still, Self::Normal, Self::Busy];

    /// The sample video, and what makes `frames` frames of it.
    fn of(self, frames: u32) -> (&'static str, String) {
        match self {
            Self::Still => ("vtest.avi", format!("imagefreeze num-buffers={frames}")),
            Self::Normal => ("vtest.avi", format!("identity eos-after={}", frames + 1)),
            Self::Busy => ("bikes.mp4", format!("identity eos-after={}", frames + 1)),
        }
    }

    /// A clip of it, of at most `frames` frames, in `folder`; encoded if it is not there yet.
    ///
    /// # Errors
    /// The sample video is missing, or an element.
    pub fn clip(
        self,
        media: &Path,
        folder: &Path,
        size: (u32, u32),
        frames: u32,
    ) -> Result<PathBuf> {
        let (width, height) = size;
        let (video, take) = self.of(frames);
        let video = media.join(video);
        ensure!(
            video.exists(),
            "{} is missing: run `make setup`",
            video.display()
        );
        let name = format!("{self:?}-{height}p-{frames}.mkv").to_lowercase();
        let clip = folder.join(name);
        if clip.exists() {
            return Ok(clip);
        }
        let part = clip.with_extension("part");
        // Kilobits a second: 4,000 at 720p, 9,000 at 1080p.
        let bitrate = width * height / 230;
        let pipeline = launch(&format!(
            "filesrc name=video ! decodebin ! videoconvert ! videoscale ! \
             video/x-raw,format=I420,width={width},height={height} ! {take} ! \
             capssetter caps=video/x-raw,framerate={RATE}/1 ! \
             x264enc name=encoder speed-preset=veryfast tune=zerolatency bitrate={bitrate} key-int-max={} ! \
             h264parse ! matroskamux ! filesink name=file",
            2 * RATE
        ))?;
        let element = |name| pipeline.by_name(name).context("an element of the line");
        element("video")?.set_property("location", text(&video)?);
        element("file")?.set_property("location", text(&part)?);
        let pad = element("encoder")?.static_pad("sink").context("a pad")?;
        let noisy = matches!(self, Self::Still);
        let (mut number, mut random) = (0u64, 1u64);
        let change = std::sync::Mutex::new(move |buffer: &mut gst::BufferRef| {
            buffer.set_pts(gst::ClockTime::SECOND * number / u64::from(RATE));
            buffer.set_duration(gst::ClockTime::SECOND / u64::from(RATE));
            number += 1;
            if let (true, Ok(mut data)) = (noisy, buffer.map_writable()) {
                for samples in data[..(width * height) as usize].as_chunks_mut::<8>().0 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    for (sample, noise) in samples.iter_mut().zip(random.to_le_bytes()) {
                        *sample = sample.saturating_add(noise & 3);
                    }
                }
            }
        });
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let (Some(buffer), Ok(mut change)) = (info.buffer_mut(), change.lock()) {
                change(buffer.make_mut());
            }
            gst::PadProbeReturn::Ok
        });
        let done = wait_for_end(&pipeline);
        pipeline.set_state(gst::State::Null)?;
        done.with_context(|| format!("cannot make {}", clip.display()))?;
        std::fs::rename(&part, &clip)?;
        Ok(clip)
    }
}
