//! From the chosen frames to a feature window: T2, selection, quantisation.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use broker::{FeatureWindow, Modality, ModalityReport, Token, WindowId};
use mas::select::{self, Budget};
use mllm::{Trunk, tokens::quantise};
use offload::Action;

use super::collect::Chosen;
use crate::meta::Features;

/// One stream's frame on its way into a window.
pub(super) struct Source {
    pub stream: String,
    pub chosen: Chosen,
}

/// Why no window could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Model(#[from] mllm::Error),
    #[error(transparent)]
    Window(#[from] broker::features::Error),
    #[error(
        "stream `{stream}` was encoded by `{found}`, this element's model holds `{loaded}`: \
         give msaovideomas and msaowindow the same model folder"
    )]
    Encoder {
        stream: String,
        found: String,
        loaded: String,
    },
}

/// The frame of a window that is not known from its streams.
pub(super) struct Outline {
    pub id: WindowId,
    pub start: gst::ClockTime,
    pub end: gst::ClockTime,
    /// What to add to running time for UTC, in nanoseconds.
    pub utc_offset: i64,
    pub closed_utc_ns: i64,
    pub prompt: String,
    pub tokens_possible: u32,
    pub frames_in: u32,
    pub frames_kept: u32,
}

/// Encodes the sources, the one most worth sending first, and marks the positions
/// that it takes as sent. Returns the window and the time that T2 took.
pub(super) fn window(
    trunk: &mut Trunk,
    mut sources: Vec<Source>,
    budget: Budget,
    outline: Outline,
) -> Result<(FeatureWindow, Duration), Error> {
    sources.sort_by(|a, b| {
        b.chosen
            .now
            .mas
            .worth()
            .total_cmp(&a.chosen.now.mas.worth())
    });
    let mut window = FeatureWindow {
        start_utc_ns: utc(outline.start, outline.utc_offset),
        end_utc_ns: utc(outline.end, outline.utc_offset),
        start_running_ns: outline.start.nseconds(),
        end_running_ns: outline.end.nseconds(),
        id: outline.id,
        prompt: outline.prompt,
        // Until a draft is there to be verified.
        decision: Action::Offload,
        modalities: Vec::new(),
        draft: None,
        tokens: Vec::new(),
        tokens_possible: outline.tokens_possible,
        frames_in: outline.frames_in,
        frames_kept: outline.frames_kept,
        flags: Vec::new(),
        closed_utc_ns: outline.closed_utc_ns,
        drafted_utc_ns: outline.closed_utc_ns,
    };
    let mut spent = Duration::ZERO;
    for source in &sources {
        spent += add(trunk, &mut window, source, budget)?;
    }
    // Marked once nothing can fail any more.
    for source in &sources {
        let taken = window
            .tokens
            .iter()
            .filter(|token| token.stream == source.stream);
        let width = source.chosen.frame.columns;
        let positions = taken.map(|token| usize::from(token.y) * width + usize::from(token.x));
        source.chosen.frame.mark_sent(positions);
    }
    Ok((window, spent))
}

fn add(
    trunk: &mut Trunk,
    window: &mut FeatureWindow,
    source: &Source,
    budget: Budget,
) -> Result<Duration, Error> {
    let Source { stream, chosen } = source;
    let encoder = trunk.encoder().clone();
    if *chosen.frame.encoder != encoder {
        let (found, loaded) = (chosen.frame.encoder.id.clone(), encoder.id);
        return Err(Error::Encoder {
            stream: stream.clone(),
            found,
            loaded,
        });
    }
    let begun = Instant::now();
    let features = match &chosen.frame.features {
        Features::Frame(frame) => Cow::Owned(trunk.run(frame)?),
        Features::Tokens(tokens) => Cow::Borrowed(tokens.as_ref()),
    };
    let spent = begun.elapsed();
    let importance = chosen.now.importance();
    let kept = select::keep(importance.view(), chosen.now.energy.view(), budget);
    let width = chosen.frame.columns;
    for position in kept
        .into_iter()
        .filter(|position| *position < features.nrows())
    {
        let row = quantise(&features.row(position).to_vec());
        window.tokens.push(Token {
            modality: Modality::Video,
            stream: stream.clone(),
            t: 0,
            y: (position / width) as u16,
            x: (position % width) as u16,
            importance: importance[position],
            scale: row.scale,
            feature: row.steps,
        });
    }
    let mas = chosen.now.mas;
    window.modalities.push(ModalityReport {
        modality: Modality::Video,
        stream: stream.clone(),
        rho: mas.rho,
        gamma: mas.gamma,
        beta: mas.beta,
        mas: mas.mas,
        encoder: encoder.id,
        encoder_sha256: encoder.sha256,
    });
    for flag in &chosen.frame.flags {
        if !window.flags.iter().any(|known| known == flag) {
            window.flags.push((*flag).to_owned());
        }
    }
    Ok(spent)
}

fn utc(running: gst::ClockTime, offset: i64) -> i64 {
    i64::try_from(running.nseconds())
        .unwrap_or(i64::MAX)
        .saturating_add(offset)
}
