//! `msao record`, `msao replay` and `msao vtt`: from one server into files, and from there to another.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use broker::caption::Verdict;
use broker::deliver::Deliverer;
use broker::headers::TraceParent;
use broker::test_server::TestServer;
use broker::{
    Caption, Connection, FeatureWindow, LatencyMs, Message, Modality, ModalityReport,
    StreamsConfig, Token,
};
use cloud_sink::{Config, Fault, Verifier};
use offload::Action;
use serde_json::Value;
use time::OffsetDateTime;

use crate::common::{finished, msao, root, texts};
use crate::explain::EPOCH;
use crate::process::Process;
use crate::world::{captions, connect, payloads, soon, until, windows};

/// Window `seq` of `rig` with so many tokens, its draft written at `drafted` milliseconds of the Unix epoch.
fn window(rig: &str, seq: u64, tokens: u16, drafted: i64) -> FeatureWindow {
    let mut window = crate::explain::window(seq, Action::Verify);
    window.id = format!("{rig}/{EPOCH}/{seq}").parse().unwrap();
    window.start_running_ns = seq * 1_000_000_000;
    window.end_running_ns = (seq + 1) * 1_000_000_000;
    window.drafted_utc_ns = drafted * 1_000_000;
    window.closed_utc_ns = window.drafted_utc_ns;
    window.end_utc_ns = window.drafted_utc_ns;
    window.start_utc_ns = window.end_utc_ns - 1_000_000_000;
    window.modalities = vec![ModalityReport {
        modality: Modality::Video,
        stream: "video_0".to_owned(),
        rho: 0.5,
        gamma: 0.5,
        beta: 1.0,
        mas: 0.75,
        encoder: "encoder".to_owned(),
        encoder_sha256: "0".repeat(64),
    }];
    let token = |x| Token {
        modality: Modality::Video,
        stream: "video_0".into(),
        t: 0,
        y: 0,
        x,
        importance: 1.0,
        scale: 0.5,
        feature: vec![seq as i8; 64].into(),
    };
    window.tokens = (0..tokens).map(token).collect();
    window.tokens_possible = tokens.into();
    window
}

fn corrected(window: &FeatureWindow, text: &str) -> Caption {
    let verdict = Verdict {
        confirmed: false,
        text: text.to_owned(),
        tokens: 3,
        confidence: 0.75,
        accepted_tokens: Some(1),
        model: "model".to_owned(),
    };
    Caption::verified(window, verdict, LatencyMs::default())
}

struct Server {
    /// Kept as long as this, if it is its own.
    #[allow(dead_code)]
    server: Option<TestServer>,
    url: String,
    connection: Connection,
    deliverer: Deliverer,
}

/// Stores two windows of `rig`, each with its draft and its last word.
pub async fn store(server: &TestServer, rig: &str) {
    let server = Server::of(server).await;
    for seq in 0..2 {
        let window = window(rig, seq, 2, 0);
        server.caption(&Caption::draft(&window).unwrap()).await;
        server.window(&window).await;
        server.caption(&corrected(&window, "a dog")).await;
    }
}

impl Server {
    async fn new() -> Self {
        let server = TestServer::start();
        let own = Self::of(&server).await;
        Self {
            server: Some(server),
            ..own
        }
    }

    async fn of(server: &TestServer) -> Self {
        let connection = connect(server).await;
        let streams = StreamsConfig::default();
        broker::streams::set_up(&connection, &streams)
            .await
            .unwrap();
        Self {
            deliverer: Deliverer::new(connection.clone(), streams),
            server: None,
            url: server.url(),
            connection,
        }
    }

    async fn window(&self, window: &FeatureWindow) {
        let bytes = window.encode().unwrap();
        let message = Message::features(window, bytes, TraceParent::generate());
        self.deliverer.deliver(&message).await.unwrap();
    }

    async fn caption(&self, caption: &Caption) {
        let message = Message::caption(caption, TraceParent::generate()).unwrap();
        self.deliverer.deliver(&message).await.unwrap();
    }

    async fn raw(&self, subject: &'static str, payload: impl Into<Vec<u8>>) {
        let jetstream = self.connection.jetstream();
        let sent = jetstream.publish(subject, payload.into().into()).await;
        sent.unwrap().await.unwrap();
    }

    fn run(&self, folder: &Path, arguments: &[&str]) -> (bool, String, String) {
        let mut command = msao(folder);
        command.args(arguments).args(["--nats", &self.url]);
        let output = command.output().unwrap();
        let (out, err) = texts(&output);
        assert!(!err.contains("panicked"), "{err}");
        (output.status.success(), out, err)
    }

    fn json(&self, folder: &Path, arguments: &[&str]) -> Value {
        let (done, out, err) = self.run(folder, &[arguments, &["--json"]].concat());
        assert!(done, "{out}{err}");
        serde_json::from_str(&out).unwrap()
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The windows among stored messages.
fn decoded(messages: &[Vec<u8>]) -> Vec<FeatureWindow> {
    let decoded = messages
        .iter()
        .map(|bytes| FeatureWindow::decode(bytes).ok());
    decoded.flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_and_replayed_is_equal_and_pyarrow_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let from = Server::new().await;
    // Some 1.5 MiB, so that there are two files of at most one MiB.
    for seq in 0..120 {
        let window = window("car", seq, 100 + (seq % 7) as u16, 1_000 * seq as i64);
        from.caption(&Caption::draft(&window).unwrap()).await;
        from.window(&window).await;
        if seq % 2 == 0 {
            from.caption(&corrected(&window, "two people walk home"))
                .await;
        }
    }
    from.window(&window("bus", 0, 3, 0)).await;
    from.raw("msao.v1.features.car", b"no window").await;
    from.raw("msao.v1.captions.car", b"no caption").await;
    // What a rig says of another is not believed.
    let other = window("bus", 1, 3, 0).encode().unwrap();
    from.raw("msao.v1.features.car", other).await;

    let ride = folder.path().join("ride");
    let out = text(&ride);
    let asked = ["record", "--rig", "car", "--out", &out, "--file-size", "1"];
    let summary = from.json(folder.path(), &asked);
    assert_eq!(
        (
            &summary["windows"],
            &summary["captions"],
            &summary["left_out"]
        ),
        (&120.into(), &180.into(), &3.into()),
        "{summary}"
    );
    assert!(ride.join("features-00002.arrows").exists(), "{summary}");
    // What is there stays as it is.
    let (done, _, err) = from.run(folder.path(), &asked);
    assert!(!done && err.contains("name another folder"), "{err}");

    finished(&mut Command::new(root().join("examples/python/setup.sh")));
    let mut read = Command::new(root().join(".cache/python-venv/bin/python"));
    read.arg(root().join("examples/python/recording.py"));
    let (lines, _) = finished(read.arg(&ride));
    assert_eq!(lines.lines().count(), 120, "{lines}");
    let first = format!(
        "car/{EPOCH}/0  features (100, 64)  MAS video_0 0.75  corrected: two people walk home"
    );
    assert_eq!(lines.lines().next(), Some(first.as_str()));
    let second =
        format!("car/{EPOCH}/1  features (101, 64)  MAS video_0 0.75  draft: two people walk");
    assert_eq!(lines.lines().nth(1), Some(second.as_str()));

    let to = Server::new().await;
    let restore = ["replay", &out, "--same-id", "--speed", "0"];
    for _ in 0..2 {
        // The second time the server has it all.
        let summary = to.json(folder.path(), &restore);
        assert_eq!(
            (&summary["acknowledged"], &summary["dropped"]),
            (&300.into(), &0.into()),
            "{summary}"
        );
        let mut before = decoded(&payloads(&from.connection, "MSAO_FEATURES").await);
        before.retain(|window| window.id.rig.as_str() == "car");
        let after = decoded(&payloads(&to.connection, "MSAO_FEATURES").await);
        assert!(before == after, "windows differ");
        let mut before = payloads(&from.connection, "MSAO_CAPTIONS").await;
        before.retain(|bytes| Caption::decode(bytes).is_ok());
        let mut after = payloads(&to.connection, "MSAO_CAPTIONS").await;
        // Final captions were made now, and the windows long ago: by time they come last.
        before.sort();
        after.sort();
        assert!(before == after, "captions differ");
    }
}

/// A model that corrects all.
struct Model;

impl Verifier for Model {
    fn model(&self) -> &str {
        "new"
    }

    fn provider(&self) -> String {
        "none".to_owned()
    }

    fn verify(&mut self, _: &FeatureWindow) -> Result<Option<Verdict>, Fault> {
        Ok(Some(Verdict {
            confirmed: false,
            text: "a newer model's word".to_owned(),
            tokens: 3,
            confidence: 0.75,
            accepted_tokens: Some(1),
            model: "new".to_owned(),
        }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_run_is_worked_on_again_under_another_name_at_its_pace() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new().await;
    for seq in 0..4 {
        let window = window("car", seq, 2, 300 * seq as i64);
        server.caption(&Caption::draft(&window).unwrap()).await;
        server.window(&window).await;
        server
            .caption(&corrected(&window, "an older model's word"))
            .await;
    }
    let ride = text(&folder.path().join("ride"));
    server.json(folder.path(), &["record", "--out", &ride]);

    let begun = OffsetDateTime::now_utc();
    let clock = Instant::now();
    let again = ["replay", &ride, "--rig", "test", "--speed", "3"];
    let summary = server.json(folder.path(), &again);
    // 0.9 s of windows.
    assert!(clock.elapsed() >= Duration::from_millis(300), "{summary}");
    assert_eq!(
        (
            &summary["windows"],
            &summary["captions"],
            &summary["acknowledged"]
        ),
        (&4.into(), &4.into(), &8.into())
    );
    let windows = windows(&server.connection).await;
    let (old, new) = windows.split_at(4);
    let epoch = new[0].id.epoch;
    assert!(epoch > old[0].id.epoch);
    for (seq, (old, new)) in old.iter().zip(new).enumerate() {
        assert_eq!(new.id.to_string(), format!("test/{epoch}/{seq}"));
        assert_eq!(
            (&new.tokens, new.start_running_ns),
            (&old.tokens, old.start_running_ns)
        );
        let drafted = OffsetDateTime::from_unix_timestamp_nanos(new.drafted_utc_ns.into());
        let after = drafted.unwrap() - begun;
        let due = 0.1 * seq as f64;
        assert!(
            (due..due + 20.0).contains(&after.as_seconds_f64()),
            "{after}"
        );
    }
    // The draft is of its window, and the older model's word was left behind.
    let stored = captions(&server.connection).await;
    let of_test: Vec<&Caption> = stored
        .iter()
        .filter(|c| c.id.rig.as_str() == "test")
        .collect();
    assert_eq!(of_test.len(), 4);
    for (window, caption) in new.iter().zip(of_test) {
        assert_eq!(*caption, Caption::draft(window).unwrap());
    }

    let mut config = Config::new("unused");
    config.nats.url = server.url.clone();
    let captioned = until("all are captioned", async || {
        captions(&server.connection).await.len() >= 8 + 4 + 4
    });
    let worker = cloud_sink::run_with(config, || Ok(Model), captioned);
    soon("the worker ends", worker).await.unwrap();
    let stored = captions(&server.connection).await;
    let newer = stored
        .iter()
        .filter(|c| c.id.epoch == epoch && c.model == "new");
    assert_eq!(newer.count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_follows_until_it_is_stopped_and_begins_where_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new().await;
    server.window(&window("car", 0, 2, 0)).await;
    let stream = server
        .connection
        .jetstream()
        .get_stream("MSAO_FEATURES")
        .await
        .unwrap();
    let first = stream.get_raw_message(1).await.unwrap().time;
    while OffsetDateTime::now_utc() < first + Duration::from_millis(5) {
        std::hint::spin_loop();
    }
    let since = OffsetDateTime::now_utc();
    let since = since
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();

    let out = folder.path().join("ride");
    let mut command = msao(folder.path());
    command.args(["record", "--follow", "--json", "--since", &since, "--out"]);
    command.arg(&out).args(["--nats", &server.url]);
    let recording = Process::start(command);
    server.window(&window("car", 1, 2, 0)).await;
    server
        .caption(&Caption::draft(&window("car", 1, 2, 0)).unwrap())
        .await;
    // Both are in the files while it still runs.
    let bytes = |name: &str| std::fs::metadata(out.join(name)).map_or(0, |file| file.len());
    until("both are recorded", async || {
        bytes("features-00001.arrows") > 0 && bytes("captions-00001.jsonl") > 0
    })
    .await;
    let said = recording.stop("-INT");
    let summary: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&summary["windows"], &summary["captions"]),
        (&1.into(), &1.into())
    );

    // Killed, it would have left the same, but for the end of the stream; and within a window, those before it.
    let features = out.join("features-00001.arrows");
    let whole = std::fs::read(&features).unwrap();
    std::fs::write(&features, &whole[..whole.len() - 8]).unwrap();
    let to = Server::new().await;
    let ride = text(&out);
    let summary = to.json(
        folder.path(),
        &["replay", &ride, "--same-id", "--speed", "0"],
    );
    assert_eq!(summary["windows"], 1);
    std::fs::write(&features, &whole[..whole.len() - 100]).unwrap();
    let (done, out, err) = to.run(folder.path(), &["replay", &ride, "--speed", "0"]);
    assert!(
        done && out.starts_with("0 windows and 1 captions sent"),
        "{out}"
    );
    assert!(
        err.contains("cut off") && err.contains("features-00001.arrows"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn subtitles_have_the_last_word_of_each_window_on_the_time_of_the_video() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new().await;
    let said = ["a dog", "a <cat> & a dog", "two people walk"];
    for (seq, said) in said.iter().enumerate() {
        let window = window("car", seq as u64, 0, 0);
        let mut draft = Caption::draft(&window).unwrap();
        let last = corrected(&window, said);
        if seq == 2 {
            // The last word may be stored before the draft; and the last draft stands.
            draft.is_final = true;
        } else {
            server.caption(&last).await;
        }
        server.caption(&draft).await;
    }
    let mut answer = Caption::draft(&window("car", 0, 0, 0)).unwrap();
    answer.id = "car/00000000000000000000000001/0".parse().unwrap();
    answer.question = Some("what is heard ?".to_owned());
    server.caption(&answer).await;

    let path = folder.path().join("car.vtt");
    let (done, out, err) = server.run(
        folder.path(),
        &["vtt", "--rig", "car", "--out", &text(&path)],
    );
    assert!(done && out.contains("3 cues of rig car"), "{out}{err}");
    let subtitles = std::fs::read_to_string(&path).unwrap();
    let expected = format!(
        "WEBVTT\n\nNOTE Rig car, run {EPOCH}\n\n\
         0 corrected\n00:00:00.000 --> 00:00:01.000\na dog\n\n\
         1 corrected\n00:00:01.000 --> 00:00:02.000\na &lt;cat&gt; &amp; a dog\n\n\
         2 draft\n00:00:02.000 --> 00:00:03.000\ntwo people walk\n"
    );
    assert_eq!(subtitles, expected);
    assert_eq!(shown(folder.path(), &path), 3);

    // The same from a recording, and to standard output.
    let ride = text(&folder.path().join("ride"));
    server.json(folder.path(), &["record", "--out", &ride]);
    let (done, out, _) = server.run(folder.path(), &["vtt", "--recording", &ride]);
    assert!(done);
    assert_eq!(out, expected);

    server
        .caption(&Caption::draft(&window("bus", 0, 0, 0)).unwrap())
        .await;
    let (done, _, err) = server.run(folder.path(), &["vtt"]);
    assert!(!done && err.contains("--rig: bus, car"), "{err}");
    let (done, _, err) = server.run(folder.path(), &["vtt", "--rig", "tram"]);
    assert!(
        !done && err.contains("no caption is stored of rig tram"),
        "{err}"
    );
}

/// How many cues GStreamer's parser makes of a file.
fn shown(folder: &Path, path: &Path) -> usize {
    let mut parse = Command::new("gst-launch-1.0");
    parse
        .args(["-q", "filesrc"])
        .arg(format!("location={}", path.display()))
        .args("! subparse ! text/x-raw ! multifilesink next-file=buffer".split(' '))
        .arg(format!("location={}/cue%d.txt", folder.display()));
    finished(&mut parse);
    let cue = |n: &usize| -> PathBuf { folder.join(format!("cue{n}.txt")) };
    let cues: Vec<String> = (0..)
        .map_while(|n| std::fs::read_to_string(cue(&n)).ok())
        .collect();
    assert!(cues[0].contains("a dog"), "{cues:?}");
    cues.len()
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = msao(folder.path());
        command
            .args(arguments)
            .args(["--nats", "nats://127.0.0.1:1"]);
        let output = command.output().unwrap();
        let (_, err) = texts(&output);
        assert!(!err.contains("panicked"), "{err}");
        (output.status.code().unwrap(), err)
    };
    let here = text(folder.path());
    let nowhere = text(&folder.path().join("nowhere"));
    for (arguments, expected, words) in [
        (&["record", "--out", &nowhere][..], 1, "nats://127.0.0.1:1"),
        (&["record"], 2, "--out"),
        (&["record", "--out", &nowhere, "--since", "tea"], 2, "15m"),
        (
            &["record", "--out", &nowhere, "--file-size", "0"],
            2,
            "file-size",
        ),
        (&["replay", &here], 1, "holds no recording"),
        (&["replay", &nowhere], 1, "nowhere"),
        (&["replay", &here, "--speed", "-1"], 2, "-1"),
        (&["replay", &here, "--same-id", "--rig", "car"], 2, "--rig"),
        (&["vtt", "--recording", &nowhere], 1, "nowhere"),
        (&["vtt", "--recording", &here], 1, "no caption"),
    ] {
        let (code, err) = run(arguments);
        assert!(
            code == expected && err.contains(words),
            "{arguments:?}: {code} {err}"
        );
    }
    std::fs::write(folder.path().join("features-00001.arrows"), "no arrow").unwrap();
    let (code, err) = run(&["replay", &here]);
    assert!(code == 1 && !err.is_empty(), "{err}");
}
