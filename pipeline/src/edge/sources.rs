//! The rig's cameras, microphones and sensors, each of which may fail: the other streams go on. What is expected to be
//! there again is tried again, what is a file is given up.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use broker::Modality;
use gst::prelude::*;

use super::config::{Config, redacted};
use super::launch::{self, Stream};
use super::whole;

/// The message of a source that ended by itself.
const ENDED: &str = "msao-source-ended";
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A source that went on for so long is well again.
const WELL: Duration = Duration::from_secs(60);

/// The sources of a pipeline.
pub struct Sources {
    sources: Vec<Arc<Source>>,
    /// The streams are to end: their ends are let through.
    ending: Arc<AtomicBool>,
}

struct Source {
    /// From what opens it to what its streams come out of.
    elements: Vec<gst::Element>,
    /// From there to the meters of its streams.
    branch: Vec<gst::Element>,
    name: String,
    feeds: Vec<Feed>,
    live: bool,
    /// Whether it is down, or on its way up.
    is_down: Arc<AtomicBool>,
    failures: AtomicU32,
    /// Of each stream that is down, why.
    problems: Mutex<Vec<(Stream, String)>>,
}

/// A stream that a source feeds.
#[derive(Clone)]
struct Feed {
    stream: Stream,
    /// Where its data go in.
    input: gst::Pad,
    /// Where its stream goes on: what follows the gate, and the sink of previews.
    ends: Vec<gst::Pad>,
}

impl Sources {
    /// Watches the sources of `pipeline`, before it starts.
    ///
    /// # Errors
    /// The pipeline is not that of `config`.
    pub fn watch(config: &Config, pipeline: &gst::Pipeline) -> Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let streams = launch::streams(config);
        let mut sources: Vec<Arc<Source>> = Vec::new();
        for stream in &streams {
            // What a camera hears is read with what it sees.
            let Some(last) = pipeline.by_name(&stream.source()) else {
                continue;
            };
            let name = config.source_of(*stream);
            let shares = |other: &&Stream| {
                **other == *stream
                    || config.source_of(**other) == name
                        && pipeline.by_name(&other.source()).is_none()
            };
            let mut branch = Vec::new();
            let feeds: Vec<Feed> = (streams.iter().filter(shares))
                .map(|stream| Feed::find(pipeline, *stream, &last, &mut branch))
                .collect::<Result<_>>()?;
            let live = config.is_live(*stream);
            if last.has_property("async-handling") {
                // The pipeline does not wait for it to play.
                last.set_property("async-handling", true);
            }
            let is_down = Arc::new(AtomicBool::new(false));
            let furthest = match live {
                true => whole::Furthest::default(),
                false => whole::Furthest::of(&last),
            };
            for feed in &feeds {
                answer_while_down(&feed.input, &is_down);
                if live {
                    pass_on_unless_ended(&feed.input, &last, &ending);
                } else if feed.stream.modality != Modality::Sensor {
                    let name = format!("{} ({})", redacted(name), feed.stream.pad());
                    whole::warn_if_not(&feed.input, name, furthest.clone());
                }
            }
            let opens = last.static_pad("sink").and_then(|pad| pad.peer());
            let opens = opens.and_then(|pad| pad.parent_element());
            let source = Arc::new(Source {
                elements: opens.into_iter().chain([last.clone()]).collect(),
                branch,
                name: redacted(name),
                feeds,
                live,
                is_down,
                failures: AtomicU32::new(0),
                problems: Mutex::default(),
            });
            let linked = Arc::downgrade(&source);
            last.connect_pad_added(move |_, pad| {
                if let Some(source) = linked.upgrade() {
                    source.link(pad);
                }
            });
            sources.push(source);
        }
        Ok(Self { sources, ending })
    }

    /// From now on the streams may end; those whose source is down do.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
        let down = |source: &&Arc<Source>| source.is_down.load(Ordering::Relaxed);
        for source in self.sources.iter().filter(down) {
            // One that is not ready for it ends with the rig.
            for feed in &source.feeds {
                let _ = feed.end();
            }
        }
    }

    /// The streams that bring nothing, and why.
    pub fn down(&self) -> Vec<(Stream, String)> {
        let of = |source: &Arc<Source>| source.problems().clone();
        self.sources.iter().flat_map(of).collect()
    }

    /// Whether a source of which `stream` is one may fail, as others go on; it is then down. For before the start.
    pub fn lacks(&self, stream: Stream, problem: &str) -> bool {
        let source = self
            .sources
            .iter()
            .find(|source| source.feeds.iter().any(|feed| feed.stream == stream));
        source.is_some_and(|source| self.fail(source, problem))
    }

    /// Whether `message` says that a source failed or ended, which the others survive: it is then tried again, or given
    /// up. `reason` puts an error into words. Must be called within a tokio runtime.
    pub fn take(&self, message: &gst::Message, reason: impl FnOnce() -> String) -> bool {
        if is_of_none(message) {
            tracing::debug!("what was let go still says: {}", reason());
            return true;
        }
        let Some(source) = self.sources.iter().find(|source| source.sent(message)) else {
            return false;
        };
        match message.view() {
            gst::MessageView::Error(_) => self.fail(source, &reason()),
            gst::MessageView::Application(ended)
                if ended.structure().is_some_and(|s| s.has_name(ENDED)) =>
            {
                self.fail(source, "it ended")
            }
            gst::MessageView::Warning(warning)
                if warning.error().matches(gst::ParseError::DelayedLink) =>
            {
                self.lack_part(source, &reason())
            }
            _ => false,
        }
    }

    fn fail(&self, source: &Arc<Source>, reason: &str) -> bool {
        if self.ending.load(Ordering::Relaxed) || source.is_down.load(Ordering::Relaxed) {
            return true;
        }
        if !source.live && !self.others_go_on(source) {
            return false;
        }
        source.is_down.store(true, Ordering::Relaxed);
        for feed in &source.feeds {
            source.note(feed.stream, reason);
        }
        // Here and not later: an error in it would end a change of the pipeline's state that is tried again.
        for element in &source.elements {
            element.set_locked_state(true);
        }
        let (source, ending) = (Arc::clone(source), Arc::clone(&self.ending));
        let reason = reason.to_owned();
        tokio::spawn(async move {
            source.stop().await;
            if source.live {
                source.restart(&reason, &ending).await;
            } else {
                source.give_up(&source.feeds, &reason).await;
            }
        });
        true
    }

    /// A source without the picture or the sound that is asked of it.
    fn lack_part(&self, source: &Arc<Source>, reason: &str) -> bool {
        let known = source.problems().clone();
        let known = |feed: &Feed| known.iter().any(|(stream, _)| *stream == feed.stream);
        let lacking = |feed: &&Feed| !feed.input.is_linked() && !known(feed);
        let lacking: Vec<Feed> = source.feeds.iter().filter(lacking).cloned().collect();
        if lacking.len() == source.feeds.len() && !self.others_go_on(source) {
            return false;
        }
        for feed in &lacking {
            source.note(feed.stream, reason);
        }
        let (source, reason) = (Arc::clone(source), reason.to_owned());
        tokio::spawn(async move { source.give_up(&lacking, &reason).await });
        true
    }

    /// Whether there are streams beside those of `source` that may still bring something.
    fn others_go_on(&self, source: &Arc<Source>) -> bool {
        let goes_on = |other: &&Arc<Source>| {
            !Arc::ptr_eq(other, source)
                && (other.live || other.problems().len() < other.feeds.len())
        };
        self.sources.iter().any(|other| goes_on(&other))
    }
}

/// Whether it comes from what is in no pipeline any more. A source that stops lets go of what reads its camera, which
/// may say last that a camera that is gone cannot be told so.
fn is_of_none(message: &gst::Message) -> bool {
    let of = message.src().cloned();
    let above = std::iter::successors(of, |of| of.parent());
    above.last().is_some_and(|top| !top.is::<gst::Pipeline>())
}

impl Source {
    fn sent(&self, message: &gst::Message) -> bool {
        let within = |element: &gst::Element| {
            let element: &gst::Object = element.upcast_ref();
            (message.src()).is_some_and(|of| of == element || of.has_as_ancestor(element))
        };
        // What a camera brings may be what its meter cannot read.
        let unreadable = matches!(message.view(), gst::MessageView::Error(error) if error.error().is::<gst::StreamError>());
        self.elements.iter().any(within) || unreadable && self.branch.iter().any(within)
    }

    fn problems(&self) -> std::sync::MutexGuard<'_, Vec<(Stream, String)>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, stream: Stream, problem: &str) {
        let mut problems = self.problems();
        problems.retain(|(noted, _)| *noted != stream);
        problems.push((stream, problem.to_owned()));
    }

    /// It is left out of the rig's state, which goes on.
    async fn stop(&self) {
        for element in self.elements.iter().rev() {
            self.set_state(element, gst::State::Null).await;
        }
        let parent = self.elements.first().and_then(|element| element.parent());
        if let Some(pipeline) = parent.and_downcast::<gst::Element>() {
            // An error in it ends a bin's change of state, which is under way when the rig starts.
            self.set_state(&pipeline, gst::State::Playing).await;
        }
    }

    async fn give_up(&self, feeds: &[Feed], reason: &str) {
        tracing::error!(
            "{} ({}) is given up: {reason}; the other streams go on; mend `source` or what it names, and start the edge again",
            self.name,
            in_words(feeds)
        );
        for feed in feeds {
            // While the rig starts it may not take it yet.
            while !feed.end() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// The line links a source's pads once; those of one that was started again are linked here.
    fn link(&self, pad: &gst::Pad) {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let mut inputs = self.feeds.iter().map(|feed| &feed.input);
        let fits =
            |input: &&gst::Pad| !input.is_linked() && input.query_caps(None).can_intersect(&caps);
        if !pad.is_linked()
            && let Some(input) = inputs.find(fits)
            && let Err(error) = pad.link(input)
        {
            tracing::warn!("{} is back, but cannot be linked: {error}", self.name);
        }
        for feed in self.feeds.iter().filter(|feed| feed.input.is_linked()) {
            self.is_back(feed.stream);
        }
    }

    fn is_back(&self, stream: Stream) {
        self.problems().retain(|(down, _)| *down != stream);
    }

    /// What stays linked while it is down is back when it brings something again.
    fn await_back(self: &Arc<Self>) {
        for feed in self.feeds.iter().filter(|feed| feed.input.is_linked()) {
            let (source, stream) = (Arc::downgrade(self), feed.stream);
            feed.input
                .add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                    if let Some(source) = source.upgrade() {
                        source.is_back(stream);
                    }
                    gst::PadProbeReturn::Remove
                });
        }
    }

    async fn restart(self: &Arc<Self>, reason: &str, ending: &AtomicBool) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let pause = LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.saturating_pow(failures));
        tracing::warn!(
            "{} ({}) is gone: {reason}; the other streams go on, and it is tried again in {} s; see that it is connected, or mend `source`",
            self.name,
            in_words(&self.feeds),
            pause.as_secs()
        );
        tokio::time::sleep(pause).await;
        if ending.load(Ordering::Relaxed) {
            return;
        }
        self.is_down.store(false, Ordering::Relaxed);
        self.await_back();
        for element in self.elements.iter().rev() {
            element.set_locked_state(false);
            self.set_state(element, gst::State::Playing).await;
        }
        let begun = Instant::now();
        tokio::time::sleep(WELL).await;
        let failed = self.is_down.load(Ordering::Relaxed);
        if !failed && begun.elapsed() >= WELL {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// It may take its time. What goes wrong comes as a message.
    async fn set_state(&self, element: &gst::Element, state: gst::State) {
        let element = element.clone();
        let set = tokio::task::spawn_blocking(move || element.set_state(state));
        if let Ok(Err(error)) = set.await {
            tracing::debug!("{}: {error}", self.name);
        }
    }
}

fn in_words(feeds: &[Feed]) -> String {
    let streams: Vec<_> = feeds.iter().map(|feed| feed.stream.pad()).collect();
    streams.join(" and ")
}

impl Feed {
    /// That of `stream`, which `source` brings; the elements from where its data go in to its meter are added to `branch`.
    fn find(
        pipeline: &gst::Pipeline,
        stream: Stream,
        source: &gst::Element,
        branch: &mut Vec<gst::Element>,
    ) -> Result<Self> {
        let gate = pipeline.by_name(&stream.gate());
        let end = gate.and_then(|gate| gate.static_pad("src")?.peer());
        let end = end.with_context(|| format!("nothing follows {}", stream.gate()))?;
        let preview = pipeline.by_name(&stream.preview());
        let ends = [end]
            .into_iter()
            .chain(preview.and_then(|sink| sink.static_pad("sink")));
        let ends: Vec<gst::Pad> = ends.collect();
        let mut next = pipeline.by_name(&stream.mas());
        loop {
            let element = next.with_context(|| format!("nothing leads to {}", stream.mas()))?;
            let input = element.static_pad("sink");
            branch.push(element);
            let input = input.with_context(|| format!("nothing leads to {}", stream.mas()))?;
            // Pads that come with what is decoded are not there yet.
            next = input.peer().and_then(|peer| peer.parent_element());
            if next.is_none() || next.as_ref() == Some(source) {
                return Ok(Self {
                    stream,
                    input,
                    ends,
                });
            }
        }
    }

    /// Ends it, if it is ready for that or has ended.
    fn end(&self) -> bool {
        let end = |pad: &gst::Pad| {
            if pad.sticky_event::<gst::event::StreamStart>(0).is_none() {
                pad.send_event(gst::event::StreamStart::new("gone"));
            }
            pad.send_event(gst::event::Eos::new()) || pad.pad_flags().contains(gst::PadFlags::EOS)
        };
        // Each, whatever the others say.
        self.ends.iter().filter(|pad| !end(pad)).count() == 0
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
fn answer_while_down(input: &gst::Pad, is_down: &Arc<AtomicBool>) {
    let is_down = Arc::clone(is_down);
    let kind = gst::PadProbeType::QUERY_UPSTREAM | gst::PadProbeType::PUSH;
    input.add_probe(kind, move |pad, info| {
        let latency = info.query_mut().map(gst::QueryRef::view_mut);
        let down = !pad.is_linked() || is_down.load(Ordering::Relaxed);
        match latency {
            Some(gst::QueryViewMut::Latency(latency)) if down => {
                latency.set(true, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                gst::PadProbeReturn::Handled
            }
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    /// A microphone that fails or ends as `fails` says, beside a sound that stays.
    fn rig(fails: &str) -> (Sources, gst::Pipeline) {
        gst::init().unwrap();
        let config: Config = toml::from_str(
            "rig = 'car'\nmodel = 'm'\n[[audio]]\nsource = 'alsa:hw:1'\n[[audio]]\nsource = 'auto'",
        )
        .unwrap();
        let line = format!(
            "audiotestsrc is-live=true ! {fails} name=source_audio_0 ! identity name=mas_audio_0 ! \
             identity name=gate_audio_0 ! queue ! fakesink \
             audiotestsrc is-live=true name=source_audio_1 ! identity name=mas_audio_1 ! \
             identity name=gate_audio_1 ! queue ! fakesink name=other"
        );
        let pipeline = gst::parse::launch(&line).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let sources = Sources::watch(&config, &pipeline).unwrap();
        (sources, pipeline)
    }

    async fn comes_and_goes(fails: &str) {
        let (sources, pipeline) = rig(fails);
        let mut messages = pipeline.bus().unwrap().stream();
        let input = sources.sources[0].feeds[0].input.clone();
        let (bring, mut brought) = tokio::sync::mpsc::unbounded_channel();
        input.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            let _ = bring.send(());
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        let (mut gone, mut back) = (0, 0);
        while back < 2 {
            let step = async {
                tokio::select! {
                    message = messages.next() => {
                        let message = message.unwrap();
                        let taken = sources.take(&message, || "it broke".into());
                        let of_error = matches!(message.view(), gst::MessageView::Error(_));
                        assert!(taken || !of_error, "{message:?}");
                        gone += u32::from(taken && sources.down().len() == 1);
                    }
                    _ = brought.recv() => {
                        if gone > back && sources.down().is_empty() {
                            back += 1;
                        }
                    }
                }
            };
            let patience = Duration::from_secs(60);
            tokio::time::timeout(patience, step).await.unwrap();
        }
        let other = pipeline.by_name("other").unwrap();
        let stats = other.property::<gst::Structure>("stats");
        assert!(stats.get::<u64>("rendered").unwrap() > 50);
        pipeline.set_state(gst::State::Null).unwrap();
    }

    #[tokio::test]
    async fn a_microphone_that_fails_again_and_again_comes_back_each_time() {
        comes_and_goes("identity error-after=20").await;
    }

    #[tokio::test]
    async fn one_that_ends_comes_back_too() {
        comes_and_goes("identity eos-after=20").await;
    }

    #[test]
    fn what_is_in_no_pipeline_any_more_ends_nothing() {
        let (sources, pipeline) = rig("identity");
        let part = gst::ElementFactory::make("identity").build().unwrap();
        let takes = || {
            let error = gst::message::Error::builder(gst::ResourceError::Write, "too late");
            sources.take(&error.src(&part).build(), String::new)
        };
        assert!(takes());
        pipeline.add(&part).unwrap();
        assert!(!takes());
    }
}
