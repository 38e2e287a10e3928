//! Sound of any rate and any number of channels as the encoder hears it, by GStreamer's own converter.
#![allow(unsafe_code)] // The bindings have the converter's settings, but not the converter.

use std::ptr::NonNull;

use gst::glib;
use gst::glib::translate::{IntoGlib, IntoGlibPtr, ToGlibPtr};
use gst_audio::{AudioConverterConfig, AudioInfo, AudioResamplerMethod, ffi};
use mllm::log_mel;

use crate::hops::{Error, Source};

/// As `audioresample` converts if nothing else is asked of it.
const QUALITY: u32 = 4;

/// Converts interleaved sound to one channel of `f32` at 16,000 Hz.
pub(super) struct Converter {
    converter: NonNull<ffi::GstAudioConverter>,
    from: AudioInfo,
}

// SAFETY: the converter is plain memory of its own, and belongs to no thread.
unsafe impl Send for Converter {}

impl Converter {
    /// From sound as `from` describes it.
    pub fn new(from: &AudioInfo) -> Result<Self, glib::BoolError> {
        let rate = log_mel::SAMPLE_RATE;
        let to = AudioInfo::builder(gst_audio::AUDIO_FORMAT_F32, rate, 1).build()?;
        let config = gst::Structure::from(config(from));
        // SAFETY: both descriptions are valid and only read; the structure's copy becomes the converter's.
        let converter = unsafe {
            ffi::gst_audio_converter_new(
                ffi::GST_AUDIO_CONVERTER_FLAG_NONE,
                from.to_glib_none().0.cast_mut(),
                to.to_glib_none().0.cast_mut(),
                config.into_glib_ptr(),
            )
        };
        let converter = NonNull::new(converter)
            .ok_or_else(|| glib::bool_error!("no conversion of sound from {from:?}"))?;
        let from = from.clone();
        Ok(Self { converter, from })
    }

    /// What is converted.
    pub fn source(&self) -> Source {
        Source {
            sample: self.from.bpf() as usize,
            rate: self.from.rate(),
        }
    }

    /// What can be told of the sound by now: a resampler looks some samples ahead. Bytes that are no whole sample are left out.
    ///
    /// # Errors
    /// [`hops::Error::Sound`](Error::Sound): GStreamer's converter fails.
    pub fn convert(&mut self, bytes: &[u8]) -> Result<Vec<f32>, Error> {
        let samples = bytes.len() / self.source().sample;
        // SAFETY: the converter is valid until dropped.
        let ready =
            unsafe { ffi::gst_audio_converter_get_out_frames(self.converter.as_ptr(), samples) };
        let mut converted = vec![0.0_f32; ready];
        let mut input = [bytes.as_ptr().cast_mut().cast()];
        let mut output = [converted.as_mut_ptr().cast()];
        // SAFETY: interleaved sound is one block: `input` holds `samples` whole ones, which are only read as the flags
        // let nothing be converted in place, and `output` has room for those that come of them.
        let done = unsafe {
            ffi::gst_audio_converter_samples(
                self.converter.as_ptr(),
                ffi::GST_AUDIO_CONVERTER_FLAG_NONE,
                input.as_mut_ptr(),
                samples,
                output.as_mut_ptr(),
                ready,
            )
        };
        if done == glib::ffi::GFALSE {
            let format = self.from.format().to_str();
            return Err(Error::Sound(format!(
                "{format} at {} Hz in {} channels",
                self.from.rate(),
                self.from.channels()
            )));
        }
        Ok(converted)
    }

    /// What comes next does not follow what came before. GStreamer's own reset would keep the place between two samples.
    pub fn reset(&mut self) {
        if let Ok(fresh) = Self::new(&self.from) {
            *self = fresh;
        }
    }
}

impl Drop for Converter {
    fn drop(&mut self) {
        // SAFETY: it is used no more.
        unsafe { ffi::gst_audio_converter_free(self.converter.as_ptr()) };
    }
}

fn config(from: &AudioInfo) -> AudioConverterConfig {
    let method = AudioResamplerMethod::Kaiser;
    let mut config = AudioConverterConfig::new();
    config.set_resampler_method(method);
    // SAFETY: the structure is valid, and this function's own.
    unsafe {
        ffi::gst_audio_resampler_options_set_quality(
            method.into_glib(),
            QUALITY,
            from.rate() as i32,
            log_mel::SAMPLE_RATE as i32,
            config.as_mut_ptr(),
        );
    }
    // Where it is not told which channel is where, all count alike.
    let channels = from.channels() as usize;
    if from.is_unpositioned() && channels > 1 {
        config.set_mix_matrix(&[vec![1.0 / channels as f32; channels]]);
    }
    config
}
