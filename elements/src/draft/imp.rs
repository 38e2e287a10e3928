//! Implementation of `msaodraft`.

use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use broker::FeatureWindow;
use gst::glib;
use gst::glib::subclass::Signal;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::subclass::base_transform::GenerateOutputSuccess;
use gst_base::subclass::prelude::*;
use mllm::CaptionModel;

use super::ask;
use super::properties::{self, Properties, Stats};
use super::window::{Drafter, Error};
use crate::beta;
use crate::feedback::Stop;
use crate::latency::Latency;
use crate::lock;
use crate::model::load_error;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "msaodraft",
        gst::DebugColorFlags::empty(),
        Some("MSAO drafts"),
    )
});

/// Implementation of [`Draft`](super::Draft).
#[derive(Default)]
pub struct Draft {
    settings: Mutex<Properties>,
    drafter: Mutex<Option<Drafter>>,
    stats: Mutex<Stats>,
    latency: Latency,
    stop: Mutex<Stop>,
    /// The latest window with tokens, as it came: what questions are about.
    latest: Mutex<Option<FeatureWindow>>,
}

impl Draft {
    fn draft(&self, bytes: &[u8]) -> Result<Option<(FeatureWindow, Vec<u8>)>, Error> {
        let begun = Instant::now();
        let mut settings = lock(&self.settings).draft;
        settings.stop = *lock(&self.stop);
        let mut window = FeatureWindow::decode(bytes)?;
        if !window.tokens.is_empty() {
            *lock(&self.latest) = Some(window.clone());
        }
        let (measured, betas) = {
            let mut drafter = lock(&self.drafter);
            let Some(drafter) = drafter.as_mut() else {
                return Ok(None);
            };
            let span = broker::trace::draft(&window.id).entered();
            let measured = drafter.draft(&mut window, settings)?;
            drop(span);
            let known = &drafter.contribution;
            let mut stats = lock(&self.stats);
            stats.betas = known.betas();
            stats.refreshes = known.refreshes;
            stats.beta_time = known.time;
            (measured, stats.betas)
        };
        let encoded = window.encode()?;
        {
            let mut stats = lock(&self.stats);
            stats.windows += 1;
            if let Some(draft) = &window.draft {
                stats.drafted += 1;
                stats.tokens += draft.token_ids.len() as u64;
            } else if !window.tokens.is_empty() {
                stats.stopped += 1;
            }
            stats.time += begun.elapsed();
        }
        if measured {
            // Whoever shares a budget or measures MAS may be there to hear it, or not.
            let pad = self.obj().static_pad("sink");
            pad.map(|pad| pad.push_event(beta::event(&betas)));
        }
        Ok(Some((window, encoded)))
    }

    /// Answers a question about the latest window.
    fn ask(&self, prompt: &str) -> Result<Vec<u8>, String> {
        // A clone, so that no window waits for the answer to a question about an older one.
        let latest = lock(&self.latest).clone();
        let latest = latest.ok_or("it has not seen a window with anything in it yet")?;
        let mut drafter = lock(&self.drafter);
        let drafter = drafter.as_mut().ok_or("it is not running")?;
        let answered = ask::answer(drafter, latest, prompt).map_err(|error| error.to_string())?;
        answered.encode().map_err(|error| error.to_string())
    }

    fn post(&self, window: &FeatureWindow) {
        let Some(draft) = &window.draft else { return };
        let took = window.drafted_utc_ns.saturating_sub(window.closed_utc_ns);
        let structure = gst::Structure::builder("msao-draft")
            .field("id", window.id.to_string())
            .field("text", draft.text.as_str())
            .field("confidence", draft.confidence)
            .field("time", u64::try_from(took).unwrap_or_default())
            .build();
        let message = gst::message::Element::builder(structure)
            .src(&*self.obj())
            .build();
        // Without a bus nobody listens.
        let _ = self.obj().post_message(message);
    }
}

#[glib::object_subclass]
impl ObjectSubclass for Draft {
    const NAME: &'static str = "GstMsaoDraft";
    type Type = super::Draft;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for Draft {
    fn signals() -> &'static [Signal] {
        static SIGNALS: LazyLock<Vec<Signal>> = LazyLock::new(|| {
            let ask = Signal::builder("ask")
                .param_types([String::static_type()])
                .return_type::<gst::Structure>()
                .run_last()
                .action()
                .class_handler(|values| {
                    let element = values.first()?.get::<super::Draft>().ok()?;
                    let prompt = values.get(1)?.get::<String>().ok()?;
                    let reply = gst::Structure::builder("msao-answer");
                    let reply = match element.imp().ask(&prompt) {
                        Ok(window) => reply.field("window", glib::Bytes::from_owned(window)),
                        Err(reason) => reply.field("error", reason),
                    };
                    Some(reply.build().to_value())
                });
            vec![ask.build()]
        });
        &SIGNALS
    }

    fn properties() -> &'static [glib::ParamSpec] {
        properties::properties()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !crate::may_set(&*self.obj(), pspec) {
            return;
        }
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            return lock(&self.stats).structure().to_value();
        }
        let value = lock(&self.settings).get(pspec.name());
        value.unwrap_or_else(|| pspec.default_value().clone())
    }
}

impl GstObjectImpl for Draft {}

impl ElementImpl for Draft {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "MSAO draft captioner",
                "Filter/Analyzer",
                "Captions each window with the draft model; the element message `msao-draft` says how",
                "The MSAO authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> =
            LazyLock::new(|| crate::in_and_out(&crate::window_caps()));
        &TEMPLATES
    }
}

impl BaseTransformImpl for Draft {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::NeverInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).model.clone();
        let model = CaptionModel::load(&settings.folder()?, settings.provider())
            .map_err(|error| load_error(&error))?;
        gst::info!(
            CAT,
            imp = self,
            "{} runs on {}",
            model.config().name,
            model.provider()
        );
        *lock(&self.stats) = Stats::default();
        self.latency.reset();
        *lock(&self.stop) = Stop::default();
        *lock(&self.drafter) = Some(Drafter::new(model));
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.drafter) = None;
        *lock(&self.latest) = None;
        Ok(())
    }

    /// After a flush there is no latest window.
    fn sink_event(&self, event: gst::Event) -> bool {
        if event.type_() == gst::EventType::FlushStop {
            *lock(&self.latest) = None;
        }
        self.parent_sink_event(event)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        let answered = BaseTransformImplExt::parent_query(self, direction, query);
        if answered {
            self.latency.add_to(direction, query);
        }
        answered
    }

    /// Whoever decides on windows, downstream, says when a draft is better stopped.
    fn src_event(&self, event: gst::Event) -> bool {
        if let Some(stop) = Stop::read(&event) {
            *lock(&self.stop) = stop;
            return true;
        }
        self.parent_src_event(event)
    }

    // The window grows by its draft, so its size is known only once it is encoded.
    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let Some(input) = self.take_queued_buffer() else {
            return Ok(GenerateOutputSuccess::NoOutput);
        };
        let begun = Instant::now();
        let result = {
            let bytes = input.map_readable().map_err(|error| {
                gst::element_imp_error!(self, gst::ResourceError::Read, ("buffer: {error}"));
                gst::FlowError::Error
            })?;
            self.draft(&bytes)
        };
        match result {
            Ok(Some((window, encoded))) => {
                self.post(&window);
                self.latency.note(&*self.obj(), begun.elapsed());
                let mut output = gst::Buffer::from_slice(encoded);
                if let Some(output) = output.get_mut() {
                    let flags = gst::BufferCopyFlags::TIMESTAMPS | gst::BufferCopyFlags::FLAGS;
                    // Copies times and flags only, which cannot fail.
                    let _ = input.copy_into(output, flags, ..);
                }
                Ok(GenerateOutputSuccess::Buffer(output))
            }
            Ok(None) => Err(gst::FlowError::Flushing),
            Err(error @ Error::Window(_)) => {
                gst::element_imp_error!(self, gst::StreamError::Decode, ("{error}"));
                Err(gst::FlowError::Error)
            }
            Err(error) => {
                gst::element_imp_error!(self, gst::LibraryError::Failed, ("{error}"));
                Err(gst::FlowError::Error)
            }
        }
    }
}
