//! `/metrics` and `/healthz` of a live edge and its worker.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use broker::status::{self, AnyStatus};
use broker::{CloudStatus, Status};
use futures::StreamExt;

use crate::common::{media, root};
use crate::exposition::Scrape;
use crate::process::Process;
use crate::world::{World, until};

/// A program whose metrics are served, and where.
struct Served {
    _process: Process,
    url: String,
}

impl Served {
    fn start(mut command: Command) -> Self {
        command.env_remove("MSAO_LOG");
        let process = Process::start(command);
        let line = process.line("metrics on ");
        let (_, url) = line.split_once("metrics on ").unwrap();
        Self {
            url: url.split("/metrics").next().unwrap().to_owned(),
            _process: process,
        }
    }

    fn scrape(&self) -> Scrape {
        Scrape::of(&format!("{}/metrics", self.url))
    }

    /// Code and text of `/healthz`.
    fn health(&self) -> (u16, String) {
        let agent = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = ureq::Agent::from(agent.build());
        let mut response = agent.get(format!("{}/healthz", self.url)).call().unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), text)
    }
}

/// What `/metrics` says when the edge's status is this.
fn of_edge(status: &Status) -> BTreeMap<String, f64> {
    let (decisions, messages) = (&status.decisions, &status.messages);
    let mut all: BTreeMap<String, u64> = [
        ("msao_edge_frames_total", status.frames_in),
        ("msao_edge_kept_frames_total", status.frames_kept),
        ("msao_edge_hops_total", status.hops_in),
        ("msao_edge_windows_total", status.windows),
        ("msao_edge_kept_tokens_total", status.tokens_kept),
        ("msao_edge_possible_tokens_total", status.tokens_possible),
        ("msao_edge_audits_total", decisions.audits),
        ("msao_edge_stale_windows_total", decisions.stale),
        ("msao_edge_dropped_windows_total", decisions.dropped),
        ("msao_edge_waiting_windows", decisions.waiting),
        ("msao_edge_published_messages_total", messages.published),
        (
            "msao_edge_acknowledged_messages_total",
            messages.acknowledged,
        ),
        ("msao_edge_retried_messages_total", messages.retried),
        ("msao_edge_dropped_messages_total", messages.dropped),
        ("msao_edge_sent_bytes_total", messages.bytes_sent),
        ("msao_queue_messages", messages.pending),
    ]
    .map(|(name, value)| (format!("{name}{{rig=\"car\"}}"), value))
    .into();
    for (kind, count) in [
        ("skip", decisions.skip),
        ("keep", decisions.keep),
        ("verify", decisions.verify),
        ("offload", decisions.offload),
        ("defer", decisions.defer),
    ] {
        let series = format!("msao_edge_decisions_total{{rig=\"car\",decision=\"{kind}\"}}");
        all.insert(series, count);
    }
    for stream in &status.streams {
        let labels = format!("{{rig=\"car\",stream=\"{}\"}}", stream.stream);
        all.insert(
            format!("msao_stream_measured_total{labels}"),
            stream.measured,
        );
        all.insert(format!("msao_stream_kept_total{labels}"), stream.kept);
        let up = u64::from(stream.problem.is_none());
        all.insert(format!("msao_stream_up{labels}"), up);
    }
    all.into_iter()
        .map(|(series, value)| (series, value as f64))
        .collect()
}

/// The same of the worker.
fn of_cloud(status: &CloudStatus) -> BTreeMap<String, f64> {
    let count = |verdict: &str, count: u64| {
        let series = format!("msao_cloud_windows_total{{worker=\"w1\",verdict=\"{verdict}\"}}");
        (series, count as f64)
    };
    let one = |name: &str, value: f64| (format!("{name}{{worker=\"w1\"}}"), value);
    BTreeMap::from([
        count("confirmed", status.confirmed),
        count("corrected", status.corrected),
        one(
            "msao_cloud_duplicate_windows_total",
            status.duplicates as f64,
        ),
        one("msao_cloud_dead_letters_total", status.dead as f64),
        one("msao_cloud_queue_windows", status.queue as f64),
        one(
            "msao_cloud_capacity_windows_per_second",
            status.service_rate,
        ),
    ])
}

/// Waits for a status that `scrape` agrees with in all that it says.
async fn agrees<T>(
    scrape: &Scrape,
    statuses: &mut (impl StreamExt<Item = T> + Unpin),
    expected: impl Fn(&T) -> Option<BTreeMap<String, f64>>,
) {
    let mut last = BTreeMap::new();
    let found = async {
        while let Some(status) = statuses.next().await {
            let Some(expected) = expected(&status) else {
                continue;
            };
            let shown = |(series, value): (&String, &f64)| scrape.series.get(series) == Some(value);
            if expected.iter().all(shown) {
                return;
            }
            last = expected;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(10), found).await;
    assert!(
        found.is_ok(),
        "no status is like {:#?}\nlast: {last:#?}",
        scrape.series
    );
}

/// Names of metrics that an expression of PromQL has.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.starts_with("msao_") || word.starts_with("process_"))
}

/// All expressions of a dashboard or a file of rules: values of `expr` in JSON and in YAML.
fn expressions(path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    if path.ends_with(".json") {
        let mut found = Vec::new();
        let mut left: Vec<serde_json::Value> = vec![serde_json::from_str(&text).unwrap()];
        while let Some(value) = left.pop() {
            match value {
                serde_json::Value::Object(fields) => {
                    for (name, value) in fields {
                        match value {
                            serde_json::Value::String(text) if name == "expr" => found.push(text),
                            serde_json::Value::String(text)
                                if text.starts_with("label_values(") =>
                            {
                                found.push(text)
                            }
                            value => left.push(value),
                        }
                    }
                }
                serde_json::Value::Array(items) => left.extend(items),
                _ => {}
            }
        }
        return found;
    }
    let lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    lines.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_and_health_of_a_live_run() {
    let mut world = World::new();
    let connection = world.connect().await;
    let metrics = "[metrics]\nlisten = '127.0.0.1:0'";
    let cloud = Served::start(world.cloud(&format!("worker = 'w1'\n{metrics}")));
    until("the worker is well", async || {
        cloud.health() == (200, "ok\n".to_owned())
    })
    .await;
    // One of its streams is not there.
    let edge = format!(
        "{metrics}\n[[video]]\nsource = '{}'\n[[video]]\nsource = '/nowhere.mkv'",
        media("vtest.avi").display(),
    );
    let edge = Served::start(world.edge(&edge));
    let windows = "msao_edge_windows_total{rig=\"car\"}";
    until("four windows", async || {
        edge.scrape()
            .series
            .get(windows)
            .is_some_and(|count| *count >= 4.0)
    })
    .await;
    let count = "msao_cloud_caption_seconds_count{worker=\"w1\"}";
    until("two captions", async || cloud.scrape().value(count) >= 2.0).await;
    assert_eq!(edge.health(), (200, "ok\n".to_owned()));

    // What is scraped is what a status said, or will say.
    let mut statuses = Box::pin(status::subscribe(&connection).await.unwrap());
    // Subscribed before the scrape: the next status may be of it.
    connection.client().flush().await.unwrap();
    let mut last = None;
    while !matches!(last, Some(Ok(AnyStatus::Edge(_)))) {
        last = statuses.next().await;
    }
    let scrape = edge.scrape();
    let mut again = Box::pin(futures::stream::iter(last).chain(statuses));
    agrees(&scrape, &mut again, |status| match status {
        Ok(AnyStatus::Edge(status)) => Some(of_edge(status)),
        _ => None,
    })
    .await;
    let mut last = None;
    while !matches!(last, Some(Ok(AnyStatus::Cloud(_)))) {
        last = again.next().await;
    }
    let worker = cloud.scrape();
    let mut again = Box::pin(futures::stream::iter(last).chain(again));
    agrees(&worker, &mut again, |status| match status {
        Ok(AnyStatus::Cloud(status)) => Some(of_cloud(status)),
        _ => None,
    })
    .await;

    let of_edge = |name: &str| scrape.value(&format!("{name}{{rig=\"car\"}}"));
    assert_eq!(
        scrape.value("msao_stream_up{rig=\"car\",stream=\"video_1\"}"),
        0.0
    );
    assert_eq!(of_edge("msao_queue_messages_limit"), 1024.0);
    assert_eq!(of_edge("msao_edge_connected"), 1.0);
    assert!((0.000_01..5.0).contains(&of_edge("msao_link_rtt_seconds")));
    assert!(of_edge("msao_edge_draft_seconds_count") >= 1.0);
    assert!(of_edge("msao_edge_draft_seconds_sum") > 0.0);
    let megabytes = of_edge("process_resident_memory_bytes") / 1e6;
    assert!((10.0..4000.0).contains(&megabytes), "{megabytes}");

    // What dashboard and alerts ask for is there.
    let there = |name: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| name.strip_suffix(part));
        [Some(name), of_histogram]
            .into_iter()
            .flatten()
            .any(|name| scrape.families.contains_key(name) || worker.families.contains_key(name))
    };
    for path in ["configs/grafana/msao.json", "configs/prometheus/alerts.yml"] {
        let expressions = expressions(path);
        assert!(expressions.len() >= 8, "{path}: {expressions:?}");
        for expression in expressions {
            assert!(names(&expression).count() > 0, "{path}: {expression}");
            for name in names(&expression) {
                assert!(there(name), "{path}: no {name}: {expression}");
            }
        }
    }

    // Without NATS an edge goes on, and a worker has nothing to do.
    world.server.kill();
    until("the worker misses NATS", async || {
        cloud.health() == (503, "NATS is not connected\n".to_owned())
    })
    .await;
    until("the edge misses NATS", async || {
        edge.scrape().value("msao_edge_connected{rig=\"car\"}") == 0.0
    })
    .await;
    assert_eq!(edge.health(), (200, "ok\n".to_owned()));
}
