//! `msao explain`: why a window was kept, verified, captioned in the cloud, or had to wait.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use broker::lookup::{self, Stored};
use broker::message::Kind;
use broker::{Caption, CaptionStatus, FeatureWindow, WindowId};
use clap::Args;
use offload::planner::Decision;

use crate::nats::Nats;
use crate::{output, runtime};

/// Options of `msao explain`.
#[derive(Args)]
pub struct Arguments {
    /// The window, `rig/epoch/seq`; `msao watch --json` shows it as `id`.
    window: WindowId,
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
    let text = explain(&arguments.window, &found?)?;
    Ok(output::line(text.trim_end())?)
}

fn explain(id: &WindowId, found: &[Stored]) -> Result<String> {
    if found.is_empty() {
        bail!(
            "nothing is stored of window {id}: there was no such window, it was skipped, or its messages were let go \
             (captions after 7 days, features after an hour, if not configured otherwise)"
        );
    }
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
                    caption.revision, stored.time, caption.text
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
