//! Cameras and microphones on the network: one that is gone is tried again, and the rig's other streams go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gst::prelude::*;

use super::config::Config;
use super::launch::{self, Stream};

/// Schemes of what sends as things happen, and is expected to be there again.
const LIVE: [&str; 6] = ["rtsp", "rtsps", "rtmp", "srt", "rtp", "udp"];
/// The message of a source that ended by itself.
const ENDED: &str = "msao-source-ended";
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A source that went on for so long is well again.
const WELL: Duration = Duration::from_secs(60);

/// Whether `source` is a URI of something live.
pub fn is_live(source: &str) -> bool {
    source
        .split_once("://")
        .is_some_and(|(scheme, _)| LIVE.contains(&scheme))
}

/// The live sources of a pipeline.
pub struct Sources {
    sources: Vec<Arc<Source>>,
    /// The streams are to end: their ends are let through.
    ending: Arc<AtomicBool>,
}

struct Source {
    element: gst::Element,
    uri: String,
    /// What it feeds.
    inputs: Vec<gst::Pad>,
    /// Whether it is down, or on its way up.
    restarting: AtomicBool,
    failures: AtomicU32,
}

impl Sources {
    /// Watches the sources of `pipeline`, before it starts.
    ///
    /// # Errors
    /// The pipeline is not that of `config`.
    pub fn watch(config: &Config, pipeline: &gst::Pipeline) -> Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let streams = launch::streams(config);
        let live = |stream: &&Stream| is_live(config.source_of(**stream));
        let mut sources = Vec::new();
        for stream in streams.iter().filter(live) {
            // What a camera hears is read with what it sees.
            let Some(element) = pipeline.by_name(&stream.source()) else {
                continue;
            };
            let uri = config.source_of(*stream);
            let fed = streams
                .iter()
                .filter(|other| config.source_of(**other) == uri);
            let mut inputs = Vec::new();
            for fed in fed {
                let input = pipeline.by_name(&fed.input());
                let pad = input.and_then(|input| input.static_pad("sink"));
                inputs.push(pad.with_context(|| format!("there is no {}", fed.input()))?);
            }
            for input in &inputs {
                pass_on_unless_ended(input, &element, &ending);
                answer_while_down(input);
            }
            // The pipeline does not wait for it to play.
            element.set_property("async-handling", true);
            let linked = inputs.clone();
            element.connect_pad_added(move |_, pad| link(pad, &linked));
            sources.push(Arc::new(Source {
                element,
                uri: uri.to_owned(),
                inputs,
                restarting: AtomicBool::new(false),
                failures: AtomicU32::new(0),
            }));
        }
        Ok(Self { sources, ending })
    }

    /// From now on the streams may end; those whose source is down do.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
        let down = |source: &&Arc<Source>| source.restarting.load(Ordering::Relaxed);
        for source in self.sources.iter().filter(down) {
            for input in &source.inputs {
                input.send_event(gst::event::Eos::new());
            }
        }
    }

    /// Whether `message` says that a source failed or ended, which is then started again after a pause. Must be called
    /// within a tokio runtime.
    pub fn take(&self, message: &gst::Message) -> bool {
        let (of, reason) = match message.view() {
            gst::MessageView::Error(error) => (message.src(), error.error().to_string()),
            gst::MessageView::Application(ended)
                if ended.structure().is_some_and(|s| s.has_name(ENDED)) =>
            {
                (message.src(), "it ended".to_owned())
            }
            _ => return false,
        };
        let source = self.sources.iter().find(|source| {
            let element: &gst::Object = source.element.upcast_ref();
            of.is_some_and(|of| of == element || of.has_as_ancestor(element))
        });
        let Some(source) = source else { return false };
        if !self.ending.load(Ordering::Relaxed) && !source.restarting.swap(true, Ordering::Relaxed)
        {
            let (source, ending) = (Arc::clone(source), Arc::clone(&self.ending));
            tokio::spawn(async move { source.restart(&reason, &ending).await });
        }
        true
    }
}

impl Source {
    async fn restart(&self, reason: &str, ending: &AtomicBool) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let pause = LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.saturating_pow(failures));
        let (uri, seconds) = (&self.uri, pause.as_secs());
        tracing::warn!(
            "{uri} is gone ({reason}); the other streams go on, and it is tried again in {seconds} s"
        );
        // The rig's state is not its own while it is down.
        self.element.set_locked_state(true);
        self.set_state(&self.element, gst::State::Null).await;
        if let Some(pipeline) = self.element.parent().and_downcast::<gst::Element>() {
            // An error in it ends a bin's change of state, which is under way when the rig starts.
            self.set_state(&pipeline, gst::State::Playing).await;
        }
        tokio::time::sleep(pause).await;
        if ending.load(Ordering::Relaxed) {
            return;
        }
        self.restarting.store(false, Ordering::Relaxed);
        self.element.set_locked_state(false);
        self.set_state(&self.element, gst::State::Playing).await;
        let begun = Instant::now();
        tokio::time::sleep(WELL).await;
        let restarted = self.restarting.load(Ordering::Relaxed);
        if !restarted && begun.elapsed() >= WELL {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// It may take its time. What goes wrong comes as a message.
    async fn set_state(&self, element: &gst::Element, state: gst::State) {
        let element = element.clone();
        let set = tokio::task::spawn_blocking(move || element.set_state(state));
        if let Ok(Err(error)) = set.await {
            tracing::debug!("{}: {error}", self.uri);
        }
    }
}

/// An end is told to the bus instead of the streams behind.
fn pass_on_unless_ended(input: &gst::Pad, element: &gst::Element, ending: &Arc<AtomicBool>) {
    let (element, ending) = (element.downgrade(), Arc::clone(ending));
    input.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let ended = (info.event()).is_some_and(|event| event.type_() == gst::EventType::Eos);
        if !ended || ending.load(Ordering::Relaxed) {
            return gst::PadProbeReturn::Ok;
        }
        if let Some(element) = element.upgrade() {
            let ended = gst::Structure::new_empty(ENDED);
            let message = gst::message::Application::builder(ended).src(&element);
            // Without a bus nobody is there to act on it.
            let _ = element.post_message(message.build());
        }
        gst::PadProbeReturn::Handled
    });
}

/// How late a source is that is down nobody could say, and without an answer the window would wait for it for ever.
fn answer_while_down(input: &gst::Pad) {
    let kind = gst::PadProbeType::QUERY_UPSTREAM | gst::PadProbeType::PUSH;
    input.add_probe(kind, |pad, info| {
        let latency = info.query_mut().map(gst::QueryRef::view_mut);
        match latency {
            Some(gst::QueryViewMut::Latency(latency)) if !pad.is_linked() => {
                latency.set(true, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                gst::PadProbeReturn::Handled
            }
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

/// The line links a source's pads once; those of one that was started again are linked here.
fn link(pad: &gst::Pad, inputs: &[gst::Pad]) {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let fits =
        |input: &&gst::Pad| !input.is_linked() && input.query_caps(None).can_intersect(&caps);
    if pad.is_linked() {
        return;
    }
    if let Some(input) = inputs.iter().find(fits)
        && let Err(error) = pad.link(input)
    {
        tracing::warn!("a source that is back cannot be linked: {error}");
    }
}
