//! Plots of the figures as SVG: a group of bars for each link, a bar for each method.

use super::measure::Cell;
use super::pooled::Pooled;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
/// Around the bars: left, top, right, bottom.
const MARGIN: [f64; 4] = [70.0, 50.0, 20.0, 90.0];
/// Of the methods, in their order: told apart by the colour-blind, too (Okabe and Ito).
const COLOURS: [&str; 7] = [
    "#999999", "#56b4e9", "#0072b2", "#e69f00", "#cc79a7", "#f0e442", "#009e73",
];

/// A figure of all methods on all links.
struct Chart<'a> {
    title: &'a str,
    unit: &'a str,
    /// Whether equal ratios are equal heights.
    ratios: bool,
    methods: Vec<&'a str>,
    groups: Vec<&'a str>,
    /// By group, then by method. Not finite: no bar.
    values: Vec<Vec<f64>>,
}

type Figure = (
    &'static str,
    &'static str,
    &'static str,
    bool,
    fn(&Cell) -> Option<f64>,
);

/// All plots, by name.
pub fn all(cells: &[Cell], pooled: &[Pooled]) -> Vec<(&'static str, String)> {
    let figures: [Figure; 9] = [
        ("accuracy", "Answers", "% right", false, |c| {
            Some(100.0 * c.accuracy?)
        }),
        ("cider", "Captions", "CIDEr-D", false, |c| c.cider),
        ("tokens-per-second", "Speed", "tokens/s", true, |c| {
            Some(c.tokens_per_second)
        }),
        ("first-p50", "Time to first caption, p50", "ms", true, |c| {
            Some(1e3 * c.first.p50)
        }),
        ("first-p95", "Time to first caption, p95", "ms", true, |c| {
            Some(1e3 * c.first.p95)
        }),
        ("final-p50", "Time to final caption, p50", "ms", true, |c| {
            Some(1e3 * c.last.p50)
        }),
        ("final-p95", "Time to final caption, p95", "ms", true, |c| {
            Some(1e3 * c.last.p95)
        }),
        ("bytes-up", "Bytes up a window", "KB", true, |c| {
            Some(c.bytes_up / 1e3)
        }),
        (
            "cloud-flops",
            "Operations in the cloud a window",
            "GFLOP",
            true,
            |c| Some(c.cloud_flops? / 1e9),
        ),
    ];
    let methods: Vec<&str> = pooled.iter().map(|pooled| pooled.method).collect();
    let mut links: Vec<&str> = Vec::new();
    for cell in cells {
        if !links.contains(&cell.link) {
            links.push(cell.link);
        }
    }
    let value = |method: &str, link: &str, figure: fn(&Cell) -> Option<f64>| {
        let cell = cells.iter().find(|c| c.method == method && c.link == link);
        cell.and_then(figure).unwrap_or(f64::NAN)
    };
    let mut plots: Vec<(&str, String)> = figures
        .into_iter()
        .map(|(name, title, unit, ratios, figure)| {
            let of_link = |link: &&str| methods.iter().map(|m| value(m, link, figure)).collect();
            let chart = Chart {
                title,
                unit,
                ratios,
                methods: methods.clone(),
                groups: links.clone(),
                values: links.iter().map(of_link).collect(),
            };
            (name, chart.svg())
        })
        .collect();
    let mib = |bytes: Option<u64>| bytes.map_or(f64::NAN, |bytes| bytes as f64 / 1048576.0);
    let memory = Chart {
        title: "Peak memory",
        unit: "MiB",
        ratios: false,
        methods,
        groups: vec!["edge process", "cloud process"],
        values: vec![
            pooled
                .iter()
                .map(|pooled| mib(pooled.edge_memory))
                .collect(),
            pooled
                .iter()
                .map(|pooled| mib(pooled.cloud_memory))
                .collect(),
        ],
    };
    plots.push(("memory", memory.svg()));
    plots
}

impl Chart<'_> {
    fn svg(&self) -> String {
        let [left, top, right, bottom] = MARGIN;
        let (low, high) = self.range();
        let base = HEIGHT - bottom;
        let scale = |value: f64| {
            let share = if self.ratios {
                (value / low).ln() / (high / low).ln()
            } else {
                (value - low) / (high - low)
            };
            base - share.clamp(0.0, 1.0) * (base - top)
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{left}\" y=\"24\" font-size=\"16\">{} ({})</text>\n",
            self.title, self.unit
        );
        for tick in self.ticks(low, high) {
            let y = scale(tick);
            svg += &format!(
                "<line x1=\"{left}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                WIDTH - right,
                left - 6.0,
                y + 4.0,
                round(tick)
            );
        }
        let group = (WIDTH - left - right) / self.groups.len().max(1) as f64;
        let bar = 0.85 * group / self.methods.len().max(1) as f64;
        for (index, (name, values)) in self.groups.iter().zip(&self.values).enumerate() {
            let start = left + group * index as f64 + 0.075 * group;
            for (index, value) in values.iter().enumerate() {
                if !value.is_finite() || *value <= 0.0 && self.ratios {
                    continue;
                }
                let (x, y) = (start + bar * index as f64, scale(*value));
                svg += &format!(
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"><title>{}, {name}: {}</title></rect>\n",
                    bar * 0.92,
                    base - y,
                    COLOURS[index % COLOURS.len()],
                    self.methods[index],
                    round(*value)
                );
            }
            svg += &format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>\n",
                start + 0.425 * group,
                base + 18.0
            );
        }
        for (index, method) in self.methods.iter().enumerate() {
            let (x, y) = (left + 125.0 * index as f64, HEIGHT - 30.0);
            svg += &format!(
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{y:.1}\">{method}</text>\n",
                y - 10.0,
                COLOURS[index % COLOURS.len()],
                x + 16.0
            );
        }
        svg + "</svg>\n"
    }

    /// Of the axis. There is always room between the two.
    fn range(&self) -> (f64, f64) {
        let there = |value: &&f64| value.is_finite() && (**value > 0.0 || !self.ratios);
        let values = self.values.iter().flatten().filter(there);
        let high = values.clone().copied().fold(0.0, f64::max);
        if !self.ratios {
            return (0.0, if high > 0.0 { 1.1 * high } else { 1.0 });
        }
        let low = values.copied().fold(f64::INFINITY, f64::min);
        if !low.is_finite() {
            return (1.0, 10.0);
        }
        let power = |value: f64| 10_f64.powf(value);
        let (below, above) = (low.log10().floor(), high.log10().ceil());
        (power(below), power(above.max(below + 1.0)))
    }

    fn ticks(&self, low: f64, high: f64) -> Vec<f64> {
        if self.ratios {
            let decades = (high / low).log10().round() as i32;
            return (0..=decades).map(|n| low * 10_f64.powi(n)).collect();
        }
        let step = step(high / 5.0);
        let count = ((high - low) / step).floor() as i32;
        (0..=count).map(|n| low + step * f64::from(n)).collect()
    }
}

/// 1, 2 or 5 times a power of ten: the least that is not below `least`.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].map(|n| n * power);
    let fits = round.into_iter().find(|step| *step >= least);
    fits.unwrap_or(10.0 * power)
}

/// Three digits that count.
fn round(value: f64) -> String {
    let digits = (2.0 - value.abs().max(1e-9).log10().floor()).clamp(0.0, 6.0);
    let text = format!("{value:.*}", digits as usize);
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(ratios: bool, values: Vec<Vec<f64>>) -> String {
        Chart {
            title: "T",
            unit: "ms",
            ratios,
            methods: vec!["a", "b"],
            groups: vec!["g"],
            values,
        }
        .svg()
    }

    #[test]
    fn every_finite_value_has_a_bar() {
        let bars = |svg: &str| svg.matches("<title>").count();
        for ratios in [false, true] {
            assert_eq!(bars(&chart(ratios, vec![vec![1.0, 250.0]])), 2);
            assert_eq!(bars(&chart(ratios, vec![vec![f64::NAN, 5.0]])), 1);
            let none = chart(ratios, vec![vec![f64::NAN, f64::INFINITY]]);
            assert_eq!(bars(&none), 0);
            assert!(!none.contains("NaN") && !none.contains("inf"), "{none}");
        }
        assert!(chart(true, vec![vec![0.0, 5.0]]).contains("b, g: 5<"));
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([0.03, 1.0, 17.0, 60.0].map(step), [0.05, 1.0, 20.0, 100.0]);
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(
            [1234.5, 0.0123, 10.0, 5.0].map(round),
            ["1234", "0.0123", "10", "5"]
        );
    }
}
