//! What a run saved, and how long captions took.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use anyhow::Result;
use broker::status::{Decisions, StreamStatus};
use broker::{Caption, CaptionStatus, Status, WindowId};
use hdrhistogram::Histogram;

/// Sums over the reports of one stream.
#[derive(Default)]
struct Means {
    count: u64,
    beta: f64,
    mas: f64,
}

/// Captions of a run, by window.
pub struct Tally {
    waiting: HashMap<WindowId, u32>,
    kept: u64,
    whole: u64,
    part: u64,
    none: u64,
    accepted: u64,
    judged: u64,
    streams: BTreeMap<String, Means>,
    to_draft: Histogram<u64>,
    to_final: Histogram<u64>,
}

impl Tally {
    /// No caption yet.
    ///
    /// # Errors
    /// Never with the bounds used here.
    pub fn new() -> Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, 3_600_000, 3);
        Ok(Self {
            waiting: HashMap::new(),
            kept: 0,
            whole: 0,
            part: 0,
            none: 0,
            accepted: 0,
            judged: 0,
            streams: BTreeMap::new(),
            to_draft: histogram()?,
            to_final: histogram()?,
        })
    }

    /// Counts a caption.
    pub fn add(&mut self, caption: &Caption) {
        let delay = (caption.time - caption.end)
            .whole_milliseconds()
            .clamp(1, 3_600_000) as u64;
        if caption.status == CaptionStatus::Draft && caption.is_final {
            self.kept += 1;
            self.to_final.saturating_record(delay);
        }
        if caption.status == CaptionStatus::Draft {
            if caption.revision > 0 {
                return;
            }
            self.to_draft.saturating_record(delay);
            self.waiting.insert(caption.id.clone(), caption.tokens);
            for stream in &caption.mas {
                let means = self.streams.entry(stream.stream.clone()).or_default();
                means.count += 1;
                means.beta += f64::from(stream.beta);
                means.mas += f64::from(stream.mas);
            }
            return;
        }
        self.to_final.saturating_record(delay);
        let drafted = self.waiting.remove(&caption.id);
        let accepted = caption.accepted_tokens.unwrap_or(0);
        match caption.status {
            CaptionStatus::Confirmed => self.whole += 1,
            _ if accepted > 0 => self.part += 1,
            _ => self.none += 1,
        }
        if let Some(drafted) = drafted {
            self.accepted += u64::from(accepted.min(drafted));
            self.judged += u64::from(drafted);
        }
    }

    /// Windows with a final caption.
    pub fn finals(&self) -> u64 {
        self.to_final.len()
    }
}

/// The last lines of the demo.
pub struct Summary<'a> {
    /// The captions.
    pub tally: &'a Tally,
    /// The last status of the edge.
    pub edge: &'a Status,
    /// Bytes of every frame as JPEG.
    pub jpeg: u64,
    /// Whether the video ran at its own pace: only then is a window's end a moment to count from.
    pub live: bool,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tally,
            edge,
            jpeg,
            live,
        } = self;
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<18}{value}");
        row(
            "frames",
            format!(
                "{} in, {} kept ({})",
                edge.frames_in,
                edge.frames_kept,
                percent(edge.frames_kept, edge.frames_in)
            ),
        )?;
        if edge.hops_in > 0 {
            row(
                "hops",
                format!("{} of sound and motion, half a second each", edge.hops_in),
            )?;
        }
        row(
            "windows",
            format!(
                "{}, {} with a final caption, {} of these kept on the edge",
                edge.windows,
                tally.to_final.len(),
                tally.kept
            ),
        )?;
        row("decisions", decisions(&edge.decisions))?;
        row(
            "tokens",
            format!(
                "{} kept of {} possible ({})",
                edge.tokens_kept,
                edge.tokens_possible,
                percent(edge.tokens_kept, edge.tokens_possible)
            ),
        )?;
        // One stream's figures have nothing to be compared with.
        for stream in edge.streams.iter().filter(|_| edge.streams.len() > 1) {
            row(&stream.stream, of_stream(stream, tally))?;
        }
        let sent = edge.messages.bytes_sent;
        row(
            "bytes",
            format!(
                "{} sent, {} as JPEG of every frame ({})",
                kib(sent),
                kib(*jpeg),
                percent(sent, *jpeg)
            ),
        )?;
        if edge.messages.dropped > 0 {
            row("lost", format!("{} messages", edge.messages.dropped))?;
        }
        let total = tally.whole + tally.part + tally.none;
        row(
            "drafts accepted",
            format!(
                "{} whole ({}), {} in part, {} not at all; {} of tokens",
                tally.whole,
                percent(tally.whole, total),
                tally.part,
                tally.none,
                percent(tally.accepted, tally.judged)
            ),
        )?;
        if *live {
            row("time to draft", quantiles(&tally.to_draft))?;
            row("time to final", quantiles(&tally.to_final))?;
        }
        Ok(())
    }
}

fn of_stream(stream: &StreamStatus, tally: &Tally) -> String {
    let name = stream.source.rsplit('/').next().unwrap_or_default();
    let mut line = if stream.stream.starts_with("video") {
        format!("{name}: {} frames, {} kept", stream.measured, stream.kept)
    } else {
        format!("{name}: {} hops", stream.measured)
    };
    if let Some(means) = tally.streams.get(&stream.stream) {
        let mean = |sum: f64| sum / means.count as f64;
        line += &format!(
            "; in {} windows, counts {:.2} (beta), {:.0} % need not be sent (MAS), on average",
            means.count,
            mean(means.beta),
            100.0 * mean(means.mas)
        );
    }
    if let Some(problem) = &stream.problem {
        line += &format!("; {problem}");
    }
    line
}

fn decisions(made: &Decisions) -> String {
    let mut line = format!(
        "{} keep, {} verify, {} offload, {} defer, {} skip",
        made.keep, made.verify, made.offload, made.defer, made.skip
    );
    for (count, what) in [
        (made.audits, "verified as audits"),
        (made.stale, "kept as the cloud was away too long"),
        (made.dropped, "dropped"),
    ] {
        if count > 0 {
            line += &format!("; {count} {what}");
        }
    }
    line
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.1} %", 100.0 * part as f64 / whole as f64)
}

fn kib(bytes: u64) -> String {
    format!("{:.0} KiB", bytes as f64 / 1024.0)
}

fn quantiles(histogram: &Histogram<u64>) -> String {
    if histogram.is_empty() {
        return "-".to_owned();
    }
    format!(
        "p50 {} ms, p95 {} ms after the window's end",
        histogram.value_at_quantile(0.5),
        histogram.value_at_quantile(0.95)
    )
}
