//! `msao explain`: why a window was kept, verified, captioned in the cloud, or had to wait.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use broker::lookup::{self, Stored};
use broker::message::Kind;
use broker::{Caption, CaptionStatus, FeatureWindow, WindowId};
use clap::Args;
use offload::planner::Decision;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::nats::Nats;
use crate::{output, runtime};

/// Options of `msao explain`.
#[derive(Args)]
pub struct Arguments {
    /// The window, `rig/epoch/seq`; `msao watch --json` shows it as `id`.
    window: WindowId,
    /// Print one JSON object: what is stored of the window, and the whole record of the decision.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    nats: Nats,
}

/// Prints what was decided on the window and what that rested on.
///
/// # Errors
/// The broker is not there, nothing of the window is stored, or nobody decided on it.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = runtime()?;
    let found = runtime.block_on(async {
        let connection = arguments.nats.connect().await?;
        anyhow::Ok(lookup::window(&connection, &arguments.window).await?)
    });
    runtime.shutdown_background();
    let (id, found) = (&arguments.window, found?);
    if found.is_empty() {
        bail!(
            "nothing is stored of window {id}: there was no such window, it was skipped, or its messages were let go \
             (captions after 7 days, features after an hour, if not configured otherwise)"
        );
    }
    let text = if arguments.json {
        object(id, &found)?.to_string()
    } else {
        explain(id, &found)?
    };
    Ok(output::line(text.trim_end())?)
}

/// The same for scripts.
fn object(id: &WindowId, found: &[Stored]) -> Result<Value> {
    let stored = |stored: &Stored| {
        let time = stored.time.format(&Rfc3339)?;
        anyhow::Ok(match stored.id.kind {
            Kind::Features => {
                let window = FeatureWindow::decode(&stored.payload)?;
                let plan = window.plan.as_deref().map(serde_json::from_str::<Value>);
                json!({
                    "kind": "features",
                    "stored": time,
                    "bytes": stored.payload.len(),
                    "tokens": window.tokens.len(),
                    "decision": window.decision.name(),
                    "plan": plan.transpose()?,
                })
            }
            _ => json!({
                "kind": "caption",
                "stored": time,
                "caption": Caption::decode(&stored.payload)?,
            }),
        })
    };
    let stored: Vec<Value> = found.iter().map(stored).collect::<Result<_>>()?;
    Ok(json!({ "window": id, "stored": stored }))
}

fn explain(id: &WindowId, found: &[Stored]) -> Result<String> {
    let (mut text, mut decided) = (String::new(), false);
    for stored in found {
        let plan = match stored.id.kind {
            Kind::Features => {
                let window = FeatureWindow::decode(&stored.payload)?;
                let bytes = stored.payload.len() as f64 / 1e3;
                let tokens = window.tokens.len();
                // Formatting into a String cannot fail.
                let _ = writeln!(
                    text,
                    "features, stored {}: {tokens} tokens, {bytes:.1} KB, to {}",
                    stored.time, window.decision
                );
                window.plan
            }
            _ => {
                let caption = Caption::decode(&stored.payload)?;
                let status = match caption.status {
                    CaptionStatus::Draft if caption.is_final => "draft, kept",
                    CaptionStatus::Draft if caption.redrafted => {
                        "draft, from the cloud's correction of a window like it"
                    }
                    CaptionStatus::Draft => "draft",
                    CaptionStatus::Confirmed => "confirmed",
                    CaptionStatus::Corrected => "corrected",
                    CaptionStatus::Retracted => "retracted",
                };
                let _ = writeln!(
                    text,
                    "{status}, revision {}, stored {}: {}",
                    caption.revision,
                    stored.time,
                    output::plain(&caption.text)
                );
                if caption.is_final && caption.plan.is_none() {
                    let _ = writeln!(
                        text,
                        "  the cloud was away for longer than a window may wait"
                    );
                }
                caption.plan.map(|plan| plan.to_string())
            }
        };
        if let Some(plan) = plan {
            let decision: Decision = serde_json::from_str(&plan)
                .with_context(|| format!("the record of window {id} is of another version"))?;
            decided = true;
            for line in decision.to_string().lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    if !decided {
        let _ = writeln!(
            text,
            "no decision is stored with it: the edge ran without a planner, or the message that had it was let go"
        );
    }
    Ok(text)
}
