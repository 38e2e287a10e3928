//! Implementation of `msaosensormas`.

use std::sync::{LazyLock, Mutex};

use broker::Modality;
use gst::glib;
use gst::subclass::prelude::*;
use gst_base::subclass::prelude::*;
use mllm::{EncoderId, HopNetwork, HopOutput};
use ndarray::Array2;

use crate::hops::{Error, Hop, HopMeter, Look, Shape, Source};
use crate::lock;
use crate::model::load_error;
use crate::sensor::SensorFormat;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "msaosensormas",
        gst::DebugColorFlags::empty(),
        Some("MAS of sensors"),
    )
});

/// The sensor encoder and the format that it reads.
struct Sensors {
    network: HopNetwork,
    format: SensorFormat,
}

impl Sensors {
    fn new(network: HopNetwork) -> Self {
        let about = network.about();
        let format = SensorFormat {
            channels: about.channels.len(),
            rate: about.rate.unwrap_or(1),
            names: Some(about.channels.clone()),
        };
        Self { network, format }
    }

    /// Why a stream of this format cannot be measured, and the mend.
    fn mismatch(&self, stream: &SensorFormat) -> Option<String> {
        let model = &self.format;
        let names = |format: &SensorFormat| {
            let names = format.names.as_ref().map(|names| names.join(","));
            names.map_or_else(String::new, |names| format!(" ({names})"))
        };
        let differ = stream.names.is_some() && stream.names != model.names;
        if !differ && (stream.channels, stream.rate) == (model.channels, model.rate) {
            return None;
        }
        let channels = names(model);
        Some(format!(
            "the stream has {} channels{} at {} Hz, and the model `{}` reads {}{channels} at {} Hz: \
             bring these channels, in this order, at this rate, as msaosensorsrc does with \
             `channels` and `rate`",
            stream.channels,
            names(stream),
            stream.rate,
            self.network.encoder().id,
            model.channels,
            model.rate,
        ))
    }
}

impl Hop for Sensors {
    const MODALITY: Modality = Modality::Sensor;

    fn shape(&self) -> Shape {
        Shape {
            channels: self.format.channels,
            rate: self.format.rate,
            hop: self.network.shape()[1],
            context: 0,
        }
    }

    fn source(&self) -> Source {
        Source {
            sample: 4 * self.format.channels,
            rate: self.format.rate,
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<Vec<f32>, Error> {
        let (values, _) = bytes.as_chunks::<4>();
        let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes));
        Ok(values.collect())
    }

    fn encoder(&self) -> &EncoderId {
        self.network.encoder()
    }

    fn provider(&self) -> mllm::Provider {
        self.network.provider()
    }

    fn columns(&self) -> usize {
        self.network.about().columns
    }

    fn run(&mut self, samples: &[f32]) -> Result<HopOutput, mllm::Error> {
        let channels = self.format.channels;
        let shape = (channels, samples.len() / channels);
        let by_channel = Array2::from_shape_fn(shape, |(c, i)| samples[i * channels + c]);
        self.network.run(by_channel.view())
    }

    fn look(&mut self, samples: &[f32]) -> Result<Look, mllm::Error> {
        let mut flags = Vec::new();
        let first = &samples[..self.format.channels];
        if samples.chunks(self.format.channels).all(|row| row == first) {
            flags.push("frozen");
        }
        if samples.iter().any(|value| !value.is_finite()) {
            flags.push("non-finite");
        }
        Ok(Look {
            flags,
            speech: None,
        })
    }
}

/// Implementation of [`SensorMas`](super::SensorMas).
#[derive(Default)]
pub struct SensorMas {
    meter: HopMeter<Sensors>,
    format: Mutex<Option<SensorFormat>>,
}

#[glib::object_subclass]
impl ObjectSubclass for SensorMas {
    const NAME: &'static str = "GstMsaoSensorMas";
    type Type = super::SensorMas;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for SensorMas {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> =
            LazyLock::new(HopMeter::<Sensors>::properties);
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !crate::may_set(&*self.obj(), pspec) {
            return;
        }
        if !self.meter.set(pspec.name(), value) {
            gst::error!(CAT, imp = self, "no writable property `{}`", pspec.name());
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let value = self.meter.get(pspec.name());
        value.unwrap_or_else(|| pspec.default_value().clone())
    }
}

impl GstObjectImpl for SensorMas {}

impl ElementImpl for SensorMas {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MSAO sensor sparsity meter",
                "Filter/Analyzer/Sensor",
                "Measures on each hop of 500 ms what share of it need not be sent (MAS), and adds it as a meta",
                "The MSAO authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> =
            LazyLock::new(|| crate::in_and_out(&SensorFormat::any_caps()));
        &TEMPLATES
    }
}

impl BaseTransformImpl for SensorMas {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.format) = None;
        let provider = self.meter.start(|model| {
            let network = HopNetwork::sensor(&model.folder()?, model.provider());
            Ok(Sensors::new(network.map_err(|error| load_error(&error))?))
        })?;
        gst::info!(CAT, imp = self, "sensor encoder runs on {provider}");
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        self.meter.stop();
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _out: &gst::Caps) -> Result<(), gst::LoggableError> {
        let format = SensorFormat::from_caps(incaps)
            .ok_or_else(|| gst::loggable_error!(CAT, "no channels or no rate in {incaps}"))?;
        let mismatch = (self.meter).with_network(|network| network.mismatch(&format));
        if let Some(problem) = mismatch.flatten() {
            gst::element_imp_error!(self, gst::CoreError::Negotiation, ("{problem}"));
            return Err(gst::loggable_error!(CAT, "{problem}"));
        }
        if lock(&self.format)
            .replace(format.clone())
            .is_some_and(|before| before != format)
        {
            self.meter.restart();
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
