//! `msao dead`: from a worker with a fault to a caption, once the fault is mended.

use std::path::Path;

use broker::caption::Verdict;
use broker::deliver::Deliverer;
use broker::headers::{self, TraceParent};
use broker::test_server::TestServer;
use broker::{Caption, Connection, FeatureWindow, Message, StreamsConfig};
use cloud_sink::{Config, Fault, Summary, Verifier};

use crate::common::{msao, texts};
use crate::explain::{EPOCH, window};
use crate::world::{connect, until};

/// A model that captions all windows, or none.
struct Model {
    mended: bool,
}

impl Verifier for Model {
    fn model(&self) -> &str {
        "model-v1"
    }

    fn provider(&self) -> String {
        "none".to_owned()
    }

    fn verify(&mut self, _: &FeatureWindow) -> Result<Option<Verdict>, Fault> {
        if !self.mended {
            return Err(Fault::Hopeless(
                "encoded by \u{1b}[2Janother encoder".to_owned(),
            ));
        }
        Ok(Some(Verdict {
            confirmed: true,
            text: "two people walk".to_owned(),
            tokens: 3,
            confidence: 0.75,
            accepted_tokens: Some(1),
            model: "model-v1".to_owned(),
        }))
    }
}

struct World {
    server: TestServer,
    folder: tempfile::TempDir,
    connection: Connection,
}

impl World {
    async fn new() -> Self {
        let server = TestServer::start();
        let connection = connect(&server).await;
        broker::streams::set_up(&connection, &StreamsConfig::default())
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self {
            server,
            folder,
            connection,
        }
    }

    async fn publish(&self, rig: &str, seq: u64) {
        let mut window = window(seq, offload::Action::Verify);
        window.id = format!("{rig}/{EPOCH}/{seq}").parse().unwrap();
        let bytes = window.encode().unwrap();
        let message = Message::features(&window, bytes, TraceParent::generate());
        let deliverer = Deliverer::new(self.connection.clone(), StreamsConfig::default());
        deliverer.deliver(&message).await.unwrap();
    }

    async fn raw(&self, subject: &'static str, pairs: &[(&str, &str)], payload: &'static [u8]) {
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, *value);
        }
        let jetstream = self.connection.jetstream();
        let sent = jetstream.publish_with_headers(subject, headers, payload.into());
        sent.await.unwrap().await.unwrap();
    }

    async fn count(&self, stream: &str) -> u64 {
        let stream = self
            .connection
            .jetstream()
            .get_stream(stream)
            .await
            .unwrap();
        stream.cached_info().state.messages
    }

    /// A worker, until there are so many letters and captions.
    async fn work(&self, mended: bool, dead: u64, captions: u64) -> Summary {
        let mut config = Config::new("unused");
        config.nats.url = self.server.url();
        let settled = until("all is settled", async || {
            let now = (
                self.count("MSAO_DEAD").await,
                self.count("MSAO_CAPTIONS").await,
            );
            now == (dead, captions)
        });
        let worker = cloud_sink::run_with(config, move || Ok(Model { mended }), settled);
        worker.await.unwrap()
    }

    /// Whether `msao dead` succeeded, and what it said.
    fn dead(&self, arguments: &[&str]) -> (bool, String, String) {
        dead(self.folder.path(), &self.server.url(), arguments)
    }
}

fn dead(folder: &Path, url: &str, arguments: &[&str]) -> (bool, String, String) {
    let mut command = msao(folder);
    command.arg("dead").args(arguments).args(["--nats", url]);
    let output = command.output().unwrap();
    let (out, err) = texts(&output);
    assert!(!err.contains("panicked"), "{err}");
    (output.status.success(), out, err)
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_listed_replayed_and_captioned_once() {
    let world = World::new().await;
    let (done, out, err) = world.dead(&["list"]);
    assert!(done && out == "no dead letters\n", "{out}{err}");
    world.publish("car", 0).await;
    world.publish("bus", 1).await;
    world
        .raw("msao.v1.features.car", &[], b"no arrow\x01")
        .await;
    world.work(false, 3, 0).await;

    let (_, out, _) = world.dead(&["list", "--rig", "car", "--json"]);
    let letters: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(letters.len(), 2, "{out}");
    let find = |origin: &str| {
        letters
            .iter()
            .find(|letter| letter["origin"] == origin)
            .unwrap()
    };
    let (window, bytes) = (find("MSAO_FEATURES/1"), find("MSAO_FEATURES/3"));
    assert_eq!(window["id"], format!("car/{EPOCH}/0/dead/0"));
    assert_eq!(
        (&window["rig"], &window["deliveries"]),
        (&"car".into(), &1.into())
    );
    assert!(
        window["reason"]
            .as_str()
            .unwrap()
            .contains("another encoder"),
        "{out}"
    );
    let (_, out, _) = world.dead(&["list"]);
    assert_eq!(out.lines().count(), 3, "{out}");
    assert!(!out.contains('\u{1b}'), "{out}");
    let row = out.lines().find(|row| row.contains("bus")).unwrap();
    for word in ["MSAO_FEATURES/2", "1 delivery", "another encoder"] {
        assert!(row.contains(word), "{row}");
    }

    let (done, out, _) = world.dead(&["show", &window["number"].to_string()]);
    assert!(done, "{out}");
    for word in [
        "Msao-Reason: encoded by",
        "a feature window",
        "draft: \"two people walk\"",
    ] {
        assert!(out.contains(word), "{word}: {out}");
    }
    let (_, out, _) = world.dead(&["show", &bytes["number"].to_string()]);
    assert!(
        out.contains("6e 6f 20 61 72 72 6f 77 01") && out.contains("no arrow."),
        "{out}"
    );
    let (done, _, err) = world.dead(&["show", "99"]);
    assert!(
        !done && err.contains("no dead letter 99") && err.contains("msao dead list"),
        "{err}"
    );

    // One by its number, then a rig's: what no window is dies again.
    let (done, out, err) = world.dead(&["replay", &window["number"].to_string()]);
    assert!(
        done && out.contains(&format!("car/{EPOCH}/0")),
        "{out}{err}"
    );
    assert_eq!(world.count("MSAO_DEAD").await, 2);
    let summary = world.work(true, 2, 1).await;
    assert_eq!((summary.captioned, summary.dead), (1, 0));
    let (done, _, err) = world.dead(&["replay", "--rig", "bus"]);
    assert!(done, "{err}");
    let summary = world.work(true, 1, 2).await;
    assert_eq!((summary.captioned, summary.dead), (1, 0));
    let (done, _, err) = world.dead(&["replay", "--all"]);
    assert!(done, "{err}");
    let summary = world.work(true, 1, 2).await;
    assert_eq!((summary.captioned, summary.dead), (0, 1));

    let stream = world
        .connection
        .jetstream()
        .get_stream("MSAO_CAPTIONS")
        .await
        .unwrap();
    for (sequence, id) in [(1, format!("car/{EPOCH}/0")), (2, format!("bus/{EPOCH}/1"))] {
        let message = stream.get_raw_message(sequence).await.unwrap();
        assert_eq!(
            Caption::decode(&message.payload).unwrap().id.to_string(),
            id
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_letter_is_refused_by_name_and_the_others_go() {
    let world = World::new().await;
    let cut = [
        (
            headers::MESSAGE_ID,
            "car/01J00000000000000000000000/4/dead/0",
        ),
        (headers::ORIGIN_SUBJECT, "msao.v1.features.car"),
        (headers::CUT_FROM, "2000000"),
    ];
    world.raw("msao.v1.dead.car", &cut, b"half a wind").await;
    world.raw("msao.v1.dead.car", &cut[1..2], b"whole").await;
    let (done, out, err) = world.dead(&["replay", "--all"]);
    assert!(!done && out.contains("replayed 2"), "{out}{err}");
    for word in ["dead letter 1", cut[0].1, "cut from 2000000 bytes"] {
        assert!(err.contains(word), "{word}: {err}");
    }
    assert_eq!(
        (
            world.count("MSAO_DEAD").await,
            world.count("MSAO_FEATURES").await
        ),
        (1, 1)
    );
    let (_, out, _) = world.dead(&["list"]);
    assert!(out.contains("(cut from 2000000 bytes)"), "{out}");
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let url = "nats://127.0.0.1:1";
    let (done, _, err) = dead(folder.path(), url, &["list"]);
    assert!(!done && err.contains(url), "{err}");
    for arguments in [&["replay"][..], &["replay", "3", "--all"], &["show", "x"]] {
        let (done, _, err) = dead(folder.path(), url, arguments);
        assert!(
            !done && err.contains("Usage") || err.contains("invalid value"),
            "{err}"
        );
    }
}
