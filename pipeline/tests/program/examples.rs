//! The configurations in configs/ that are to be copied: each passes `msao check` as it is, and runs.

use std::collections::BTreeSet;

use broker::Caption;
use broker::connect::AtStart;
use broker::test_server::TestServer;
use broker::{ConnectConfig, Connection};

use crate::common::{msao, root, texts};

/// The captions that an edge with the configuration `name` makes, played as fast as it goes.
async fn captions(name: &str) -> Vec<Caption> {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("configs/{name}.toml");
    let mut check = msao(folder.path());
    let check = check.args(["check", "--config", &path]).output();
    let (out, err) = texts(&check.unwrap());
    assert!(out.contains("good for `msao edge`"), "{out}{err}");

    let server = TestServer::start();
    let text = std::fs::read_to_string(root().join(&path)).unwrap();
    let text = text
        .replace("loop = true", "")
        .replace("source =", "pace = 'fast'\nsource =");
    let config = folder.path().join("edge.toml");
    let text = format!("{text}\n[nats]\nurl = '{}'\n", server.url());
    std::fs::write(&config, text).unwrap();
    let edge = msao(folder.path())
        .args(["edge", "--config"])
        .arg(&config)
        .output();
    let edge = edge.unwrap();
    let (out, err) = texts(&edge);
    assert!(edge.status.success(), "{out}{err}");

    let connect = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    let connection = Connection::open(&connect, AtStart::Fail).await.unwrap();
    let stream = connection
        .jetstream()
        .get_stream("MSAO_CAPTIONS")
        .await
        .unwrap();
    let state = stream.cached_info().state.clone();
    let mut captions = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let caption = Caption::decode(&message.payload).unwrap();
        assert_eq!(caption.id.rig.as_str(), name);
        captions.push(caption);
    }
    captions
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driving_rig_sees_hears_and_feels() {
    let captions = captions("driving").await;
    let streams: BTreeSet<String> = (captions.iter().flat_map(|caption| &caption.mas))
        .map(|stream| stream.stream.clone())
        .collect();
    for stream in ["video_0", "video_1", "audio_0", "sensor_0"] {
        assert!(streams.contains(stream), "{stream} is not in {streams:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspection_rig_tells_parts_and_answers_its_questions() {
    let captions = captions("inspection").await;
    let asked = captions.iter().any(|caption| caption.question.is_some());
    let told = captions.iter().filter(|caption| caption.question.is_none());
    // The model knows such parts: most are named, though not all by their right name.
    let named = told.clone().filter(|caption| caption.text.contains("belt"));
    let (named, told) = (named.count(), told.count());
    assert!(
        told >= 10 && named * 2 > told,
        "{named} of {told}: {captions:#?}"
    );
    assert!(asked, "{captions:#?}");
}
