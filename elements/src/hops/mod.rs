//! What `msaoaudiomas` and `msaosensormas` share: a stream of samples is cut into hops,
//! and each hop is encoded and measured.

mod cut;
mod measure;
mod settings;

use std::sync::Mutex;
use std::time::Instant;

use gst::glib;
use gst::prelude::*;

pub(crate) use cut::Shape;
use measure::State;
pub(crate) use measure::{Error, Hop, Look, Source};
use settings::{Settings, Stats};

use crate::beta;
use crate::latency::Latency;
use crate::lock;
use crate::meta::MasMeta;
use crate::model::ModelSettings;

/// The part of an element that measures hops.
pub(crate) struct HopMeter<H> {
    settings: Mutex<Settings>,
    state: Mutex<Option<State<H>>>,
    stats: Mutex<Stats>,
    latency: Latency,
}

impl<H> Default for HopMeter<H> {
    fn default() -> Self {
        Self {
            settings: Mutex::default(),
            state: Mutex::new(None),
            stats: Mutex::default(),
            latency: Latency::default(),
        }
    }
}

impl<H: Hop> HopMeter<H> {
    /// The properties `model`, `provider`, `coverage`, `seed`, `message` and `stats`.
    pub fn properties() -> Vec<glib::ParamSpec> {
        settings::properties()
    }

    /// Sets one of the properties; whether it is one of them.
    pub fn set(&self, name: &str, value: &glib::Value) -> bool {
        lock(&self.settings).set(name, value)
    }

    /// The value of one of the properties.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        if name == "stats" {
            return Some(lock(&self.stats).structure().to_value());
        }
        lock(&self.settings).get(name)
    }

    /// Loads the network.
    pub fn start(
        &self,
        load: impl FnOnce(&ModelSettings) -> Result<H, gst::ErrorMessage>,
    ) -> Result<mllm::Provider, gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let state = State::new(load(&settings.model)?, &settings)?;
        let provider = state.provider();
        *lock(&self.stats) = Stats::default();
        self.latency.reset();
        *lock(&self.state) = Some(state);
        Ok(provider)
    }

    pub fn stop(&self) {
        *lock(&self.state) = None;
    }

    /// The hop that is being gathered is given up, and what comes next begins a first one.
    pub fn restart(&self) {
        if let Some(state) = lock(&self.state).as_mut() {
            state.restart(&mut lock(&self.stats));
        }
    }

    /// Later hops are measured with the β that an event brings. Whether it brings any.
    pub fn take_beta(&self, event: &gst::EventRef) -> bool {
        let Some(betas) = beta::read(event) else {
            return false;
        };
        if let Some(state) = lock(&self.state).as_ref() {
            state.set_beta(beta::of(&betas, H::MODALITY));
        }
        true
    }

    /// The element's part of an answer from upstream.
    pub fn answered(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) {
        self.latency.add_to(direction, query);
    }

    /// Asks or tells the network of the running element something.
    pub fn with_network<T>(&self, with: impl FnOnce(&mut H) -> T) -> Option<T> {
        let mut state = lock(&self.state);
        state.as_mut().map(|state| with(state.network()))
    }

    /// Measures the hops that end in a buffer and adds the meta.
    pub fn measure(
        &self,
        element: &impl IsA<gst::Element>,
        buffer: &mut gst::BufferRef,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let unreadable = |problem: &str| {
            lock(&self.stats).unreadable += 1;
            gst::element_warning!(
                element,
                gst::StreamError::Decode,
                ("buffer dropped: {problem}")
            );
            Ok(gst_base::BASE_TRANSFORM_FLOW_DROPPED)
        };
        let begun = Instant::now();
        let sample = self.with_network(|network| network.source().sample);
        let sample = sample.ok_or(gst::FlowError::Flushing)?;
        let ended = match buffer.map_readable() {
            Err(error) => return unreadable(&error.to_string()),
            Ok(bytes) if !bytes.len().is_multiple_of(sample) => {
                let size = bytes.len();
                return unreadable(&format!("{size} bytes are no whole number of samples"));
            }
            Ok(bytes) => {
                let mut state = lock(&self.state);
                let state = state.as_mut().ok_or(gst::FlowError::Flushing)?;
                state.take(buffer, &bytes, &self.stats)
            }
        };
        let ended = ended.map_err(|error| {
            gst::element_error!(element, gst::LibraryError::Failed, ("{error}"));
            gst::FlowError::Error
        })?;
        if lock(&self.settings).message {
            for hop in &ended.hops {
                settings::post(element, hop);
            }
        }
        MasMeta::put_all(buffer, ended.carried());
        // Between hops nothing is held.
        if !ended.hops.is_empty() {
            self.latency.note(element, begun.elapsed());
        }
        Ok(gst::FlowSuccess::Ok)
    }
}
