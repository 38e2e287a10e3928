//! Tables for the terminal.

use super::measure::Cell;
use super::pooled::Pooled;

/// Rows of text, the first a heading, as lines of equal columns.
pub(super) fn lines(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let mut line = String::from(" ");
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = " ".repeat(width - cell.chars().count());
            match index {
                0 => line.extend([" ", cell, &gap]),
                _ => line.extend(["  ", &gap, cell]),
            }
        }
        line
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn or_none(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    match value {
        Some(value) if value.is_finite() => show(value),
        Some(_) => "never".to_owned(),
        None => "-".to_owned(),
    }
}

fn ms(seconds: f64) -> String {
    or_none(Some(seconds), |seconds| format!("{:.0}", 1e3 * seconds))
}

/// The figures of all methods on one link.
pub fn of_link(cells: &[&Cell]) -> String {
    let mut rows = vec![row(&[
        "method",
        "answers %",
        "CIDEr-D",
        "tokens/s",
        "first ms p50",
        "p95",
        "final ms p50",
        "p95",
        "KB up",
        "GFLOP cloud",
        "sent %",
        "missing",
    ])];
    for cell in cells {
        let stayed = cell.decisions.get("keep").copied().unwrap_or(0);
        let sent = 100.0 * (cell.windows - stayed) as f64 / cell.windows.max(1) as f64;
        rows.push(vec![
            cell.method.to_owned(),
            or_none(cell.accuracy, |share| format!("{:.1}", 100.0 * share)),
            or_none(cell.cider, |value| format!("{value:.1}")),
            format!("{:.1}", cell.tokens_per_second),
            ms(cell.first.p50),
            ms(cell.first.p95),
            ms(cell.last.p50),
            ms(cell.last.p95),
            format!("{:.1}", cell.bytes_up / 1e3),
            or_none(cell.cloud_flops, |flops| format!("{:.2}", flops / 1e9)),
            format!("{sent:.0}"),
            cell.missing.to_string(),
        ]);
    }
    lines(&rows)
}

/// The figures of all methods on all links together.
pub fn of_all(pooled: &[Pooled]) -> String {
    let mib =
        |bytes: Option<u64>| or_none(bytes.map(|b| b as f64), |b| format!("{:.0}", b / 1048576.0));
    let mut rows = vec![row(&[
        "method",
        "answers %",
        "CIDEr-D",
        "edge MiB",
        "cloud MiB",
    ])];
    for pooled in pooled {
        rows.push(vec![
            pooled.method.to_owned(),
            or_none(pooled.accuracy, |share| format!("{:.1}", 100.0 * share)),
            or_none(pooled.cider, |value| format!("{value:.1}")),
            mib(pooled.edge_memory),
            mib(pooled.cloud_memory),
        ]);
    }
    lines(&rows)
}
