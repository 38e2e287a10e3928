//! Answers questions about the latest window.

use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use broker::ask::{self, Answer, AnswerStatus};
use broker::deliver::Deliverer;
use broker::headers::TraceParent;
use broker::{Connection, FeatureWindow, Message, StreamsConfig};
use futures::StreamExt;
use gst::glib;
use gst::prelude::*;
use tokio::sync::Semaphore;

use super::config::Config;
use super::launch;

/// Questions that may wait for the link on their way to the cloud; those beyond are answered by the edge alone.
const ON_THEIR_WAY: usize = 16;

/// Answers questions to the rig, one after another, for as long as it is polled.
///
/// # Errors
/// The pipeline has no draft model, or the client does not work any more.
pub async fn serve(
    config: &Config,
    pipeline: &gst::Pipeline,
    connection: Connection,
) -> Result<()> {
    let draft = pipeline
        .by_name(launch::DRAFT)
        .context("the pipeline has no draft model")?;
    let deliverer = Arc::new(Deliverer::new(connection.clone(), StreamsConfig::default()));
    let room = Arc::new(Semaphore::new(ON_THEIR_WAY));
    let mut questions = pin!(ask::questions(&connection, &config.rig).await?);
    while let Some(asked) = questions.next().await {
        let (element, prompt) = (draft.clone(), asked.prompt.clone());
        // The model works for a while.
        let answered = tokio::task::spawn_blocking(move || answer(&element, &prompt)).await;
        let answered = answered.unwrap_or_else(|_| Err(anyhow!("the draft model panicked")));
        let window = match answered {
            Ok(window) => window,
            Err(error) => {
                tracing::warn!("a question has no answer: {error:#}");
                asked.answer(&connection, Err(format!("{error:#}"))).await?;
                continue;
            }
        };
        let Some(draft) = window.draft.clone() else {
            let reason = "there is no answer to it".to_owned();
            asked.answer(&connection, Err(reason)).await?;
            continue;
        };
        let sure = f64::from(draft.confidence) >= config.ask.sure;
        let goes = (!sure)
            .then(|| Arc::clone(&room).try_acquire_owned().ok())
            .flatten();
        let answer = Answer {
            id: window.id.clone(),
            text: draft.text,
            confidence: draft.confidence,
            status: if goes.is_some() {
                AnswerStatus::Draft
            } else {
                AnswerStatus::Final
            },
            model: draft.model,
        };
        asked.answer(&connection, Ok(answer)).await?;
        if let Some(place) = goes {
            let deliverer = Arc::clone(&deliverer);
            tokio::spawn(async move {
                if let Err(error) = send(&deliverer, window).await {
                    tracing::error!("a question does not reach the cloud: {error:#}");
                }
                drop(place);
            });
        }
    }
    Ok(())
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

async fn send(deliverer: &Deliverer, mut window: FeatureWindow) -> Result<()> {
    let bound = deliverer.connection().max_payload();
    if bound > 0 {
        window.thin(bound)?;
    }
    let message = Message::features(&window, window.encode()?, TraceParent::generate());
    Ok(deliverer.deliver(&message, || {}).await?)
}
