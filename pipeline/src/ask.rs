//! `msao ask`: a question to a rig. The edge's answer is printed at once, the cloud's when it comes.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result, ensure};
use broker::ask::{self, Answer, AnswerStatus};
use broker::captions::{self, Captions, From};
use broker::{Caption, CaptionStatus, Rig, StreamsConfig};
use clap::Args;

use crate::nats::Nats;
use crate::{output, runtime};

/// Options of `msao ask`.
#[derive(Args)]
pub struct Arguments {
    /// The rig.
    rig: Rig,
    /// The question, such as "what is heard ?".
    question: String,
    /// Seconds to wait for each of the two answers.
    #[arg(long, default_value_t = 20.0)]
    timeout: f64,
    /// Print the edge's answer and the cloud's caption as JSON, an object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nats: Nats,
}

/// Asks, and prints the answers.
///
/// # Errors
/// The broker is not there, no edge listens, or an answer does not come in time.
pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        (0.1..=3600.0).contains(&arguments.timeout),
        "--timeout is {}; it is 0.1 to 3600 seconds",
        arguments.timeout
    );
    let runtime = runtime()?;
    let done = runtime.block_on(converse(arguments));
    runtime.shutdown_background();
    done
}

async fn converse(arguments: &Arguments) -> Result<()> {
    let patience = Duration::from_secs_f64(arguments.timeout);
    let connection = arguments.nats.connect().await?;
    // Before it is asked: the cloud may be quick.
    let rig = &arguments.rig;
    let streams = StreamsConfig::default();
    let mut captions = captions::subscribe(&connection, &streams, Some(rig), From::Now).await?;
    let answer = ask::ask(&connection, rig, &arguments.question, patience).await?;
    output::line(if arguments.json {
        serde_json::to_string(&answer)?
    } else {
        let (name, style) = match answer.status {
            AnswerStatus::Draft => ("edge", Style::new().dimmed()),
            AnswerStatus::Final => ("edge, final", AnsiColor::Cyan.on_default()),
        };
        line(name, style, &answer.text, answer.confidence)
    })?;
    if answer.status == AnswerStatus::Final {
        return Ok(());
    }
    let caption = tokio::time::timeout(patience, second(&mut captions, &answer));
    let caption = caption.await.with_context(|| {
        format!(
            "no answer of the cloud within {} s: is a worker running (`msao cloud`)? It comes later as caption {}",
            arguments.timeout, answer.id
        )
    })?;
    Ok(output::line(if arguments.json {
        serde_json::to_string(&caption)?
    } else {
        let (name, style) = match caption.status {
            CaptionStatus::Confirmed => ("confirmed", AnsiColor::Green.on_default()),
            _ => ("corrected", AnsiColor::Yellow.on_default()),
        };
        line(name, style, &caption.text, caption.confidence)
    })?)
}

fn line(name: &str, style: Style, text: &str, confidence: f32) -> String {
    let dim = Style::new().dimmed();
    let text = output::plain(text);
    format!("{style}{name:<11}{style:#}  {text}  {dim}confidence {confidence:.2}{dim:#}")
}

/// The cloud's answer.
async fn second(captions: &mut Captions, answer: &Answer) -> Caption {
    loop {
        match captions.next().await {
            Ok(caption) if caption.id == answer.id && caption.status != CaptionStatus::Draft => {
                return caption;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("{error}"),
        }
    }
}
