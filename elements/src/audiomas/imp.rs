//! Implementation of `msaoaudiomas`.

use std::path::Path;
use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::subclass::prelude::*;
use mllm::{HopNetwork, SpeechDetector};

use super::convert::Converter;
use super::sound::{Sound, Speech};
use crate::hops::HopMeter;
use crate::lock;
use crate::model::load_error;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "msaoaudiomas",
        gst::DebugColorFlags::empty(),
        Some("MAS of sound"),
    )
});

/// Rates in Hz.
const RATES: std::ops::RangeInclusive<i32> = 8_000..=192_000;

/// The settings that other modalities do not have.
#[derive(Debug, Clone)]
struct SpeechSettings {
    model: Option<String>,
    threshold: f32,
}

impl Default for SpeechSettings {
    fn default() -> Self {
        Self {
            model: None,
            threshold: 0.5,
        }
    }
}

impl SpeechSettings {
    fn load(&self) -> Result<Option<Speech>, gst::ErrorMessage> {
        let Some(path) = &self.model else {
            return Ok(None);
        };
        let detector = SpeechDetector::load(Path::new(path), mllm::Provider::Cpu)
            .map_err(|error| load_error(&error))?;
        Ok(Some(Speech {
            detector,
            threshold: self.threshold,
        }))
    }
}

/// Implementation of [`AudioMas`](super::AudioMas).
#[derive(Default)]
pub struct AudioMas {
    meter: HopMeter<Sound>,
    speech: Mutex<SpeechSettings>,
    format: Mutex<Option<gst_audio::AudioInfo>>,
}

#[glib::object_subclass]
impl ObjectSubclass for AudioMas {
    const NAME: &'static str = "GstMsaoAudioMas";
    type Type = super::AudioMas;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for AudioMas {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = HopMeter::<Sound>::properties();
            properties.extend([
                glib::ParamSpecString::builder("vad-model")
                    .nick("Speech model")
                    .blurb("ONNX file of Silero VAD, to tell speech (default: none)")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecFloat::builder("vad-threshold")
                    .nick("Speech threshold")
                    .blurb("Hops with speech more probable than this are flagged `speech`")
                    .minimum(0.0)
                    .maximum(1.0)
                    .default_value(SpeechSettings::default().threshold)
                    .mutable_playing()
                    .build(),
            ]);
            properties
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !crate::may_set(&*self.obj(), pspec) {
            return;
        }
        match pspec.name() {
            "vad-model" => {
                let path: Option<String> = value.get().unwrap_or_default();
                lock(&self.speech).model = path.filter(|path| !path.is_empty());
            }
            "vad-threshold" => {
                let threshold = value.get().unwrap_or_default();
                lock(&self.speech).threshold = threshold;
                (self.meter).with_network(|sound| sound.set_threshold(threshold));
            }
            name if self.meter.set(name, value) => {}
            name => gst::error!(CAT, imp = self, "no writable property `{name}`"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let speech = lock(&self.speech);
        match pspec.name() {
            "vad-model" => speech.model.to_value(),
            "vad-threshold" => speech.threshold.to_value(),
            name => {
                let value = self.meter.get(name);
                value.unwrap_or_else(|| pspec.default_value().clone())
            }
        }
    }
}

impl GstObjectImpl for AudioMas {}

impl ElementImpl for AudioMas {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MSAO audio sparsity meter",
                "Filter/Analyzer/Audio",
                "Measures on each hop of 500 ms what share of it need not be sent (MAS), and adds it as a meta",
                "The MSAO authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst_audio::AudioCapsBuilder::new_interleaved()
                .format_list([gst_audio::AudioFormat::F32le, gst_audio::AudioFormat::S16le])
                .rate_range(RATES)
                .channels_range(1..=64)
                .build();
            crate::in_and_out(&caps)
        });
        &TEMPLATES
    }
}

impl BaseTransformImpl for AudioMas {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.format) = None;
        let speech = lock(&self.speech).clone();
        let provider = self.meter.start(|model| {
            let encoder = HopNetwork::audio(&model.folder()?, model.provider())
                .map_err(|error| load_error(&error))?;
            Ok(Sound::new(encoder, speech.load()?))
        })?;
        gst::info!(CAT, imp = self, "audio encoder runs on {provider}");
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        self.meter.stop();
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _out: &gst::Caps) -> Result<(), gst::LoggableError> {
        let unread = |error| gst::loggable_error!(CAT, "{error} in {incaps}");
        let format = gst_audio::AudioInfo::from_caps(incaps).map_err(unread)?;
        if lock(&self.format).replace(format.clone()).as_ref() != Some(&format) {
            let converter = Converter::new(&format).map_err(unread)?;
            self.meter.restart();
            self.meter.with_network(|sound| sound.hear(converter));
        }
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        if event.type_() == gst::EventType::FlushStop {
            self.meter.restart();
        }
        self.parent_sink_event(event)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        let answered = BaseTransformImplExt::parent_query(self, direction, query);
        if answered {
            self.meter.answered(direction, query);
        }
        answered
    }

    /// β comes from the draft model, downstream.
    fn src_event(&self, event: gst::Event) -> bool {
        self.meter.take_beta(&event) || self.parent_src_event(event)
    }

    fn transform_ip(
        &self,
        buffer: &mut gst::BufferRef,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.meter.measure(&*self.obj(), buffer)
    }
}
