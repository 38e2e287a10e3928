//! Answers questions about the latest window: those that somebody asks, and the standing ones.

use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use broker::ask::{self, Answer, AnswerStatus, Asked};
use broker::deliver::Deliverer;
use broker::headers::TraceParent;
use broker::{
    Caption, Compression, Connection, DraftReport, FeatureWindow, Message, StreamsConfig,
};
use futures::StreamExt;
use gst::glib;
use gst::prelude::*;
use offload::Action;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::config::Config;
use super::launch;

/// Questions that may wait for the link on their way to the cloud; those beyond are answered by the edge alone.
const ON_THEIR_WAY: usize = 16;

/// Answers questions to the rig, and the standing ones when `windows` says so, one after another, for as long as it is
/// polled.
///
/// # Errors
/// The pipeline has no draft model, or the client does not work any more.
pub async fn serve(
    config: &Config,
    pipeline: &gst::Pipeline,
    connection: Connection,
    mut windows: mpsc::Receiver<()>,
) -> Result<()> {
    let desk = Desk {
        draft: pipeline
            .by_name(launch::DRAFT)
            .context("the pipeline has no draft model")?,
        deliverer: Arc::new(Deliverer::new(connection.clone(), StreamsConfig::default())),
        room: Arc::new(Semaphore::new(ON_THEIR_WAY)),
        sure: config.ask.sure,
        compression: config.compression,
    };
    let mut questions = pin!(ask::questions(&connection, &config.rig).await?);
    loop {
        tokio::select! {
            asked = questions.next() => match asked {
                Some(asked) => desk.reply(&connection, asked).await?,
                None => return Ok(()),
            },
            Some(()) = windows.recv() => {
                for prompt in &config.prompts {
                    desk.stand(prompt).await;
                }
            }
        }
    }
}

/// What answers questions.
struct Desk {
    draft: gst::Element,
    deliverer: Arc<Deliverer>,
    room: Arc<Semaphore>,
    sure: f64,
    compression: Compression,
}

impl Desk {
    /// The question as a window, its answer, and, unless the edge is sure, a place on the way to the cloud.
    async fn answer(
        &self,
        prompt: &str,
    ) -> Result<(FeatureWindow, DraftReport, Option<OwnedSemaphorePermit>)> {
        let (element, prompt) = (self.draft.clone(), prompt.to_owned());
        // The model works for a while.
        let answered = tokio::task::spawn_blocking(move || answer(&element, &prompt)).await;
        let window = answered.context("the draft model panicked")??;
        let draft = window.draft.clone().context("there is no answer to it")?;
        let sure = f64::from(draft.confidence) >= self.sure;
        let place = (!sure)
            .then(|| Arc::clone(&self.room).try_acquire_owned().ok())
            .flatten();
        Ok((window, draft, place))
    }

    /// Answers whoever asked.
    async fn reply(&self, connection: &Connection, asked: Asked) -> Result<()> {
        let (window, draft, place) = match self.answer(&asked.prompt).await {
            Ok(answered) => answered,
            Err(error) => {
                tracing::warn!("a question has no answer: {error:#}");
                return Ok(asked.answer(connection, Err(format!("{error:#}"))).await?);
            }
        };
        let answer = Answer {
            id: window.id.clone(),
            text: draft.text,
            confidence: draft.confidence,
            status: match place {
                Some(_) => AnswerStatus::Draft,
                None => AnswerStatus::Final,
            },
            model: draft.model,
        };
        asked.answer(connection, Ok(answer)).await?;
        if let Some(place) = place {
            self.send(window, place, true, false);
        }
        Ok(())
    }

    /// Answers a standing prompt.
    async fn stand(&self, prompt: &str) {
        match self.answer(prompt).await {
            Ok((mut window, _, place)) => {
                let goes = place.is_some();
                if !goes {
                    window.decision = Action::Keep;
                }
                // A caption takes a place, too: without a link they would pile up.
                match place.or_else(|| Arc::clone(&self.room).try_acquire_owned().ok()) {
                    Some(place) => self.send(window, place, goes, true),
                    None => tracing::warn!(
                        "the answer to a standing prompt is dropped: {ON_THEIR_WAY} wait for the link"
                    ),
                }
            }
            // Before the first window, and while it stops, there is none.
            Err(error) => tracing::debug!("a standing prompt has no answer: {error:#}"),
        }
    }

    /// Sends the answer as a caption, if wanted, and the question to the cloud, if it goes there.
    fn send(&self, window: FeatureWindow, place: OwnedSemaphorePermit, goes: bool, caption: bool) {
        let (deliverer, compression) = (Arc::clone(&self.deliverer), self.compression);
        tokio::spawn(async move {
            if let Err(error) = send(&deliverer, window, compression, goes, caption).await {
                tracing::error!("a question or its answer is not sent: {error:#}");
            }
            drop(place);
        });
    }
}

/// The question as a window with the draft model's answer.
fn answer(draft: &gst::Element, prompt: &str) -> Result<FeatureWindow> {
    let reply = draft.emit_by_name::<gst::Structure>("ask", &[&prompt]);
    if let Ok(error) = reply.get::<String>("error") {
        return Err(anyhow!("{error}"));
    }
    let bytes = reply.get::<glib::Bytes>("window")?;
    Ok(FeatureWindow::decode(&bytes)?)
}

async fn send(
    deliverer: &Deliverer,
    mut window: FeatureWindow,
    compression: Compression,
    goes: bool,
    caption: bool,
) -> Result<()> {
    let trace = TraceParent::of_window(&window.id);
    if let Some(caption) = Caption::draft(&window).filter(|_| caption) {
        let message = Message::caption(&caption, trace.child())?;
        deliverer.deliver(&message).await?;
    }
    if !goes {
        return Ok(());
    }
    window.send_keyframe_alone();
    let bound = deliverer.connection().max_payload();
    if bound > 0 {
        window.thin(bound)?;
    }
    let payload = compression.pack(window.encode()?);
    let message = Message::features(&window, payload, trace.child());
    Ok(deliverer.deliver(&message).await?)
}
