//! What MSAO is to reach against the others, and whether it does.

use std::fmt;

use serde::Serialize;

use super::links::TRACE;
use super::measure::Cell;
use super::methods::{CLOUD_ONLY, EDGE_ONLY, LAYER_SPLIT, MSAO};
use super::pooled::Pooled;

/// How MSAO's figure is compared with another's.
#[derive(Clone, Copy)]
enum Bar {
    /// Less by at least this share.
    Less(f64),
    /// At least so many times as much.
    Times(f64),
}

/// Whether a bar is met.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What is compared, with what.
    pub bar: String,
    /// On which link; all of them together for accuracy.
    pub link: String,
    /// What was found, in words.
    pub found: String,
    /// Whether it is met; `None` if there is nothing to tell it by.
    pub met: Option<bool>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not told",
        };
        let Self {
            bar, link, found, ..
        } = self;
        write!(f, "{met:<8}  {link:<10}  {bar}: {found}")
    }
}

type Figure = fn(&Cell) -> Option<f64>;

/// A figure, what it is called, and what it is to be against another method.
type Wanted = (&'static str, Figure, &'static str, Bar);

/// Of each link.
fn wanted() -> [Wanted; 10] {
    let last: Figure = |cell| Some(cell.last.p50);
    let first: Figure = |cell| Some(cell.first.p50);
    let speed: Figure = |cell| Some(cell.tokens_per_second);
    let flops: Figure = |cell| cell.cloud_flops;
    let bytes: Figure = |cell| Some(cell.bytes_up);
    let (to_last, to_first) = ("time to final caption, p50", "time to first caption, p50");
    [
        (to_last, last, CLOUD_ONLY, Bar::Less(0.5)),
        (to_last, last, LAYER_SPLIT, Bar::Less(0.3)),
        (to_first, first, CLOUD_ONLY, Bar::Less(0.8)),
        (to_first, first, LAYER_SPLIT, Bar::Less(0.6)),
        ("tokens/s", speed, CLOUD_ONLY, Bar::Times(2.3)),
        ("tokens/s", speed, LAYER_SPLIT, Bar::Times(1.5)),
        ("FLOPs in the cloud", flops, CLOUD_ONLY, Bar::Less(0.65)),
        ("FLOPs in the cloud", flops, LAYER_SPLIT, Bar::Less(0.5)),
        ("bytes up", bytes, CLOUD_ONLY, Bar::Less(0.9)),
        ("bytes up", bytes, LAYER_SPLIT, Bar::Less(0.5)),
    ]
}

/// Accuracy against cloud only may be lower by this, in points.
const POINTS: f64 = 0.4;
/// Against edge only it is to be better by this, or by all of the gap between the two.
const BETTER: f64 = 10.0;
/// Seconds within which latency is to be as before an outage.
const RECOVERED: f64 = 5.0;
/// How far the risk may be from its target, in points.
const RISK: f64 = 2.0;

/// All bars. Methods that were not run have none.
pub fn all(cells: &[Cell], pooled: &[Pooled], target_risk: f64) -> Vec<Verdict> {
    let mut verdicts = accuracy(pooled);
    for (name, figure, other, bar) in wanted() {
        for mine in cells.iter().filter(|cell| cell.method == MSAO) {
            let other_cell = cells
                .iter()
                .find(|c| c.method == other && c.link == mine.link);
            if let Some(cell) = other_cell {
                verdicts.push(compare((name, other, bar), figure, (mine, cell)));
            }
        }
    }
    let on_trace = |cell: &&Cell| cell.method == MSAO && cell.link == TRACE;
    if let Some(cell) = cells.iter().find(on_trace) {
        verdicts.extend(trace(cell, target_risk));
    }
    verdicts
}

fn compare(
    (name, other, bar): (&str, &str, Bar),
    figure: Figure,
    (mine, cell): (&Cell, &Cell),
) -> Verdict {
    let factor = match (figure(mine), figure(cell)) {
        (Some(mine), Some(cell)) if mine.is_finite() && cell.is_finite() && cell > 0.0 => {
            Some(mine / cell)
        }
        // Half of the other's captions or more never came.
        (Some(mine), Some(cell)) if mine.is_finite() && cell == f64::INFINITY => Some(0.0),
        _ => None,
    };
    let (wanted, found, met) = match bar {
        Bar::Less(share) => (
            format!("{:.0} % less", 100.0 * share),
            factor.map(|factor| format!("{:.1} % less", 100.0 * (1.0 - factor))),
            factor.map(|factor| 1.0 - factor >= share),
        ),
        Bar::Times(times) => (
            format!("{times} times"),
            factor.map(|factor| format!("{factor:.2} times")),
            factor.map(|factor| factor >= times),
        ),
    };
    Verdict {
        bar: format!("{name}, {wanted} than {other}"),
        link: mine.link.to_owned(),
        found: found.unwrap_or_else(|| "no figures".to_owned()),
        met,
    }
}

fn accuracy(pooled: &[Pooled]) -> Vec<Verdict> {
    let of = |name| pooled.iter().find(|pooled| pooled.method == name);
    let percent = |of: &Pooled| of.accuracy.map(|share| 100.0 * share);
    let mut verdicts = Vec::new();
    let mut push = |bar: String, least: f64, other: &Pooled| {
        let (Some(mine), Some(theirs)) = (of(MSAO), percent(other)) else {
            return;
        };
        let Some(own) = percent(mine) else { return };
        let apart = own - theirs;
        let error = 100.0 * mine.error_against(other);
        verdicts.push(Verdict {
            bar,
            link: "all links".to_owned(),
            found: format!(
                "{own:.1} against {theirs:.1} %: {apart:+.1} ± {error:.1} points, {} questions",
                mine.right.len()
            ),
            // What rounding of shares adds decides nothing.
            met: Some(apart >= least - 1e-9),
        });
    };
    if let Some(cloud) = of(CLOUD_ONLY) {
        push(
            format!("answers, within {POINTS} points of {CLOUD_ONLY}"),
            -POINTS,
            cloud,
        );
    }
    if let (Some(edge), Some(cloud)) = (of(EDGE_ONLY), of(CLOUD_ONLY)) {
        let gap = percent(cloud).zip(percent(edge)).map(|(c, e)| c - e);
        let least = gap.map_or(BETTER, |gap| gap.min(BETTER));
        push(
            format!("answers, at least {least:+.1} points from {EDGE_ONLY}"),
            least,
            edge,
        );
    }
    if let Some(split) = of(LAYER_SPLIT) {
        push(format!("answers, not worse than {LAYER_SPLIT}"), 0.0, split);
    }
    verdicts
}

fn trace(cell: &Cell, target: f64) -> Vec<Verdict> {
    let verdict = |bar: String, found: String, met| Verdict {
        bar,
        link: cell.link.to_owned(),
        found,
        met,
    };
    let mut verdicts = Vec::new();
    for outage in &cell.outages {
        let when = format!("outage from {} to {} s", outage.from, outage.until);
        let (captioned, windows) = (outage.captioned, outage.windows);
        verdicts.push(verdict(
            format!("{when}: each window has a caption within 1 s"),
            format!("{captioned} of {windows}"),
            (windows > 0).then_some(captioned == windows),
        ));
        verdicts.push(verdict(
            format!("{when}: answers as fast as before within {RECOVERED} s of its end"),
            (outage.recovered).map_or_else(
                || "too few windows were sent to tell".to_owned(),
                |after| format!("after {after} s"),
            ),
            outage.recovered.map(|after| after <= RECOVERED),
        ));
    }
    let risk = cell.risk.map(|risk| 100.0 * risk);
    verdicts.push(verdict(
        format!(
            "risk within {RISK} points of its target, {:.0} %",
            100.0 * target
        ),
        risk.map_or_else(
            || "not judged".to_owned(),
            |risk| format!("{risk:.1} % of {} windows", cell.windows),
        ),
        risk.map(|risk| (risk - 100.0 * target).abs() <= RISK),
    ));
    verdicts
}
