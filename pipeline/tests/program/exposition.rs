//! Reads Prometheus's text format, and refuses what the format does not allow.

use std::collections::{BTreeMap, BTreeSet};

/// What was scraped.
#[derive(Debug, Default)]
pub struct Scrape {
    /// Each family's type.
    pub families: BTreeMap<String, String>,
    /// Each series as it is written, with its labels.
    pub series: BTreeMap<String, f64>,
}

impl Scrape {
    /// Reads the page at `url`.
    pub fn of(url: &str) -> Self {
        let mut response = ureq::get(url).call().unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        Self::read(&response.body_mut().read_to_string().unwrap())
    }

    /// Reads `text`.
    ///
    /// # Panics
    /// It is not as the format says.
    pub fn read(text: &str) -> Self {
        assert!(text.is_empty() || text.ends_with('\n'), "no last line end");
        let mut scrape = Self::default();
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').expect(line);
                assert!(is_name(name) && !words.is_empty(), "{line}");
                assert!(helped.insert(name.to_owned()), "twice: {line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect(line);
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(helped.contains(name), "no help: {line}");
                let known = scrape.families.insert(name.to_owned(), kind.to_owned());
                assert!(known.is_none(), "twice: {line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                family = name.to_owned();
            } else {
                scrape.sample(line, &family);
            }
        }
        scrape.histograms();
        scrape
    }

    fn sample(&mut self, line: &str, family: &str) {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let value: f64 = value.parse().expect(line);
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
            None => (series, ""),
        };
        assert!(is_name(name), "{line}");
        let kind = self.families.get(family).expect(line).as_str();
        let part = name.strip_prefix(family).expect(line);
        let parts: &[&str] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(parts.contains(&part), "{line} is not of {family}");
        assert!(kind == "gauge" || value >= 0.0, "{line}");
        let mut names = BTreeSet::new();
        for (name, _) in self::labels(labels) {
            assert!(is_name(&name) && names.insert(name), "{line}");
        }
        let known = self.series.insert(series.to_owned(), value);
        assert!(known.is_none(), "twice: {line}");
    }

    /// Buckets only grow, and the last holds all.
    fn histograms(&self) {
        let of = |kind: &str| {
            let families = self.families.iter();
            let families = families.filter(move |(_, other)| *other == kind);
            families.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        for family in of("histogram") {
            let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for (series, count) in &self.series {
                let Some(rest) = series.strip_prefix(&format!("{family}_bucket{{")) else {
                    continue;
                };
                let (bounds, others): (Vec<_>, Vec<_>) = labels(rest.trim_end_matches('}'))
                    .into_iter()
                    .partition(|(name, _)| name == "le");
                let bound = bounds[0].1.replace("+Inf", "inf").parse().unwrap();
                let others = others
                    .iter()
                    .map(|(name, value)| format!("{name}=\"{value}\""));
                let others = others.collect::<Vec<_>>().join(",");
                buckets.entry(others).or_default().push((bound, *count));
            }
            assert!(!buckets.is_empty(), "{family} has no buckets");
            for (labels, mut buckets) in buckets {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.is_sorted_by_key(|bucket| bucket.1), "{family}");
                let (last, all) = buckets[buckets.len() - 1];
                assert_eq!(last, f64::INFINITY, "{family}");
                assert_eq!(all, self.series[&format!("{family}_count{{{labels}}}")]);
            }
        }
    }

    /// The value of a series.
    pub fn value(&self, series: &str) -> f64 {
        *self
            .series
            .get(series)
            .unwrap_or_else(|| panic!("no {series} in {:#?}", self.series))
    }
}

fn is_name(text: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.starts_with(|c: char| !c.is_ascii_digit()) && text.chars().all(of_name) && !text.is_empty()
}

/// `name="value",...`, with escapes.
fn labels(text: &str) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").expect(text);
        let mut taken = String::new();
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().expect(text) {
                (_, '\\') => match chars.next().expect(text).1 {
                    'n' => taken.push('\n'),
                    c @ ('\\' | '"') => taken.push(c),
                    c => panic!("\\{c} in {text}"),
                },
                (at, '"') => break at,
                (_, c) => taken.push(c),
            }
        };
        labels.push((name.to_owned(), taken));
        rest = &value[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or_else(|| {
            assert!(rest.is_empty(), "{text}");
            rest
        });
    }
    labels
}

#[test]
fn what_is_not_allowed_is_refused() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"\\\"c\\\\,}\"} 1\n";
    assert_eq!(Scrape::read(good).value("a_total{b=\"\\\"c\\\\,}\"}"), 1.0);
    let head = "# HELP h H.\n# TYPE h histogram\n";
    for bad in [
        "a 1\n".to_owned(),
        good.replace("# HELP a_total A.\n", ""),
        good.replace("_total", ""),
        good.repeat(2),
        good.replace("\\\"c", "\"c"),
        good.replace('1', "one"),
        good.replace(" 1\n", " 1"),
        format!("{head}h_bucket{{le=\"1\"}} 2\nh_bucket{{le=\"+Inf\"}} 1\nh_sum 1\nh_count 1\n"),
        format!("{head}h_bucket{{le=\"1\"}} 1\nh_sum 1\nh_count 1\n"),
        format!("{head}h 1\n"),
    ] {
        assert!(
            std::panic::catch_unwind(|| Scrape::read(&bad)).is_err(),
            "{bad}"
        );
    }
}
